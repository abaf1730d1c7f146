//! Solidgate v2: every operation is a POST, errors have a machine-readable code, and an idempotency
//! key replays the first reply.

mod view;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Options, Seed, Standing, Subscription,
    state::{Book, shift},
    variants::{
        SolidgateIdempotency, SolidgateNextTryAt, SolidgateNowWhileScheduled, SolidgateVariants,
    },
    wire::{Received, Reply, Stamp, Verdict, verdict},
};
use view::View;

const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// How many first replies are kept; the oldest are dropped.
const IDEMPOTENCY_KEYS_MAX: usize = 500_000;

/// Solidgate's data.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) variants: SolidgateVariants,
    pub(super) book: Book,
    answered: HashMap<Box<str>, First>,
    answered_order: VecDeque<Box<str>>,
}

/// The first reply of an idempotency key. Not the rendered reply, which is ten times as big: the
/// subscription of that time renders to the same bytes.
#[derive(Debug)]
struct First {
    body_hash: u64,
    answer: Answer,
}

#[derive(Clone, Debug)]
enum Answer {
    Done {
        id: Box<str>,
        subscription: Box<Subscription>,
    },
    NotFound,
    Conflict(&'static str),
}

impl Desk {
    pub(super) fn new(options: &Options, variants: SolidgateVariants) -> Self {
        Self {
            variants,
            book: Book::new(options),
            answered: HashMap::new(),
            answered_order: VecDeque::new(),
        }
    }

    pub(super) fn handle(&mut self, request: &Received, now: Timestamp) -> Reply {
        let segments = request.segments();
        let cancel = match segments.as_slice() {
            ["v2", "subscriptions", "cancel"] => true,
            ["v2", "subscriptions", "get"] => false,
            _ => return not_found(),
        };
        if request.method != Method::POST {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return error(status, "METHOD_NOT_ALLOWED", "Method is not allowed")
                .with("allow", "POST");
        }
        let token = request.bearer().unwrap_or_default();
        match verdict(Some(token)) {
            Verdict::Good => {}
            Verdict::Invalid => {
                let message = "Credentials are invalid or missing";
                return error(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message);
            }
            Verdict::Forbidden => {
                return error(
                    StatusCode::FORBIDDEN,
                    "PERMISSION_DENIED",
                    "Permission denied",
                );
            }
        }
        if cancel {
            self.cancel(request, token, now)
        } else {
            self.get(request, token, now)
        }
    }

    fn get(&mut self, request: &Received, token: &str, now: Timestamp) -> Reply {
        let mut constraints = Constraints::default();
        let body = constraints.object(&request.body);
        let id = constraints.id(&body);
        constraints.channel(&body, token);
        if let Some(refusal) = constraints.refusal() {
            return refusal;
        }
        match self.book.look(id, now, birth) {
            Some(subscription) => Reply::json(StatusCode::OK, &View::new(id, subscription)),
            None => not_found(),
        }
    }

    fn cancel(&mut self, request: &Received, token: &str, now: Timestamp) -> Reply {
        let key = request.headers.get("idempotency-key");
        if key.is_some_and(|key| !valid_key(key.as_bytes())) {
            let mut constraints = Constraints::default();
            constraints.add(
                "Idempotency-Key",
                "FORMAT",
                "must be 1 to 255 printable characters",
            );
            return constraints.reply();
        }
        let mut constraints = Constraints::default();
        let body = constraints.object(&request.body);
        let id = constraints.id(&body);
        let mode = constraints.mode(&body);
        let comment = constraints.text(&body, "comment");
        constraints.channel(&body, token);
        if let Some(refusal) = constraints.refusal() {
            return refusal;
        }
        let execute = |desk: &mut Self| desk.execute(id, mode, comment, now);
        let Some(key) = key.and_then(|key| key.to_str().ok()) else {
            return execute(self).reply();
        };
        if self.variants.idempotency == SolidgateIdempotency::Ignored {
            return execute(self).reply().with("idempotency-status", "ignored");
        }
        // A key's scope is the account and the endpoint; only one endpoint uses keys.
        let scoped = format!("{token} {key}");
        let mut hasher = DefaultHasher::new();
        request.body.hash(&mut hasher);
        let body_hash = hasher.finish();
        match self.answered.get(scoped.as_str()) {
            Some(first) if first.body_hash == body_hash => first.answer.clone().reply(),
            Some(_) => error(
                StatusCode::UNPROCESSABLE_ENTITY,
                "IDEMPOTENCY_KEY_REUSED",
                "The idempotency key was used with a different request body",
            ),
            None => {
                let answer = execute(self);
                self.remember(
                    scoped.into(),
                    First {
                        body_hash,
                        answer: answer.clone(),
                    },
                );
                answer.reply()
            }
        }
    }

    fn remember(&mut self, key: Box<str>, first: First) {
        if self.answered_order.len() >= IDEMPOTENCY_KEYS_MAX
            && let Some(oldest) = self.answered_order.pop_front()
        {
            self.answered.remove(&oldest);
        }
        self.answered_order.push_back(key.clone());
        self.answered.insert(key, first);
    }

