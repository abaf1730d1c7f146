//! An item in progress: its command, its history so far, and how long it may take.

use std::{
    sync::{Arc, Weak, atomic::AtomicBool},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    LaneOptions,
    belief::{Belief, LookPlan},
    history_compaction,
};
use crate::{
    domain::{
        access::hourly_quota::Reserved,
        command::Command,
        doubt::{Doubt, Moment},
        http_exchange::{Class, Exchange, Fault, Reply, Request, Safety, Seen},
        ids::{BatchId, CallerId, ItemId},
        outcome::{Conclusion, Detail, Failure, FailureReason, Outcome, Reached, Settled},
    },
    egress::flow::{Permit, RequestKind},
    engine::results::feed::Feed,
    observe,
    providers::{EffectId, Mode, Progress},
    shared_budget::Reservation,
};

/// Where an item's outcome goes.
#[derive(Debug, Clone)]
pub(in crate::engine) enum Origin {
    /// To the journal, and from there to all subscribed streams.
    Recorded(ItemId),
    /// To the stream of the request, at this index: a dry run, which the journal does not record.
    Planned(Weak<Feed>, u32),
}

/// Whether the journal allows an item to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Clearance {
    /// Not asked for in this process.
    None,
    /// Asked for: it may be sent once the lane's clearance of this number is on disk.
    Asked(u64),
    /// It may be sent.
    Given,
}

/// An item in progress.
#[derive(Debug)]
pub(in crate::engine) struct WorkItem {
    pub(in crate::engine) origin: Origin,
    /// The request that admitted it.
    pub(in crate::engine) from: observe::RequestContext,
    /// When it was admitted or reopened.
    pub(in crate::engine) since: Instant,
    pub(in crate::engine) caller: CallerId,
    pub(in crate::engine) batch: BatchId,
    pub(in crate::engine) command: Arc<Command>,
    pub(in crate::engine) effect_id: EffectId,
    pub(in crate::engine) history: Vec<Exchange>,
    /// Its outcome before it was reopened.
    pub(in crate::engine) previous: Option<Arc<Settled>>,
    /// The doubt that earlier runs and processes left.
    pub(in crate::engine) inherited: Option<Box<Doubt>>,
    /// The doubt now: the inherited one, joined with what this run lost.
    pub(in crate::engine) doubt: Option<Box<Doubt>>,
    /// Set while an earlier request may still act: when a lookup can be believed.
    pub(in crate::engine) belief: Option<Belief>,
    pub(in crate::engine) clearance: Clearance,
    /// It counts in its lane's stock of cleared items that were not sent.
    pub(in crate::engine) in_stock: bool,
    /// When it could first have been sent.
    pub(in crate::engine) earliest: Option<Moment>,
    /// Another key has been recorded for its target, or may still act on it; `None` if not asked
    /// yet.
    pub(in crate::engine) target_known: Option<bool>,
    /// An accepted request: when it was sent and answered, and whether the place had proved to be
    /// the provider's. It may still act if its effect does not show.
    pub(in crate::engine) accepted: Option<(Instant, Moment, bool)>,
    /// A request that an intermediary answered, and when it was sent, at a place that has not
    /// proved to be the provider's. Once it does, that reply counts as lost.
    pub(in crate::engine) blocked: Option<(Instant, Fault)>,
    /// A request of this run took effect.
    pub(in crate::engine) has_acted: bool,
    /// Its next request is a lookup that cannot be believed if it goes soon.
    pub(in crate::engine) looks_early: bool,
    /// The pause that its next request asked for is over.
    pub(in crate::engine) waited: bool,
    pub(in crate::engine) retry_until: Timestamp,
    pub(in crate::engine) stop: Arc<AtomicBool>,
    /// HTTP requests of this run that may have reached the provider.
    pub(in crate::engine) attempts: u32,
    /// Tries of the current request that have failed.
    pub(in crate::engine) tries: u32,
    /// Requests that must not be repeated blindly and that the provider may have taken on.
    pub(in crate::engine) sends: u32,
    /// It has backed off since the last of them.
    pub(in crate::engine) rested: bool,
    /// The last try of the current request that may have had an unseen effect.
    pub(in crate::engine) unseen: Option<Fault>,
    /// The earliest useful repeat: the provider's last `Retry-After`, or the time when an account
    /// opens that was held at the item's end.
    pub(in crate::engine) retry_at: Option<Timestamp>,
    /// It holds the lock on its target in the lane.
    pub(in crate::engine) holds_target: bool,
    /// Its last try failed, so its next request is a retry.
    pub(in crate::engine) retries: bool,
    /// Its slot in the account's flow control, while it has one.
    pub(in crate::engine) pass: Permit,
    /// Flow control has let its next request through, and the token is taken.
    pub(in crate::engine) paid: bool,
    /// Its part of the caller's hourly quota.
    pub(in crate::engine) reserved: Option<Reserved>,
    /// Its slot in the budget for open items, or for dry runs.
    pub(in crate::engine) place: Reservation,
    /// Its bytes in the budget for open items, or for dry runs.
    pub(in crate::engine) bytes: Reservation,
    /// Bytes of its history, which are part of `bytes`.
    pub(in crate::engine) history_bytes: usize,
}

