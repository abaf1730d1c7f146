//! Items that bypass flow control, since most send nothing now: stopped items, items of an earlier
//! process whose lookup is not due, and items whose window ended while they waited.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Lane, LaneState, work_item::WorkItem};

/// How often items that wait for flow control are checked for the end of their window.
pub(in crate::engine) const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
/// Items of a lane that may bypass flow control at once. Each takes a task and a slot in the
/// settler's channel until it has its outcome, so if 100,000 windows end together they go a few at
/// a time.
pub(in crate::engine) const SILENT_MAX: usize = 256;

/// A lane's scan for items whose window has ended.
#[derive(Debug)]
pub(in crate::engine) struct Expiry {
    /// When the next scan begins.
    pub(in crate::engine) due: Instant,
    /// A scan is under way.
    is_on: bool,
    /// When the first of the waiting early lookups becomes one that can be believed.
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

/// When an item's early lookup becomes one that can be believed.
pub(in crate::engine) fn decides_at(run: &WorkItem) -> Option<Instant> {
    let belief = run.belief.as_ref().filter(|_| run.looks_early)?;
    Some(belief.believed_at())
}

impl Lane {
    /// Items that bypass flow control now, at most as many as there is room for. An item in doubt
    /// gets its last lookup through flow control instead, unless the provider is away.
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
                // A full take may have left some: the scan goes on at the next call.
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

    /// Takes out up to `items_max` items that have waited too long; fewer mean that there are no
    /// others.
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
            // Its believed lookup still gets a turn, unless the account is held for longer than a
            // timeout.
            Some(settling) => {
                is_held && run.retry_until < window && settling.believed_at() + patience < now
            }
            // Items with a history may conclude from a lookup, which goes while the provider is
            // there.
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
    /// Begins a scan.
    fn look_again(&mut self) {
        self.firsts.look_again();
        self.retries.look_again();
        self.early.look_again();
        self.targets.look_again();
    }

    /// Moves retries past their window, and lookups that can be believed by now, to the first
    /// requests: the retry budget does not delay an item's last turn.
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
