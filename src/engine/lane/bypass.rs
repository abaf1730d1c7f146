//! Items that go ahead of the gate, since most will send nothing now: stopped ones, those that an
//! earlier process left with a look that is not due, and those whose window ended while they waited.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Lane, LaneState, work_item::WorkItem};

/// How often items that wait behind a closed gate are checked for the end of their window.
pub(in crate::engine) const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
/// Items of a lane that may be ahead of its gate at once. Each takes a task and a place at the
/// settler's door until it has its outcome, so a hundred thousand whose windows end together go a
/// few at a time.
pub(in crate::engine) const SILENT_MAX: usize = 256;

/// A lane's search for windows that have ended.
#[derive(Debug)]
pub(in crate::engine) struct Expiry {
    /// When the next one begins.
    pub(in crate::engine) due: Instant,
    /// One is under way.
    is_on: bool,
    /// When the first early look that waits for a retry is the one that decides.
    pub(in crate::engine) decides_at: Option<Instant>,
}

impl Expiry {
    pub(in crate::engine) fn new() -> Self {
        Self {
            due: Instant::now() + EXPIRY_INTERVAL,
            is_on: false,
            decides_at: None,
        }
    }
}

/// When a look that goes early becomes the one that decides.
pub(in crate::engine) fn decides_at(run: &WorkItem) -> Option<Instant> {
    let belief = run.belief.as_ref().filter(|_| run.looks_early)?;
    Some(belief.believed_at())
}

impl Lane {
    /// Items that go ahead of the gate now, no more than there is room for. One that is in doubt
    /// gets its last look through the gate, unless the provider is away.
    pub(in crate::engine) fn silent(&self, state: &mut LaneState, now: Instant) -> Vec<WorkItem> {
        let room = SILENT_MAX.saturating_sub(state.gate.silent());
        let ahead = state.ahead.len().min(room);
        let mut silent: Vec<_> = state.ahead.drain(..ahead).collect();
        if now >= state.expiry.due {
            state.expiry.due = now + EXPIRY_INTERVAL;
            state.expiry.is_on = true;
            state.look_again();
        }
        if state.expiry.is_on {
            let room = room - silent.len();
            let wall = self.shared.clock.now();
            let ended = self.take_ended(state, (now, wall), room);
            if ended.len() < room {
                state.expiry.is_on = false;
                state.let_late_ones_go((now, wall));
            }
            silent.extend(ended);
        }
        for run in &mut silent {
            run.pass = state.gate.enter_silent();
        }
        silent
    }

    /// Takes out what has waited for too long, at most so many items: fewer say that there are no
    /// more.
    fn take_ended(
        &self,
        state: &mut LaneState,
        (now, wall): (Instant, Timestamp),
        items_max: usize,
    ) -> Vec<WorkItem> {
        let away = state.gate.is_away();
        let is_held = away || state.gate.paused_until(now).is_some();
        let patience = self.options.timeout;
        let window = wall.checked_sub(patience).unwrap_or(Timestamp::MIN);
        let is_over = |run: &WorkItem| match &run.belief {
            // Its look that can be believed has its turn, unless nothing goes for long.
            Some(settling) => {
                is_held && run.retry_until < window && settling.believed_at() + patience < now
            }
            None => away || run.is_untouched(),
        };
        let mut ended = state.firsts.take_ended(wall, items_max, is_over);
        let left = items_max - ended.len();
        ended.extend(state.retries.take_ended(wall, left, is_over));
        let left = items_max - ended.len();
        ended.extend(state.early.take_ended(wall, left, is_over));
        let left = items_max - ended.len();
        ended.extend(state.targets.take_ended(wall, left, is_over));
        ended
    }
}

impl LaneState {
    /// Has a search begin.
    fn look_again(&mut self) {
        self.firsts.look_again();
        self.retries.look_again();
        self.early.look_again();
        self.targets.look_again();
    }

    /// Lines up with the others what waits for a retry and has its last turn, or a look that
    /// decides: the budget of retries does not hold those up.
    fn let_late_ones_go(&mut self, (now, wall): (Instant, Timestamp)) {
        self.retries.look_again();
        let mut late = self.retries.take_ended(wall, usize::MAX, |_| true);
        if self.expiry.decides_at.is_some_and(|at| at <= now) {
            let mut next: Option<Instant> = None;
            late.extend(self.early.take_where(|run| {
                let at = decides_at(run);
                let is_due = at.is_some_and(|at| at <= now);
                if let Some(at) = at.filter(|_| !is_due) {
                    next = Some(next.map_or(at, |next| next.min(at)));
                }
                is_due
            }));
            self.expiry.decides_at = next;
        }
        for mut run in late {
            run.retries = false;
            self.line_up(run);
        }
    }
}
