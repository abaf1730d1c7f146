//! Revolv3: `POST /api/Subscriptions/{id}/cancel`, without a body.
//!
//! Its exceptions, from the endpoint's page and the guides at `docs.revolv3.com`:
//! - When it ends is a property of the subscription, its cancel type. An account may allow setting
//!   it first; otherwise the caller takes the type that is set.
//! - The status is `subscriptionStatus` in the reply to the cancel and `subscriptionStatusType` in
//!   that to the lookup, in varying spellings.
//! - A 404 is also sent for subscriptions that are not active, and a 400 does not say why: a lookup
//!   decides.
//! - `Content-Type` is required even without a body (docs/authentication-security/required-header:
//!   415 without it).

mod wire;

use serde_json::json;

use crate::domain::{
    account::{Account, Auth, Capabilities, DryRun, ProviderSettings, Revolv3Auth, Timing},
    command::{Command, When},
    http_exchange::{
        Body, Class, Exchange, HttpMethod, Operation, Pace, Path, Request, Response, Safety,
    },
    ids::Kind,
    outcome::FailureReason,
};

use self::wire::{read, read_error};
use super::{
    Envelope, Provider, Step, Task, Violation,
    cancel_then_lookup::{
        self, CANCEL, CancelRefusal, Conversation, LOOK, Lookup, NotFoundMeaning, SET_TIMING,
    },
    item_state::ItemState,
    reply::{
        http_status,
        json::{JsonReader, plain},
    },
};

pub(super) struct Revolv3;

/// Largest subscription id (the page's `maximum`).
const ID_MAX: u32 = 1_000_000_000;

impl Provider for Revolv3 {
    fn capabilities(&self, account: &Account) -> Capabilities {
        let timings = match settings(account) {
            Some((_, true)) => vec![Timing::Now, Timing::PeriodEnd, Timing::ProviderDefault],
            Some((_, false)) | None => vec![Timing::ProviderDefault],
        };
        Capabilities {
            kind: Kind::Subscription,
            timings,
            prorate: false,
            line_items: false,
            notes: &[],
            dry_run: DryRun::Lookup,
        }
    }

    fn auth(&self, account: &Account) -> Auth {
        match settings(account) {
            Some((Revolv3Auth::Bearer, _)) => Auth {
                header: "authorization",
                prefix: "Bearer ",
            },
            Some((Revolv3Auth::Token, _)) | None => Auth {
                header: "x-revolv3-token",
                prefix: "",
            },
        }
    }

    fn check(&self, _account: &Account, command: &Command) -> Vec<Violation> {
        if id(command.resource().as_str()).is_some() {
            return Vec::new();
        }
        let described =
            format!("Revolv3's ids are whole numbers, 1 to {ID_MAX}, written without zeros first");
        vec![Violation::new("subscription_id", described)]
    }

    fn id_marks(&self) -> Option<&'static str> {
        None
    }

    fn form(&self) -> &dyn Envelope {
        self
    }

    fn next(&self, task: &Task<'_>, history: &[Exchange]) -> Step {
        let command = match task.subscription() {
            Ok(command) => command,
            Err(step) => return step,
        };
        let Some((_, set_timing)) = settings(task.account) else {
            return http_status::account_changed(task.command);
        };
        let Some(id) = id(command.subscription_id.as_str()) else {
            return foreign_id(task, history);
        };
        let wanted = match command.when {
            When::Now if set_timing => Some(IMMEDIATE),
            When::PeriodEnd if set_timing => Some(END_OF_CYCLE),
            When::Now | When::PeriodEnd | When::At(_) | When::ProviderDefault => None,
        };
        let talk = Revolv3Api { id, wanted };
        let step = cancel_then_lookup::next(task, command, history, &talk, read_error);
        confess(step, history, wanted)
    }
}

/// The cancel types.
const IMMEDIATE: &str = "Immediate";
const END_OF_CYCLE: &str = "EndOfCycle";

fn settings(account: &Account) -> Option<(Revolv3Auth, bool)> {
    match account.settings {
        ProviderSettings::Revolv3 { auth, set_timing } => Some((auth, set_timing)),
        ProviderSettings::Rebilly { .. }
        | ProviderSettings::Solidgate { .. }
        | ProviderSettings::FunnelFox { .. }
        | ProviderSettings::Sequenzy { .. } => None,
    }
}

/// Parses an id in its only form: a whole number in range, without a sign or leading zeros.
fn id(text: &str) -> Option<u32> {
    let id = text.parse().ok().filter(|id| (1..=ID_MAX).contains(id))?;
    (id.to_string() == text).then_some(id)
}

/// An id that Revolv3 cannot have is rejected before admission. If one is found here, the account
/// was at another provider at that time.
fn foreign_id(task: &Task<'_>, history: &[Exchange]) -> Step {
    let effects = &[CANCEL, SET_TIMING];
    ItemState::new(task, history, effects, read_error).gives_up(
        FailureReason::AccountChanged,
        "subscription_id is no id of Revolv3",
        "restore the account's configuration and send the key again",
        None,
    )
}