/// Approximate bytes that an open item with this command takes, without its history.
pub(in crate::engine) fn weight(command: &Command) -> usize {
    size_of::<WorkItem>() + command.bytes()
}

impl WorkItem {
    pub(in crate::engine) fn mode(&self) -> Mode {
        match self.origin {
            Origin::Recorded(_) => Mode::Cancel,
            Origin::Planned(..) => Mode::DryRun,
        }
    }

    /// How flow control treats its next request.
    pub(in crate::engine) fn entry(&self) -> RequestKind {
        if self.retries {
            RequestKind::Retry
        } else {
            RequestKind::First
        }
    }

    /// Whether this run has sent nothing, and no request of an earlier run may still act.
    pub(in crate::engine) fn is_untouched(&self) -> bool {
        self.history.is_empty() && self.unseen.is_none()
    }

    /// Whether the last event is a lost reply of this run.
    pub(in crate::engine) fn has_just_lost(&self) -> bool {
        let last = self.history.last();
        last.is_some_and(|last| last.operation.is_some() && last.class == Class::Lost)
    }

    /// Whether it has sent nothing yet and is not cleared for its first request.
    pub(in crate::engine) fn waits_for_clearance(&self) -> bool {
        matches!(self.origin, Origin::Recorded(_))
            && self.history.is_empty()
            && self.clearance != Clearance::Given
    }

    /// Continues with the doubt that an earlier run or process left.
    pub(in crate::engine) fn inherit(
        &mut self,
        doubt: Doubt,
        plan: LookPlan,
        lane: &LaneOptions,
        now: &Moment,
    ) {
        if doubt.may_act {
            self.history = vec![Exchange::recovered()];
            let wait = doubt.believed_in(now, lane.timeout, lane.settling);
            let plan = if doubt.accepted {
                LookPlan::Accepted
            } else {
                plan
            };
            let believed_at = Instant::now() + wait;
            self.belief = Some(Belief::new(plan, believed_at, lane.settling));
        }
        self.earliest = doubt.earliest;
        self.doubt = Some(Box::new(doubt.clone()));
        self.inherited = Some(Box::new(doubt));
    }

    /// How long ago the item could first be sent; `None` if the clocks cannot say.
    pub(in crate::engine) fn since_earliest(&self, now: &Moment) -> Option<Duration> {
        let earliest = self.earliest?;
        // If the clock is behind a time that an earlier process recorded, it was set back by an
        // unknown amount.
        if let Some(doubt) = &self.inherited {
            earliest.until(&doubt.latest)?;
        }
        earliest.until(now)
    }

    /// Records that a request, sent at this time, may still act: its reply was lost, or it was
    /// accepted without the effect showing.
    pub(in crate::engine) fn may_act(
        &mut self,
        sent: Instant,
        accepted: bool,
        (lane, place_answered): (&LaneOptions, bool),
        at: Moment,
    ) {
        let now = Instant::now();
        let before = self.belief.as_ref().map(Belief::believed_at);
        let believed_at = (sent + lane.timeout).max(now + lane.settling);
        // Resolving one request never shortens the wait for another.
        let believed_at = before.map_or(believed_at, |before| before.max(believed_at));
        let settle_ms = u64::try_from((believed_at - now).as_millis()).unwrap_or(u64::MAX);
        let earlier = self.doubt.take();
        self.doubt = Some(Box::new(Doubt {
            earliest: self.earliest,
            latest: at,
            settle_ms: Some(settle_ms),
            may_act: true,
            accepted: accepted || earlier.is_some_and(|earlier| earlier.accepted),
            looks: 0,
            place: Some(lane.place),
            place_answered,
        }));
        let plan = if accepted {
            LookPlan::Accepted
        } else {
            LookPlan::Lost
        };
        self.belief = Some(Belief::new(plan, believed_at, lane.settling));
    }

    /// Records that no earlier request can act any more, and that none of them did.
    pub(in crate::engine) fn cannot_act(&mut self) {
        self.belief = None;
        if let Some(doubt) = &mut self.doubt {
            doubt.may_act = false;
            doubt.looks = 0;
        }
    }

