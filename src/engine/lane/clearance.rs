//! What a lane may send, and what it has learned of its account. Both take effect only once they
//! are in the journal.
//!
//! An item that was not cleared was not sent, so a restart leaves only cleared items in doubt. A
//! lane clears ahead of sending, in the order of its queue, with journal writes that happen anyway,
//! and about as many items as it sends in [`AHEAD_SECONDS`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    Lane, LaneState,
    belief::Belief,
    doubtful_targets::Owner,
    work_item::{Clearance, Origin, WorkItem},
};
use crate::{
    domain::{
        doubt::{AccountState, Doubt, Moment},
        http_exchange::{Request, Safety},
        ids::{AccountName, ItemId, TargetId},
    },
    engine::results::settler::{Cleared, Handover},
    journal::{self, DoubtfulTarget, Note},
    limits,
    providers::{Evidence, Facts, Mode},
};

/// Seconds of the account's rate that may be cleared ahead.
const AHEAD_SECONDS: f64 = 5.0;

/// Counts of a lane's clearances.
#[derive(Debug)]
pub(in crate::engine) struct Clearances {
    /// Items that may be cleared and unsent at once.
    allowance: usize,
    /// Items that are, including those asked for.
    stock: usize,
    /// No waiting item is left to clear, as of the last scan.
    is_done: bool,
    /// Number of the last clearance that was asked for, and of the last one on disk.
    asked: u64,
    granted: u64,
}

impl Clearances {
    pub(in crate::engine) fn new(rate_per_second: f64) -> Self {
        let ahead = whole(rate_per_second * AHEAD_SECONDS);
        Self {
            allowance: ahead.clamp(limits::CLEARED_BY_ADMISSION_MAX, limits::CLEARED_MAX),
            stock: 0,
            is_done: false,
            asked: 0,
            granted: 0,
        }
    }

    /// A new item may need clearance: scan again.
    pub(in crate::engine) fn has_more(&mut self) {
        self.is_done = false;
    }

    /// Number of the last clearance on disk.
    pub(in crate::engine) fn granted(&self) -> u64 {
        self.granted
    }

    /// Reserves up to `wanted` clearances for an admission; returns how many.
    fn reserve(&mut self, wanted: usize) -> usize {
        let room = self.allowance.saturating_sub(self.stock);
        let granted = wanted.min(room).min(limits::CLEARED_BY_ADMISSION_MAX);
        self.stock += granted;
        granted
    }

    /// An item was sent, or ends without being sent.
    pub(in crate::engine) fn unstock(&mut self, run: &mut WorkItem) {
        if std::mem::take(&mut run.in_stock) {
            self.stock = self.stock.saturating_sub(1);
        }
    }
}

/// A number of items, clamped to 0 ..= 1,000,000 and rounded down.
fn whole(count: f64) -> usize {
    let count = count.clamp(0.0, 1e6).floor();
    // At most seven digits, so this always parses.
    format!("{count}").parse().unwrap_or_default()
}

/// What is known of the account: recorded, or about to be.
#[derive(Debug, Default)]
pub(in crate::engine) struct Learned {
    state: AccountState,
    /// The journal does not have it yet.
    is_new: bool,
}

/// What replies have proved, readable at each step without the lane's lock.
#[derive(Debug, Default)]
pub(in crate::engine) struct ShownCredential {
    answered: AtomicBool,
    /// The proven place and credential; 0 for none.
    proof: AtomicU64,
}

impl ShownCredential {
    fn set(&self, known: &AccountState, place: u64) {
        let answered = known.answered_place == Some(place);
        self.answered.store(answered, Ordering::Release);
        self.proof
            .store(known.proven.unwrap_or_default(), Ordering::Release);
    }
}

impl WorkItem {
    /// Whether the item may be sent, given the last clearance on disk.
    pub(in crate::engine) fn clearance(&mut self, granted: u64) -> bool {
        if let Clearance::Asked(number) = self.clearance
            && number <= granted
        {
            self.clearance = Clearance::Given;
        }
        self.clearance == Clearance::Given
    }
}

impl Lane {
    /// Reserves up to `wanted` clearances for new items of a request; returns how many.
    pub(in crate::engine) fn reserve_clearances(&self, wanted: usize) -> usize {
        self.state().clearing.reserve(wanted)
    }

