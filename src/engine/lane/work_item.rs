//! One item on its way: what it is, what happened so far, and how long it may take.

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

/// Where a run's outcome goes.
#[derive(Debug, Clone)]
pub(in crate::engine) enum Origin {
    /// Into the journal, and from there to whoever watches.
    Recorded(ItemId),
    /// A dry run: straight to the one who asked, at this place.
    Planned(Weak<Feed>, u32),
}

/// Whether an item may be sent: the journal says so first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Clearance {
    /// Not in this process.
    None,
    /// It may be once the lane's request of this number is on the disk.
    Asked(u64),
    /// It may be.
    Given,
}

/// One item on its way.
#[derive(Debug)]
pub(in crate::engine) struct WorkItem {
    pub(in crate::engine) origin: Origin,
    /// The request that it was admitted by.
    pub(in crate::engine) from: observe::RequestContext,
    /// When it was admitted or taken up again.
    pub(in crate::engine) since: Instant,
    pub(in crate::engine) caller: CallerId,
    pub(in crate::engine) batch: BatchId,
    pub(in crate::engine) command: Arc<Command>,
    pub(in crate::engine) effect_id: EffectId,
    pub(in crate::engine) history: Vec<Exchange>,
    /// How it had ended before it was taken up again.
    pub(in crate::engine) previous: Option<Arc<Settled>>,
    /// What earlier runs and processes left unknown.
    pub(in crate::engine) inherited: Option<Box<Doubt>>,
    /// What is unknown now: that, joined with what this run lost.
    pub(in crate::engine) doubt: Option<Box<Doubt>>,
    /// A request that may still act, while it may.
    pub(in crate::engine) belief: Option<Belief>,
    /// Whether it may be sent.
    pub(in crate::engine) clearance: Clearance,
    /// It is among those that its lane counts as cleared and not sent yet.
    pub(in crate::engine) in_stock: bool,
    /// When it could first have been sent.
    pub(in crate::engine) earliest: Option<Moment>,
    /// Another key has aimed at its target, or may still act on it; `None` if nobody has asked.
    pub(in crate::engine) target_known: Option<bool>,
    /// A request was accepted, sent and answered at these times: it may still act if its effect
    /// does not show.
    pub(in crate::engine) accepted: Option<(Instant, Moment, bool)>,
    /// Something in between answered a request, sent at this time, at a place that has not shown
    /// to be the provider's. Once it does, that answer was a lost one.
    pub(in crate::engine) blocked: Option<(Instant, Fault)>,
    /// A request of this run had its effect.
    pub(in crate::engine) has_acted: bool,
    /// Its next request is a look that is not believed if it goes soon.
    pub(in crate::engine) looks_early: bool,
    /// The wait that its next request asked for is over.
    pub(in crate::engine) waited: bool,
    pub(in crate::engine) retry_until: Timestamp,
    pub(in crate::engine) stop: Arc<AtomicBool>,
    /// HTTP requests of this run that may have reached the provider.
    pub(in crate::engine) attempts: u32,
    /// Tries of the current request.
    pub(in crate::engine) tries: u32,
    /// Requests that must not be repeated blindly and that the provider may have taken on.
    pub(in crate::engine) sends: u32,
    /// It has waited since the last of them.
    pub(in crate::engine) rested: bool,
    /// The last try of the current request that may have had an effect unseen.
    pub(in crate::engine) unseen: Option<Fault>,
    /// When the provider asked us to come back, last, or the account opens again that was closed
    /// at the item's end.
    pub(in crate::engine) retry_at: Option<Timestamp>,
    /// It has its target to itself in the lane.
    pub(in crate::engine) holds_target: bool,
    /// Its last try failed, so its next one is a retry.
    pub(in crate::engine) retries: bool,
    /// Its way through the account's gate, while it is inside.
    pub(in crate::engine) pass: Permit,
    /// Its next request has been let through.
    pub(in crate::engine) paid: bool,
    /// What it has taken of its caller's hour.
    pub(in crate::engine) reserved: Option<Reserved>,
    /// Its place among the open items, or among the dry runs.
    pub(in crate::engine) place: Reservation,
    /// Its share of the bytes that they may take.
    pub(in crate::engine) bytes: Reservation,
    /// Bytes of its history, which are part of that.
    pub(in crate::engine) history_bytes: usize,
}

