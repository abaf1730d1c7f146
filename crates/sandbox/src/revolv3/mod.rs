//! Revolv3: cancel takes no body; when it takes effect is a stored property of the subscription,
//! changed with PATCH.

mod view;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    CancelType, Options, Seed, Standing, Subscription,
    state::Book,
    variants::{
        Revolv3Already, Revolv3ContentType, Revolv3GetCancelled, Revolv3Variants,
        Revolv3WhilePending,
    },
    wire::{Received, Reply, Verdict, decoded, verdict},
};
use view::{Cancelled, View};

const ID_MAX: i64 = 1_000_000_000;
const BAD_DATA: &str = "Unable to perform the request action with provided data.";
const NO_ENTITY: &str = "Unable to find an entity with the provided data.";

/// Revolv3's data.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) variants: Revolv3Variants,
    pub(super) book: Book,
}

impl Desk {
    pub(super) fn new(options: &Options, variants: Revolv3Variants) -> Self {
        Self {
            variants,
            book: Book::new(options),
        }
    }

    pub(super) fn handle(&mut self, request: &Received, now: Timestamp) -> Reply {
        negotiated(request, self.answer(request, now))
    }

    fn answer(&mut self, request: &Received, now: Timestamp) -> Reply {
        if !authorized(request) {
            let message = "Attempted to perform an unauthorized operation.";
            return error(StatusCode::UNAUTHORIZED, message);
        }
        let segments = request.segments();
        let [api, subscriptions, rest @ ..] = segments.as_slice() else {
            return no_entity();
        };
        if !api.eq_ignore_ascii_case("api") || !subscriptions.eq_ignore_ascii_case("subscriptions")
        {
            return no_entity();
        }
        match rest {
            [] => match request.method {
                Method::GET => self.list(request),
                _ => wrong_method("GET"),
            },
            [id] => match (&request.method, subscription_id(id)) {
                (&Method::GET | &Method::PATCH, None) => invalid_id(id),
                (&Method::GET, Some(id)) => self.get(id, now),
                (&Method::PATCH, Some(id)) => self.patch(id, request, now),
                _ => wrong_method("GET, PATCH"),
            },
            [id, action] if action.eq_ignore_ascii_case("cancel") => {
                match (&request.method, subscription_id(id)) {
                    (&Method::POST, None) => invalid_id(id),
                    (&Method::POST, Some(id)) => self.cancel(id, request, now),
                    _ => wrong_method("POST"),
                }
            }
            _ => no_entity(),
        }
    }

    fn cancel(&mut self, id: i64, request: &Received, now: Timestamp) -> Reply {
        let variants = self.variants;
        match request.content_type() {
            Some(media) if is_json(media) => {}
            None if variants.content_type == Revolv3ContentType::Optional => {}
            _ => return unsupported_media(),
        }
        let Some(subscription) = self.book.touch(&id.to_string(), now, |_| birth(id)) else {
            return no_entity();
        };
        let immediate = subscription.cancel_type == CancelType::Immediate;
        let over = match subscription.standing {
            Standing::Canceled | Standing::Expired => true,
            Standing::Scheduled => {
                !immediate || variants.while_pending == Revolv3WhilePending::Refused
            }
            Standing::Active
            | Standing::Trialing
            | Standing::Paused
            | Standing::Pending
            | Standing::Unpaid
            | Standing::Redemption => false,
        };
        match variants.already {
            _ if !over => {
                let at = if immediate {
                    now
                } else {
                    subscription.period_ends_at
                };
                subscription.cancel(at, None, now);
            }
            Revolv3Already::BadRequest => return error(StatusCode::BAD_REQUEST, BAD_DATA),
            Revolv3Already::NotFound => return no_entity(),
            // Executed again as far as the client knows, so it counts.
            Revolv3Already::OkAgain => subscription.tally.effects += 1,
        }
        Reply::json(StatusCode::OK, &Cancelled::new(id, subscription, variants))
    }

    fn get(&mut self, id: i64, now: Timestamp) -> Reply {
        let variants = self.variants;
        match self.book.look(&id.to_string(), now, |_| birth(id)) {
            Some(of) if !hidden(of, variants) => {
                Reply::json(StatusCode::OK, &View::new(id, of, variants))
            }
            _ => no_entity(),
        }
    }

    fn patch(&mut self, id: i64, request: &Received, now: Timestamp) -> Reply {
        let variants = self.variants;
        let merge = |media: &str| media.eq_ignore_ascii_case("application/json-patch+json");
        if !request
            .content_type()
            .is_some_and(|media| is_json(media) || merge(media))
        {
            return unsupported_media();
        }
        let Ok(Value::Object(body)) = serde_json::from_slice(&request.body) else {
            return error(StatusCode::BAD_REQUEST, BAD_DATA);
        };
        let cancel_type = match body.get("subscriptionCancelType") {
            None | Some(Value::Null) => None,
            Some(value) if value == "Immediate" => Some(CancelType::Immediate),
            Some(value) if value == "EndOfCycle" => Some(CancelType::EndOfCycle),
            Some(value) => return invalid_cancel_type(value),
        };
        let Some(subscription) = self.book.touch(&id.to_string(), now, |_| birth(id)) else {
            return no_entity();
        };
        if hidden(subscription, variants) {
            return no_entity();
        }
        if subscription.standing == Standing::Canceled {
            return error(StatusCode::BAD_REQUEST, BAD_DATA);
        }
        if let Some(cancel_type) = cancel_type
            && cancel_type != subscription.cancel_type
        {
            subscription.cancel_type = cancel_type;
            subscription.updated_at = now;
            subscription.tally.changes += 1;
        }
        Reply::json(StatusCode::OK, &View::new(id, subscription, variants))
    }

