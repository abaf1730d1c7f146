//! Rebilly bodies: cancellation requests, and tolerant reading of cancellations, subscriptions and
//! problems.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    domain::{
        command::{Direction, Initiator, LineItem, SubscriptionCommand, When},
        http_exchange::Response,
        outcome::{
            Charges, Detail, Outcome, ProviderError, SubscriptionDetail, SubscriptionState,
            SubscriptionStatus,
        },
    },
    providers::reply::{
        http_status,
        json::{self, JsonReader},
    },
};

/// The body of a cancellation. Members with a dangerous default are always set: without them
/// `status` is confirmed, the time is now, and the initiator is the customer.
pub(super) fn body(command: &SubscriptionCommand, status: &str) -> Value {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    set("subscriptionId", json!(command.subscription_id));
    set("status", json!(status));
    let by = match command.initiated_by {
        None | Some(Initiator::Merchant) => "merchant",
        Some(Initiator::Customer) => "customer",
        Some(Initiator::Provider) => "rebilly",
    };
    set("canceledBy", json!(by));
    match command.when {
        When::Now => set("churnTimePolicy", json!("now")),
        When::PeriodEnd | When::ProviderDefault => set("churnTimePolicy", json!("at-next-renewal")),
        // Without a policy, which would take precedence.
        When::At(time) => set("churnTime", json!(time)),
    };
    set("prorated", json!(command.prorate.unwrap_or(false)));
    if let Some(reason) = command.reason {
        set("reason", json!(reason.slug()));
    }
    if let Some(comment) = &command.comment {
        set("description", json!(comment));
    }
    if !command.line_items.is_empty() {
        set(
            "lineItems",
            command.line_items.iter().map(line_item).collect(),
        );
    }
    Value::Object(body)
}

fn line_item(item: &LineItem) -> Value {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    let direction = match item.direction {
        Direction::Debit => "debit",
        Direction::Credit => "credit",
    };
    set("type", json!(direction));
    // The amount's text is a JSON number, and its digits are kept.
    let price = item.unit_price.as_str();
    let price = serde_json::from_str(price).unwrap_or_else(|_| json!(price));
    set("unitPriceAmount", price);
    set("unitPriceCurrency", json!(item.currency));
    set("quantity", json!(item.quantity));
    if let Some(description) = &item.description {
        set("description", json!(description));
    }
    if let Some(start) = item.period_start {
        set("periodStartTime", json!(start));
    }
    if let Some(end) = item.period_end {
        set("periodEndTime", json!(end));
    }
    Value::Object(body)
}

/// The status of a cancellation (`x-enumDescriptions` of its schema).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CancellationStatus {
    /// No effect yet.
    Draft,
    /// In force; ends the subscription at `churnTime`.
    Confirmed,
    /// `churnTime` has passed.
    Completed,
    /// Taken back.
    Revoked,
    /// Absent or not documented.
    Unknown,
}

impl CancellationStatus {
    pub(super) fn read(response: &Response) -> Self {
        let word = JsonReader(response.json.as_ref()).at("status").word();
        match word.as_deref() {
            Some("draft") => Self::Draft,
            Some("confirmed") => Self::Confirmed,
            Some("completed") => Self::Completed,
            Some("revoked") => Self::Revoked,
            _ => Self::Unknown,
        }
    }
}

pub(super) fn cancellation_detail(response: &Response, outcome: Outcome) -> Detail {
    let body = JsonReader(response.json.as_ref());
    let owned = |name| body.at(name).text().map(str::to_owned);
    Detail::Subscription(SubscriptionDetail {
        effective_at: body.at("churnTime").time(),
        state: Some(SubscriptionState {
            status: if outcome == Outcome::Canceled {
                SubscriptionStatus::Canceled
            } else {
                SubscriptionStatus::Scheduled
            },
            provider_status: owned("status").unwrap_or_default(),
            canceled_at: body.at("canceledTime").time(),
            cancellation_id: owned("id"),
            provider_reason: owned("reason"),
            ..SubscriptionState::default()
        }),
        charges: charges(body),
    })
}

