//! The lane of one account: decides which item goes next, when, and how many run at once.
//!
//! Items wait in queues, not in tasks: the fair choice is made at the last moment, and a waiting
//! item costs no more memory than its command. The lane does not interpret replies; `execute` does.

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

/// Options of one account's lane.
#[derive(Debug, Clone)]
pub struct LaneOptions {
    /// The account.
    pub account: Arc<Account>,
    /// Client for the account's provider.
    pub egress: Egress,
    /// Limits of its flow control.
    pub gate: flow::FlowOptions,
    /// Backoff between retries.
    pub backoff: Backoff,
    /// Timeout of a whole HTTP exchange. After it the reply counts as lost.
    pub timeout: Duration,
    /// How long a request may still take effect after its reply was lost.
    pub settling: Duration,
    /// Digest of the address that its requests go to: see [`Account::place`].
    pub place: u64,
}

#[derive(Debug)]
pub(super) struct LaneState {
    /// Items whose last request did not fail.
    pub(super) firsts: FairQueue<WorkItem>,
    /// Items whose last try failed, back from their backoff.
    pub(super) retries: FairQueue<WorkItem>,
    /// Items whose next request is an early lookup, which proves nothing yet: last of all queues.
    pub(super) early: FairQueue<WorkItem>,
    /// Items that bypass flow control, since they probably send nothing now: items that were
    /// stopped while they waited for a retry, and items of an earlier process whose lookup is not
    /// due.
    pub(super) ahead: VecDeque<WorkItem>,
    /// Which of `firsts` and `retries` goes next if both may, so that neither starves the other.
    retry_next: bool,
    parked: BTreeMap<(Instant, u64), WorkItem>,
    parked_count: u64,
    /// Targets that an item works on, and the items that wait for the same target.
    pub(super) targets: TargetLocks<WorkItem>,
    pub(super) gate: FlowControl,
    /// Which items may be sent, and what replies showed about the account.
    pub(super) clearing: Clearances,
    pub(super) learned: Learned,
    /// Targets on which a request of a settled item may still act, and until when.
    pub(super) doubtful: DoubtfulTargets,
    /// The last failure of the provider, for messages while the breaker is open.
    last_fault: String,
    pub(super) expiry: Expiry,
    closed: bool,
}

/// One account's lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) options: LaneOptions,
    pub(super) shared: Arc<EngineShared>,
    /// Open items that are resolving a doubt.
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

/// The queues that hold back items until flow control allows a request.
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

    /// How flow control treats the requests of this queue.
    fn entry(self) -> RequestKind {
        match self {
            Self::First => RequestKind::First,
            Self::Retry | Self::Early => RequestKind::Retry,
        }
    }
}

