//! One account's lane: who goes next, when, and how many at once.
//!
//! Items wait here, not in the stack: the fair turn is taken at the last moment, and a waiting
//! item costs no more than its command. The lane decides nothing about replies; that is
//! `conversation`.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{Shared, run::Run, turns::Turns};
use crate::{
    domain::{
        account::Account,
        ids::{BatchId, CallerId, TargetId},
    },
    egress::{Egress, backoff::Backoff, rate::Bucket},
    providers::Mode,
};

/// How an account is treated.
#[derive(Debug, Clone)]
pub struct LaneOptions {
    /// Where.
    pub account: Arc<Account>,
    /// The way there.
    pub egress: Egress,
    /// Conversations at once, 1 or more.
    pub concurrency_max: usize,
    /// Requests a second.
    pub rate_per_second: f64,
    /// Requests at once before the rate holds, 1 or more.
    pub rate_burst: u32,
    /// Waits between tries.
    pub backoff: Backoff,
}

#[derive(Debug)]
struct State {
    turns: Turns<Run>,
    parked: BTreeMap<(Instant, u64), Run>,
    parked_count: u64,
    /// Targets that an item is at work on, with those that wait for the same one.
    targets: HashMap<TargetId, VecDeque<Run>>,
    in_flight: usize,
    bucket: Bucket,
    paused_until: Option<Instant>,
    expiry_due: Instant,
    closed: bool,
}

/// One account's lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) options: LaneOptions,
    pub(super) shared: Arc<Shared>,
    state: Mutex<State>,
    wake: Notify,
}

/// What the lane does next.
enum Action {
    Start(Vec<Run>),
    Wait(Option<Instant>),
    End,
}

/// How often items that wait behind a closed gate are checked for the end of their window.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

