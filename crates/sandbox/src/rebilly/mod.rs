//! Rebilly: subscription cancellations as resources, with drafts, client-chosen ids and churn
//! times.

mod cancellation;
mod input;
mod order;
mod problem;

use std::collections::HashMap;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use super::{
    Options, Seed, Standing, Subscription,
    faults::Quota,
    state::{Book, shift},
    variants::{RebillyAlready, RebillyImmediate, RebillyPutCompleted, RebillyVariants},
    wire::{Received, Reply, Verdict, decoded, verdict},
};
use cancellation::{Cancellation, State};
use input::{Input, InvalidField};
use order::Order;

/// The documented limit of the provider's own sandbox for requests other than GET, per 10 minutes.
const DOCUMENTED_LIMIT: u32 = 3_000;
const ID_CHARS_MAX: usize = 50;
const PAGE_ITEMS_MAX: usize = 1_000;

/// Rebilly's data.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) variants: RebillyVariants,
    pub(super) book: Book,
    cancellations: HashMap<Box<str>, Cancellation>,
    /// The cancellations of each subscription, oldest first.
    by_subscription: HashMap<Box<str>, Vec<Box<str>>>,
    serial: u64,
}

impl Desk {
    pub(super) fn new(options: &Options, variants: RebillyVariants) -> Self {
        Self {
            variants,
            book: Book::new(options),
            cancellations: HashMap::new(),
            by_subscription: HashMap::new(),
            serial: 0,
        }
    }

    pub(super) fn handle(
        &mut self,
        request: &Received,
        quota: Option<Quota>,
        now: Timestamp,
    ) -> Reply {
        let quota = quota.unwrap_or(Quota {
            limit: DOCUMENTED_LIMIT,
            remaining: DOCUMENTED_LIMIT - 1,
        });
        self.authorized(request)
            .unwrap_or_else(|| self.route(request, now))
            .with("x-ratelimit-limit", quota.limit)
            .with("x-ratelimit-remaining", quota.remaining)
    }

    /// The rejection of a bad credential.
    fn authorized(&self, request: &Received) -> Option<Reply> {
        match verdict(request.header("reb-apikey").or_else(|| request.bearer())) {
            Verdict::Good => None,
            Verdict::Invalid => Some(self.problem(
                StatusCode::UNAUTHORIZED,
                "The request lacks valid authentication credentials",
            )),
            Verdict::Forbidden => Some(self.problem(
                StatusCode::FORBIDDEN,
                "The credentials do not allow access to this resource",
            )),
        }
    }

    fn route(&mut self, request: &Received, now: Timestamp) -> Reply {
        let segments = request.segments();
        // A path without an organization means the key's default one.
        let resource = match segments.as_slice() {
            ["organizations", organization, rest @ ..] if !organization.is_empty() => rest,
            rest => rest,
        };
        match resource {
            ["subscription-cancellations"] => match request.method {
                Method::GET => self.list(request, now),
                Method::POST => self.post(request, now),
                _ => self.wrong_method("GET, POST"),
            },
            ["subscription-cancellations", id] if !id.is_empty() => {
                let id = decoded(id);
                match request.method {
                    Method::GET => self.look(&id, now),
                    Method::PUT => self.put(&id, request, now),
                    Method::PATCH => self.patch(&id, request, now),
                    Method::DELETE => self.delete(&id, now),
                    _ => self.wrong_method("GET, PUT, PATCH, DELETE"),
                }
            }
            ["subscriptions", id] if !id.is_empty() => match request.method {
                Method::GET => self.subscription(&decoded(id), now),
                _ => self.wrong_method("GET"),
            },
            _ => self.problem(
                StatusCode::NOT_FOUND,
                "The requested resource was not found",
            ),
        }
    }

    fn post(&mut self, request: &Received, now: Timestamp) -> Reply {
        let input = match input::parse(&request.body) {
            Ok(input) => input,
            Err(invalid) => return self.invalid(invalid),
        };
        let id = format!("cancellation_{:016}", self.serial + 1);
        self.create(&id, &input, request, now)
    }

    fn put(&mut self, id: &str, request: &Received, now: Timestamp) -> Reply {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "@~-._".contains(c);
        if id.chars().count() > ID_CHARS_MAX || !id.chars().all(allowed) {
            return self.invalid(vec![InvalidField::new("id", "id is not valid")]);
        }
        let input = match input::parse(&request.body) {
            Ok(input) => input,
            Err(invalid) => return self.invalid(invalid),
        };
        if self.cancellations.contains_key(id) {
            self.update(id, &input, now)
        } else {
            self.create(id, &input, request, now)
        }
    }

