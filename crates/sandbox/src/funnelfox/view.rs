//! A FunnelFox subscription in replies: every documented field that applies.

use serde::Serialize;

use super::{
    super::{
        state::{DAY, Standing, Subscription, shift},
        variants::FunnelFoxSuccess,
        wire::Stamp,
    },
    DEFAULT_REASON,
};

type At = Stamp<0>;

/// See the module docs.
#[derive(Debug, Serialize)]
pub(super) struct View<'a> {
    pub(super) id: &'a str,
    psp_id: &'static str,
    pub(super) status: &'static str,
    pub(super) profile: Profile,
    pub(super) funnel: Funnel,
    funnel_version: u64,
    funnel_locale: &'static str,
    experiment: Experiment,
    session: Session,
    product_id: &'static str,
    product: Product,
    price: u64,
    currency: &'static str,
    price_usd: u64,
    billing_interval: &'static str,
    billing_interval_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    trial_offer: Option<&'static str>,
    pub(super) payment_provider: &'a str,
    renews: bool,
    sandbox: bool,
    created_at: At,
    updated_at: At,
    period_starts_at: At,
    period_ends_at: At,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_at: Option<At>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<At>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation_reason: Option<&'a str>,
    renewed_at: At,
}

#[derive(Debug, Serialize)]
pub(super) struct Profile {
    pub(super) id: &'static str,
    email: &'static str,
    created_at: At,
    preview: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Funnel {
    pub(super) id: &'static str,
    title: &'static str,
    alias: &'static str,
    r#type: &'static str,
}

#[derive(Debug, Serialize)]
struct Experiment {
    id: &'static str,
    title: &'static str,
    alias: &'static str,
    enabled: bool,
}

#[derive(Debug, Serialize)]
struct Session {
    id: &'static str,
    created_at: At,
    locale: &'static str,
    user_agent: &'static str,
}

#[derive(Debug, Serialize)]
struct Product {
    id: &'static str,
    name: &'static str,
    status: &'static str,
}

impl<'a> View<'a> {
    pub(super) fn new(id: &'a str, of: &'a Subscription, success: FunnelFoxSuccess) -> Self {
        let canceled = matches!(of.standing, Standing::Scheduled | Standing::Canceled);
        let standing = match (of.standing, success) {
            (Standing::Scheduled, FunnelFoxSuccess::RenewsOff) => of.standing_before,
            (standing, _) => standing,
        };
        Self {
            id,
            psp_id: "sub_1PgafmB7WZ01zgkW6dKueIc5",
            status: word(standing),
            profile: Profile {
                id: "pro_01HZX3",
                email: "customer@example.com",
                created_at: Stamp(of.created_at),
                preview: false,
            },
            funnel: Funnel {
                id: "fun_01HZX3",
                title: "Quiz",
                alias: "quiz",
                r#type: "default",
            },
            funnel_version: 1,
            funnel_locale: "en",
            experiment: Experiment {
                id: "exp_01HZX3",
                title: "Price test",
                alias: "price-test",
                enabled: true,
            },
            session: Session {
                id: "ses_01HZX3",
                created_at: Stamp(of.created_at),
                locale: "en",
                user_agent: "Mozilla/5.0",
            },
            product_id: "prd_01HZX3",
            product: Product {
                id: "prd_01HZX3",
                name: "Premium",
                status: "active",
            },
            price: 100,
            currency: "USD",
            price_usd: 100,
            billing_interval: "month",
            billing_interval_count: 1,
            trial_offer: (standing == Standing::Trialing).then_some("free"),
            payment_provider: &of.payment_provider,
            renews: !canceled && of.standing != Standing::Expired,
            sandbox: true,
            created_at: Stamp(of.created_at),
            updated_at: Stamp(of.updated_at),
            period_starts_at: Stamp(shift(of.period_ends_at, DAY * -30)),
            period_ends_at: Stamp(of.period_ends_at),
            paused_at: (standing == Standing::Paused).then_some(Stamp(of.updated_at)),
            cancelled_at: of.requested_at.filter(|_| canceled).map(Stamp),
            cancellation_reason: canceled.then(|| of.note.as_deref().unwrap_or(DEFAULT_REASON)),
            renewed_at: Stamp(shift(of.period_ends_at, DAY * -30)),
        }
    }
}

const fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "active",
        Standing::Trialing => "trialing",
        Standing::Paused => "paused",
        Standing::Pending => "created",
        Standing::Unpaid | Standing::Redemption => "unpaid",
        Standing::Scheduled | Standing::Canceled => "cancelled",
        Standing::Expired => "expired",
    }
}
