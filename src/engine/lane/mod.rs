//! One account's lane: who goes next, when, and how many at once.
//!
//! Items wait here, not in the stack: the fair turn is taken at the last moment, and a waiting
//! item costs no more than its command. The lane decides nothing about replies; that is
//! `conversation`.

pub(super) mod belief;
pub(super) mod bypass;
pub(super) mod clearance;
pub(super) mod deadline_queue;
pub(super) mod doubtful_targets;
pub(super) mod execute;
pub(super) mod fair_queue;
pub(super) mod history_compaction;
pub(super) mod settling;
pub(super) mod target_locks;
pub(super) mod work_item;
pub(super) mod work_item_start;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use self::{
    bypass::{EXPIRY_INTERVAL, Expiry},
    clearance::{Clearances, Learned, ShownCredential},
    deadline_queue::HasDeadline,
    doubtful_targets::DoubtfulTargets,
    fair_queue::FairQueue,
    settling::Settling,
    target_locks::TargetLocks,
    work_item::WorkItem,
};
use super::EngineShared;
use crate::{
    domain::{
        account::Account,
        http_exchange::{Obstacle, Reply},
        ids::{BatchId, CallerId},
    },
    egress::{
        Egress,
        flow::{
            self, BreakerTransition, Denied, Feedback, FlowControl, Permit, RequestKind,
            backoff::Backoff,
        },
    },
    observe::WaitMeter,
    providers::Mode,
};

/// How an account is treated.
#[derive(Debug, Clone)]
pub struct LaneOptions {
    /// Where.
    pub account: Arc<Account>,
    /// The way there.
    pub egress: Egress,
    /// What it lets through.
    pub gate: flow::FlowOptions,
    /// Waits between tries.
    pub backoff: Backoff,
    /// Time for a whole request, after which its answer counts as lost.
    pub timeout: Duration,
    /// How long after an answer was lost its request may still take effect.
    pub settling: Duration,
    /// A digest of where its requests go: see [`Account::place`].
    pub place: u64,
}

#[derive(Debug)]
pub(super) struct LaneState {
    /// Items whose last request did not fail.
    pub(super) firsts: FairQueue<WorkItem>,
    /// Items whose last try failed, back from their wait.
    pub(super) retries: FairQueue<WorkItem>,
    /// Items whose next request is a look that is not believed: they go after all others.
    pub(super) early: FairQueue<WorkItem>,
    /// Items that send nothing now, as far as one can know: those that were stopped while they
    /// waited for more than their first turn, and those that an earlier process left with a look
    /// that is not due. They go ahead of the gate.
    pub(super) ahead: VecDeque<WorkItem>,
    /// Whose turn it is when both could go, so that neither holds up the other.
    retry_next: bool,
    parked: BTreeMap<(Instant, u64), WorkItem>,
    parked_count: u64,
    /// Targets that an item is at work on, with those that wait for the same one.
    pub(super) targets: TargetLocks<WorkItem>,
    pub(super) gate: FlowControl,
    /// What may be sent, and what was learned.
    pub(super) clearing: Clearances,
    pub(super) learned: Learned,
    /// Targets on which a request of a settled item may still act, and until when.
    pub(super) doubtful: DoubtfulTargets,
    /// What the provider was last heard of, while it is away.
    last_fault: String,
    pub(super) expiry: Expiry,
    closed: bool,
}

/// One account's lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) options: LaneOptions,
    pub(super) shared: Arc<EngineShared>,
    /// Items that settle a doubt.
    pub(super) settling: Settling,
    pub(super) shown: ShownCredential,
    state: Mutex<LaneState>,
    wake: Notify,
}

impl HasDeadline for WorkItem {
    fn ends_at(&self) -> Timestamp {
        self.retry_until
    }
}

/// Which of a lane's lines an item stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queue {
    First,
    Retry,
    Early,
}

impl Queue {
    fn of(run: &WorkItem) -> Self {
        match run.entry() {
            RequestKind::First => Self::First,
            RequestKind::Retry if run.looks_early => Self::Early,
            RequestKind::Retry => Self::Retry,
        }
    }

    /// How those of it come to the gate.
    fn entry(self) -> RequestKind {
        match self {
            Self::First => RequestKind::First,
            Self::Retry | Self::Early => RequestKind::Retry,
        }
    }
}

/// What the lane does next.
enum Action {
    Start(Vec<WorkItem>),
    Wait(Option<Instant>),
    End,
}