    fn create(&mut self, id: &str, input: &Input, request: &Received, now: Timestamp) -> Reply {
        if input.status == "revoked" {
            let message = "a new cancellation must be draft or confirmed";
            return self.invalid(vec![InvalidField::new("status", message)]);
        }
        if let Some(refusal) = self.refusal(&input.subscription_id, now) {
            return refusal;
        }
        self.serial += 1;
        let Some(subscription) = self.book.touch(&input.subscription_id, now, birth) else {
            return self.unknown();
        };
        let period_ends_at = subscription.period_ends_at;
        let mut new = Cancellation::new(self.serial, input, period_ends_at, now);
        if input.status == "draft" {
            subscription.tally.drafts += 1;
            subscription.tally.drafts_open += 1;
        } else {
            new.apply(subscription, now);
        }
        let reply = self.render(StatusCode::CREATED, id, &new, now);
        self.cancellations.insert(id.into(), new);
        self.by_subscription
            .entry(input.subscription_id.as_str().into())
            .or_default()
            .push(id.into());
        let path = request.uri.path();
        // The path of the collection for POST, or of the resource for PUT.
        let location = if path.ends_with(id) {
            path.to_owned()
        } else {
            format!("{path}/{id}")
        };
        let host = request.header("host").unwrap_or("localhost");
        reply.with("location", format!("http://{host}{location}"))
    }

    /// The rejection if this subscription cannot be cancelled.
    fn refusal(&mut self, subscription_id: &str, now: Timestamp) -> Option<Reply> {
        let Some(subscription) = self.book.touch(subscription_id, now, birth) else {
            return Some(self.unknown());
        };
        match subscription.standing {
            Standing::Active
            | Standing::Trialing
            | Standing::Paused
            | Standing::Unpaid
            | Standing::Redemption => None,
            Standing::Scheduled | Standing::Canceled => match self.variants.already {
                RebillyAlready::AcceptsAnother => None,
                RebillyAlready::Unprocessable => Some(self.problem(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "The subscription order has been canceled already",
                )),
                RebillyAlready::Conflict => Some(self.problem(
                    StatusCode::CONFLICT,
                    "The subscription order has been canceled already",
                )),
            },
            Standing::Pending | Standing::Expired => Some(self.problem(
                StatusCode::UNPROCESSABLE_ENTITY,
                "Only active or paused subscription orders can be canceled",
            )),
        }
    }

    fn update(&mut self, id: &str, input: &Input, now: Timestamp) -> Reply {
        let Some(old) = self.cancellations.get_mut(id) else {
            return self.not_found();
        };
        if *old.subscription_id != *input.subscription_id {
            let message = "subscriptionId cannot be changed";
            return self.invalid(vec![InvalidField::new("subscriptionId", message)]);
        }
        match (old.state(now), input.status) {
            (State::Completed, _) => match self.variants.put_completed {
                RebillyPutCompleted::Ok => self.read(id, now),
                RebillyPutCompleted::Conflict => {
                    self.problem(StatusCode::CONFLICT, "The cancellation is completed")
                }
                RebillyPutCompleted::Unprocessable => self.problem(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "The cancellation is completed",
                ),
            },
            (State::Revoked, _) => {
                self.problem(StatusCode::CONFLICT, "The cancellation is revoked")
            }
            (State::Draft, "revoked") | (State::Confirmed, "draft") => {
                let message = format!("status cannot change to {}", input.status);
                self.invalid(vec![InvalidField::new("status", message)])
            }
            (State::Draft, "confirmed") => {
                if let Some(refusal) = self.refusal(&input.subscription_id, now) {
                    return refusal;
                }
                self.rewrite(id, input, now, |cancellation, subscription| {
                    subscription.tally.drafts_open -= 1;
                    cancellation.apply(subscription, now);
                })
            }
            (State::Confirmed, "revoked") => self.rewrite(id, input, now, |cancellation, of| {
                cancellation.revoke(of, now);
            }),
            (State::Confirmed, _) => self.rewrite(id, input, now, |cancellation, subscription| {
                subscription.tally.changes += 1;
                cancellation.move_to(subscription, now);
            }),
            (State::Draft, _) => self.rewrite(id, input, now, |_, subscription| {
                subscription.tally.changes += 1;
            }),
        }
    }

    /// Applies the fields of a PUT, then lets `change` act on the subscription.
    fn rewrite(
        &mut self,
        id: &str,
        input: &Input,
        now: Timestamp,
        change: impl FnOnce(&mut Cancellation, &mut Subscription),
    ) -> Reply {
        let Some(cancellation) = self.cancellations.get_mut(id) else {
            return self.not_found();
        };
        let subscription = self.book.touch(&input.subscription_id, now, birth);
        if let Some(subscription) = subscription {
            cancellation.take(input, subscription.period_ends_at, now);
            change(cancellation, subscription);
        }
        self.found(id, now)
    }

