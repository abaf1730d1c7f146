//! Revolv3's replies to a cancel and to a lookup, which name the status differently.

use serde::Serialize;

use super::super::{
    state::{CancelType, Standing, Subscription},
    variants::{Revolv3PendingCancelledAt, Revolv3Variants},
    wire::Stamp,
};

fn cancelled_at(of: &Subscription, pending: Revolv3PendingCancelledAt) -> Option<At> {
    match (of.standing, pending) {
        (Standing::Canceled, _) => of.effective_at.map(Stamp),
        (Standing::Scheduled, Revolv3PendingCancelledAt::Requested) => of.requested_at.map(Stamp),
        (Standing::Scheduled, Revolv3PendingCancelledAt::Effective) => of.effective_at.map(Stamp),
        _ => None,
    }
}

const fn customer_id(subscription_id: i64) -> i64 {
    subscription_id % 1_000_000 + 1
}

const fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Active | Standing::Trialing | Standing::Pending => "Current",
        Standing::Unpaid | Standing::Redemption => "Recycle",
        Standing::Paused => "Paused",
        Standing::Scheduled => "PendingCancellation",
        Standing::Canceled => "Cancelled",
        Standing::Expired => "Expired",
    }
}

/// Seven digits of fraction, as .NET prints them.
type At = Stamp<7>;

/// The reply to a cancel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cancelled {
    subscription_id: i64,
    customer_id: i64,
    subscription_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<At>,
}

impl Cancelled {
    pub(super) fn new(id: i64, of: &Subscription, variants: Revolv3Variants) -> Self {
        Self {
            subscription_id: id,
            customer_id: customer_id(id),
            subscription_status: word(of.standing),
            cancelled_at: cancelled_at(of, variants.pending_cancelled_at),
        }
    }
}

/// A subscription in the reply to GET; here the status is `subscriptionStatusType`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    pub(super) subscription_id: i64,
    customer_id: i64,
    pub(super) merchant_subscription_ref_id: String,
    subscription_status_type: &'static str,
    subscription_cancel_type: CancelType,
    cancelled_at: Option<At>,
    next_bill_date: Option<String>,
    billing_plans: [BillingPlan; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BillingPlan {
    interval: u64,
    plan_type: &'static str,
    amount: u64,
    currency: &'static str,
}

impl View {
    pub(super) fn new(id: i64, of: &Subscription, variants: Revolv3Variants) -> Self {
        let renews = !matches!(
            of.standing,
            Standing::Scheduled | Standing::Canceled | Standing::Expired
        );
        Self {
            subscription_id: id,
            customer_id: customer_id(id),
            merchant_subscription_ref_id: format!("ref-{id}"),
            subscription_status_type: word(of.standing),
            subscription_cancel_type: of.cancel_type,
            cancelled_at: cancelled_at(of, variants.pending_cancelled_at),
            next_bill_date: renews.then(|| of.period_ends_at.strftime("%d-%b-%y").to_string()),
            billing_plans: [BillingPlan {
                interval: 1,
                plan_type: "Month",
                amount: 10,
                currency: "USD",
            }],
        }
    }
}
