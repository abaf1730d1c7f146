//! A Rebilly cancellation: its states from draft to completed, and its form in replies.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{
    super::{
        state::{Standing, Subscription},
        wire::Stamp,
    },
    input::{Churn, Input},
};

/// The state of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Draft,
    /// Applied; the subscription ends at the churn time.
    Confirmed,
    /// The churn time has come.
    Completed,
    Revoked,
}

impl State {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Confirmed => "confirmed",
            Self::Completed => "completed",
            Self::Revoked => "revoked",
        }
    }
}

/// See the module docs.
#[derive(Debug)]
pub(super) struct Cancellation {
    pub(super) serial: u64,
    pub(super) subscription_id: Box<str>,
    pub(super) canceled_by: &'static str,
    pub(super) reason: &'static str,
    pub(super) description: Option<Box<str>>,
    pub(super) updated_at: Timestamp,
    state: State,
    prorated: bool,
    churn: Churn,
    churn_at: Timestamp,
    line_items: Vec<Value>,
    created_at: Timestamp,
    canceled_at: Option<Timestamp>,
}

impl Cancellation {
    /// A draft of the requested cancellation.
    pub(super) fn new(
        serial: u64,
        input: &Input,
        period_ends_at: Timestamp,
        now: Timestamp,
    ) -> Self {
        let mut new = Self {
            serial,
            subscription_id: input.subscription_id.as_str().into(),
            canceled_by: input.canceled_by,
            reason: input.reason,
            description: None,
            updated_at: now,
            state: State::Draft,
            prorated: false,
            churn: input.churn,
            churn_at: now,
            line_items: Vec::new(),
            created_at: now,
            canceled_at: None,
        };
        new.take(input, period_ends_at, now);
        new
    }

    /// Applies the fields that a PUT replaces.
    pub(super) fn take(&mut self, input: &Input, period_ends_at: Timestamp, now: Timestamp) {
        self.canceled_by = input.canceled_by;
        self.reason = input.reason;
        self.description.clone_from(&input.description);
        self.prorated = input.prorated;
        self.churn = input.churn;
        self.churn_at = match input.churn {
            Churn::Now { .. } => now,
            Churn::NextRenewal => period_ends_at,
            Churn::At(at) => at,
        };
        self.line_items.clone_from(&input.line_items);
        self.updated_at = now;
    }

    /// Confirms the cancellation, which cancels the subscription. This is an effect.
    pub(super) fn apply(&mut self, subscription: &mut Subscription, now: Timestamp) {
        subscription.cancel(self.churn_at, self.description.as_deref(), now);
        self.state = State::Confirmed;
        self.canceled_at = Some(now);
    }

    /// Moves a confirmed cancellation to another churn time.
    pub(super) fn move_to(&self, subscription: &mut Subscription, now: Timestamp) {
        subscription.effective_at = Some(self.churn_at);
        subscription.updated_at = now;
        if self.churn_at <= now {
            subscription.standing = Standing::Canceled;
        }
    }

    /// Revokes a confirmed cancellation.
    pub(super) fn revoke(&mut self, subscription: &mut Subscription, now: Timestamp) {
        self.state = State::Revoked;
        subscription.standing = subscription.standing_before;
        subscription.effective_at = None;
        subscription.requested_at = None;
        subscription.updated_at = now;
        subscription.tally.changes += 1;
    }

    pub(super) fn state(&self, now: Timestamp) -> State {
        match self.state {
            State::Confirmed if self.churn_at <= now => State::Completed,
            state => state,
        }
    }

    /// The state that a lagging lookup shows; `None` if it does not show the cancellation yet.
    pub(super) fn shown(&self, now: Timestamp, shown_at: Timestamp) -> Option<State> {
        if self.created_at > shown_at {
            return None;
        }
        let is_news = self.canceled_at.is_some_and(|at| at > shown_at);
        Some(if is_news {
            State::Draft
        } else {
            self.state(now)
        })
    }

    /// The value of a field by which lists can be filtered.
    pub(super) fn field<'a>(&'a self, id: &'a str, name: &str, now: Timestamp) -> Option<&'a str> {
        match name {
            "id" => Some(id),
            "subscriptionId" => Some(&self.subscription_id),
            "status" => Some(self.state(now).word()),
            "reason" => Some(self.reason),
            "canceledBy" => Some(self.canceled_by),
            _ => None,
        }
    }

    pub(super) fn view<'a>(&'a self, id: &'a str, status: &'static str) -> View<'a> {
        let invoiced = !self.line_items.is_empty() || self.prorated;
        View {
            id,
            subscription_id: &self.subscription_id,
            status,
            canceled_by: self.canceled_by,
            reason: self.reason,
            description: self.description.as_deref(),
            prorated: self.prorated,
            churn_time: Stamp(self.churn_at),
            churn_time_policy: match self.churn {
                Churn::Now { policy: true } => Some("now"),
                Churn::NextRenewal => Some("at-next-renewal"),
                Churn::Now { policy: false } | Churn::At(_) => None,
            },
            line_items: &self.line_items,
            line_item_subtotal: invoiced.then(|| self.subtotal()),
            prorated_invoice_id: self
                .prorated
                .then(|| format!("in_prorated_{}", self.serial)),
            applied_invoice_id: (invoiced && self.canceled_at.is_some())
                .then(|| format!("in_applied_{}", self.serial)),
            canceled_time: self.canceled_at.map(Stamp),
            created_time: Stamp(self.created_at),
            updated_time: Stamp(self.updated_at),
            links: [Link {
                rel: "self",
                href: format!("/subscription-cancellations/{id}"),
            }],
        }
    }

    /// The sum of the line items, with credits negative.
    fn subtotal(&self) -> Money<'_> {
        let number = |item: &Value, field| item.get(field).and_then(Value::as_f64).unwrap_or(0.0);
        let total: f64 = self
            .line_items
            .iter()
            .map(|item| {
                let sign = if item.get("type").is_some_and(|kind| kind == "credit") {
                    -1.0
                } else {
                    1.0
                };
                sign * number(item, "unitPriceAmount") * number(item, "quantity")
            })
            .sum();
        let currency = self
            .line_items
            .first()
            .and_then(|item| item.get("unitPriceCurrency"))
            .and_then(Value::as_str)
            .unwrap_or("USD");
        Money {
            amount: (total * 100.0).round() / 100.0,
            currency,
        }
    }
}

/// A cancellation in a reply.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View<'a> {
    id: &'a str,
    subscription_id: &'a str,
    status: &'static str,
    canceled_by: &'static str,
    reason: &'static str,
    description: Option<&'a str>,
    prorated: bool,
    churn_time: Stamp<0>,
    churn_time_policy: Option<&'static str>,
    line_items: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    line_item_subtotal: Option<Money<'a>>,
    prorated_invoice_id: Option<String>,
    applied_invoice_id: Option<String>,
    canceled_time: Option<Stamp<0>>,
    created_time: Stamp<0>,
    updated_time: Stamp<0>,
    #[serde(rename = "_links")]
    links: [Link; 1],
}

#[derive(Debug, Serialize)]
struct Money<'a> {
    amount: f64,
    currency: &'a str,
}

#[derive(Debug, Serialize)]
struct Link {
    rel: &'static str,
    href: String,
}
