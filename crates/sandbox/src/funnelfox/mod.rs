//! FunnelFox: cancel switches off auto-renewal at the payment provider behind the subscription;
//! there is no timing and no idempotency.

mod view;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{
    Options, Seed, Standing,
    state::Book,
    variants::{FunnelFoxAlready, FunnelFoxVariants},
    wire::{Received, Reply, Verdict, decoded, verdict},
};
use view::View;

/// What the provider records if no reason is given.
const DEFAULT_REASON: &str = "User requested cancellation";
const PAGE_ITEMS_DEFAULT: usize = 20;
const PAGE_ITEMS_MAX: usize = 100;

/// FunnelFox's data.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) variants: FunnelFoxVariants,
    pub(super) book: Book,
}

impl Desk {
    pub(super) fn new(options: &Options, variants: FunnelFoxVariants) -> Self {
        Self {
            variants,
            book: Book::new(options),
        }
    }

    pub(super) fn handle(&mut self, request: &Received, now: Timestamp) -> Reply {
        match verdict(request.header("fox-secret")) {
            Verdict::Good => {}
            Verdict::Invalid => return error(StatusCode::UNAUTHORIZED, "Invalid project secret"),
            Verdict::Forbidden => return error(StatusCode::FORBIDDEN, "Access denied"),
        }
        let segments = request.segments();
        match segments.as_slice() {
            ["subscriptions", id, "cancel"] if !id.is_empty() => match request.method {
                Method::POST => self.cancel(&decoded(id), request, now),
                _ => wrong_method("POST"),
            },
            ["subscriptions", id] if !id.is_empty() => match request.method {
                Method::GET => self.get(&decoded(id), now),
                _ => wrong_method("GET"),
            },
            ["subscriptions"] => match request.method {
                Method::GET => self.list(request),
                _ => wrong_method("GET"),
            },
            _ => error(StatusCode::NOT_FOUND, "Not found"),
        }
    }

    fn cancel(&mut self, id: &str, request: &Received, now: Timestamp) -> Reply {
        let reason = match reason(&request.body) {
            Ok(reason) => reason,
            Err(message) => return error(StatusCode::BAD_REQUEST, message),
        };
        let variants = self.variants;
        let Some(subscription) = self.book.touch(id, now, birth) else {
            return not_found();
        };
        match subscription.standing {
            Standing::Scheduled | Standing::Canceled => {
                let message = "Subscription is already cancelled";
                return match variants.already {
                    FunnelFoxAlready::BadRequest => error(StatusCode::BAD_REQUEST, message),
                    FunnelFoxAlready::NotFound => error(StatusCode::NOT_FOUND, message),
                };
            }
            Standing::Expired | Standing::Pending => {
                let message = "Subscription cannot be cancelled in its current status";
                return error(StatusCode::BAD_REQUEST, message);
            }
            Standing::Active
            | Standing::Trialing
            | Standing::Paused
            | Standing::Unpaid
            | Standing::Redemption => {}
        }
        if &*subscription.payment_provider == "braintree" {
            let message = "Payment provider does not support cancellation";
            return error(StatusCode::BAD_REQUEST, message);
        }
        let at = subscription.period_ends_at;
        subscription.cancel(at, Some(reason.as_deref().unwrap_or(DEFAULT_REASON)), now);
        Reply::json(
            StatusCode::OK,
            &View::new(id, subscription, variants.success),
        )
    }

    fn get(&mut self, id: &str, now: Timestamp) -> Reply {
        match self.book.look(id, now, birth) {
            Some(of) => Reply::json(StatusCode::OK, &View::new(id, of, self.variants.success)),
            None => not_found(),
        }
    }

    /// The cursor is the last id of the previous page.
    fn list(&self, request: &Received) -> Reply {
        #[derive(Serialize)]
        struct Page<'a> {
            data: Vec<View<'a>>,
            pagination: Pagination<'a>,
        }
        #[derive(Serialize)]
        struct Pagination<'a> {
            total: usize,
            has_more: bool,
            next_cursor: Option<&'a str>,
        }
        let limit = request
            .query_number("limit", PAGE_ITEMS_DEFAULT)
            .clamp(1, PAGE_ITEMS_MAX);
        let cursor = request.query("cursor").unwrap_or_default();
        let (status, psp) = (
            request.query("filter[status]"),
            request.query("filter[psp]"),
        );
        let (profile, funnel) = (
            request.query("filter[profile_id]"),
            request.query("filter[funnel_id]"),
        );
        let success = self.variants.success;
        let mut found: Vec<_> = self
            .book
            .iter()
            .map(|(id, of)| View::new(id, of, success))
            .filter(|view| status.as_deref().is_none_or(|wanted| wanted == view.status))
            .filter(|view| {
                psp.as_deref()
                    .is_none_or(|wanted| wanted == view.payment_provider)
            })
            .filter(|view| {
                profile
                    .as_deref()
                    .is_none_or(|wanted| wanted == view.profile.id)
            })
            .filter(|view| {
                funnel
                    .as_deref()
                    .is_none_or(|wanted| wanted == view.funnel.id)
            })
            .collect();
        found.sort_by_key(|view| view.id);
        let total = found.len();
        let mut data: Vec<_> = found
            .into_iter()
            .filter(|view| *view.id > *cursor)
            .collect();
        let has_more = data.len() > limit;
        data.truncate(limit);
        let next_cursor = data.last().filter(|_| has_more).map(|view| view.id);
        let page = Page {
            pagination: Pagination {
                total,
                has_more,
                next_cursor,
            },
            data,
        };
        Reply::json(StatusCode::OK, &page)
    }
}

/// The optional reason in an optional body.
fn reason(body: &[u8]) -> Result<Option<String>, &'static str> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let Ok(Value::Object(mut body)) = serde_json::from_slice(body) else {
        return Err("Request body must be a JSON object");
    };
    match body.remove("reason") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(reason)) if reason.is_empty() => Ok(None),
        Some(Value::String(reason)) => Ok(Some(reason)),
        Some(_) => Err("reason must be a string"),
    }
}

/// An error in FunnelFox's envelope.
pub(super) fn error(status: StatusCode, message: &str) -> Reply {
    #[derive(Serialize)]
    struct Envelope<'a> {
        message: &'a str,
    }
    Reply::json(status, &Envelope { message })
}

fn not_found() -> Reply {
    error(StatusCode::NOT_FOUND, "Subscription not found")
}

fn wrong_method(allow: &'static str) -> Reply {
    error(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed").with("allow", allow)
}

fn birth(id: &str) -> Option<Seed> {
    const PROVIDERS: [(&str, &str); 6] = [
        ("paddle", "paddle"),
        ("paypal", "paypal"),
        ("solidgate", "solidgate"),
        ("braintree", "braintree"),
        ("funnelfox", "funnelfox"),
        ("unknownpsp", "unknownpsp"),
    ];
    let standing = Standing::of_id(id)?;
    let provider = PROVIDERS.iter().find(|(word, _)| id.contains(word));
    let payment_provider = provider.map(|(_, name)| (*name).to_owned());
    Some(Seed {
        standing,
        payment_provider,
        ..Seed::default()
    })
}