    fn patch(&mut self, id: &str, request: &Received, now: Timestamp) -> Reply {
        let Some(cancellation) = self.cancellations.get_mut(id) else {
            return self.not_found();
        };
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if let Some(text) = body.get("description").and_then(serde_json::Value::as_str) {
            cancellation.description = Some(text.into());
            cancellation.updated_at = now;
        }
        self.found(id, now)
    }

    fn delete(&mut self, id: &str, now: Timestamp) -> Reply {
        let Some(cancellation) = self.cancellations.get(id) else {
            return self.not_found();
        };
        if cancellation.state(now) != State::Draft {
            return self.problem(
                StatusCode::CONFLICT,
                "Only draft cancellations can be deleted",
            );
        }
        let subscription_id = cancellation.subscription_id.clone();
        self.cancellations.remove(id);
        if let Some(ids) = self.by_subscription.get_mut(&subscription_id) {
            ids.retain(|other| **other != *id);
        }
        if let Some(subscription) = self.book.touch(&subscription_id, now, birth) {
            subscription.tally.drafts_open -= 1;
        }
        Reply::empty(StatusCode::NO_CONTENT)
    }

    /// A cancellation as a lookup shows it, which may lag.
    fn look(&self, id: &str, now: Timestamp) -> Reply {
        let shown_at = shift(now, -self.book.looks_lag);
        let Some(cancellation) = self.cancellations.get(id) else {
            return self.not_found();
        };
        match cancellation.shown(now, shown_at) {
            Some(state) => Reply::json(StatusCode::OK, &cancellation.view(id, state.word())),
            None => self.not_found(),
        }
    }

    fn read(&self, id: &str, now: Timestamp) -> Reply {
        self.found(id, now)
    }

    fn found(&self, id: &str, now: Timestamp) -> Reply {
        match self.cancellations.get(id) {
            Some(cancellation) => Reply::json(
                StatusCode::OK,
                &cancellation.view(id, cancellation.state(now).word()),
            ),
            None => self.not_found(),
        }
    }

    /// The reply to a request that created a cancellation; an immediate one may still be in
    /// progress.
    fn render(
        &self,
        status: StatusCode,
        id: &str,
        cancellation: &Cancellation,
        now: Timestamp,
    ) -> Reply {
        let word = match (cancellation.state(now), self.variants.immediate) {
            (State::Completed, RebillyImmediate::Confirmed) => State::Confirmed.word(),
            (state, _) => state.word(),
        };
        Reply::json(status, &cancellation.view(id, word))
    }

    /// `filter=field:value,other;field:value`, `limit` and `offset`.
    fn list(&self, request: &Received, now: Timestamp) -> Reply {
        let filter = request.query("filter").unwrap_or_default();
        let limit = request.query_number("limit", 100).min(PAGE_ITEMS_MAX);
        let offset = request.query_number("offset", 0);
        let terms: Vec<_> = filter
            .split(';')
            .filter_map(|term| term.split_once(':'))
            .collect();
        let mut found: Vec<_> = self
            .cancellations
            .iter()
            .filter(|(id, item)| {
                terms.iter().all(|(field, values)| {
                    let actual = item.field(id, field, now);
                    actual.is_some_and(|actual| values.split(',').any(|value| value == actual))
                })
            })
            .collect();
        found.sort_by_key(|(_, item)| item.serial);
        let total = found.len();
        let page: Vec<_> = found
            .into_iter()
            .skip(offset)
            .take(limit)
            .map(|(id, item)| item.view(id, item.state(now).word()))
            .collect();
        Reply::json(StatusCode::OK, &page)
            .with("pagination-total", total)
            .with("pagination-limit", limit)
            .with("pagination-offset", offset)
    }

    fn subscription(&mut self, id: &str, now: Timestamp) -> Reply {
        let Some(subscription) = self.book.look(id, now, birth) else {
            return self.not_found();
        };
        let subscription = subscription.clone();
        let applied = self
            .by_subscription
            .get(id)
            .into_iter()
            .flatten()
            .rev()
            .filter_map(|id| self.cancellations.get(id))
            .find(|item| matches!(item.state(now), State::Confirmed | State::Completed))
            .filter(|_| subscription.requested_at.is_some());
        Reply::json(StatusCode::OK, &Order::new(id, &subscription, applied))
    }

    /// A subscription as the control API shows it.
    pub(super) fn details(&self, id: &str, now: Timestamp) -> serde_json::Value {
        let ids = self.by_subscription.get(id).map_or(&[][..], Vec::as_slice);
        let view = |id: &str| {
            let item = self.cancellations.get(id)?;
            Some(json!({"id": id, "status": item.state(now).word()}))
        };
        let views: Vec<_> = ids.iter().filter_map(|id| view(id)).collect();
        json!({"cancellations": views})
    }
}

fn birth(id: &str) -> Option<Seed> {
    let standing = Standing::of_id(id)?;
    (id.chars().count() <= ID_CHARS_MAX).then(|| Seed {
        standing,
        ..Seed::default()
    })
}
