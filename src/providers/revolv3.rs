//! Revolv3: `POST /api/Subscriptions/{id}/cancel`, without a body.
//!
//! Its exceptions, from the endpoint's page and the guides at `docs.revolv3.com`:
//! - When it ends is a property of the subscription, its cancel type. An account may allow to set
//!   it first; else the caller takes what is set.
//! - The status is `subscriptionStatus` in the cancel's answer and `subscriptionStatusType` in
//!   the look's, in varying spellings.
//! - 404 is also said of subscriptions that are not active, and a 400 does not say why: a look
//!   decides.
//! - `Content-Type` is required even where nothing is sent (docs/authentication-security/
//!   required-header: 415 without it).

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::json;

use crate::domain::{
    account::{Account, Auth, Capabilities, DryRun, ProviderSettings, Revolv3Auth, Timing},
    command::{Command, When},
    exchange::{Body, Exchange, Method, Operation, Path, Reply, Request, Response, Safety},
    ids::Kind,
    outcome::{
        FailureReason, ProviderError, SubscriptionDetail, SubscriptionState, SubscriptionStatus,
    },
};

use super::{
    Provider, Step, Task, Violation,
    once::{self, Absence, CANCEL, Conversation, Found, LOOK, Life, Refusal, SET_TIMING},
    reading::Reading,
    standing::{self, Standing},
    status,
};

/// Revolv3.
pub(super) struct Revolv3;

/// Largest id of a subscription (the page's `maximum`).
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

    fn next(&self, task: &Task<'_>, history: &[Exchange]) -> Step {
        let command = match task.subscription() {
            Ok(command) => command,
            Err(step) => return step,
        };
        let Some((_, set_timing)) = settings(task.account) else {
            return status::account_changed(task.command);
        };
        let Some(id) = id(command.subscription_id.as_str()) else {
            return foreign_id(task, history);
        };
        let wanted = match command.when {
            When::Now if set_timing => Some(IMMEDIATE),
            When::PeriodEnd if set_timing => Some(END_OF_CYCLE),
            When::Now | When::PeriodEnd | When::At(_) | When::ProviderDefault => None,
        };
        let talk = Talk { id, wanted };
        let step = once::next(task, command, history, &talk, read_error);
        confess(step, history, wanted)
    }
}

/// Cancel types.
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

/// The id in its only form: a whole number in range, without sign or zeros first.
fn id(text: &str) -> Option<u32> {
    let id = text.parse().ok().filter(|id| (1..=ID_MAX).contains(id))?;
    (id.to_string() == text).then_some(id)
}

/// An id that is none here is refused before it is admitted. If it is met anyway, then the
/// account was at another provider when that was done.
fn foreign_id(task: &Task<'_>, history: &[Exchange]) -> Step {
    let effects = &[CANCEL, SET_TIMING];
    let bearings = history.iter();
    let bearings = bearings.map(|exchange| standing::bearing(exchange, effects));
    Standing::new(task, history, effects, read_error, bearings).gives_up(
        FailureReason::AccountChanged,
        "subscription_id is no id of Revolv3",
        "restore the account's configuration and send the key again",
        None,
    )
}

