//! Sequenzy: cancels the open enrollments of a sequence that a target matches, at most 1,000 per
//! request.

mod order;
mod view;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{
    Options, Tally,
    enrollments::{Sequence, SequenceSeed, Target},
    state::shift,
    variants::{
        SequenzyErrors, SequenzyRemaining, SequenzyRetryAfter, SequenzyUnknownSubscriber,
        SequenzyVariants,
    },
    wire::{Received, Reply, Verdict, decoded, verdict},
};
use order::Order;
use view::{Cancelled, ListRow, SampleRow, message, target_view};

const SAMPLE_ITEMS_MAX: usize = 50;
const PAGE_ITEMS_DEFAULT: usize = 50;
const PAGE_ITEMS_MAX: usize = 500;

/// Sequenzy's data.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) variants: SequenzyVariants,
    sequences: HashMap<Box<str>, Sequence>,
    auto_create: bool,
    per_call: usize,
    /// How long after an effect lists start to show it.
    pub(super) looks_lag: SignedDuration,
}

impl Desk {
    pub(super) fn new(options: &Options, variants: SequenzyVariants) -> Self {
        Self {
            variants,
            sequences: HashMap::new(),
            auto_create: options.auto_create,
            per_call: options.enrollments_per_call,
            looks_lag: SignedDuration::ZERO,
        }
    }

    pub(super) fn create(&mut self, id: &str, seed: &SequenceSeed, now: Timestamp) {
        self.sequences
            .insert(id.into(), Sequence::seeded(seed, now));
    }

    pub(super) fn sequence(&self, id: &str) -> Option<&Sequence> {
        self.sequences.get(id)
    }

    pub(super) fn tallies(&self) -> BTreeMap<String, Tally> {
        let mut tallies = BTreeMap::new();
        self.sequences
            .iter()
            .for_each(|(id, sequence)| sequence.tallies(id, &mut tallies));
        tallies
    }

    pub(super) fn total(&self) -> Tally {
        let effects = self.sequences.values().map(Sequence::effects).sum();
        Tally {
            effects,
            ..Tally::default()
        }
    }

    pub(super) fn handle(&mut self, request: &Received, now: Timestamp) -> Reply {
        if let Some(refusal) = self.refusal(request) {
            return refusal;
        }
        let segments = request.segments();
        match segments.as_slice() {
            ["sequences", id, "enrollments", "cancel"] if !id.is_empty() => match request.method {
                Method::POST => self.cancel(&decoded(id), request, now),
                _ => self.wrong_method("POST"),
            },
            ["sequences", id, "enrollments"] if !id.is_empty() => match request.method {
                Method::GET => self.list(&decoded(id), request, now),
                _ => self.wrong_method("GET"),
            },
            _ => self.error(StatusCode::NOT_FOUND, "NOT_FOUND", "Not found"),
        }
    }

