//! One item on its way: what it is, what happened so far, and how long it may take.

use std::sync::{Arc, Weak, atomic::AtomicBool};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{budget::Share, feed::Feed, history};
use crate::{
    domain::{
        command::Command,
        exchange::{Exchange, Fault, Operation, Reply, Request, Safety},
        ids::{BatchId, CallerId, ItemId},
        outcome::{Conclusion, Detail, Failure, FailureReason, Outcome, Reached, Settled},
    },
    egress::gate::{Entry, Pass},
    observe,
    providers::{EffectId, Mode, Progress},
};

/// Where a run's outcome goes.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// Into the journal, and from there to whoever watches.
    Recorded(ItemId),
    /// A dry run: straight to the one who asked, at this place.
    Planned(Weak<Feed>, u32),
}

/// One item on its way.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) origin: Origin,
    /// The request that it was admitted by.
    pub(super) from: observe::Origin,
    /// When it was admitted or taken up again.
    pub(super) since: Instant,
    pub(super) caller: CallerId,
    pub(super) batch: BatchId,
    pub(super) command: Arc<Command>,
    pub(super) effect_id: EffectId,
    pub(super) history: Vec<Exchange>,
    /// How it had ended before it was taken up again.
    pub(super) previous: Option<Arc<Settled>>,
    pub(super) retry_until: Timestamp,
    pub(super) stop: Arc<AtomicBool>,
    /// HTTP requests of this run that may have reached the provider.
    pub(super) attempts: u32,
    /// Tries of the current request.
    pub(super) tries: u32,
    /// Requests that must not be repeated blindly and that the provider may have taken on.
    pub(super) sends: u32,
    /// It has waited since the last of them.
    pub(super) rested: bool,
    /// The last try of the current request that may have had an effect unseen.
    pub(super) unseen: Option<Fault>,
    /// When the provider asked us to come back, last.
    pub(super) retry_at: Option<Timestamp>,
    /// It has its target to itself in the lane.
    pub(super) holds_target: bool,
    /// Its last try failed, so its next one is a retry.
    pub(super) retries: bool,
    /// Its way through the account's gate, while it is inside.
    pub(super) pass: Pass,
    /// Its next request has been let through.
    pub(super) paid: bool,
    /// Its share of the bytes that open items may take.
    pub(super) _bytes: Share,
}

/// About how many bytes an open item with this command takes.
pub(super) fn weight(command: &Command) -> usize {
    size_of::<Run>() + command.bytes()
}

impl Run {
    pub(super) fn mode(&self) -> Mode {
        match self.origin {
            Origin::Recorded(_) => Mode::Cancel,
            Origin::Planned(..) => Mode::DryRun,
        }
    }

    /// How it comes to the gate.
    pub(super) fn entry(&self) -> Entry {
        if self.retries {
            Entry::Retry
        } else {
            Entry::First
        }
    }

    /// Nothing of it has been sent, by this run or one before it, as far as anyone knows.
    pub(super) fn is_untouched(&self) -> bool {
        self.history.is_empty() && self.unseen.is_none()
    }

    /// Enters a finished exchange. Tries of the request that changed nothing are part of it; if
    /// one of them may have had an effect unseen, that goes before it.
    pub(super) fn finished(&mut self, operation: Operation, reply: Reply) {
        let operation = Some(operation);
        if let Some(fault) = self.unseen.take()
            && !matches!(reply, Reply::InDoubt(_))
        {
            let reply = Reply::InDoubt(fault);
            self.history.push(Exchange { operation, reply });
        }
        self.history.push(Exchange { operation, reply });
        self.tries = 0;
        history::forget_repetition(&mut self.history);
    }

    /// Whether a request is one that must not be repeated blindly, and that a look has shown to be
    /// worth repeating.
    pub(super) fn sends_again(&self, request: &Request) -> bool {
        let is_same = |exchange: &Exchange| exchange.operation == Some(request.operation);
        request.safety == Safety::Once && self.history.iter().any(is_same)
    }

    /// A drain that was taken up again goes on counting. `lost` says that counts are lower bounds.
    pub(super) fn count_on(&self, detail: &mut Detail, lost: &mut bool) {
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
    pub(super) fn settle(&self, mut conclusion: Conclusion, now: Timestamp) -> Settled {
        if let Some(failure) = &mut conclusion.failure
            && failure.reason == FailureReason::ProviderThrottled
            && failure.retry_at.is_none()
        {
            failure.retry_at = self.retry_at;
        }
        let Conclusion {
            detail,
            confirmed_by_lookup: lost,
            ..
        } = &mut conclusion;
        self.count_on(detail, lost);
        let attempts = self
            .previous
            .as_deref()
            .map_or(0, |settled| settled.attempts)
            .saturating_add(self.attempts);
        Settled {
            conclusion,
            attempts,
            settled_at: now,
        }
    }
}

/// An empty detail of the command's kind.
pub(super) fn blank(command: &Command) -> Detail {
    match command {
        Command::Subscription(_) => Detail::Subscription(Default::default()),
        Command::Enrollments(_) => Detail::Enrollments(Default::default()),
    }
}

/// The end of an item whose batch was stopped. `so_far` is what it had come to, if it takes
/// several calls.
pub(super) fn stopped(run: &Run, so_far: Option<Progress>) -> Conclusion {
    let untouched = run.is_untouched();
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
            true if run.attempts > 0 => Reached::Yes,
            true => Reached::No,
            false => Reached::Unknown,
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

/// The end of an item whose account is gone from the configuration.
pub(super) fn account_gone(command: &Command, sent: Reached) -> Conclusion {
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