    /// Returns reserved clearances.
    pub(in crate::engine) fn unreserve_clearances(&self, count: usize) {
        let mut state = self.state();
        state.clearing.stock = state.clearing.stock.saturating_sub(count);
        drop(state);
        self.wake();
    }

    /// Asks for clearance of the next items, once half of the allowance is used up.
    pub(in crate::engine) fn clear_ahead(self: &Arc<Self>, state: &mut LaneState) {
        let Clearances {
            allowance,
            stock,
            is_done,
            ..
        } = state.clearing;
        // Only at half of the allowance or less, so that one journal write clears many items.
        if is_done || stock > allowance / 2 || state.firsts.is_empty() {
            return;
        }
        let Ok(permit) = self.shared.settle.try_reserve() else {
            // The settler is behind. The next start of an item asks again.
            return;
        };
        let at = self.shared.clock.moment();
        let number = state.clearing.asked.saturating_add(1);
        let mut items: Vec<ItemId> = Vec::new();
        let wanted = allowance.saturating_sub(stock);
        state.firsts.visit(allowance.saturating_mul(2), |run| {
            if let Origin::Recorded(id) = run.origin
                && run.waits_for_clearance()
                && run.clearance == Clearance::None
                && items.len() < wanted
            {
                run.clearance = Clearance::Asked(number);
                run.earliest = run.earliest.or(Some(at));
                run.in_stock = true;
                items.push(id);
            }
        });
        if items.is_empty() {
            // A scan that finds nothing is not repeated for each item that starts, until one is
            // added.
            state.clearing.is_done = true;
            return;
        }
        state.clearing.asked = number;
        state.clearing.stock += items.len();
        let clearance = journal::Clearance { at, items };
        let whom = Cleared::Ahead(Arc::downgrade(self), number);
        permit.send(Handover::Clear(clearance, whom));
    }

    /// A clearance is on disk: its items may be sent.
    pub(in crate::engine) fn granted(&self, number: u64) {
        let mut state = self.state();
        state.clearing.granted = state.clearing.granted.max(number);
        drop(state);
        self.wake();
    }

    /// Clears an item that is about to be sent, if it is not yet. Returns whether it may be sent;
    /// if not, the journal has failed.
    pub(in crate::engine) async fn clear(&self, run: &mut WorkItem) -> bool {
        let Origin::Recorded(id) = run.origin else {
            // A dry run is not in the journal, so a restart leaves nothing of it in doubt.
            return true;
        };
        let is_cleared = {
            let mut state = self.state();
            state.clearing.unstock(run);
            run.clearance(state.clearing.granted)
        };
        if is_cleared {
            // Cleared by its admission or ahead of sending: no journal write delays the request.
            return true;
        }
        let at = self.shared.clock.moment();
        let clearance = journal::Clearance {
            at,
            items: vec![id],
        };
        let (done, cleared) = oneshot::channel();
        let handover = Handover::Clear(clearance, Cleared::One(done));
        if self.shared.settle.send(handover).await.is_err() || cleared.await.is_err() {
            return false;
        }
        run.clearance = Clearance::Given;
        run.earliest = run.earliest.or(Some(at));
        true
    }

    /// What is known of the account.
    pub(in crate::engine) fn facts(&self) -> Facts {
        Facts {
            answered: self.shown.answered.load(Ordering::Acquire),
            proven: self.shown.proof.load(Ordering::Acquire) == self.proof(),
            target_known: false,
        }
    }

    /// Identifies the place and the credential that a proof is about.
    pub(in crate::engine) fn proof(&self) -> u64 {
        // 0 means that nothing is proven.
        (self.options.place ^ self.options.egress.fingerprint()).max(1)
    }

    /// Records what a reply proves of the account.
    pub(in crate::engine) fn learn(&self, evidence: Evidence) {
        let known = self.facts();
        let is_news = (evidence.answered && !known.answered) || (evidence.proven && !known.proven);
        // Almost no reply proves anything new, so this is checked without the lane's lock.
        if !is_news {
            return;
        }
        let proof = self.proof();
        let mut state = self.state();
        let learned = &mut state.learned;
        if learned.state.answered_place != Some(self.options.place) {
            learned.state.answered_place = Some(self.options.place);
            learned.is_new = true;
        }
        if evidence.proven && learned.state.proven != Some(proof) {
            learned.state.proven = Some(proof);
            learned.is_new = true;
            self.options.egress.meters().unproven.set(false);
        }
        self.shown.set(&learned.state, self.options.place);
    }