impl Lane {
    pub(super) fn new(options: LaneOptions, shared: Arc<Shared>) -> Arc<Self> {
        let bucket = Bucket::new(options.rate_per_second, options.rate_burst);
        let state = State {
            turns: Turns::default(),
            parked: BTreeMap::new(),
            parked_count: 0,
            targets: HashMap::new(),
            in_flight: 0,
            bucket,
            paused_until: None,
            expiry_due: Instant::now() + EXPIRY_INTERVAL,
            closed: false,
        };
        Arc::new(Self {
            options,
            shared,
            state: Mutex::new(state),
            wake: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines up items of a batch.
    pub(super) fn enqueue(&self, caller: &CallerId, batch: BatchId, runs: Vec<Run>) {
        self.state().turns.push(caller, batch, runs);
        self.wake.notify_one();
    }

    /// Sets an item aside until a time. Gives back one that was stopped meanwhile and that nothing
    /// has been sent for: whoever stopped it has been here already.
    #[must_use]
    pub(super) fn park(&self, run: Run, until: Instant) -> Option<Run> {
        let mut state = self.state();
        if run.stop.load(Ordering::Acquire) && run.is_untouched() {
            return Some(run);
        }
        state.parked_count += 1;
        let seq = state.parked_count;
        state.parked.insert((until, seq), run);
        state.in_flight -= 1;
        drop(state);
        self.wake.notify_one();
        None
    }

    /// Starts nothing before a time: the provider asked for it.
    pub(super) fn pause(&self, until: Instant) {
        let mut state = self.state();
        state.paused_until = Some(state.paused_until.map_or(until, |now| now.max(until)));
    }

    /// The end of a pause that is on.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.state().paused_until.filter(|until| *until > now)
    }

    /// Takes a token for a further request of a conversation, which goes before new ones.
    pub(super) fn reserve(&self, now: Instant) -> Instant {
        self.state().bucket.reserve(now)
    }

    /// An item is done: its place and its target are free.
    pub(super) fn release(&self, run: &Run) {
        let mut state = self.state();
        state.in_flight -= 1;
        if let Some(target) = run.command.exclusive_target().filter(|_| run.holds_target) {
            let next = state.targets.get_mut(target).and_then(VecDeque::pop_front);
            match next {
                Some(mut next) => {
                    next.holds_target = true;
                    let (caller, batch) = (next.caller.clone(), next.batch);
                    state.turns.put_back(&caller, batch, next);
                }
                None => {
                    state.targets.remove(target);
                }
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Takes out what can be stopped without a trace: items of a stopped batch that nothing has
    /// been sent for. Wakes the others, which end before their next request with an effect.
    pub(super) fn take_stopped(&self) -> Vec<Run> {
        let is_stopped = |run: &Run| run.stop.load(Ordering::Acquire);
        let mut state = self.state();
        let mut taken = state
            .turns
            .take_where(|run| is_stopped(run) && run.is_untouched());
        for waiting in state.targets.values_mut() {
            let (out, stay): (VecDeque<_>, _) = waiting
                .drain(..)
                .partition(|run| is_stopped(run) && run.is_untouched());
            *waiting = stay;
            taken.extend(out);
        }
        let parked = std::mem::take(&mut state.parked);
        let now = Instant::now();
        for (place, run) in parked {
            if is_stopped(&run) && run.is_untouched() {
                taken.push(run);
            } else {
                let until = if is_stopped(&run) { now } else { place.0 };
                state.parked.insert((until, place.1), run);
            }
        }
        // They are released one by one as they settle, like any other.
        state.in_flight += taken.len();
        drop(state);
        self.wake.notify_one();
        taken
    }

    /// Starts nothing any more.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// Serves the lane until it is closed.
    pub(super) async fn serve(self: Arc<Self>) {
        loop {
            match self.next() {
                Action::Start(runs) => {
                    for run in runs {
                        let talk = Arc::clone(&self).converse(run);
                        let cut = self.shared.cut.clone();
                        self.shared.tasks.spawn(cut.run_until_cancelled_owned(talk));
                    }
                }
                Action::Wait(Some(until)) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = sleep_until(until) => {}
                    }
                }
                Action::Wait(None) => self.wake.notified().await,
                Action::End => return,
            }
        }
    }

    fn next(&self) -> Action {
        let now = Instant::now();
        let mut state = self.state();
        if state.closed {
            return Action::End;
        }
        state.unpark(now);
        let expired = self.expired(&mut state, now);
        if !expired.is_empty() {
            state.in_flight += expired.len();
            return Action::Start(expired);
        }
        let parked_due = state.parked.keys().next().map(|(due, _)| *due);
        // A closed gate is looked at again when it opens, when something is due, and now and
        // then for the sake of windows that end.
        let wait = |gate: Option<Instant>, state: &State| {
            let expiry = (!state.turns.is_empty()).then_some(state.expiry_due);
            Action::Wait([gate, parked_due, expiry].into_iter().flatten().min())
        };
        if state.in_flight >= self.options.concurrency_max {
            return wait(None, &state);
        }
        if let Some(until) = state.paused_until.filter(|until| *until > now) {
            return wait(Some(until), &state);
        }
        let ready_at = state.bucket.ready_at(now);
        if ready_at > now {
            return wait(
                if state.turns.is_empty() {
                    None
                } else {
                    Some(ready_at)
                },
                &state,
            );
        }
        match state.pop() {
            Some(run) => {
                state.bucket.try_take(now);
                state.in_flight += 1;
                Action::Start(vec![run])
            }
            None => wait(None, &state),
        }
    }

    /// Items whose windows ended before their first turn. They go ahead of the gates, since they
    /// will send nothing.
    fn expired(&self, state: &mut State, now: Instant) -> Vec<Run> {
        if now < state.expiry_due {
            return Vec::new();
        }
        state.expiry_due = now + EXPIRY_INTERVAL;
        let wall = self.shared.clock.now();
        let is_over = |run: &Run| run.is_untouched() && run.retry_until < wall;
        let mut over = state.turns.take_where(is_over);
        for waiting in state.targets.values_mut() {
            let (out, stay): (VecDeque<_>, _) = waiting.drain(..).partition(is_over);
            *waiting = stay;
            over.extend(out);
        }
        over
    }
}

impl State {
    /// Lines up again what was set aside until now.
    fn unpark(&mut self, now: Instant) {
        while let Some(entry) = self.parked.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let run = entry.remove();
            let (caller, batch) = (run.caller.clone(), run.batch);
            self.turns.put_back(&caller, batch, run);
        }
    }

    /// The next item whose target is free: two commands never work on one target at a time.
    fn pop(&mut self) -> Option<Run> {
        while let Some(mut run) = self.turns.pop() {
            let target = match run.command.exclusive_target() {
                Some(target) if !run.holds_target && run.mode() == Mode::Cancel => target,
                _ => return Some(run),
            };
            if let Some(waiting) = self.targets.get_mut(target) {
                waiting.push_back(run);
                continue;
            }
            self.targets.insert(target.clone(), VecDeque::new());
            run.holds_target = true;
            return Some(run);
        }
        None
    }
}