pub(super) fn charges(cancellation: JsonReader<'_>) -> Option<Charges> {
    let subtotal = cancellation.at("lineItemSubtotal");
    let amount = subtotal.at("amount").decimal();
    let currency = subtotal.at("currency").text();
    let charges = Charges {
        subtotal: amount.zip(currency.map(str::to_owned)),
        prorated_invoice_id: cancellation.at("proratedInvoiceId").id(),
        applied_invoice_id: cancellation.at("appliedInvoiceId").id(),
    };
    (charges != Charges::default()).then_some(charges)
}

/// The phase of a subscription order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RebillyPhase {
    Unstarted,
    Running,
    /// Cancelled, and active to the end of the paid period.
    Ending,
    Over,
    /// A status that is not documented.
    Odd,
}

pub(super) struct Subscription {
    pub(super) life: RebillyPhase,
    pub(super) churn_time: Option<Timestamp>,
    pub(super) state: SubscriptionState,
    pub(super) detail: SubscriptionDetail,
}

impl Subscription {
    pub(super) fn read(response: &Response) -> Self {
        let body = JsonReader(response.json.as_ref());
        let word = body.at("status").text().unwrap_or_default();
        let (life, status) = match json::plain(word).as_str() {
            "pending" => (RebillyPhase::Unstarted, SubscriptionStatus::Pending),
            "active" if body.at("inTrial").flag() == Some(true) => {
                (RebillyPhase::Running, SubscriptionStatus::Trialing)
            }
            "active" => (RebillyPhase::Running, SubscriptionStatus::Active),
            // `suspended` is in older versions of the specification only.
            "paused" | "suspended" => (RebillyPhase::Running, SubscriptionStatus::Paused),
            "canceled" => (RebillyPhase::Ending, SubscriptionStatus::Scheduled),
            "churned" => (RebillyPhase::Over, SubscriptionStatus::Canceled),
            "abandoned" | "voided" | "completed" | "trialended" => {
                (RebillyPhase::Over, SubscriptionStatus::Expired)
            }
            _ => (RebillyPhase::Odd, SubscriptionStatus::Unknown),
        };
        let churn_time = body.at("churnTime").time();
        let owned = |name| body.at(name).text().map(str::to_owned);
        let state = SubscriptionState {
            status,
            provider_status: word.to_owned(),
            period_end: body.at("renewalTime").time(),
            canceled_at: body.at("canceledTime").time(),
            customer_id: owned("customerId"),
            provider_reason: owned("cancelCategory"),
            ..SubscriptionState::default()
        };
        let detail = SubscriptionDetail {
            effective_at: churn_time,
            state: Some(state.clone()),
            charges: None,
        };
        Self {
            life,
            churn_time,
            state,
            detail,
        }
    }

    pub(super) fn detail(&self) -> Detail {
        Detail::Subscription(self.detail.clone())
    }
}

/// Reads a problem (RFC 9457) with `invalidFields`. Its code is its type, unless that is
/// `about:blank`.
pub(super) fn read_error(response: &Response) -> ProviderError {
    let body = JsonReader(response.json.as_ref());
    let code = body.at("type").text().filter(|kind| *kind != "about:blank");
    let message = match (body.at("title").text(), body.at("detail").text()) {
        (Some(title), Some(detail)) => Some(format!("{title}: {detail}")),
        (title, detail) => title.or(detail).map(str::to_owned),
    };
    let fields = body.at("invalidFields").list().map(|invalid| {
        let owned = |name| invalid.at(name).text().unwrap_or_default().to_owned();
        (owned("field"), owned("message"))
    });
    let code = code.map(str::to_owned);
    http_status::provider_error(response, code, message.as_deref(), fields.collect())
}