    /// Appends a finished exchange. Failed tries of the request without effect are left out; a try
    /// that may have had an unseen effect goes before it.
    pub(in crate::engine) fn finished(&mut self, exchange: Exchange, safety: Safety) {
        let exchange_is_look = safety == Safety::Look;
        if let Some(fault) = self.unseen.take()
            && !matches!(exchange.reply, Reply::InDoubt(_))
        {
            self.history.push(Exchange {
                operation: exchange.operation,
                reply: Reply::InDoubt(fault),
                class: Class::Lost,
                seen: Seen::default(),
            });
        }
        self.history.push(exchange);
        self.tries = 0;
        self.waited = false;
        if exchange_is_look {
            history_compaction::forget_news(&mut self.history);
        }
        history_compaction::forget_repetition(&mut self.history);
    }

    /// The lookup that this request with an effect follows.
    pub(in crate::engine) fn last_look(&self, request: &Request) -> Option<&Exchange> {
        let last = self.history.last().filter(|_| self.history.len() > 1);
        last.filter(|last| last.operation != Some(request.operation))
    }

    /// Removes that lookup, so that it is repeated before the request goes.
    pub(in crate::engine) fn forget_last_look(&mut self, request: &Request) {
        if self.last_look(request).is_some() {
            self.history.pop();
        }
    }

    /// Updates the reservation to the bytes of the history.
    pub(in crate::engine) fn weigh_history(&mut self) {
        let bytes = self.history.iter().map(Exchange::bytes).sum();
        self.bytes.resize(self.history_bytes, bytes);
        self.history_bytes = bytes;
    }

    /// Whether this request with an effect is a repeat: of a request that must not be repeated
    /// blindly, or of one whose last reply was lost.
    pub(in crate::engine) fn sends_again(&self, request: &Request) -> bool {
        let mut backwards = self.history.iter().rev();
        let last = backwards.find(|exchange| exchange.operation == Some(request.operation));
        match request.safety {
            Safety::Look => false,
            Safety::Once => last.is_some(),
            Safety::Repeatable => last.is_some_and(|last| last.class == Class::Lost),
        }
    }

    /// Adds the counts of an earlier run to those of a resumed drain. `lost` says that they are
    /// lower bounds.
    pub(in crate::engine) fn count_on(&self, detail: &mut Detail, lost: &mut bool) {
        let before = self.previous.as_deref();
        let before = before.map(|settled| &settled.conclusion);
        if let (Detail::Enrollments(now), Some(before)) = (detail, before)
            && let Detail::Enrollments(then) = &before.detail
        {
            now.canceled = now.canceled.saturating_add(then.canceled);
            *lost |= before.confirmed_by_lookup;
        }
    }

    /// The outcome to record.
    pub(in crate::engine) fn settle(&self, mut conclusion: Conclusion, now: Timestamp) -> Settled {
        let gave_up = matches!(conclusion.outcome, Outcome::Unavailable | Outcome::InDoubt)
            && !conclusion.is_final();
        if let Some(failure) = &mut conclusion.failure
            && failure.retry_at.is_none()
            && gave_up
        {
            // A pause that is over is no reason to wait. A throttled item keeps the time, for its
            // message.
            let is_throttled = failure.reason == FailureReason::ProviderThrottled;
            failure.retry_at = self.retry_at.filter(|at| is_throttled || *at > now);
        }
        let has_failed = conclusion.failure.is_some();
        let Conclusion {
            detail,
            confirmed_by_lookup: lost,
            ..
        } = &mut conclusion;
        self.count_on(detail, lost);
        // A reply of an earlier run may be missing in the counts, however this run ends.
        if has_failed && self.doubt.is_some() && matches!(detail, Detail::Enrollments(_)) {
            *lost = true;
        }
        // What an earlier run of this key cancelled is this key's work.
        if conclusion.outcome == Outcome::AlreadyCanceled
            && matches!(&conclusion.detail, Detail::Enrollments(detail) if detail.canceled > 0)
        {
            conclusion.outcome = Outcome::Canceled;
        }
        let attempts = self
            .previous
            .as_deref()
            .map_or(0, |settled| settled.attempts)
            .saturating_add(self.attempts);
        // No request with an effect was lost, so an unanswered request was a lookup: what matters
        // is whether anything was answered.
        if let Some(failure) = &mut conclusion.failure
            && failure.reached == Reached::Unknown
            && self.doubt.is_none()
            && self.mode() == Mode::Cancel
        {
            let is_answered = |exchange: &Exchange| matches!(exchange.reply, Reply::Answered(_));
            failure.reached = match self.history.iter().any(is_answered) {
                true => Reached::Yes,
                false => Reached::No,
            };
        }
        // A final outcome is replayed and never reopened, so it needs no doubt.
        let doubt = match conclusion.is_final() {
            true => None,
            false => self.doubt.clone(),
        };
        // An adapter can be in doubt although no reply was lost in this run, for example if the
        // provider seems to know the effect id already. The doubt begins when the item could first
        // be sent.
        let is_in_doubt = conclusion.outcome == Outcome::InDoubt && !conclusion.is_final();
        let doubt = doubt.or_else(|| {
            is_in_doubt.then(|| Box::new(Doubt::between(self.earliest, Moment::wall(now))))
        });
        Settled {
            conclusion,
            attempts,
            settled_at: now,
            doubt,
        }
    }
}

