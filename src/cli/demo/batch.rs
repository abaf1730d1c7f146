//! The demo's requests: a mixed batch over the five providers, with targets in every state that the
//! sandbox selects by id.

use crate::rpc::proto::{
    CancelEnrollmentsRequest, CancelSubscriptionRequest, EnrollmentCancellation, Initiator, Reason,
    SubscriberIds, SubscriptionCancellation, When,
    enrollment_cancellation::Target,
    when::{Now, PeriodEnd, ProviderDefault, When as Choice},
};

/// Subscriptions in the demo's batch.
pub(super) const SUBSCRIPTIONS: usize = 900;
/// Items that cancel enrollments.
pub(super) const ENROLLMENTS: usize = 100;

/// Subscriptions at Rebilly, Solidgate, FunnelFox and Revolv3 in turn.
pub(super) fn subscriptions() -> CancelSubscriptionRequest {
    CancelSubscriptionRequest {
        idempotency_key: "demo-subscriptions".to_owned(),
        cancellations: (0..SUBSCRIPTIONS).map(subscription).collect(),
        ..Default::default()
    }
}

fn subscription(i: usize) -> SubscriptionCancellation {
    let round = i / 4;
    let now = Choice::Now(Now {});
    let period_end = Choice::PeriodEnd(PeriodEnd {});
    let alternating = if round.is_multiple_of(2) {
        now
    } else {
        period_end
    };
    let (account, subscription_id, when) = match i % 4 {
        0 => (
            "rebilly",
            format!("sub_{}{i:04}", state(round)),
            alternating,
        ),
        1 => (
            "solidgate",
            format!("subs_{}{i:04}", state(round)),
            alternating,
        ),
        2 => (
            "funnelfox",
            format!("ff_{}{i:04}", state(round)),
            period_end,
        ),
        _ => {
            // None that does not exist: Revolv3 answers 404 for ended ones as well, so after a lost
            // reply the truth would be unknown and the result IN_DOUBT.
            let range = match round % 25 {
                10 => 300_000_000,
                15 => 100_000_000,
                _ => 1_000,
            };
            let when = Choice::ProviderDefault(ProviderDefault {});
            ("revolv3", (range + i).to_string(), when)
        }
    };
    SubscriptionCancellation {
        account: account.to_owned(),
        subscription_id,
        when: Some(When { when: Some(when) }),
        reason: Reason::TooExpensive.into(),
        comment: "asked for by the customer in the demo".to_owned(),
        initiated_by: Initiator::Customer.into(),
        ..Default::default()
    }
}

/// The part of an id that selects the state in the sandbox.
fn state(round: usize) -> &'static str {
    match round % 25 {
        5 => "missing_",
        10 => "canceled_",
        15 => "scheduled_",
        20 => "pending_",
        _ => "",
    }
}

/// Enrollments: single subscribers, several at once, and one whole sequence of 3,522.
pub(super) fn enrollments() -> CancelEnrollmentsRequest {
    CancelEnrollmentsRequest {
        idempotency_key: "demo-enrollments".to_owned(),
        cancellations: (0..ENROLLMENTS).map(enrollment).collect(),
        ..Default::default()
    }
}

fn enrollment(i: usize) -> EnrollmentCancellation {
    let target = match i {
        0 => Target::All(Default::default()),
        i if i.is_multiple_of(10) => Target::SubscriberIds(SubscriberIds {
            ids: (0..5).map(|n| format!("subscriber_{i}_{n}")).collect(),
        }),
        i => Target::SubscriberId(format!("subscriber_{i}")),
    };
    EnrollmentCancellation {
        account: "sequenzy".to_owned(),
        sequence_id: if i == 0 {
            "seq_drain_3522"
        } else {
            "seq_welcome"
        }
        .to_owned(),
        target: Some(target),
        reason: "asked for in the demo".to_owned(),
        // Targets that match many are a dry run by default.
        dry_run: Some(false),
        ..Default::default()
    }
}