impl Lane {
    pub(super) fn new(options: LaneOptions, shared: Arc<EngineShared>) -> Arc<Self> {
        let gate = FlowControl::new(options.gate, shared.rng().u64(..));
        let state = LaneState {
            firsts: FairQueue::default(),
            retries: FairQueue::default(),
            early: FairQueue::default(),
            ahead: VecDeque::new(),
            retry_next: false,
            parked: BTreeMap::new(),
            parked_count: 0,
            targets: TargetLocks::default(),
            gate,
            clearing: Clearances::new(options.gate.rate_per_second),
            learned: Learned::default(),
            doubtful: DoubtfulTargets::default(),
            last_fault: String::new(),
            expiry: Expiry::new(),
            closed: false,
        };
        Arc::new(Self {
            options,
            shared,
            settling: Settling::default(),
            shown: ShownCredential::default(),
            state: Mutex::new(state),
            wake: Notify::new(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines up items of a batch. One of which a request may still act has its target from now
    /// on: no other command comes between.
    pub(super) fn enqueue(&self, caller: &CallerId, batch: BatchId, mut runs: Vec<WorkItem>) {
        let mut state = self.state();
        for run in &mut runs {
            if run.belief.is_some()
                && let Some(target) = run.command.exclusive_target()
                && !state.targets.is_held(target)
            {
                state.targets.hold(target.clone());
                run.holds_target = true;
            }
        }
        let now = Instant::now();
        let waits = |run: &mut WorkItem| {
            let belief = run.belief.as_mut();
            belief.is_some_and(|belief| belief.next_look(now).0 > now)
        };
        // A turn and a token for each of them would hold up what is new for nothing.
        state.ahead.extend(runs.extract_if(.., waits));
        state.firsts.push(caller, batch, runs);
        state.clearing.has_more();
        drop(state);
        self.wake.notify_one();
    }

    /// Takes everything out that waits, when nothing is started any more.
    pub(super) fn take_all(&self) -> Vec<WorkItem> {
        let mut state = self.state();
        let mut all = state.take_waiting(|_| true);
        all.extend(state.ahead.drain(..));
        all.extend(std::mem::take(&mut state.parked).into_values());
        all
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Sets an item aside until a time. Gives back one that was stopped meanwhile and that nothing
    /// has been sent for: whoever stopped it has been here already.
    #[must_use]
    pub(super) fn park(&self, mut run: WorkItem, until: Instant) -> Option<WorkItem> {
        let mut state = self.state();
        if run.stop.load(Ordering::Acquire) && run.is_untouched() {
            return Some(run);
        }
        state.gate.leave(std::mem::take(&mut run.pass));
        state.parked_count += 1;
        let seq = state.parked_count;
        state.parked.insert((until, seq), run);
        drop(state);
        self.wake.notify_one();
        None
    }

    /// Lines up an item that went ahead of the gate and has something to send after all.
    pub(super) fn line_up_again(&self, mut run: WorkItem) {
        let mut state = self.state();
        state.gate.leave(std::mem::take(&mut run.pass));
        run.retries = false;
        state.line_up(run);
        drop(state);
        self.wake.notify_one();
    }

    /// What keeps an item from being sent now, if its window ends.
    pub(super) fn obstacle(&self, now: Instant) -> Obstacle {
        let state = self.state();
        if state.gate.paused_until(now).is_some() {
            Obstacle::Throttling
        } else if state.gate.is_away() {
            Obstacle::Away(state.last_fault.clone())
        } else {
            Obstacle::None
        }
    }

    /// Whether nothing goes: the provider is away or asked for a pause.
    pub(super) fn is_held(&self) -> bool {
        let state = self.state();
        state.gate.is_away() || state.gate.paused_until(Instant::now()).is_some()
    }

    /// When something may go again, if the provider is away or asked for a pause.
    pub(super) fn held_until(&self) -> Option<Timestamp> {
        let now = Instant::now();
        let wait = self.state().gate.held_until(now)?.duration_since(now);
        self.shared.clock.now().checked_add(wait).ok()
    }

    /// Whether the provider is there, as far as anyone knows.
    pub(super) fn is_there(&self) -> bool {
        !self.state().gate.is_away()
    }

    /// When a further request of a conversation may go, which goes before new ones; or when to
    /// ask again.
    pub(super) fn follow(&self, run: &mut WorkItem, now: Instant) -> Result<Instant, Instant> {
        let entry = run.entry();
        self.state().gate.follow(now, entry, &mut run.pass)
    }

    /// Tells the gate what a request of an item came to.
    pub(super) fn heard(&self, run: &mut WorkItem, heard: Feedback, reply: &Reply) {
        self.heard_of(&mut run.pass, heard, reply);
    }

    /// Tells the gate what a request came to.
    pub(super) fn heard_of(&self, pass: &mut Permit, heard: Feedback, reply: &Reply) {
        let mut state = self.state();
        if heard == Feedback::Failed {
            state.last_fault = match reply {
                Reply::Answered(response) => format!("it answered {}", response.status),
                Reply::NotSent(fault) | Reply::InDoubt(fault) => fault.message.clone(),
            };
        }
        let change = state.gate.heard(Instant::now(), pass, heard);
        let account = &self.options.account.name;
        match change {
            Some(BreakerTransition::Opened) => tracing::warn!(
                %account,
                last = state.last_fault,
                "the provider is away: only probes are sent until one is answered"
            ),
            Some(BreakerTransition::Closed) => tracing::info!(%account, "the provider is back"),
            None => return,
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Waits for a place in the gate and a token for a request that belongs to no item; `None` if
    /// the lane ends before there is one.
    pub(super) async fn enter_alone(&self) -> Option<Permit> {
        loop {
            let now = Instant::now();
            let until = {
                let mut state = self.state();
                match state.gate.check(now, RequestKind::First) {
                    Ok(()) => return Some(state.gate.enter(now, RequestKind::First)),
                    Err(_) if state.closed => return None,
                    Err(Denied::Until(until)) => until.min(now + EXPIRY_INTERVAL),
                    Err(Denied::Occupied) => now + EXPIRY_INTERVAL,
                }
            };
            sleep_until(until).await;
        }
    }

    /// Gives a place in the gate back.
    pub(super) fn leave(&self, pass: Permit) {
        self.state().gate.leave(pass);
        self.wake.notify_one();
    }

    /// An item is done: its place and its target are free.
    pub(super) fn release(&self, run: &mut WorkItem) {
        run.belief = None;
        let mut state = self.state();
        state.gate.leave(std::mem::take(&mut run.pass));
        state.clearing.unstock(run);
        if let Some(target) = run.command.exclusive_target().filter(|_| run.holds_target)
            && let Some(mut next) = state.targets.free(target)
        {
            next.holds_target = true;
            state.line_up(next);
            state.clearing.has_more();
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Takes out what can be stopped without a trace: items of a stopped batch that nothing has
    /// been sent for. Wakes its others, which end before their next request with an effect.
    pub(super) fn take_stopped(&self, batch: BatchId) -> Vec<WorkItem> {
        // Another stop may be under way: what it has stopped is its own to settle and to count.
        let is_stopped = |run: &WorkItem| run.batch == batch && run.stop.load(Ordering::Acquire);
        let mut state = self.state();
        let mut taken = state.take_waiting(|run| is_stopped(run) && run.is_untouched());
        let parked = std::mem::take(&mut state.parked);
        for (place, run) in parked {
            if is_stopped(&run) && run.is_untouched() {
                taken.push(run);
            } else if is_stopped(&run) && !run.looks_early {
                state.ahead.push_back(run);
            } else {
                // An early look is no effect, and before its time it tells less.
                state.parked.insert(place, run);
            }
        }
        let others = state.retries.take_where(is_stopped);
        state.ahead.extend(others);
        // They are released one by one as they settle, like any other.
        for run in &mut taken {
            run.pass = state.gate.enter_silent();
        }
        drop(state);
        self.wake.notify_one();
        taken
    }

    /// What waits, and how the gate stands.
    pub(super) fn waiting(&self, now: Instant) -> (WaitMeter, flow::FlowSnapshot) {
        let state = self.state();
        let waiting = WaitMeter {
            first: state.firsts.len(),
            retry: state.retries.len() + state.early.len() + state.ahead.len(),
            parked: state.parked.len(),
            target: state.targets.waiting(),
        };
        (waiting, state.gate.standing(now))
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
                        // Several kilobytes: on the heap once, or they are copied at each step.
                        let talk = Box::pin(Arc::clone(&self).converse(run));
                        let cut = self.shared.cut.clone();
                        let talk = cut.run_until_cancelled_owned(talk);
                        let talk = self.shared.overseer.watched("conversation", talk);
                        self.shared.tasks.spawn(talk);
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

    fn next(self: &Arc<Self>) -> Action {
        let now = Instant::now();
        let mut state = self.state();
        if state.closed {
            return Action::End;
        }
        state.unpark(now);
        self.clear_ahead(&mut state);
        let silent = self.silent(&mut state, now);
        if !silent.is_empty() {
            return Action::Start(silent);
        }
        let mut opens = Vec::new();
        for line in state.order() {
            if state.line(line).is_empty() {
                continue;
            }
            let entry = line.entry();
            match state.gate.check(now, entry) {
                Ok(()) => {}
                Err(Denied::Until(until)) => {
                    opens.push(until);
                    continue;
                }
                Err(Denied::Occupied) => continue,
            }
            if let Some(mut run) = state.pop(line, now) {
                let granted = state.clearing.granted();
                if run.clearance(granted) || state.gate.is_away() || !run.waits_for_clearance() {
                    run.pass = state.gate.enter(now, entry);
                    run.paid = true;
                } else {
                    // Its token is taken when it goes, or those that wait for one commit would
                    // all go at once.
                    run.pass = state.gate.enter_unpaid();
                }
                state.retry_next = line == Queue::First;
                return Action::Start(vec![run]);
            }
        }
        // Whoever had its turn may have been set aside for its target.
        let parked_due = state.parked.keys().next().map(|(due, _)| *due);
        // A closed gate is looked at again when it opens, when something is due, and now and
        // then for the sake of windows that end.
        let waits = state.firsts.len() + state.retries.len() + state.early.len() > 0
            || state.targets.waiting() > 0;
        opens.extend(waits.then_some(state.expiry.due));
        Action::Wait(opens.into_iter().chain(parked_due).min())
    }
}

impl LaneState {
    /// Lines up again what was set aside until now.
    fn unpark(&mut self, now: Instant) {
        while let Some(entry) = self.parked.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let run = entry.remove();
            self.line_up(run);
        }
    }

    /// Puts an item at the head of its batch.
    pub(super) fn line_up(&mut self, run: WorkItem) {
        let line = Queue::of(&run);
        if line == Queue::Retry && run.stop.load(Ordering::Acquire) {
            self.ahead.push_back(run);
            return;
        }
        if line == Queue::Early
            && let Some(at) = bypass::decides_at(&run)
        {
            let next = &mut self.expiry.decides_at;
            *next = Some(next.map_or(at, |next| next.min(at)));
        }
        let (caller, batch) = (run.caller.clone(), run.batch);
        self.line(line).put_back(&caller, batch, run);
    }

    fn line(&mut self, line: Queue) -> &mut FairQueue<WorkItem> {
        match line {
            Queue::First => &mut self.firsts,
            Queue::Retry => &mut self.retries,
            Queue::Early => &mut self.early,
        }
    }

    /// Who goes first. A provider that is away is probed with items that have not failed, so that
    /// an item that always fails does not keep it away. A look that decides nothing yet is worth
    /// less than what is new: one that comes too late for that is dropped.
    fn order(&self) -> [Queue; 3] {
        let [next, other] = if self.retry_next && !self.gate.is_away() {
            [Queue::Retry, Queue::First]
        } else {
            [Queue::First, Queue::Retry]
        };
        [next, other, Queue::Early]
    }

    /// Takes out of all lines, but not of the parked, every item of which this is true.
    fn take_waiting(&mut self, condition: impl Fn(&WorkItem) -> bool) -> Vec<WorkItem> {
        let mut taken = self.firsts.take_where(&condition);
        taken.extend(self.retries.take_where(&condition));
        taken.extend(self.early.take_where(&condition));
        taken.extend(self.targets.take_where(&condition));
        taken
    }

    /// The next item whose target is free: two commands never work on one target at a time.
    fn pop(&mut self, line: Queue, now: Instant) -> Option<WorkItem> {
        while let Some(mut run) = self.line(line).pop() {
            let target = match run.command.exclusive_target() {
                Some(target) if run.mode() == Mode::Cancel => target.clone(),
                _ => return Some(run),
            };
            // The request of another key may still act on it. The key that left it there goes on.
            // One that waited behind that key has the target already, and waits all the same.
            if run.belief.is_none()
                && let Some(until) = self.doubtful.until(&target, now)
            {
                self.parked_count += 1;
                run.target_known = Some(true);
                self.parked.insert((until, self.parked_count), run);
                continue;
            }
            if run.holds_target {
                return Some(run);
            }
            if !run.command.moves_money() {
                // Only what moves money asks the journal for other keys.
                run.target_known.get_or_insert(false);
            }
            if self.targets.is_held(&target) {
                self.targets.wait(&target, run);
                continue;
            }
            self.targets.hold(target);
            run.holds_target = true;
            return Some(run);
        }
        None
    }
}