/// A cancel type that was set stays set if the cancel fails, so the message of the failure says so.
fn confess(step: Step, history: &[Exchange], wanted: Option<&str>) -> Step {
    let is_set = |exchange: &Exchange| {
        exchange.operation == Some(SET_TIMING) && exchange.class == Class::Accepted
    };
    match (step, wanted) {
        (Step::Done(mut conclusion), Some(wanted)) if history.iter().any(is_set) => {
            if let Some(failure) = &mut conclusion.failure {
                let said = format!("; its cancel type was set to {wanted} and stays so");
                failure.message.push_str(&said);
            }
            Step::Done(conclusion)
        }
        (step, _) => step,
    }
}

struct Revolv3Api {
    id: u32,
    /// The cancel type to set first; `None` to keep the one that is set.
    wanted: Option<&'static str>,
}

impl Revolv3Api {
    fn subscription(&self) -> Path {
        Path::fixed("api/Subscriptions").segment(&self.id.to_string())
    }
}

/// Headers of every request. A body brings its own media type.
fn headers(body: Option<&Body>) -> Vec<(&'static str, String)> {
    let json = || "application/json".to_owned();
    let accept = ("accept", json());
    match body {
        Some(_) => vec![accept],
        None => vec![accept, ("content-type", json())],
    }
}

impl Conversation for Revolv3Api {
    fn cancel(&self) -> Request {
        Request {
            operation: CANCEL,
            safety: Safety::Once,
            pace: Pace::AtOnce,
            method: HttpMethod::Post,
            path: self.subscription().then("cancel"),
            query: Vec::new(),
            headers: headers(None),
            body: None,
        }
    }

    fn look(&self) -> Request {
        Request {
            operation: LOOK,
            safety: Safety::Look,
            pace: Pace::AtOnce,
            method: HttpMethod::Get,
            path: self.subscription(),
            query: Vec::new(),
            headers: headers(None),
            body: None,
        }
    }

    fn read(&self, _operation: Operation, response: &Response) -> Option<Lookup> {
        read(JsonReader(response.json.as_ref()))
    }

    fn refusal(&self, operation: Operation, response: &Response) -> CancelRefusal {
        let what = if operation == SET_TIMING {
            "to set the cancel type"
        } else {
            "the cancel"
        };
        let message = match read_error(response).message {
            Some(said) => format!("Revolv3 refused {what}: {said}"),
            None => format!("Revolv3 refused {what} and did not say why"),
        };
        CancelRefusal::Unclear(FailureReason::ProviderRefused, message)
    }

    fn absence(&self, _response: &Response) -> NotFoundMeaning {
        NotFoundMeaning::UnknownOrEnded(
            "Revolv3 answered 404, which it also does for subscriptions that are not active: it \
             does not exist, or it has ended before; check its id"
                .to_owned(),
        )
    }

    fn plan(&self, found: &Lookup) -> String {
        let set = found.timing.as_deref();
        let first = match (self.before_cancel(found), set, self.wanted) {
            (Some(_), Some(set), Some(wanted)) => {
                format!("its cancel type would be changed from {set} to {wanted} first, then ")
            }
            (Some(_), None, Some(wanted)) => {
                format!("its cancel type would be set to {wanted} first, then ")
            }
            (..) => String::new(),
        };
        let timing = self.wanted.or(set).map(plain);
        let then = match timing.as_deref() {
            Some("immediate") => "a cancel would end it at once (Immediate)",
            Some("endofcycle") => "a cancel would let it run to the end of its cycle (EndOfCycle)",
            Some(_) | None => {
                "a cancel would end it as Revolv3 decides: its cancel type is not said"
            }
        };
        format!("{first}{then}")
    }

    fn looks_first(&self) -> bool {
        self.wanted.is_some()
    }

    /// PATCH with a plain object, as in the update page's examples.
    fn before_cancel(&self, found: &Lookup) -> Option<Request> {
        let wanted = self.wanted?;
        if found.timing.as_deref().map(plain) == Some(plain(wanted)) {
            return None;
        }
        let body = Some(Body {
            content_type: "application/json-patch+json",
            text: json!({ "subscriptionCancelType": wanted }).to_string(),
        });
        Some(Request {
            operation: SET_TIMING,
            safety: Safety::Repeatable,
            pace: Pace::AtOnce,
            method: HttpMethod::Patch,
            path: self.subscription(),
            query: Vec::new(),
            headers: headers(body.as_ref()),
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_form() {
        for (text, read) in [
            ("1", Some(1)),
            ("2232", Some(2232)),
            ("1000000000", Some(1_000_000_000)),
            ("1000000001", None),
            ("99999999999999999999", None),
            ("0", None),
            ("-1", None),
            ("+1", None),
            ("007", None),
            (" 1", None),
            ("1.0", None),
            ("sub_1", None),
            ("", None),
        ] {
            assert_eq!(id(text), read, "{text:?}");
        }
    }
}
