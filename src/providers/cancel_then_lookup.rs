//! The conversation with a provider whose cancel must not be repeated blindly: cancel; after
//! doubt, or a no that can mean "already done", look; send again only what a look found
//! untouched. Solidgate, FunnelFox and Revolv3 are of this kind and say through [`Conversation`]
//! what is their own; nothing here knows any of them.

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

/// The request that cancels.
pub(super) const CANCEL: Operation = Operation("cancel");
/// The request that looks at the subscription.
pub(super) const LOOK: Operation = Operation("look");
/// The request that sets when a cancel is to end it, where that is a property of its own.
pub(super) const SET_TIMING: Operation = Operation("set_timing");

/// The operations that can reach the goal. To set the timing ends nothing.
const EFFECTS: &[Operation] = &[CANCEL];

/// How far a subscription's end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has ended.
    Ended,
    /// It goes on, and will end.
    Ending,
    /// It goes on.
    Running,
    /// The provider used a word that is not documented.
    Unknown,
}

/// What an answer says about the subscription.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lookup {
    pub(super) life: Phase,
    pub(super) detail: SubscriptionDetail,
    /// The provider's word for when a cancel ends it, where that is a property of its own.
    pub(super) timing: Option<String>,
    /// It ends with its period, if it ends: another answer may tell when that is.
    pub(super) with_period: bool,
    /// How it came to its end, if it did.
    pub(super) cause: CancelCause,
}

impl Lookup {
    /// The subscription itself, which every answer that can be read describes.
    pub(super) fn state(&self) -> SubscriptionState {
        self.detail.state.clone().unwrap_or_default()
    }
}

/// What a 4xx to a request with an effect means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum CancelRefusal {
    /// Just that.
    Final(Outcome, FailureReason, String),
    /// Its end is already scheduled: a look may tell for when.
    Scheduled,
    /// Perhaps the goal is reached. If a look finds that it is not, it is this.
    Unclear(FailureReason, String),
}

/// What a 404 to a look means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NotFoundMeaning {
    /// The provider does not know the subscription.
    Unknown(String),
    /// It does not know it, or it has ended.
    UnknownOrEnded(String),
}

/// What is a provider's own.
pub(super) trait Conversation {
    /// The request that cancels.
    fn cancel(&self) -> Request;

    /// The request that looks.
    fn look(&self) -> Request;

    /// Reads a 2xx answer to one of the two. `None`: it does not describe a subscription.
    fn read(&self, operation: Operation, response: &Response) -> Option<Lookup>;

    /// Reads a 4xx answer to a request with an effect.
    fn refusal(&self, operation: Operation, response: &Response) -> CancelRefusal;

    /// Reads a 404 answer to a look.
    fn absence(&self, response: &Response) -> NotFoundMeaning;

    /// What to do if looks are answered in a way that is not documented.
    fn look_advice(&self) -> &'static str {
        "check the account's base URL and send the key again"
    }

    /// What a cancel would do, in words that follow a semicolon.
    fn plan(&self, found: &Lookup) -> String;

    /// Whether a look comes before everything else.
    fn looks_first(&self) -> bool {
        false
    }

    /// What has to be set before the cancel, given what a look found.
    fn before_cancel(&self, found: &Lookup) -> Option<Request> {
        let _ = found;
        None
    }

    /// Whether a cancel may end at once what is scheduled to end later.
    fn hastens(&self) -> bool {
        false
    }
}

/// What an answer that was read shows.
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

/// The next step of such a conversation.
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
        (Mode::Cancel, None, _) if talk.looks_first() || item.standing.begins_with_a_look() => {
            item.standing.look(talk.look())
        }
        (Mode::Cancel, None, _) => item.send_cancel(None),
        (_, Some(last), Some(LOOK)) => item.after_look(last),
        (Mode::Cancel, Some(last), Some(CANCEL)) => item.after_cancel(last),
        (Mode::Cancel, Some(last), Some(SET_TIMING)) => item.after_set_timing(last),
        (Mode::Cancel, Some(_), _) | (Mode::DryRun, ..) => item.standing.look(talk.look()),
    };
    item.standing.bounded(step)
}

/// What an exchange tells about the subscription, if it does.
fn read(talk: &dyn Conversation, exchange: &Exchange) -> Option<Lookup> {
    let operation = exchange.operation?;
    match verdict(exchange) {
        StatusMeaning::Success(response) => talk.read(operation, response),
        _ => None,
    }
}
