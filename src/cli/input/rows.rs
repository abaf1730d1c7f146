//! The two kinds of rows: their columns and what these mean.

use serde_json::{Map, Value};

use super::{
    Row,
    cell::{Cell, Fields, choice, count, id, ids, key, parsed, text, text_up_to, truth},
    line_items, written,
};
use crate::{
    cli::terminal::times,
    config::did_you_mean::nearest,
    domain::{
        command::{EnrollmentsTarget, Initiator, LineItem, Reason, When},
        ids::{AccountName, Key, TargetId},
    },
    limits,
};

pub(super) const REASONS: [(&str, Reason); 10] = [
    ("did-not-use", Reason::DidNotUse),
    ("did-not-want", Reason::DidNotWant),
    ("missing-features", Reason::MissingFeatures),
    ("bugs-or-problems", Reason::BugsOrProblems),
    ("do-not-remember", Reason::DoNotRemember),
    ("risk-warning", Reason::RiskWarning),
    ("contract-expired", Reason::ContractExpired),
    ("too-expensive", Reason::TooExpensive),
    ("other", Reason::Other),
    ("billing-failure", Reason::BillingFailure),
];

pub(super) const INITIATORS: [(&str, Initiator); 3] = [
    ("merchant", Initiator::Merchant),
    ("customer", Initiator::Customer),
    ("provider", Initiator::Provider),
];

/// A subscription to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// Its line, from 1.
    pub line: u64,
    /// The account.
    pub account: AccountName,
    /// The subscription.
    pub subscription_id: TargetId,
    /// Its own key.
    pub idempotency_key: Option<Key>,
    /// When it ends.
    pub when: When,
    /// Why, from the list.
    pub reason: Option<Reason>,
    /// Why, as free text of at most [`limits::TEXT_CHARS_MAX`] characters.
    pub comment: Option<String>,
    /// Who asked for it.
    pub initiated_by: Option<Initiator>,
    /// Whether the rest of the period is credited.
    pub prorate: Option<bool>,
    /// Solidgate's channel.
    pub channel_id: Option<TargetId>,
    /// Items of the closing invoice, at most [`limits::LINE_ITEMS_MAX`].
    pub line_items: Vec<LineItem>,
}

impl Row for SubscriptionRow {
    const COLUMNS: &'static [&'static str] = &[
        "account",
        "subscription_id",
        "idempotency_key",
        "when",
        "reason",
        "comment",
        "initiated_by",
        "prorate",
        "channel_id",
        "line_items",
    ];
    const REQUIRED: &'static [&'static str] = &["account", "subscription_id", "when"];

    fn read(fields: &mut Fields) -> Option<Self> {
        // All cells are read before the first `?`, so that all mistakes are noted.
        let account = fields.required("account", parsed);
        let subscription_id = fields.required("subscription_id", id);
        let idempotency_key = fields.optional("idempotency_key", key);
        let when = fields.required("when", when);
        let reason = fields.optional("reason", |cell| choice(cell, &REASONS));
        let comment = fields.optional("comment", text_up_to(limits::TEXT_CHARS_MAX));
        let initiated_by = fields.optional("initiated_by", |cell| choice(cell, &INITIATORS));
        let prorate = fields.optional("prorate", truth);
        let channel_id = fields.optional("channel_id", id);
        let line_items = line_items::read(fields);
        Some(Self {
            line: fields.line(),
            account: account?,
            subscription_id: subscription_id?,
            idempotency_key,
            when: when?,
            reason,
            comment,
            initiated_by,
            prorate,
            channel_id,
            line_items,
        })
    }

    fn line(&self) -> u64 {
        self.line
    }

    fn own_key(&self) -> Option<&Key> {
        self.idempotency_key.as_ref()
    }

    fn cells(&self, key: Option<String>) -> Map<String, Value> {
        written::subscription(self, key)
    }

    fn identities(&self) -> Vec<(&'static str, String)> {
        let target = format!("{} {}", self.account, self.subscription_id);
        let key = self.idempotency_key.as_ref();
        std::iter::once(("subscription_id", target))
            .chain(key.map(|key| ("idempotency_key", key.to_string())))
            .collect()
    }
}

/// Enrollments to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentsRow {
    /// Its line, from 1.
    pub line: u64,
    /// The account.
    pub account: AccountName,
    /// The sequence.
    pub sequence_id: TargetId,
    /// Its own key.
    pub idempotency_key: Option<Key>,
    /// The subscribers; lists as written, without repeats, of 1 to [`limits::TARGET_VALUES_MAX`]
    /// texts.
    pub target: EnrollmentsTarget,
    /// Why, as free text of at most [`limits::TEXT_CHARS_MAX`] characters.
    pub reason: Option<String>,
    /// Whether it is a dry run; unset for the target's default.
    pub dry_run: Option<bool>,
    /// If more match, nothing is cancelled; at least 1.
    pub max_matches: Option<u32>,
}