/// An empty detail of the command's kind.
pub(in crate::engine) fn blank(command: &Command) -> Detail {
    match command {
        Command::Subscription(_) => Detail::Subscription(Default::default()),
        Command::Enrollments(_) => Detail::Enrollments(Default::default()),
    }
}

/// The outcome of an item whose batch was stopped. `so_far` is its progress, if it takes several
/// requests.
pub(in crate::engine) fn stopped(run: &WorkItem, so_far: Option<Progress>) -> Conclusion {
    let untouched = run.is_untouched() && run.doubt.is_none();
    let message = if untouched && run.attempts > 0 {
        "the batch was stopped before the provider took this on; send the same key again to take \
         it up after all"
    } else if untouched {
        "the batch was stopped before this was sent; send the same key again to take it up after \
         all"
    } else {
        "the batch was stopped before the next request; what was done before stays done; send the \
         same key again to go on"
    };
    let failure = Failure {
        reason: FailureReason::Stopped,
        message: message.to_owned(),
        reached: match untouched {
            true if run.attempts == 0 => Reached::No,
            // Every request was answered, so nothing is unknown.
            _ if run.doubt.is_none() && run.unseen.is_none() => Reached::Yes,
            _ => Reached::Unknown,
        },
        retry_at: None,
        provider: None,
    };
    let so_far = so_far.unwrap_or_else(|| Progress {
        detail: blank(&run.command),
        lost: run
            .history
            .iter()
            .any(|exchange| matches!(exchange.reply, Reply::InDoubt(_))),
    });
    let mut conclusion = Conclusion::failure(Outcome::Stopped, so_far.detail, failure);
    conclusion.confirmed_by_lookup = so_far.lost;
    conclusion
}

/// The outcome of an item with a request that may still act at an address which the account no
/// longer has: a lookup elsewhere says nothing about it.
pub(in crate::engine) fn place_changed(command: &Command) -> Conclusion {
    let failure = Failure {
        reason: FailureReason::AccountChanged,
        message: format!(
            "a request for this may have been sent to another place than account {} is at now; \
             restore its base_url (or its organization, company or proxy) and send the same key \
             again",
            command.account()
        ),
        reached: Reached::Unknown,
        retry_at: None,
        provider: None,
    };
    Conclusion::failure(Outcome::InDoubt, blank(command), failure)
}

/// The outcome of an item whose id a server could take for another path. Final, because a lookup
/// cannot be sent either.
pub(in crate::engine) fn strays(run: &WorkItem) -> Conclusion {
    let untouched = run.is_untouched() && run.doubt.is_none();
    let (outcome, reason, reached, so_far) = match (untouched, run.attempts) {
        (true, 0) => (
            Outcome::Rejected,
            FailureReason::TargetIdUnsafe,
            Reached::No,
            "nothing was sent",
        ),
        (true, _) => (
            Outcome::Rejected,
            FailureReason::TargetIdUnsafe,
            Reached::Yes,
            "nothing was done, and nothing more is sent",
        ),
        (false, _) => (
            Outcome::InDoubt,
            FailureReason::DoubtUnresolved,
            Reached::Unknown,
            "what was sent before may have acted, and no look can tell",
        ),
    };
    let failure = Failure {
        reason,
        message: format!(
            "the id has characters that no id of the provider has, and that a server on the way \
             could take for another address; {so_far}"
        ),
        reached,
        retry_at: None,
        provider: None,
    };
    Conclusion::failure(outcome, blank(&run.command), failure)
}

/// The outcome of an item whose account is no longer configured.
pub(in crate::engine) fn account_gone(command: &Command, sent: Reached) -> Conclusion {
    let failure = Failure {
        reason: FailureReason::AccountChanged,
        message: format!(
            "account {} is no longer configured; configure it and send the same key again",
            command.account()
        ),
        reached: sent,
        retry_at: None,
        provider: None,
    };
    let outcome = match sent {
        Reached::No => Outcome::Unavailable,
        Reached::Yes | Reached::Unknown => Outcome::InDoubt,
    };
    Conclusion::failure(outcome, blank(command), failure)
}
