//! Writes rows in a form that can be read again.

use serde_json::{Map, Value, json};

use super::{
    line_items::DIRECTIONS,
    rows::{EnrollmentsRow, INITIATORS, REASONS, SubscriptionRow},
};
use crate::domain::command::{EnrollmentsTarget, LineItem, When};

/// The members with a value.
fn filled<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    let members = members.into_iter().filter(|(_, value)| !value.is_null());
    members
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The word of a value.
fn word<T: PartialEq>(value: Option<&T>, words: &[(&'static str, T)]) -> Option<&'static str> {
    let value = value?;
    let found = words.iter().find(|(_, known)| known == value);
    found.map(|(word, _)| *word)
}

pub(super) fn subscription(row: &SubscriptionRow, key: Option<String>) -> Map<String, Value> {
    let when = match row.when {
        When::Now => "now".to_owned(),
        When::PeriodEnd => "period_end".to_owned(),
        When::ProviderDefault => "provider_default".to_owned(),
        When::At(time) => time.to_string(),
    };
    let items: Vec<Value> = row.line_items.iter().map(line_item).collect();
    filled([
        ("account", json!(row.account.as_str())),
        ("subscription_id", json!(row.subscription_id.as_str())),
        ("idempotency_key", json!(key)),
        ("when", json!(when)),
        ("reason", json!(word(row.reason.as_ref(), &REASONS))),
        ("comment", json!(row.comment)),
        (
            "initiated_by",
            json!(word(row.initiated_by.as_ref(), &INITIATORS)),
        ),
        ("prorate", json!(row.prorate)),
        (
            "channel_id",
            json!(row.channel_id.as_ref().map(ToString::to_string)),
        ),
        (
            "line_items",
            if items.is_empty() {
                Value::Null
            } else {
                Value::Array(items)
            },
        ),
    ])
}

fn line_item(item: &LineItem) -> Value {
    Value::Object(filled([
        ("type", json!(word(Some(&item.direction), &DIRECTIONS))),
        ("description", json!(item.description)),
        ("unit_price_amount", json!(item.unit_price.as_str())),
        ("unit_price_currency", json!(item.currency.as_str())),
        ("quantity", json!(item.quantity)),
        (
            "period_start_time",
            json!(item.period_start.map(|time| time.to_string())),
        ),
        (
            "period_end_time",
            json!(item.period_end.map(|time| time.to_string())),
        ),
    ]))
}

pub(super) fn enrollments(row: &EnrollmentsRow, key: Option<String>) -> Map<String, Value> {
    let mut cells = filled([
        ("account", json!(row.account.as_str())),
        ("sequence_id", json!(row.sequence_id.as_str())),
        ("idempotency_key", json!(key)),
        ("reason", json!(row.reason)),
        ("dry_run", json!(row.dry_run)),
        ("max_matches", json!(row.max_matches)),
    ]);
    let texts = |ids: &[crate::domain::ids::TargetId]| {
        let texts = ids.iter().map(|id| json!(id.as_str()));
        Value::Array(texts.collect())
    };
    match &row.target {
        EnrollmentsTarget::Subscriber(id) => {
            cells.insert("subscriber_id".to_owned(), json!(id.as_str()));
        }
        EnrollmentsTarget::Subscribers(ids) => {
            cells.insert("subscriber_ids".to_owned(), texts(ids));
        }
        EnrollmentsTarget::Field { path, values } => {
            if let Some(path) = path {
                cells.insert("field_path".to_owned(), json!(path.as_str()));
            }
            cells.insert("field_values".to_owned(), texts(values));
        }
        EnrollmentsTarget::All => {
            cells.insert("all".to_owned(), json!(true));
        }
    }
    cells
}