/// About how many bytes an open item with this command takes.
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

    /// How it comes to the gate.
    pub(in crate::engine) fn entry(&self) -> RequestKind {
        if self.retries {
            RequestKind::Retry
        } else {
            RequestKind::First
        }
    }

    /// Nothing of it has been sent by this run, and nothing of an earlier one may still act.
    pub(in crate::engine) fn is_untouched(&self) -> bool {
        self.history.is_empty() && self.unseen.is_none()
    }

    /// Whether the last thing that happened is that an answer of this run was lost.
    pub(in crate::engine) fn has_just_lost(&self) -> bool {
        let last = self.history.last();
        last.is_some_and(|last| last.operation.is_some() && last.class == Class::Lost)
    }

    /// Whether its next step sends something that has an effect, and is not allowed to yet.
    pub(in crate::engine) fn waits_for_clearance(&self) -> bool {
        matches!(self.origin, Origin::Recorded(_))
            && self.history.is_empty()
            && self.clearance != Clearance::Given
    }

    /// Begins where an earlier run or process left it: with what that left unknown.
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

    /// How long ago the item could first be sent, if clocks tell.
    pub(in crate::engine) fn since_earliest(&self, now: &Moment) -> Option<Duration> {
        let earliest = self.earliest?;
        // A clock that stood before it when the process began was set back, by nobody knows how much.
        if let Some(doubt) = &self.inherited {
            earliest.until(&doubt.latest)?;
        }
        earliest.until(now)
    }

    /// An answer was lost, or came without the effect that it promised: the request, sent at this
    /// time, may still act.
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

    /// Nothing that was sent before can act any more, and none of it has.
    pub(in crate::engine) fn cannot_act(&mut self) {
        self.belief = None;
        if let Some(doubt) = &mut self.doubt {
            doubt.may_act = false;
            doubt.looks = 0;
        }
    }

    /// Enters a finished exchange. Tries of the request that changed nothing are part of it; if
    /// one of them may have had an effect unseen, that goes before it.
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

    /// The look that a request with an effect follows.
    pub(in crate::engine) fn last_look(&self, request: &Request) -> Option<&Exchange> {
        let last = self.history.last().filter(|_| self.history.len() > 1);
        last.filter(|last| last.operation != Some(request.operation))
    }

    /// Has that look sent anew before the request goes.
    pub(in crate::engine) fn forget_last_look(&mut self, request: &Request) {
        if self.last_look(request).is_some() {
            self.history.pop();
        }
    }

    /// Counts what the history takes.
    pub(in crate::engine) fn weigh_history(&mut self) {
        let bytes = self.history.iter().map(Exchange::bytes).sum();
        self.bytes.resize(self.history_bytes, bytes);
        self.history_bytes = bytes;
    }

    /// Whether a request with an effect is sent again after a look: one that must not be repeated
    /// blindly, or one whose last answer was lost.
    pub(in crate::engine) fn sends_again(&self, request: &Request) -> bool {
        let mut backwards = self.history.iter().rev();
        let last = backwards.find(|exchange| exchange.operation == Some(request.operation));
        match request.safety {
            Safety::Look => false,
            Safety::Once => last.is_some(),
            Safety::Repeatable => last.is_some_and(|last| last.class == Class::Lost),
        }
    }

    /// A drain that was taken up again goes on counting. `lost` says that counts are lower bounds.
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

    /// What is recorded of it.
    pub(in crate::engine) fn settle(&self, mut conclusion: Conclusion, now: Timestamp) -> Settled {
        let gave_up = matches!(conclusion.outcome, Outcome::Unavailable | Outcome::InDoubt)
            && !conclusion.is_final();
        if let Some(failure) = &mut conclusion.failure
            && failure.retry_at.is_none()
            && gave_up
        {
            // A pause that is over holds up nobody.
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
        // An answer of an earlier run may be missing in the counts, whoever ends this one.
        if has_failed && self.doubt.is_some() && matches!(detail, Detail::Enrollments(_)) {
            *lost = true;
        }
        // What an earlier run of this key ended is this key's work.
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
        // Nothing with an effect was lost, so what nobody answered was a look.
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
        // A final outcome is replayed and never taken up again.
        let doubt = match conclusion.is_final() {
            true => None,
            false => self.doubt.clone(),
        };
        // A provider can doubt what no request of this run left unknown, as if it has seen the key
        // before. It began no sooner than the item could be sent.
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

/// The end of an item whose batch was stopped. `so_far` is what it had come to, if it takes
/// several calls.
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
            // What was answered leaves nothing unknown.
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

/// The end of an item that may have been sent to a place where this account is not any more: a
/// look elsewhere tells nothing of it.
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

/// The end of an item whose id a server on the way could take for another address. Final: no look
/// can be sent either.
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

/// The end of an item whose account is gone from the configuration.
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