    /// The account's state, if the journal does not have it yet.
    pub(in crate::engine) fn take_learned(&self) -> Option<(AccountName, AccountState)> {
        let mut state = self.state();
        if !std::mem::take(&mut state.learned.is_new) {
            return None;
        }
        let name = self.options.account.name.clone();
        Some((name, state.learned.state.clone()))
    }

    /// Starts nothing before a time, as the provider asked. Recorded, so that it survives a
    /// restart.
    pub(in crate::engine) fn pause(&self, until: Instant) {
        let wait = until.saturating_duration_since(Instant::now());
        let durable = self.shared.clock.moment().after(wait);
        let mut state = self.state();
        state.gate.pause(until);
        let known = state.learned.state.paused_until;
        // Replies to concurrent requests ask for almost the same pause, which is not recorded
        // again.
        let is_known = known.is_some_and(|known| {
            let ahead = durable.at.duration_since(known.at);
            ahead < jiff::SignedDuration::from_secs(1)
        });
        if is_known {
            return;
        }
        state.learned.state.paused_until = Some(durable);
        let (name, told) = (
            self.options.account.name.clone(),
            state.learned.state.clone(),
        );
        drop(state);
        // If the settler is behind, it is recorded with the next outcome.
        let sent = self.shared.settle.try_send(Handover::Account(name, told));
        self.state().learned.is_new |= sent.is_err();
    }

    /// How many items may send a lookup at once after a restart: a third of the settling time at
    /// the account's rate.
    pub(in crate::engine) fn looks_at_once(&self) -> usize {
        let third = self.options.settling.as_secs_f64() / 3.0;
        whole(self.options.gate.rate_per_second * third)
    }

    /// Restores what an earlier process recorded. `is_new` says that there was no earlier process.
    pub(in crate::engine) fn restore(
        &self,
        known: Option<AccountState>,
        is_new: bool,
        now: &Moment,
    ) {
        let mut state = self.state();
        let at = Instant::now();
        match &known {
            Some(AccountState {
                bucket: Some((tokens, since)),
                ..
            }) => {
                let passed = since.until(now).unwrap_or_default().as_secs_f64();
                let tokens = tokens + passed * self.options.gate.rate_per_second;
                state.gate.begin_with(tokens, at);
            }
            // The process did not stop in order, so its last requests are unknown: assume the
            // bucket empty but for one token.
            _ if !is_new => state.gate.begin_with(1.0, at),
            // A new journal: nothing was sent before, and the bucket is full.
            _ => {}
        }
        let Some(mut known) = known else { return };
        if let Some(left) = known.paused_until.and_then(|until| now.until(&until)) {
            // If the clock was set back, the pause would otherwise begin anew at every start.
            let left = left.min(Duration::from_millis(limits::THROTTLE_MS_MAX));
            state.gate.pause(at + left);
            known.paused_until = Some(now.after(left));
        }
        let is_used = known.bucket.is_some();
        let known = AccountState {
            bucket: None,
            ..known
        };
        self.shown.set(&known, self.options.place);
        state.learned.state = known.clone();
        if is_used {
            // Saved tokens are spent once, even if this process does not stop in order.
            let name = self.options.account.name.clone();
            let told = self.shared.settle.try_send(Handover::Account(name, known));
            state.learned.is_new |= told.is_err();
        }
    }

    /// The account's state for the next process, at an orderly stop.
    pub(in crate::engine) fn last_state(&self, now: Moment) -> (AccountName, AccountState) {
        let state = self.state();
        let tokens = state.gate.tokens(Instant::now());
        let known = AccountState {
            bucket: Some((tokens, now)),
            ..state.learned.state.clone()
        };
        (self.options.account.name.clone(), known)
    }

    /// Binds a target until a request of a settled item cannot act on it any more.
    pub(in crate::engine) fn bind(&self, target: TargetId, owner: Owner, until: Instant) {
        let mut state = self.state();
        state.doubtful.bind(target, owner, until, Instant::now());
    }

    /// Until when an item's next request with an effect waits for a request of another key that may
    /// still act on its target. That can be so even for the item that holds the target: both were
    /// open when a process ended.
    pub(in crate::engine) fn waits_for_others(
        &self,
        run: &WorkItem,
        request: &Request,
    ) -> Option<Instant> {
        let Origin::Recorded(id) = run.origin else {
            // A dry run leaves no change behind, so it conflicts with no request.
            return None;
        };
        let target = run.command.exclusive_target()?;
        if request.safety == Safety::Look {
            // A lookup has no effect that could meet the earlier request's.
            return None;
        }
        let doubtful = &self.state().doubtful;
        doubtful.until_by_others(target, id, Instant::now())
    }

