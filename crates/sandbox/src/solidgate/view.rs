//! A Solidgate subscription in replies: every documented field.

use jiff::Timestamp;
use serde::Serialize;

use super::super::{
    state::{DAY, Standing, Subscription, shift},
    wire::Stamp,
};

type At = Stamp<6>;

/// See the module docs.
#[derive(Debug, Serialize)]
pub(super) struct View<'a> {
    id: &'a str,
    status: &'static str,
    currency: &'static str,
    line_items: [LineItem; 1],
    created_at: At,
    updated_at: At,
    started_at: At,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_billing_at: Option<At>,
    anchor_at: At,
    #[serde(skip_serializing_if = "Option::is_none")]
    trial_info: Option<TrialInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation_info: Option<CancellationInfo<'a>>,
    discounts: [Discount; 1],
    metadata: Metadata,
    description: &'static str,
    customer_id: &'static str,
    payment_instrument_id: &'static str,
    latest_invoice_id: &'static str,
}

#[derive(Debug, Serialize)]
struct LineItem {
    id: &'static str,
    billing_type: &'static str,
    currency: &'static str,
    amount: u64,
    quantity: u64,
    started_at: At,
    period: Period,
    billing_period_config: PeriodConfig,
    product_info: ProductInfo,
    created_at: At,
    updated_at: At,
    product_id: &'static str,
    product_price_id: &'static str,
}

#[derive(Debug, Serialize)]
struct Period {
    start_at: At,
    end_at: At,
}

#[derive(Debug, Serialize)]
struct PeriodConfig {
    value: u64,
    unit: &'static str,
}

#[derive(Debug, Serialize)]
struct ProductInfo {
    name: &'static str,
    description: &'static str,
}

#[derive(Debug, Serialize)]
struct TrialInfo {
    r#type: &'static str,
    period: Period,
    amount: u64,
    period_config: PeriodConfig,
}

#[derive(Debug, Serialize)]
struct CancellationInfo<'a> {
    cancel_at: At,
    requested_at: At,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Discount {
    coupon_id: &'static str,
    coupon_code: &'static str,
}

#[derive(Debug, Serialize)]
struct Metadata {
    order_id: &'static str,
}

impl<'a> View<'a> {
    pub(super) fn new(id: &'a str, of: &'a Subscription) -> Self {
        let over = matches!(of.standing, Standing::Canceled | Standing::Expired);
        let period = |from: Timestamp, to: Timestamp| Period {
            start_at: Stamp(from),
            end_at: Stamp(to),
        };
        let period_starts_at = shift(of.period_ends_at, DAY * -30);
        let trial = of.standing == Standing::Trialing
            || (of.standing == Standing::Scheduled && of.standing_before == Standing::Trialing);
        Self {
            id,
            status: word(of),
            currency: "USD",
            line_items: [LineItem {
                id: "slit_01KPWT0K1PQWEYYRT7J1H3NC85",
                billing_type: "RECURRING",
                currency: "USD",
                amount: 1_000,
                quantity: 1,
                started_at: Stamp(of.created_at),
                period: period(period_starts_at, of.period_ends_at),
                billing_period_config: PeriodConfig {
                    value: 1,
                    unit: "MONTH",
                },
                product_info: ProductInfo {
                    name: "Great product",
                    description: "Monthly subscription for a great product",
                },
                created_at: Stamp(of.created_at),
                updated_at: Stamp(of.updated_at),
                product_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7",
                product_price_id: "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            }],
            created_at: Stamp(of.created_at),
            updated_at: Stamp(of.updated_at),
            started_at: Stamp(of.created_at),
            next_billing_at: (!over && of.standing != Standing::Scheduled)
                .then_some(Stamp(of.period_ends_at)),
            anchor_at: Stamp(of.created_at),
            trial_info: trial.then(|| TrialInfo {
                r#type: "FREE",
                period: period(period_starts_at, of.period_ends_at),
                amount: 0,
                period_config: PeriodConfig {
                    value: 30,
                    unit: "DAY",
                },
            }),
            cancellation_info: of.effective_at.zip(of.requested_at).map(|(at, requested)| {
                CancellationInfo {
                    cancel_at: Stamp(at),
                    requested_at: Stamp(requested),
                    reason: "CANCELLATION_REQUESTED",
                    comment: of.note.as_deref(),
                }
            }),
            discounts: [Discount {
                coupon_id: "0291b87b-deac-4eb4-8732-2a70d247a171",
                coupon_code: "WINTER25",
            }],
            metadata: Metadata { order_id: "12345" },
            description: "Premium plan subscription",
            customer_id: "cust_01KMG2ABYPF6XS5DMJQ817C429",
            payment_instrument_id: "pi_01J1Z2X3Y4W5V6U7T8S9R0",
            latest_invoice_id: "inv_01KPWT0K1PQWEYYRT7J1H3NC85",
        }
    }
}

/// A scheduled subscription keeps its status; only `cancellation_info` shows the schedule.
const fn word(of: &Subscription) -> &'static str {
    let standing = match of.standing {
        Standing::Scheduled => of.standing_before,
        standing => standing,
    };
    match standing {
        Standing::Active | Standing::Scheduled => "ACTIVE",
        Standing::Paused => "PAUSED",
        Standing::Trialing => "TRIALING",
        Standing::Pending => "PENDING",
        Standing::Unpaid => "UNPAID",
        Standing::Redemption => "REDEMPTION",
        Standing::Canceled => "CANCELLED",
        Standing::Expired => "EXPIRED",
    }
}