/// The columns of targets.
const TARGETS: [&str; 5] = [
    "subscriber_id",
    "subscriber_ids",
    "field_path",
    "field_values",
    "all",
];

impl Row for EnrollmentsRow {
    const COLUMNS: &'static [&'static str] = &[
        "account",
        "sequence_id",
        "idempotency_key",
        "subscriber_id",
        "subscriber_ids",
        "field_path",
        "field_values",
        "all",
        "reason",
        "dry_run",
        "max_matches",
    ];
    const REQUIRED: &'static [&'static str] = &["account", "sequence_id"];

    fn read(fields: &mut Fields) -> Option<Self> {
        let account = fields.required("account", parsed);
        let sequence_id = fields.required("sequence_id", id);
        let idempotency_key = fields.optional("idempotency_key", key);
        let target = target(fields);
        let reason = fields.optional("reason", text_up_to(limits::TEXT_CHARS_MAX));
        let dry_run = fields.optional("dry_run", truth);
        let max_matches = fields.optional("max_matches", count);
        Some(Self {
            line: fields.line(),
            account: account?,
            sequence_id: sequence_id?,
            idempotency_key,
            target: target?,
            reason,
            dry_run,
            max_matches,
        })
    }

    fn line(&self) -> u64 {
        self.line
    }

    fn own_key(&self) -> Option<&Key> {
        self.idempotency_key.as_ref()
    }

    fn cells(&self, key: Option<String>) -> Map<String, Value> {
        written::enrollments(self, key)
    }

    fn identities(&self) -> Vec<(&'static str, String)> {
        let target = format!("{} {} {:?}", self.account, self.sequence_id, self.target);
        let key = self.idempotency_key.as_ref();
        std::iter::once(("sequence_id", target))
            .chain(key.map(|key| ("idempotency_key", key.to_string())))
            .collect()
    }
}

fn when(cell: Cell) -> Result<When, String> {
    let text = text(cell)?;
    match text.to_ascii_lowercase().replace('-', "_").as_str() {
        "now" => return Ok(When::Now),
        "period_end" => return Ok(When::PeriodEnd),
        "provider_default" => return Ok(When::ProviderDefault),
        _ => {}
    }
    times::point(&text).map(When::At).ok_or_else(|| {
        let meant = nearest(&text, ["now", "period_end", "provider_default"])
            .map(|meant| format!("did you mean {meant}? "))
            .unwrap_or_default();
        format!(
            "{text:?} is no time; {meant}write now, period_end, provider_default, a day such as \
             2027-01-31 (from its beginning in UTC), or a time with its offset such as \
             2027-01-31T00:00:00Z"
        )
    })
}

/// Exactly one target; the row's own takes precedence over defaults.
fn target(fields: &mut Fields) -> Option<EnrollmentsTarget> {
    let mistakes_before = fields.mistakes();
    if fields.has_any(&TARGETS) {
        fields.drop_defaults(&TARGETS);
    }
    let subscriber = fields.optional("subscriber_id", id);
    let subscribers = fields.optional("subscriber_ids", ids);
    let path = fields.optional("field_path", id);
    let values = fields.optional("field_values", ids);
    let all = fields.optional("all", truth).filter(|all| *all);
    if fields.mistakes() > mistakes_before {
        // An unreadable column is not missing too.
        return None;
    }
    if path.is_some() && values.is_none() {
        fields.refuse(
            "field_path",
            "names a field; write what to look for in field_values",
        );
        return None;
    }
    let mut targets: Vec<EnrollmentsTarget> = Vec::new();
    targets.extend(subscriber.map(EnrollmentsTarget::Subscriber));
    targets.extend(subscribers.map(EnrollmentsTarget::Subscribers));
    targets.extend(values.map(|values| EnrollmentsTarget::Field { path, values }));
    targets.extend(all.map(|_| EnrollmentsTarget::All));
    match targets.len() {
        1 => targets.pop(),
        0 => {
            fields.refuse(
                "subscriber_id",
                "is missing, and so are subscriber_ids, field_values and all; write one of them",
            );
            None
        }
        _ => {
            fields.refuse(
                "subscriber_id",
                "is one of several targets; write just one of subscriber_id, subscriber_ids, \
                 field_values and all",
            );
            None
        }
    }
}
