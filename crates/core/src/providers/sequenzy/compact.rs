//! Shrinks the replies that a drain keeps: a thousand replies of a megabyte each become some
//! hundred kilobytes of counts and names.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value, json};

use crate::{
    domain::{
        http_exchange::{Class, Exchange, Operation, Reply, Response},
        outcome::Enrollment,
    },
    limits,
};

use super::{
    CANCEL, LIST,
    wire::{Call, read_error},
};

/// Bytes up to which a body is not shrunk.
const BODY_BYTES_SMALL: usize = 512;
/// Headers that a later step may need.
const HEADERS_KEPT: [&str; 3] = ["date", "retry-after", "retry-after-ms"];

/// Replaces every reply that no outcome can quote by a small equivalent. Lists of enrollments are
/// kept: there are few, and none while a drain goes on.
pub(super) fn compact(history: &mut [Exchange]) {
    let spared = spared(history);
    let live = history.iter().any(is_live);
    let mut kept = Kept::default();
    for (index, exchange) in history.iter_mut().enumerate() {
        let small = match (exchange.operation, &exchange.reply) {
            (Some(operation), Reply::Answered(response)) if operation != LIST => {
                small(&mut kept, exchange, operation, response, live)
            }
            _ => None,
        };
        if let Some(response) = small
            && !spared.contains(&Some(index))
        {
            exchange.reply = Reply::Answered(Arc::new(response));
        }
    }
}

/// The replies that an outcome may quote: the last of all, the last with counts, and those of the
/// last cancel and of the last cancel whose reply was lost.
fn spared(history: &[Exchange]) -> [Option<usize>; 4] {
    let last = |is: fn(&Exchange) -> bool| history.iter().rposition(is);
    [
        history.len().checked_sub(1),
        last(|exchange| Call::read(exchange).is_some()),
        last(|exchange| exchange.operation == Some(CANCEL)),
        last(|exchange| exchange.operation == Some(CANCEL) && exchange.class == Class::Lost),
    ]
}

/// What earlier replies in the history already have.
#[derive(Default)]
struct Kept {
    enrollments: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

impl Kept {
    /// Whether an enrollment is the first with its id, and a result has room for it.
    fn is_new(&mut self, enrollment: &Enrollment) -> bool {
        self.enrollments.len() < limits::ENROLLMENTS_LISTED_MAX
            && self.enrollments.insert(enrollment.enrollment_id.clone())
    }

    fn is_unknown_anew(&mut self, id: &str) -> bool {
        self.unknown.len() < limits::TARGET_VALUES_MAX && self.unknown.insert(id.to_owned())
    }
}

/// Whether it is a cancel call with counts: a result then shows its sample instead of a count's.
fn is_live(exchange: &Exchange) -> bool {
    exchange.operation == Some(CANCEL) && Call::read(exchange).is_some()
}

/// The small equivalent of a reply; `None` if the reply is small.
fn small(
    kept: &mut Kept,
    exchange: &Exchange,
    operation: Operation,
    response: &Response,
    live: bool,
) -> Option<Response> {
    let call = Call::read(exchange);
    let shown = call
        .iter()
        .filter(|_| !live || operation == CANCEL)
        .flat_map(Call::enrollments);
    let enrollments: Vec<_> = shown.filter(|enrollment| kept.is_new(enrollment)).collect();
    let unknown = call.iter().flat_map(Call::unknown_subscriber_ids);
    let unknown: Vec<_> = unknown.filter(|id| kept.is_unknown_anew(id)).collect();
    let headers = response.headers.iter();
    let headers: Vec<_> = headers
        .filter(|(name, _)| HEADERS_KEPT.contains(&name.as_str()))
        .cloned()
        .collect();
    if response.text.len() <= BODY_BYTES_SMALL && headers.len() == response.headers.len() {
        return None;
    }
    let text = match call {
        _ if response.text.len() <= BODY_BYTES_SMALL => response.text.clone(),
        Some(call) => success(&call, &enrollments, &unknown).to_string(),
        None if response.json.is_some() => error(response).to_string(),
        None => read_error(response).message.unwrap_or_default(),
    };
    let is_smaller = text.len() < response.text.len() || headers.len() < response.headers.len();
    is_smaller.then(|| Response::new(response.status, headers, text))
}

fn success(call: &Call<'_>, enrollments: &[Enrollment], unknown: &[String]) -> Value {
    let rows = enrollments.iter().map(|enrollment| {
        json!({
            "tokenId": enrollment.enrollment_id,
            "subscriberId": enrollment.subscriber_id,
            "subscriberEmail": enrollment.subscriber_email,
            "status": enrollment.status,
            "enrollmentKey": enrollment.enrollment_key,
        })
    });
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    set("success", json!(true));
    set("matchedCount", json!(call.matched));
    set("cancelledCount", json!(call.canceled));
    set("remainingCount", json!(call.remaining));
    set("hasMore", json!(call.has_more()));
    if let Some(dry) = call.dry {
        set("dryRun", json!(dry));
    }
    if !enrollments.is_empty() {
        set("enrollments", rows.collect());
    }
    if !unknown.is_empty() {
        set("target", json!({"notFoundSubscriberIds": unknown}));
    }
    Value::Object(body)
}

/// The part of an error that a result shows.
fn error(response: &Response) -> Value {
    let said = read_error(response);
    let details: Map<_, _> = said
        .fields
        .into_iter()
        .map(|(name, text)| (name, json!(text)))
        .collect();
    json!({"success": false, "error": {"code": said.code, "message": said.message},
        "details": details})
}
