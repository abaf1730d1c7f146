//! Rebilly: `PUT /subscription-cancellations/{id}` under our own id. After a doubt, a GET of that
//! id shows whether the cancellation exists.
//!
//! The page lists no status for an unknown subscription, an already cancelled one or one in a wrong
//! state, and errors have no codes. So after every rejection the subscription itself is looked up,
//! and its state decides (reference, section 2).

mod adapter;
mod decide;
mod dry_run_draft;
mod requests;
#[cfg(test)]
mod tests;
mod timing;
mod wire;

use jiff::Timestamp;
use serde_json::Value;

use crate::domain::{
    account::{Account, Auth, Capabilities, DryRun, ProviderSettings, RebillyAuth, Timing},
    command::{Command, When},
    http_exchange::{Class, Exchange, Operation, Request, Response, Throttle},
    ids::Kind,
};

use self::{
    adapter::RebillyApi,
    wire::{CancellationStatus, RebillyPhase, Subscription},
};
use super::{
    Envelope, Mode, Provider, Sight, Step, Task, Violation,
    reply::{http_status, json::JsonReader},
};

/// Creates the cancellation.
const CANCEL: Operation = Operation("cancel");
/// Looks up our own cancellation.
const LOOK_OWN: Operation = Operation("look_cancellation");
/// Looks up the subscription.
const LOOK: Operation = Operation("look");
/// Creates a draft, for a dry run.
const DRAFT: Operation = Operation("draft");
/// Deletes the draft.
const DISCARD: Operation = Operation("discard");

/// `maxLength` of a subscription id.
const SUBSCRIPTION_ID_CHARS_MAX: usize = 50;
/// `maxLength` of `description`, which carries the comment.
const DESCRIPTION_CHARS_MAX: usize = 255;
/// A larger number in a `Retry-After` header is a Unix time: as seconds it would be a wait of three
/// years.
const WAIT_SECONDS_MAX: i64 = 100_000_000;

pub(super) struct Rebilly;

impl Provider for Rebilly {
    fn capabilities(&self, _account: &Account) -> Capabilities {
        Capabilities {
            kind: Kind::Subscription,
            timings: vec![Timing::Now, Timing::PeriodEnd, Timing::At],
            prorate: true,
            line_items: true,
            notes: &["reason", "comment", "initiated_by"],
            dry_run: DryRun::Preview,
        }
    }

    fn auth(&self, account: &Account) -> Auth {
        match &account.settings {
            ProviderSettings::Rebilly {
                auth: RebillyAuth::Bearer,
                ..
            } => Auth {
                header: "authorization",
                prefix: "Bearer ",
            },
            ProviderSettings::Rebilly { .. }
            | ProviderSettings::Solidgate { .. }
            | ProviderSettings::FunnelFox { .. }
            | ProviderSettings::Revolv3 { .. }
            | ProviderSettings::Sequenzy { .. } => Auth {
                header: "reb-apikey",
                prefix: "",
            },
        }
    }

    fn check(&self, _account: &Account, command: &Command) -> Vec<Violation> {
        let Command::Subscription(command) = command else {
            return Vec::new();
        };
        let comment = command.comment.as_deref().unwrap_or_default();
        let lengths = [
            (
                "subscription_id",
                command.subscription_id.as_str(),
                SUBSCRIPTION_ID_CHARS_MAX,
            ),
            ("comment", comment, DESCRIPTION_CHARS_MAX),
        ];
        let too_long = lengths.into_iter().filter_map(|(field, text, chars_max)| {
            let chars = text.chars().count();
            let described = format!("has {chars} characters; rebilly takes at most {chars_max}");
            (chars > chars_max).then(|| Violation::new(field, described))
        });
        too_long.collect()
    }

    fn next(&self, task: &Task<'_>, history: &[Exchange]) -> Step {
        let command = match task.subscription() {
            // Not among the timings above: admitted while the account was at another provider.
            Ok(command) if command.when == When::ProviderDefault => {
                return http_status::account_changed(task.command);
            }
            Ok(command) => command,
            Err(step) => return step,
        };
        let talk = RebillyApi::new(task, command, history);
        let step = match task.mode {
            Mode::Cancel => talk.cancel(),
            Mode::DryRun => talk.dry_run(),
        };
        talk.at.bounded(step)
    }