    /// All subscriptions, or the one with this merchant reference; 204 if there is none.
    fn list(&self, request: &Received) -> Reply {
        let wanted = request.query("merchantSubscriptionRefId");
        let mut found: Vec<_> = self
            .book
            .iter()
            .filter_map(|(id, of)| Some((id.parse().ok()?, of)))
            .map(|(id, of)| View::new(id, of, self.variants))
            .filter(|view| {
                wanted
                    .as_ref()
                    .is_none_or(|id| *id == view.merchant_subscription_ref_id)
            })
            .collect();
        found.sort_by_key(|view| view.subscription_id);
        if found.is_empty() {
            Reply::empty(StatusCode::NO_CONTENT)
        } else {
            Reply::json(StatusCode::OK, &found)
        }
    }
}

/// A static token, or a legacy bearer, which is a JWT. A token without rights gets 401 too.
fn authorized(request: &Received) -> bool {
    let bearer = request
        .bearer()
        .filter(|token| token.split('.').count() == 3);
    verdict(request.header("x-revolv3-token").or(bearer)) == Verdict::Good
}

fn is_json(media: &str) -> bool {
    ["application/json", "text/json"]
        .iter()
        .any(|json| media.eq_ignore_ascii_case(json))
}

/// The documented bounds of the id in the path.
fn subscription_id(segment: &str) -> Option<i64> {
    decoded(segment)
        .parse()
        .ok()
        .filter(|id| (1..=ID_MAX).contains(id))
}

fn hidden(of: &Subscription, variants: Revolv3Variants) -> bool {
    variants.get_cancelled == Revolv3GetCancelled::NotFound && of.standing == Standing::Canceled
}

/// The body in the media type that the client prefers, of the three documented ones.
fn negotiated(request: &Received, mut reply: Reply) -> Reply {
    if reply.content_type.is_some() {
        let accept = request.header("accept").unwrap_or_default();
        let first = accept.split(',').find_map(|range| {
            match range.split(';').next().unwrap_or_default().trim() {
                "text/plain" => Some("text/plain; charset=utf-8"),
                "text/json" => Some("text/json; charset=utf-8"),
                "application/json" | "application/*" | "*/*" => {
                    Some("application/json; charset=utf-8")
                }
                _ => None,
            }
        });
        reply.content_type = Some(first.unwrap_or("application/json; charset=utf-8"));
    }
    reply
}

/// An error in the `StatusMessageResponse` envelope.
pub(super) fn error(status: StatusCode, message: &str) -> Reply {
    #[derive(Serialize)]
    struct Envelope<'a> {
        message: &'a str,
    }
    Reply::json(status, &Envelope { message })
}

fn no_entity() -> Reply {
    error(StatusCode::NOT_FOUND, NO_ENTITY)
}

fn wrong_method(allow: &'static str) -> Reply {
    error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed.").with("allow", allow)
}

fn unsupported_media() -> Reply {
    error(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "Unsupported media type.",
    )
}

fn invalid_id(id: &str) -> Reply {
    let text = format!("The value '{id}' is not valid.");
    Reply::json(
        StatusCode::BAD_REQUEST,
        &json!({"message": BAD_DATA, "errors": [text]}),
    )
}

fn invalid_cancel_type(value: &Value) -> Reply {
    let failure = json!({
        "propertyName": "SubscriptionCancelType",
        "errorMessage": "The value is not one of: Immediate, EndOfCycle.",
        "attemptedValue": value,
        "severity": "Error",
        "errorCode": "EnumValidator",
    });
    let body = json!({"message": BAD_DATA, "fluentValidatorErrors": [failure]});
    Reply::json(StatusCode::BAD_REQUEST, &body)
}

fn birth(id: i64) -> Option<Seed> {
    let standing = match id / 100_000_000 {
        0 | 1 | 7 | 8 => Standing::Active,
        2 => Standing::Scheduled,
        3 => Standing::Canceled,
        4 => Standing::Unpaid,
        5 => Standing::Expired,
        6 => Standing::Paused,
        _ => return None,
    };
    let end_of_cycle = matches!(id / 100_000_000, 1 | 2);
    let cancel_type = if end_of_cycle {
        CancelType::EndOfCycle
    } else {
        CancelType::Immediate
    };
    Some(Seed {
        standing,
        cancel_type,
        ..Seed::default()
    })
}
