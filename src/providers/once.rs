//! The conversation with a provider whose cancel must not be repeated blindly: cancel; after
//! doubt, or a no that can mean "already done", look; send again only what a look found
//! untouched. Solidgate, FunnelFox and Revolv3 are of this kind and say through [`Conversation`]
//! what is their own; nothing here knows any of them.

mod item;
#[cfg(test)]
mod tests;

use self::item::Item;
use crate::domain::{
    account::Timing,
    command::{SubscriptionCommand, When},
    exchange::{Exchange, Operation, Reply, Request, Response},
    outcome::{
        Detail, FailureReason, Outcome, ProviderError, SubscriptionDetail, SubscriptionState,
    },
};

use super::{
    Mode, Step, Task,
    standing::{self, Bearing, Standing},
    status::{self, Verdict},
};

/// The request that cancels.
pub(super) const CANCEL: Operation = Operation("cancel");
/// The request that looks at the subscription.
pub(super) const LOOK: Operation = Operation("look");
/// The request that sets when a cancel is to end it, where that is a property of its own.
pub(super) const SET_TIMING: Operation = Operation("set_timing");

const EFFECTS: &[Operation] = &[CANCEL, SET_TIMING];

/// How far a subscription's end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
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
pub(super) struct Found {
    pub(super) life: Life,
    pub(super) detail: SubscriptionDetail,
    /// The provider's word for when a cancel ends it, where that is a property of its own.
    pub(super) timing: Option<String>,
}

impl Found {
    /// The subscription itself, which every answer that can be read describes.
    pub(super) fn state(&self) -> SubscriptionState {
        self.detail.state.clone().unwrap_or_default()
    }
}

/// What a 4xx to a request with an effect means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Refusal {
    /// Just that.
    Final(Outcome, FailureReason, String),
    /// Its end is already scheduled: a look may tell for when.
    Scheduled,
    /// Perhaps the goal is reached. If a look finds that it is not, it is this.
    Unclear(FailureReason, String),
}

/// What a 404 to a look means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Absence {
    /// The provider does not know the subscription.
    Unknown(String),
    /// It does not know it, or it has ended.
    UnknownOrEnded(String),
    /// It is not the documented answer: a wrong path, or a proxy's.
    Odd,
}

/// What is a provider's own.
pub(super) trait Conversation {
    /// The request that cancels.
    fn cancel(&self) -> Request;

    /// The request that looks.
    fn look(&self) -> Request;

    /// Reads a 2xx answer to one of the two. `None`: it does not describe a subscription.
    fn read(&self, operation: Operation, response: &Response) -> Option<Found>;

    /// Reads a 4xx answer to a request with an effect.
    fn refusal(&self, operation: Operation, response: &Response) -> Refusal;

    /// Reads a 404 answer to a look.
    fn absence(&self, response: &Response) -> Absence;

    /// What to do if looks are answered in a way that is not documented.
    fn look_advice(&self) -> &'static str {
        "check the account's base URL and send the key again"
    }

    /// What a cancel would do, in words that follow a semicolon.
    fn plan(&self, found: &Found) -> String;

    /// Whether a look comes before everything else.
    fn looks_first(&self) -> bool {
        false
    }

    /// What has to be set before the cancel, given what a look found.
    fn before_cancel(&self, found: &Found) -> Option<Request> {
        let _ = found;
        None
    }

    /// Whether a cancel may end at once what is scheduled to end later.
    fn hastens(&self) -> bool {
        false
    }

    /// Whether a refusal betrays that an earlier request of ours arrived.
    fn betrays_earlier(&self, response: &Response) -> bool {
        let _ = response;
        false
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
    let at_once = command.when == When::Now;
    let bearings: Vec<_> = history
        .iter()
        .map(|exchange| bearing(talk, at_once, exchange))
        .collect();
    let told = bearings.iter().copied();
    let mut standing = Standing::new(task, history, EFFECTS, read_error, told);
    let mut wary = standing.clone();
    wary.doubt = bearings.contains(&Bearing::Doubt);
    // A cancel that was accepted and cannot be seen may yet show its effect, so that no look
    // settles it.
    standing.doubt |= history.iter().zip(&bearings).any(|(exchange, bearing)| {
        exchange.operation == Some(CANCEL)
            && success(&exchange.reply).is_some()
            && *bearing == Bearing::Doubt
    });
    let mut looks = history.iter().rev().filter(|e| e.operation == Some(LOOK));
    let known = looks.find_map(|exchange| read(talk, exchange));
    if let Some(found) = &known {
        standing.detail = Detail::Subscription(found.detail.clone());
    }
    let item = Item {
        talk,
        standing,
        wary,
        known,
        at_once,
        timing: Timing::from(command.when),
    };
    let step = match (task.mode, item.standing.last()) {
        (Mode::Cancel, None) if talk.looks_first() => Step::Send(talk.look()),
        (Mode::Cancel, None) => item.send_cancel(None),
        (Mode::Cancel | Mode::DryRun, Some(Exchange { operation, reply }))
            if *operation == Some(LOOK) =>
        {
            item.after_look(reply)
        }
        (Mode::Cancel, Some(Exchange { operation, reply })) if *operation == Some(CANCEL) => {
            item.after_cancel(reply)
        }
        (Mode::Cancel, Some(Exchange { operation, reply })) if *operation == Some(SET_TIMING) => {
            item.after_set_timing(reply)
        }
        (Mode::Cancel, Some(_)) | (Mode::DryRun, _) => Step::Send(talk.look()),
    };
    item.standing.bounded(step)
}

/// What an exchange says about effects of ours. A cancel that was accepted without a visible
/// effect is doubt too, and a look at a subscription that goes on settles it.
fn bearing(talk: &dyn Conversation, at_once: bool, exchange: &Exchange) -> Bearing {
    let Some(operation) = exchange.operation else {
        return Bearing::Doubt;
    };
    if operation != LOOK && !EFFECTS.contains(&operation) {
        return Bearing::Doubt;
    }
    let Some(response) = standing::answered(&exchange.reply) else {
        return standing::bearing(exchange, EFFECTS);
    };
    let life = read(talk, exchange).map(|found| found.life);
    let is_success = success(&exchange.reply).is_some();
    match life {
        Some(Life::Running) if operation == LOOK => Bearing::Settled,
        Some(Life::Ending) if operation == LOOK && at_once && talk.hastens() => Bearing::Settled,
        Some(Life::Ended | Life::Ending) => Bearing::Neither,
        Some(Life::Running | Life::Unknown) | None if operation == CANCEL && is_success => {
            Bearing::Doubt
        }
        Some(Life::Running | Life::Unknown) | None => {
            if operation == CANCEL && talk.betrays_earlier(response) {
                Bearing::Doubt
            } else {
                standing::bearing(exchange, EFFECTS)
            }
        }
    }
}

/// What an exchange tells about the subscription, if it does.
fn read(talk: &dyn Conversation, exchange: &Exchange) -> Option<Found> {
    let operation = exchange.operation?;
    talk.read(operation, success(&exchange.reply)?)
}

/// The response, if it is a success.
fn success(reply: &Reply) -> Option<&Response> {
    match status::verdict(reply) {
        Verdict::Success(response) => Some(response),
        Verdict::Refused(_)
        | Verdict::Unauthenticated(_)
        | Verdict::Forbidden(_)
        | Verdict::Absent(_)
        | Verdict::Throttled(_)
        | Verdict::Doubtful(..)
        | Verdict::Unsent(_) => None,
    }
}