/// A cancel type that was set stays set if the cancel then fails: says so.
fn confess(step: Step, history: &[Exchange], wanted: Option<&str>) -> Step {
    let is_set = |exchange: &Exchange| {
        let answered =
            matches!(&exchange.reply, Reply::Answered(r) if (200..300).contains(&r.status));
        exchange.operation == Some(SET_TIMING) && answered
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

struct Talk {
    id: u32,
    /// The cancel type to set first.
    wanted: Option<&'static str>,
}

impl Talk {
    fn subscription(&self) -> Path {
        Path::fixed("api/Subscriptions").segment(&self.id.to_string())
    }
}

/// What every call carries; a body brings its own media type.
fn headers(body: Option<&Body>) -> Vec<(&'static str, String)> {
    let json = || "application/json".to_owned();
    let accept = ("accept", json());
    match body {
        Some(_) => vec![accept],
        None => vec![accept, ("content-type", json())],
    }
}

impl Conversation for Talk {
    fn cancel(&self) -> Request {
        Request {
            operation: CANCEL,
            safety: Safety::Once,
            method: Method::Post,
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
            method: Method::Get,
            path: self.subscription(),
            query: Vec::new(),
            headers: headers(None),
            body: None,
        }
    }

    fn read(&self, _operation: Operation, response: &Response) -> Option<Found> {
        read(Reading(response.json.as_ref()))
    }

    fn refusal(&self, operation: Operation, response: &Response) -> Refusal {
        let what = if operation == SET_TIMING {
            "to set the cancel type"
        } else {
            "the cancel"
        };
        let message = match read_error(response).message {
            Some(said) => format!("Revolv3 refused {what}: {said}"),
            None => format!("Revolv3 refused {what} and did not say why"),
        };
        Refusal::Unclear(FailureReason::ProviderRefused, message)
    }

    /// Its envelope's members may all be null; a wrong base URL's answer is no JSON object.
    fn absence(&self, response: &Response) -> Absence {
        if !response
            .json
            .as_ref()
            .is_some_and(serde_json::Value::is_object)
        {
            return Absence::Odd;
        }
        Absence::UnknownOrEnded(
            "Revolv3 answered 404, which it also does for subscriptions that are not active: it \
             does not exist, or it has ended before; check its id"
                .to_owned(),
        )
    }

    fn plan(&self, found: &Found) -> String {
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
        let timing = self.wanted.or(set).map(normal);
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

    /// PATCH with a plain object, as the update page's examples have it.
    fn before_cancel(&self, found: &Found) -> Option<Request> {
        let wanted = self.wanted?;
        if found.timing.as_deref().map(normal) == Some(normal(wanted)) {
            return None;
        }
        let body = Some(Body {
            content_type: "application/json-patch+json",
            text: json!({ "subscriptionCancelType": wanted }).to_string(),
        });
        Some(Request {
            operation: SET_TIMING,
            safety: Safety::Repeatable,
            method: Method::Patch,
            path: self.subscription(),
            query: Vec::new(),
            headers: headers(body.as_ref()),
            body,
        })
    }
}

/// `{message?, errors?, fluentValidatorErrors?}`, each of which may be null.
fn read_error(response: &Response) -> ProviderError {
    let body = Reading(response.json.as_ref());
    let errors = body.at("errors").list().filter_map(Reading::text);
    let said: Vec<_> = body
        .at("message")
        .text()
        .into_iter()
        .chain(errors)
        .collect();
    let said = said.join("; ");
    let failures = || body.at("fluentValidatorErrors").list();
    let fields = failures().map(|failure| {
        let text = |name| status::cut(failure.at(name).text().unwrap_or_default());
        (text("propertyName"), text("errorMessage"))
    });
    let code = failures().find_map(|failure| failure.at("errorCode").id());
    let message = Some(said.as_str()).filter(|said| !said.is_empty());
    status::provider_error(response, code, message, fields.collect())
}

/// Reads a subscription, as the cancel's answer or the look's has it.
fn read(body: Reading<'_>) -> Option<Found> {
    let word = body.at("subscriptionStatus").text();
    let word = word.or_else(|| body.at("subscriptionStatusType").text())?;
    let (life, status) = match normal(word).as_str() {
        "cancelled" | "canceled" => (Life::Ended, SubscriptionStatus::Canceled),
        "pendingcancellation" => (Life::Ending, SubscriptionStatus::Scheduled),
        "current" => (Life::Running, SubscriptionStatus::Active),
        "recycle" | "recycled" => (Life::Running, SubscriptionStatus::PastDue),
        _ => (Life::Unknown, SubscriptionStatus::Unknown),
    };
    let canceled_at = body.at("cancelledAt").time();
    let period_end = body.at("nextBillDate").text().and_then(bill_date);
    // What `cancelledAt` means while the end is pending is not documented: it is no end then.
    let effective_at = match life {
        Life::Ended => canceled_at,
        Life::Ending => period_end,
        Life::Running | Life::Unknown => None,
    };
    let state = SubscriptionState {
        status,
        provider_status: status::cut(word),
        period_end,
        canceled_at,
        customer_id: body.at("customerId").id(),
        ..SubscriptionState::default()
    };
    let timing = body.at("subscriptionCancelType").text().map(status::cut);
    let detail = SubscriptionDetail {
        effective_at,
        state: Some(state),
        charges: None,
    };
    Some(Found {
        life,
        detail,
        timing,
    })
}

/// A word without its case and spaces, which vary.
fn normal(word: &str) -> String {
    let letters = word.chars().filter(|c| !c.is_whitespace());
    letters.flat_map(char::to_lowercase).collect()
}

/// A date of billing: a full time, or a day such as `08-Oct-25` or `2025-10-08`, which stands for
/// its beginning in UTC. All else, such as `08/10/25`, can be read in several ways.
fn bill_date(text: &str) -> Option<Timestamp> {
    if let Some(time) = status::time(text) {
        return Some(time);
    }
    let (digits, format) = match text.len() {
        9 => (text.get(7..)?, "%d-%b-%y"),
        10 => (text.get(..4)?, "%Y-%m-%d"),
        11 => (text.get(7..)?, "%d-%b-%Y"),
        _ => return None,
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let day = Date::strptime(format, text).ok()?;
    Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
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

    #[test]
    fn a_bill_date_is_read_only_where_it_has_one_reading() {
        for (text, read) in [
            ("08-Oct-25", Some("2025-10-08T00:00:00Z")),
            ("08-Oct-2025", Some("2025-10-08T00:00:00Z")),
            ("2025-10-08", Some("2025-10-08T00:00:00Z")),
            (
                "2025-10-08T10:00:00.1234567Z",
                Some("2025-10-08T10:00:00.1234567Z"),
            ),
            ("2025-10-08T10:00:00", None),
            ("08/10/25", None),
            ("08-10-25", None),
            ("10-08-2025", None),
            ("31-Feb-25", None),
            ("ü-Oct-25", None),
            ("", None),
        ] {
            let expected = read.map(|time| time.parse().unwrap());
            assert_eq!(bill_date(text), expected, "{text:?}");
        }
    }
}