    /// Binds the target of an item for which an earlier process left a request that may still act.
    pub(in crate::engine) fn bind_left(&self, run: &WorkItem) {
        let target = run.command.exclusive_target();
        let belief = run.belief.as_ref().map(Belief::believed_at);
        if let (&Origin::Recorded(id), Some(target), Some(until)) = (&run.origin, target, belief) {
            self.bind(target.clone(), Some(id), until);
        }
    }

    /// The target of an item that settles while a request may still act on it. Binds it, too.
    pub(in crate::engine) fn doubtful_target(&self, run: &WorkItem) -> Option<DoubtfulTarget> {
        let target = run.command.exclusive_target()?;
        let doubt = run.doubt.as_deref().filter(|doubt| doubt.may_act)?;
        let believed_at = run.belief.as_ref()?.believed_at();
        if believed_at <= Instant::now() {
            // The request cannot act any more, so other keys need not wait for it.
            return None;
        }
        let owner = match run.origin {
            Origin::Recorded(id) => Some(id),
            Origin::Planned(..) => None,
        };
        self.bind(target.clone(), owner, believed_at);
        let wait = Duration::from_millis(doubt.settle_ms.unwrap_or_default());
        Some(DoubtfulTarget {
            account: self.options.account.name.clone(),
            target: target.clone(),
            until: doubt.latest.after(wait),
            owner,
        })
    }

    /// Notes of an orderly stop for all waiting items: which cleared items were not sent, and which
    /// may have acted, between which times.
    pub(in crate::engine) fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for run in self.take_all() {
            // A clearance that is still queued reaches the disk before these notes do.
            if let Origin::Recorded(id) = run.origin
                && run.clearance != Clearance::None
            {
                let doubt = run.doubt.as_deref().cloned();
                let doubt = doubt.or_else(|| run.has_acted.then(|| self.acted(&run)));
                notes.push(Note { id, doubt });
            }
        }
        notes
    }

    /// The doubt of an item that did part of its work and loses only its replies: nothing can act
    /// any more, and what a lookup finds done may be its own.
    fn acted(&self, run: &WorkItem) -> Doubt {
        Doubt {
            earliest: run.earliest,
            latest: self.shared.clock.moment(),
            settle_ms: Some(0),
            may_act: false,
            accepted: false,
            looks: 0,
            place: Some(self.options.place),
            place_answered: true,
        }
    }

    /// Whether another key may still act on an item's target; for a dry run also whether one is at
    /// work on it; for a command that moves money also whether another key was ever recorded for
    /// it.
    pub(in crate::engine) async fn is_target_known(&self, run: &WorkItem) -> bool {
        let Some(target) = run.command.exclusive_target() else {
            // Commands without an exclusive target converge, whatever other keys do.
            return false;
        };
        let is_plan = run.mode() == Mode::DryRun;
        let is_unsettled = {
            let state = self.state();
            let is_doubtful = state.doubtful.until(target, Instant::now()).is_some();
            // A dry run holds no target, so a held one is another key's.
            is_doubtful || (is_plan && state.targets.is_held(target))
        };
        // A dry run makes a lookup in any case, and settled keys do not change its plan.
        if is_unsettled || is_plan || !run.command.moves_money() {
            return is_unsettled;
        }
        let own = match run.origin {
            Origin::Recorded(id) => Some(id),
            Origin::Planned(..) => None,
        };
        let (name, target) = (self.options.account.name.clone(), target.clone());
        let journal = Arc::clone(&self.shared.journal);
        let turn = self.shared.target_looks.turn(&run.caller).await;
        let found = crate::engine::blocking(move || {
            let _turn = turn;
            let filter = journal::Filter {
                account: Some(name),
                target: Some(target),
                ..journal::Filter::default()
            };
            // Two, because one of them may be the item's own record.
            journal.newest(&filter, 2)
        });
        // An unreadable journal reports its failure elsewhere. Here the result means one lookup
        // more.
        let found = found.await.unwrap_or_default();
        found.iter().any(|record| Some(record.id) != own)
    }
}
