//! Revolv3 replies: their format, and tolerant reading of subscriptions and errors.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::Value;

use crate::{
    domain::{
        http_exchange::{Operation, Response},
        outcome::{ProviderError, SubscriptionDetail, SubscriptionState, SubscriptionStatus},
    },
    providers::{
        Envelope, Sight, Task,
        cancel_then_lookup::{self, CANCEL, LOOK, Lookup, Phase, SET_TIMING},
        reply::{
            answer_subject::CancelCause,
            http_status,
            json::{self, JsonReader, plain},
        },
    },
};

use super::Revolv3;

/// `{message?, errors?, fluentValidatorErrors?}` in an error, each of which may be null;
/// `subscriptionId` and a status in a subscription.
impl Envelope for Revolv3 {
    fn is_error(&self, response: &Response) -> bool {
        let Some(body) = response.json.as_ref() else {
            return false;
        };
        let is = |name: &str, is: fn(&Value) -> bool| {
            body.get(name).map(|value| value.is_null() || is(value))
        };
        // ASP.NET's own error format has an object in `errors`.
        let members = [
            is("message", Value::is_string),
            is("errors", Value::is_array),
            is("fluentValidatorErrors", Value::is_array),
        ];
        members.contains(&Some(true)) && !members.contains(&Some(false))
    }

    fn documents(&self, operation: Operation, response: &Response) -> bool {
        match operation {
            LOOK => response.status == 404,
            _ => matches!(response.status, 400 | 404),
        }
    }

    fn names(&self, task: &Task<'_>, _operation: Operation) -> Vec<(&'static str, String)> {
        vec![(
            "subscriptionId",
            task.command.resource().as_str().to_owned(),
        )]
    }

    /// The reply to a change of timing is not documented: any object is accepted.
    fn shows(&self, task: &Task<'_>, operation: Operation, response: &Response) -> Sight {
        let Some(body) = response.json.as_ref().filter(|body| body.is_object()) else {
            return Sight::Nothing;
        };
        let found = read(JsonReader(Some(body)));
        let is_said = MEMBERS.iter().any(|member| body.get(member).is_some());
        match operation {
            SET_TIMING if self.is_error(response) => Sight::Nothing,
            SET_TIMING => Sight::Odd,
            CANCEL if found.is_none() && is_said => Sight::Odd,
            _ => cancel_then_lookup::sight(task, found),
        }
    }

    fn looks(&self) -> &'static [Operation] {
        &[LOOK]
    }

    fn is_sent_once(&self) -> bool {
        true
    }

    fn is_message_only(&self) -> bool {
        true
    }
}

/// Members of the reply to a cancel, all optional.
const MEMBERS: [&str; 4] = [
    "subscriptionId",
    "customerId",
    "subscriptionStatus",
    "cancelledAt",
];

/// `{message?, errors?, fluentValidatorErrors?}`, each of which may be null.
pub(super) fn read_error(response: &Response) -> ProviderError {
    let body = JsonReader(response.json.as_ref());
    let errors = body.at("errors").list().filter_map(JsonReader::text);
    let said: Vec<_> = body
        .at("message")
        .text()
        .into_iter()
        .chain(errors)
        .collect();
    let said = said.join("; ");
    let failures = || body.at("fluentValidatorErrors").list();
    let fields = failures().map(|failure| {
        let text = |name| http_status::cut(failure.at(name).text().unwrap_or_default());
        (text("propertyName"), text("errorMessage"))
    });
    let code = failures().find_map(|failure| failure.at("errorCode").id());
    let message = Some(said.as_str()).filter(|said| !said.is_empty());
    http_status::provider_error(response, code, message, fields.collect())
}

/// Reads a subscription from the reply to a cancel or a lookup.
pub(super) fn read(body: JsonReader<'_>) -> Option<Lookup> {
    let word = body.at("subscriptionStatus").text();
    let word = word.or_else(|| body.at("subscriptionStatusType").text())?;
    let (life, status) = match plain(word).as_str() {
        "canceled" => (Phase::Ended, SubscriptionStatus::Canceled),
        "pendingcancellation" => (Phase::Ending, SubscriptionStatus::Scheduled),
        "current" => (Phase::Running, SubscriptionStatus::Active),
        "recycle" | "recycled" => (Phase::Running, SubscriptionStatus::PastDue),
        _ => (Phase::Unknown, SubscriptionStatus::Unknown),
    };
    let canceled_at = body.at("cancelledAt").time();
    let period_end = body.at("nextBillDate").text().and_then(bill_date);
    // The meaning of `cancelledAt` before the end is not documented, so it is not taken as the end.
    let effective_at = match life {
        Phase::Ended => canceled_at,
        Phase::Ending => period_end,
        Phase::Running | Phase::Unknown => None,
    };
    let state = SubscriptionState {
        status,
        provider_status: http_status::cut(word),
        period_end,
        canceled_at,
        customer_id: body.at("customerId").id(),
        ..SubscriptionState::default()
    };
    let timing = body
        .at("subscriptionCancelType")
        .text()
        .map(http_status::cut);
    let detail = SubscriptionDetail {
        effective_at,
        state: Some(state),
        charges: None,
    };
    Some(Lookup {
        life,
        detail,
        timing,
        with_period: true,
        cause: CancelCause::Asked(canceled_at),
    })
}

/// Parses a billing date: a full time, or a day such as `08-Oct-25` or `2025-10-08`, which means
/// its start in UTC. Ambiguous formats, such as `08/10/25`, are not read.
fn bill_date(text: &str) -> Option<Timestamp> {
    if let Some(time) = json::time(text) {
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
    json::plausible(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

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
