//! Sequenzy bodies: calls, and tolerant reading of replies and of all error formats seen.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{
    domain::{
        command::{EnrollmentsCommand, EnrollmentsTarget},
        http_exchange::{Exchange, Operation, Response},
        outcome::{Enrollment, EnrollmentsDetail, ProviderError},
    },
    limits,
    providers::reply::{
        http_status::{self, StatusMeaning, verdict},
        json::{self, JsonReader},
    },
};

use super::{CANCEL, COUNT};

/// What a reply says of itself, whatever its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// A success.
    Success,
    /// An error.
    Error,
    /// Neither: it is not Sequenzy's.
    Nothing,
}

impl Says {
    pub(super) fn read(response: &Response) -> Self {
        let body = JsonReader(response.json.as_ref());
        let success = match body.at("success").0 {
            Some(Value::Bool(flag)) => Some(*flag),
            Some(Value::Number(number)) => Some(number.as_f64() != Some(0.0)),
            Some(Value::String(word)) => match json::plain(word).as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => None,
        };
        match (success, body.at("error").0) {
            (Some(true), _) => Self::Success,
            (Some(false), _) | (None, Some(Value::String(_) | Value::Object(_))) => Self::Error,
            (None, _) => Self::Nothing,
        }
    }
}

/// The counts of a reply to a call.
pub(super) struct Call<'a> {
    pub(super) operation: Operation,
    pub(super) body: JsonReader<'a>,
    pub(super) response: &'a Response,
    pub(super) matched: u64,
    pub(super) canceled: u64,
    pub(super) remaining: u64,
    /// Whether the reply calls itself a dry run.
    pub(super) dry: Option<bool>,
}

impl<'a> Call<'a> {
    /// Reads a success; `None` for all else, and if the counts are absent.
    pub(super) fn read(exchange: &'a Exchange) -> Option<Self> {
        let StatusMeaning::Success(response) = verdict(exchange) else {
            return None;
        };
        Self::counts(exchange.operation?, response)
    }

    /// Reads the counts of a reply to this operation, if they are there.
    pub(super) fn counts(operation: Operation, response: &'a Response) -> Option<Self> {
        if ![COUNT, CANCEL].contains(&operation) {
            return None;
        }
        let body = JsonReader(response.json.as_ref());
        let matched = body.at("matchedCount").count()?;
        let canceled = match body.at("cancelledCount").count() {
            None if operation == COUNT => 0,
            canceled => canceled?,
        };
        let remaining = body.at("remainingCount").count();
        Some(Self {
            operation,
            body,
            response,
            matched,
            canceled,
            // Older versions do not send it.
            remaining: remaining.unwrap_or_else(|| matched.saturating_sub(canceled)),
            dry: body.at("dryRun").flag(),
        })
    }

    /// The sample of enrollments.
    pub(super) fn enrollments(&self) -> impl Iterator<Item = Enrollment> {
        self.body.at("enrollments").list().filter_map(enrollment)
    }

    /// Whether the sample is incomplete.
    pub(super) fn has_more(&self) -> bool {
        self.body.at("hasMore").flag() == Some(true)
    }

    /// The subscribers that Sequenzy reports as unknown.
    pub(super) fn unknown_subscriber_ids(&self) -> impl Iterator<Item = String> {
        let unknown = self.body.at("target").at("notFoundSubscriberIds");
        unknown
            .list()
            .filter_map(JsonReader::id)
            .map(|id| http_status::cut(&id))
    }
}

pub(super) fn body(command: &EnrollmentsCommand, dry: bool) -> Value {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    match &command.target {
        EnrollmentsTarget::Subscriber(id) => {
            set("subscriberId", json!(id));
        }
        EnrollmentsTarget::Subscribers(ids) => {
            set("subscriberIds", json!(ids));
        }
        EnrollmentsTarget::Field { path, values } => {
            // Without a path, Sequenzy uses the sequence's own field.
            if let Some(path) = path {
                set("fieldPath", json!(path));
            }
            set("fieldValues", json!(values));
        }
        EnrollmentsTarget::All => {
            set("cancelAll", json!(true));
        }
    }
    set("dryRun", json!(dry));
    if let Some(reason) = &command.reason {
        set("reason", json!(reason));
    }
    Value::Object(body)
}

/// The detail from all calls.
pub(super) fn detail(calls: &[Call<'_>]) -> EnrollmentsDetail {
    let canceled = calls
        .iter()
        .fold(0_u64, |sum, call| sum.saturating_add(call.canceled));
    // A count's sample shows earlier states, so it is only used if nothing was cancelled.
    let live = calls.iter().any(|call| call.operation == CANCEL);
    let shown = calls
        .iter()
        .filter(|call| !live || call.operation == CANCEL);
    let mut seen = BTreeSet::new();
    let enrollments: Vec<_> = shown
        .clone()
        .flat_map(Call::enrollments)
        .filter(|enrollment| seen.insert(enrollment.enrollment_id.clone()))
        .take(limits::ENROLLMENTS_LISTED_MAX)
        .collect();
    let matched = calls.first().map_or(0, |call| call.matched);
    let listed = u64::try_from(enrollments.len()).unwrap_or(u64::MAX);
    EnrollmentsDetail {
        matched,
        canceled,
        remaining: calls.last().map_or(0, |call| call.remaining),
        truncated: matched > listed || shown.clone().any(Call::has_more),
        enrollments,
        unknown_subscriber_ids: unknown_subscriber_ids(calls).into_iter().collect(),
    }
}

/// An enrollment of a sample. Its texts are cut, so that a thousand of them are bounded.
fn enrollment(body: JsonReader<'_>) -> Option<Enrollment> {
    let text = |name| http_status::cut(body.at(name).text().unwrap_or_default());
    Some(Enrollment {
        enrollment_id: http_status::cut(&body.at("tokenId").id()?),
        subscriber_id: http_status::cut(&body.at("subscriberId").id().unwrap_or_default()),
        subscriber_email: text("subscriberEmail"),
        status: text("status"),
        enrollment_key: text("enrollmentKey"),
    })
}

/// The subscribers that any call did not know, at most as many as a target can name.
pub(super) fn unknown_subscriber_ids(calls: &[Call<'_>]) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for id in calls.iter().flat_map(Call::unknown_subscriber_ids) {
        if ids.len() < limits::TARGET_VALUES_MAX {
            ids.insert(id);
        }
    }
    ids
}

/// Reads an error in all formats seen: `{"error": text}`, the richer one with `code`, `title`,
/// `description`, `resolution`, `docsUrl` and `details`, `{"error": {"code", "message"}}`, and
/// `{"message"}`.
pub(super) fn read_error(response: &Response) -> ProviderError {
    let body = JsonReader(response.json.as_ref());
    let error = body.at("error");
    let code = error.at("code").id().or_else(|| body.at("code").id());
    let said = [
        error.text(),
        error.at("message").text(),
        body.at("message").text(),
        body.at("title").text(),
    ];
    let more = ["description", "resolution", "docsUrl"].map(|name| body.at(name).text());
    let mut parts: Vec<&str> = Vec::new();
    for part in said
        .into_iter()
        .flatten()
        .take(1)
        .chain(more.into_iter().flatten())
    {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    let message = (!parts.is_empty()).then(|| parts.join(" | "));
    let details = body.at("details").0.and_then(Value::as_object);
    let fields = details.into_iter().flatten().map(|(name, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        (http_status::cut(name), http_status::cut(&text))
    });
    let fields = fields.take(limits::LINE_ITEMS_MAX).collect();
    http_status::provider_error(response, code, message.as_deref(), fields)
}
