//! State machine for providers whose cancel must not be repeated blindly: cancel; after a doubt, or
//! a rejection that can mean "already done", look it up; send again only if a lookup found it
//! untouched. Solidgate, FunnelFox and Revolv3 use it; each implements [`Conversation`] for what is
//! its own.

mod decide;
mod ends;
mod looks;
#[cfg(test)]
mod tests;

use self::decide::CancelState;
use crate::domain::{
    account::Timing,
    command::{SubscriptionCommand, When},
    http_exchange::{Exchange, Operation, Request, Response},
    outcome::{
        Detail, FailureReason, Outcome, ProviderError, SubscriptionDetail, SubscriptionState,
    },
};

use super::{
    Mode, Sight, Step, Task,
    item_state::ItemState,
    reply::{
        answer_subject::CancelCause,
        http_status::{StatusMeaning, verdict},
    },
};

pub(super) const CANCEL: Operation = Operation("cancel");
/// Reads the subscription.
pub(super) const LOOK: Operation = Operation("look");
/// Sets when a cancel takes effect, for providers where that is a separate property.
pub(super) const SET_TIMING: Operation = Operation("set_timing");

/// Operations that can reach the goal. Setting the timing ends nothing.
const EFFECTS: &[Operation] = &[CANCEL];

/// Whether a subscription has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has ended.
    Ended,
    /// It is active, and its end is scheduled.
    Ending,
    /// It is active, without a scheduled end.
    Running,
    /// The provider's status is not documented.
    Unknown,
}

/// What a reply says about the subscription.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lookup {
    pub(super) life: Phase,
    pub(super) detail: SubscriptionDetail,
    /// When a cancel takes effect, in the provider's words, where that is a separate property.
    pub(super) timing: Option<String>,
    /// If it ends, it ends with its period: another reply may have that time.
    pub(super) with_period: bool,
    /// How it came to its end, if it did.
    pub(super) cause: CancelCause,
}

impl Lookup {
    /// The subscription's state, which every readable reply has.
    pub(super) fn state(&self) -> SubscriptionState {
        self.detail.state.clone().unwrap_or_default()
    }
}

/// What a 4xx reply to a request with an effect means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum CancelRefusal {
    /// The rejection is final, with this outcome.
    Final(Outcome, FailureReason, String),
    /// The end is already scheduled; a lookup may say for when.
    Scheduled,
    /// The goal may be reached. If a lookup finds that it is not, the item is rejected for this.
    Unclear(FailureReason, String),
}

/// What a 404 reply to a lookup means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NotFoundMeaning {
    /// The provider does not know the subscription.
    Unknown(String),
    /// The provider does not know the subscription, or it has ended.
    UnknownOrEnded(String),
}

/// The requests and replies of one provider.
pub(super) trait Conversation {
    /// The cancel request.
    fn cancel(&self) -> Request;

    /// The lookup request.
    fn look(&self) -> Request;

    /// Reads a 2xx reply. `None`: it does not describe a subscription.
    fn read(&self, operation: Operation, response: &Response) -> Option<Lookup>;

    /// Interprets a 4xx reply to a request with an effect.
    fn refusal(&self, operation: Operation, response: &Response) -> CancelRefusal;

    /// Interprets a 404 reply to a lookup.
    fn absence(&self, response: &Response) -> NotFoundMeaning;

    /// Advice for an operator if lookups get undocumented replies.
    fn look_advice(&self) -> &'static str {
        "check the account's base URL and send the key again"
    }

    /// What a cancel would do, as text that follows a semicolon.
    fn plan(&self, found: &Lookup) -> String;

    /// Whether every item starts with a lookup.
    fn looks_first(&self) -> bool {
        false
    }

    /// A request to send before the cancel, given what a lookup found.
    fn before_cancel(&self, found: &Lookup) -> Option<Request> {
        let _ = found;
        None
    }

    /// Whether a cancel may end a subscription at once whose end is scheduled for later.
    fn hastens(&self) -> bool {
        false
    }
}

/// What a readable reply shows of the goal.
pub(super) fn sight(task: &Task<'_>, found: Option<Lookup>) -> Sight {
    let at_once = task
        .subscription()
        .is_ok_and(|command| command.when == When::Now);
    match found.map(|found| found.life) {
        None => Sight::Nothing,
        Some(Phase::Ended) => Sight::Reached,
        Some(Phase::Ending) if at_once => Sight::Later,
        Some(Phase::Ending) => Sight::Reached,
        Some(Phase::Running) => Sight::Untouched,
        Some(Phase::Unknown) => Sight::Odd,
    }
}

/// The next step of an item.
pub(super) fn next(
    task: &Task<'_>,
    command: &SubscriptionCommand,
    history: &[Exchange],
    talk: &dyn Conversation,
    read_error: fn(&Response) -> ProviderError,
) -> Step {
    let mut standing = ItemState::new(task, history, EFFECTS, read_error);
    let mut looks = history.iter().rev().filter(|e| e.operation == Some(LOOK));
    let known = looks.find_map(|exchange| read(talk, exchange));
    if let Some(found) = &known {
        standing.detail = Detail::Subscription(found.detail.clone());
    }
    let item = CancelState {
        talk,
        standing,
        known,
        at_once: command.when == When::Now,
        timing: Timing::from(command.when),
    };
    let last = item.standing.last();
    let step = match (task.mode, last, last.and_then(|last| last.operation)) {
        // A fresh item is cancelled without a lookup, unless something may have been sent before.
        (Mode::Cancel, None, _) if talk.looks_first() || item.standing.begins_with_a_look() => {
            item.standing.look(talk.look())
        }
        (Mode::Cancel, None, _) => item.send_cancel(None),
        (_, Some(last), Some(LOOK)) => item.after_look(last),
        (Mode::Cancel, Some(last), Some(CANCEL)) => item.after_cancel(last),
        (Mode::Cancel, Some(last), Some(SET_TIMING)) => item.after_set_timing(last),
        (Mode::Cancel, Some(_), _) | (Mode::DryRun, ..) => item.standing.look(talk.look()),
    };
    // A guard against endless histories: see `EXCHANGES_MAX`.
    item.standing.bounded(step)
}

/// What an exchange says about the subscription; `None` if nothing.
fn read(talk: &dyn Conversation, exchange: &Exchange) -> Option<Lookup> {
    let operation = exchange.operation?;
    match verdict(exchange) {
        StatusMeaning::Success(response) => talk.read(operation, response),
        _ => None,
    }
}