    fn execute(&mut self, id: &str, mode: Mode, comment: Option<&str>, now: Timestamp) -> Answer {
        let Some(subscription) = self.book.touch(id, now, birth) else {
            return Answer::NotFound;
        };
        match subscription.standing {
            Standing::Canceled | Standing::Expired | Standing::Pending => {
                return Answer::Conflict("INCOMPATIBLE_STATUS");
            }
            Standing::Scheduled => {
                let upgrade = self.variants.now_while_scheduled;
                if mode == Mode::PeriodEnd || upgrade == SolidgateNowWhileScheduled::Refused {
                    return Answer::Conflict("SCHEDULED_FOR_CANCELLATION");
                }
            }
            Standing::Active
            | Standing::Trialing
            | Standing::Paused
            | Standing::Unpaid
            | Standing::Redemption => {}
        }
        let at = match mode {
            Mode::Now => now,
            Mode::PeriodEnd => subscription.period_ends_at,
        };
        subscription.cancel(at, comment, now);
        Answer::Done {
            id: id.into(),
            subscription: Box::new(subscription.clone()),
        }
    }

    pub(super) fn throttled(&self, retry_after: Duration, now: Timestamp) -> Reply {
        let by = SignedDuration::try_from(retry_after).unwrap_or(SignedDuration::ZERO);
        let next_try_at = Stamp::<6>(shift(now, by));
        let mut body = json!({"code": "RATE_LIMIT", "message": "Rate limit exhausted"});
        if self.variants.next_try_at == SolidgateNextTryAt::Present
            && let Some(body) = body.as_object_mut()
        {
            body.insert("context".to_owned(), json!({"next_try_at": next_try_at}));
        }
        Reply::json(StatusCode::TOO_MANY_REQUESTS, &body)
    }
}

impl Answer {
    fn reply(self) -> Reply {
        match self {
            Self::Done { id, subscription } => {
                Reply::json(StatusCode::OK, &View::new(&id, &subscription))
            }
            Self::NotFound => not_found(),
            Self::Conflict(code) => error(
                StatusCode::UNPROCESSABLE_ENTITY,
                code,
                "The request conflicts with the current state",
            ),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Now,
    PeriodEnd,
}

fn valid_key(key: &[u8]) -> bool {
    (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic)
}

/// The violated constraints of a request body, keyed by field.
#[derive(Debug, Default)]
struct Constraints(BTreeMap<&'static str, Constraint>);

#[derive(Debug, Serialize)]
struct Constraint {
    r#type: &'static str,
    message: String,
}

impl Constraints {
    fn add(&mut self, field: &'static str, kind: &'static str, rule: &str) {
        let message = format!("The '{field}' field {rule}");
        self.0.insert(
            field,
            Constraint {
                r#type: kind,
                message,
            },
        );
    }

    fn object(&mut self, body: &[u8]) -> Map<String, Value> {
        let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
            self.add("body", "TYPE", "must be a JSON object");
            return Map::new();
        };
        body
    }

    fn text<'a>(&mut self, body: &'a Map<String, Value>, field: &'static str) -> Option<&'a str> {
        match body.get(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                self.add(field, "TYPE", "must be a string");
                None
            }
        }
    }

    fn required<'a>(&mut self, body: &'a Map<String, Value>, field: &'static str) -> &'a str {
        let text = self.text(body, field).unwrap_or_default();
        if text.is_empty() && !self.0.contains_key(field) {
            self.add(field, "REQUIRED", "is required");
        }
        text
    }

    fn id<'a>(&mut self, body: &'a Map<String, Value>) -> &'a str {
        self.required(body, "id")
    }

    fn mode(&mut self, body: &Map<String, Value>) -> Mode {
        match self.required(body, "mode") {
            "PERIOD_END" => Mode::PeriodEnd,
            "NOW" => Mode::Now,
            other => {
                if !other.is_empty() {
                    self.add("mode", "CHOICE", "must be one of NOW, PERIOD_END");
                }
                Mode::Now
            }
        }
    }

    fn channel(&mut self, body: &Map<String, Value>, token: &str) {
        let channel = self.text(body, "channel_id");
        if token.contains("multichannel") && channel.is_none_or(str::is_empty) {
            self.add(
                "channel_id",
                "REQUIRED",
                "is required for multi-channel API keys",
            );
        }
    }

    fn refusal(&self) -> Option<Reply> {
        (!self.0.is_empty()).then(|| self.reply())
    }

    fn reply(&self) -> Reply {
        let body = json!({
            "code": "VALIDATION",
            "message": "One or more fields failed validation due to constraints",
            "context": {"constraints": self.0},
        });
        Reply::json(StatusCode::BAD_REQUEST, &body)
    }
}

/// An error in the v2 envelope.
pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Reply {
    #[derive(Serialize)]
    struct Envelope<'a> {
        code: &'a str,
        message: &'a str,
    }
    Reply::json(status, &Envelope { code, message })
}

fn not_found() -> Reply {
    error(
        StatusCode::NOT_FOUND,
        "NOT_FOUND",
        "The requested resource could not be found",
    )
}

fn birth(id: &str) -> Option<Seed> {
    let standing = Standing::of_id(id)?;
    Some(Seed {
        standing,
        ..Seed::default()
    })
}