    /// The rejection of a bad credential. `X-API-Key` is explicitly not read.
    fn refusal(&self, request: &Received) -> Option<Reply> {
        let forbidden = |text| Some(self.error(StatusCode::FORBIDDEN, "FORBIDDEN", text));
        let no_company =
            "No companies found. Create a company first using the create_company tool.";
        let token = request.bearer().unwrap_or_default();
        let company = request.header("x-company-id").unwrap_or_default();
        match verdict(Some(token)) {
            Verdict::Invalid => {
                Some(self.error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "Invalid API key"))
            }
            Verdict::Forbidden => forbidden(no_company),
            Verdict::Good if token.contains("unscoped") => {
                forbidden("API key is missing required scopes: sequences:write")
            }
            Verdict::Good if token.contains("multicompany") && company.is_empty() => {
                forbidden(no_company)
            }
            Verdict::Good if company.contains("missing") => forbidden(no_company),
            Verdict::Good => None,
        }
    }

    fn touch(&mut self, id: &str, now: Timestamp) -> Option<&mut Sequence> {
        if self.auto_create
            && !self.sequences.contains_key(id)
            && let Some(born) = Sequence::born(id, now)
        {
            self.sequences.insert(id.into(), born);
        }
        self.sequences.get_mut(id)
    }

    fn cancel(&mut self, id: &str, request: &Received, now: Timestamp) -> Reply {
        let (variants, per_call) = (self.variants, self.per_call);
        let Some(sequence) = self.touch(id, now) else {
            return self.no_sequence();
        };
        let order = match Order::parse(&request.body, variants.targets, sequence) {
            Ok(order) => order,
            Err(text) => return self.error(StatusCode::BAD_REQUEST, "BAD_REQUEST", &text),
        };
        let not_found: Vec<String> = match &order.target {
            Target::Subscriber(id) if !sequence.knows(id, now) => vec![id.clone()],
            Target::Subscribers(ids) => ids
                .iter()
                .filter(|id| !sequence.knows(id, now))
                .cloned()
                .collect(),
            Target::All | Target::Subscriber(_) | Target::Field { .. } => Vec::new(),
        };
        if matches!(order.target, Target::Subscriber(_))
            && !not_found.is_empty()
            && variants.unknown_subscriber == SequenzyUnknownSubscriber::NotFound
        {
            return self.error(StatusCode::NOT_FOUND, "NOT_FOUND", "Subscriber not found");
        }
        let (matched, places) = sequence.matching(&order.target, per_call, now);
        let cancelled = if order.dry_run { 0 } else { places.len() };
        for place in places.iter().take(cancelled) {
            sequence.cancel(*place, order.reason.as_ref(), now);
        }
        let sample = places
            .iter()
            .take(SAMPLE_ITEMS_MAX)
            .filter_map(|place| sequence.get(*place));
        let enrollments: Vec<_> = sample.map(|one| SampleRow::new(id, one)).collect();
        let newer = variants.remaining == SequenzyRemaining::Present;
        let body = Cancelled {
            success: true,
            sequence_id: id,
            dry_run: order.dry_run,
            target: newer.then(|| target_view(&order.target, &not_found)),
            matched_count: matched,
            cancelled_count: cancelled,
            remaining_count: newer.then(|| matched - cancelled),
            has_more: matched > enrollments.len(),
            enrollments,
            message: message(order.dry_run, matched, cancelled),
        };
        Reply::json(StatusCode::OK, &body)
    }

    fn list(&mut self, id: &str, request: &Received, now: Timestamp) -> Reply {
        let shown_at = shift(now, -self.looks_lag);
        let Some(sequence) = self.touch(id, now) else {
            return self.no_sequence();
        };
        let split = |text: String| -> Vec<String> {
            text.split(',')
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .map(Into::into)
                .collect()
        };
        let status = request.query("status").filter(|text| !text.is_empty());
        let statuses = split(status.unwrap_or_else(|| "active,waiting".to_owned()));
        let found = match request.query("subscriberId").map(split) {
            Some(ids) => sequence.of_subscribers(&ids, now),
            None => sequence.iter().collect(),
        };
        let found: Vec<_> = found
            .into_iter()
            .filter(|one| {
                statuses
                    .iter()
                    .any(|status| status == one.shown(shown_at).word())
            })
            .collect();
        let limit = request
            .query_number("limit", PAGE_ITEMS_DEFAULT)
            .clamp(1, PAGE_ITEMS_MAX);
        let offset = request.query_number("offset", 0);
        let rows = found
            .iter()
            .skip(offset)
            .take(limit)
            .map(|one| ListRow::new(id, one, shown_at));
        let body = json!({
            "success": true,
            "enrollments": rows.collect::<Vec<_>>(),
            "pagination": {
                "total": found.len(),
                "limit": limit,
                "offset": offset,
                "hasMore": found.len() > offset.saturating_add(limit),
            },
        });
        Reply::json(StatusCode::OK, &body)
    }

    pub(super) fn throttled(&self, retry_after: Duration) -> Reply {
        let text = "API key rate limit exceeded";
        let reply = self.error(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", text);
        match self.variants.retry_after {
            SequenzyRetryAfter::Absent => reply,
            SequenzyRetryAfter::Present => reply.with(
                "retry-after",
                retry_after.as_millis().div_ceil(1_000).to_string(),
            ),
        }
    }

    pub(super) fn error(&self, status: StatusCode, code: &str, text: &str) -> Reply {
        match self.variants.errors {
            SequenzyErrors::Plain => Reply::json(status, &json!({"error": text})),
            SequenzyErrors::Rich => {
                let body = json!({
                    "success": false,
                    "code": code,
                    "error": text,
                    "title": status.canonical_reason(),
                    "description": text,
                    "resolution": "See the documentation of this endpoint.",
                    "docsUrl": "https://docs.sequenzy.com",
                });
                Reply::json(status, &body)
            }
        }
    }

    fn no_sequence(&self) -> Reply {
        self.error(StatusCode::NOT_FOUND, "NOT_FOUND", "Sequence not found")
    }

    fn wrong_method(&self, allow: &'static str) -> Reply {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        self.error(status, "METHOD_NOT_ALLOWED", "Method not allowed")
            .with("allow", allow)
    }
}
