//! A Rebilly subscription order, as a lookup shows it.

use serde::Serialize;

use super::{
    super::{
        state::{Standing, Subscription},
        wire::Stamp,
    },
    cancellation::Cancellation,
};

/// A subscription order in the reply to `GET /subscriptions/{id}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order<'a> {
    id: &'a str,
    order_type: &'static str,
    customer_id: &'static str,
    website_id: &'static str,
    status: &'static str,
    currency: &'static str,
    in_trial: bool,
    revision: u64,
    activation_time: Stamp<0>,
    renewal_time: Stamp<0>,
    churn_time: Option<Stamp<0>>,
    canceled_time: Option<Stamp<0>>,
    canceled_by: Option<&'static str>,
    cancel_category: Option<&'static str>,
    cancel_description: Option<&'a str>,
    created_time: Stamp<0>,
    updated_time: Stamp<0>,
}

impl<'a> Order<'a> {
    pub(super) fn new(id: &'a str, of: &Subscription, applied: Option<&'a Cancellation>) -> Self {
        Self {
            id,
            order_type: "subscription-order",
            customer_id: "cus_01HRF27SATGE4Z6PBJE6PD8328",
            website_id: "web_01HRF27SATGE4Z6PBJE6PD8328",
            status: match of.standing {
                Standing::Active | Standing::Trialing | Standing::Unpaid | Standing::Redemption => {
                    "active"
                }
                Standing::Paused => "paused",
                Standing::Pending => "pending",
                Standing::Scheduled => "canceled",
                Standing::Canceled => "churned",
                Standing::Expired => "completed",
            },
            currency: "USD",
            in_trial: of.standing == Standing::Trialing,
            revision: 1 + of.tally.effects + of.tally.changes,
            activation_time: Stamp(of.created_at),
            renewal_time: Stamp(of.period_ends_at),
            churn_time: of.effective_at.map(Stamp),
            canceled_time: of.requested_at.map(Stamp),
            canceled_by: applied.map(|item| item.canceled_by),
            cancel_category: applied.map(|item| item.reason),
            cancel_description: applied.and_then(|item| item.description.as_deref()),
            created_time: Stamp(of.created_at),
            updated_time: Stamp(of.updated_at),
        }
    }
}