/// The lane's next step.
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

    /// Queues new items of a batch. An item with an earlier request that may still act locks its
    /// target at once, so that no other command gets in between.
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
        // Such an item sends nothing yet. In a queue it would use up a turn and a token and delay
        // new items for nothing.
        state.ahead.extend(runs.extract_if(.., waits));
        state.firsts.push(caller, batch, runs);
        state.clearing.has_more();
        drop(state);
        self.wake.notify_one();
    }

    /// Takes out every waiting item. Only for a drain: nothing is started afterwards.
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

    /// Delays an item until a time. Returns it if it was stopped in the meantime and has sent
    /// nothing: the stop has already taken its waiting items out and will not see this one.
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

    /// Queues an item that bypassed flow control and turned out to have a request to send.
    pub(super) fn line_up_again(&self, mut run: WorkItem) {
        let mut state = self.state();
        state.gate.leave(std::mem::take(&mut run.pass));
        run.retries = false;
        state.line_up(run);
        drop(state);
        self.wake.notify_one();
    }

    /// Why an item could not be sent, if its window ends now.
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

    /// Whether the account is held: the circuit breaker is open or the provider asked for a pause.
    pub(super) fn is_held(&self) -> bool {
        let state = self.state();
        state.gate.is_away() || state.gate.paused_until(Instant::now()).is_some()
    }

    /// When a request may be sent again, if the account is held.
    pub(super) fn held_until(&self) -> Option<Timestamp> {
        let now = Instant::now();
        let wait = self.state().gate.held_until(now)?.duration_since(now);
        self.shared.clock.now().checked_add(wait).ok()
    }

    /// Whether the circuit breaker is closed.
    pub(super) fn is_there(&self) -> bool {
        !self.state().gate.is_away()
    }

    /// Asks flow control for a follow-up request of a running item; these go before new items. `Ok`
    /// is when to send, `Err` when to ask again.
    pub(super) fn follow(&self, run: &mut WorkItem, now: Instant) -> Result<Instant, Instant> {
        let entry = run.entry();
        self.state().gate.follow(now, entry, &mut run.pass)
    }

    /// Reports the result of an item's request to flow control.
    pub(super) fn heard(&self, run: &mut WorkItem, heard: Feedback, reply: &Reply) {
        self.heard_of(&mut run.pass, heard, reply);
    }

    /// Reports the result of a request to flow control.
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

    /// Waits for a slot and a token for a request that belongs to no item. `None` if the lane
    /// closes first.
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

    /// Returns a slot to flow control.
    pub(super) fn leave(&self, pass: Permit) {
        self.state().gate.leave(pass);
        self.wake.notify_one();
    }

    /// Frees the slot and the target lock of a finished item; the next item on the target is
    /// queued.
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

    /// Takes out the items of a stopped batch that have sent nothing, and returns them. Wakes the
    /// batch's other items, which end before their next request with an effect.
    pub(super) fn take_stopped(&self, batch: BatchId) -> Vec<WorkItem> {
        // Only items marked by this or an earlier stop: a concurrent stop settles and counts its
        // own.
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
                // An early lookup changes nothing at the provider, and before its time it shows
                // less.
                state.parked.insert(place, run);
            }
        }
        let others = state.retries.take_where(is_stopped);
        state.ahead.extend(others);
        // Each is released as it settles and returns its slot then, like any other item.
        for run in &mut taken {
            run.pass = state.gate.enter_silent();
        }
        drop(state);
        self.wake.notify_one();
        taken
    }

    /// Lengths of the queues, and the state of flow control.
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

    /// Closes the lane: it starts no more items.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// Runs the lane until it is closed.
    pub(super) async fn serve(self: Arc<Self>) {
        loop {
            match self.next() {
                Action::Start(runs) => {
                    for run in runs {
                        // The future has several kilobytes. Boxed, it is moved once and not copied
                        // at each step.
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
            // A popped item whose target is locked is set aside, so a queue may yield none.
            if let Some(mut run) = state.pop(line, now) {
                let granted = state.clearing.granted();
                if run.clearance(granted) || state.gate.is_away() || !run.waits_for_clearance() {
                    run.pass = state.gate.enter(now, entry);
                    run.paid = true;
                } else {
                    // It takes its token when it is sent. Otherwise items that wait for one commit
                    // would hold tokens of the past and leave in one burst.
                    run.pass = state.gate.enter_unpaid();
                }
                state.retry_next = line == Queue::First;
                return Action::Start(vec![run]);
            }
        }
        // Popping may have delayed items until their target is free, so the next due time is read
        // now.
        let parked_due = state.parked.keys().next().map(|(due, _)| *due);
        // While flow control denies, wake when it allows, when a delayed item is due, and once per
        // interval to find items whose window has ended.
        let waits = state.firsts.len() + state.retries.len() + state.early.len() > 0
            || state.targets.waiting() > 0;
        opens.extend(waits.then_some(state.expiry.due));
        Action::Wait(opens.into_iter().chain(parked_due).min())
    }
}

impl LaneState {
    /// Queues the delayed items that are due.
    fn unpark(&mut self, now: Instant) {
        while let Some(entry) = self.parked.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let run = entry.remove();
            self.line_up(run);
        }
    }

    /// Queues an item at the head of its batch.
    pub(super) fn line_up(&mut self, run: WorkItem) {
        let line = Queue::of(&run);
        // A stopped retry ends before its next effect, so flow control need not delay it.
        if line == Queue::Retry && run.stop.load(Ordering::Acquire) {
            self.ahead.push_back(run);
            return;
        }
        if line == Queue::Early
            // The next scan for late items must not come later than this lookup becomes conclusive.
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

    /// The order in which the queues are tried. With the breaker open, fresh items are the probes:
    /// an item that always fails would keep it open. Early lookups are last, since they decide
    /// nothing yet; one that gets its turn too late is dropped.
    fn order(&self) -> [Queue; 3] {
        let [next, other] = if self.retry_next && !self.gate.is_away() {
            [Queue::Retry, Queue::First]
        } else {
            [Queue::First, Queue::Retry]
        };
        [next, other, Queue::Early]
    }

    /// Takes all matching items out of the queues and the target locks, but not the delayed ones.
    fn take_waiting(&mut self, condition: impl Fn(&WorkItem) -> bool) -> Vec<WorkItem> {
        let mut taken = self.firsts.take_where(&condition);
        taken.extend(self.retries.take_where(&condition));
        taken.extend(self.early.take_where(&condition));
        taken.extend(self.targets.take_where(&condition));
        taken
    }

    /// The next item of a queue whose target is free: two commands never work on one target at
    /// once.
    fn pop(&mut self, line: Queue, now: Instant) -> Option<WorkItem> {
        while let Some(mut run) = self.line(line).pop() {
            let target = match run.command.exclusive_target() {
                Some(target) if run.mode() == Mode::Cancel => target.clone(),
                _ => return Some(run),
            };
            // A request of another key may still act on the target. Items with a doubt of their own
            // go on: they left it there. The doubt binds an item that already holds the lock too.
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
                // Only commands that move money need the search for other keys in the journal.
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