    /// The API's pattern for ids: `^[@~\-\.\w]+$`.
    fn id_marks(&self) -> Option<&'static str> {
        Some("-_.~@")
    }

    fn form(&self) -> &dyn Envelope {
        self
    }

    /// Deletes the draft of a dry run once more if a reply was lost: the draft may have been
    /// created after the first deletion.
    fn clean_up(&self, task: &Task<'_>, history: &[Exchange]) -> Option<Request> {
        let is_lost = |exchange: &Exchange| {
            matches!(exchange.operation, Some(DRAFT | DISCARD)) && exchange.class == Class::Lost
        };
        let command = task.subscription().ok()?;
        let is_due = task.mode == Mode::DryRun && history.iter().any(is_lost);
        is_due.then(|| RebillyApi::new(task, command, history).discard())
    }

    /// A 429 has `X-RateLimit-Retry-After`, a Unix time by the specification; Rebilly's own PHP SDK
    /// reads `Retry-After`. Either header is accepted in either form.
    fn signal(&self, response: &Response) -> Option<Throttle> {
        let header = |name| response.header(name)?.trim().parse::<i64>().ok();
        let number = header("x-ratelimit-retry-after").or_else(|| header("retry-after"))?;
        if number > WAIT_SECONDS_MAX {
            let time = Timestamp::from_second(number).ok();
            return Some(time.map_or(Throttle::Unsaid, Throttle::Until));
        }
        let seconds = u64::try_from(number).ok();
        Some(seconds.map_or(Throttle::Unsaid, Throttle::After))
    }
}

/// `{status, title, detail, ...}` in an error; a cancellation names its subscription, and a
/// subscription itself.
impl Envelope for Rebilly {
    fn is_error(&self, response: &Response) -> bool {
        let body = JsonReader(response.json.as_ref());
        let texts = ["title", "detail"].map(|name| body.at(name).text().is_some());
        let is_status = body.at("status").count() == Some(response.status.into());
        texts == [true, true] || (is_status && texts.contains(&true))
    }

    fn documents(&self, operation: Operation, response: &Response) -> bool {
        match operation {
            LOOK | LOOK_OWN => matches!(response.status, 404 | 410),
            DISCARD => matches!(response.status, 404 | 409 | 410),
            _ => response.status == 422,
        }
    }

    fn names(&self, task: &Task<'_>, operation: Operation) -> Vec<(&'static str, String)> {
        let subscription = task.command.resource().as_str().to_owned();
        match operation {
            LOOK => vec![("id", subscription)],
            _ => vec![("subscriptionId", subscription)],
        }
    }

    fn shows(&self, task: &Task<'_>, operation: Operation, response: &Response) -> Sight {
        match operation {
            // It may have been deleted, which none of our requests does.
            LOOK if !(200..300).contains(&response.status) => Sight::Odd,
            _ if !(200..300).contains(&response.status) => Sight::Untouched,
            DISCARD if response.json.as_ref().is_some_and(Value::is_object) => Sight::Odd,
            _ if !is_described(response) => Sight::Nothing,
            DISCARD => Sight::Nothing,
            LOOK => match Subscription::read(response).life {
                RebillyPhase::Over => Sight::Reached,
                RebillyPhase::Ending => Sight::Later,
                RebillyPhase::Unstarted | RebillyPhase::Running => Sight::Untouched,
                RebillyPhase::Odd => Sight::Odd,
            },
            _ => match CancellationStatus::read(response) {
                CancellationStatus::Confirmed if ends_later(task, response) => Sight::Later,
                CancellationStatus::Confirmed | CancellationStatus::Completed => Sight::Reached,
                CancellationStatus::Draft | CancellationStatus::Revoked => Sight::Untouched,
                CancellationStatus::Unknown => Sight::Odd,
            },
        }
    }

    fn looks(&self) -> &'static [Operation] {
        &[LOOK, LOOK_OWN]
    }
}

/// Whether a success is in the documented format: all of them have a status.
fn is_described(response: &Response) -> bool {
    JsonReader(response.json.as_ref())
        .at("status")
        .text()
        .is_some()
}

fn ends_later(task: &Task<'_>, response: &Response) -> bool {
    let command = task.subscription();
    command.is_ok_and(|command| timing::is_later(command.when, response, None))
}
