//! A recorded command, as it was asked for.

use super::time;
use crate::{
    domain::{
        command::{Direction, EnrollmentsTarget, Initiator, ProviderOptions, Reason, When},
        personal::shown_text,
    },
    rpc::proto,
};

pub(crate) fn subscription_command(
    c: &crate::domain::command::SubscriptionCommand,
) -> proto::SubscriptionCancellation {
    use proto::when::{Now, PeriodEnd, ProviderDefault, When as W};
    let when = match c.when {
        When::Now => W::Now(Now {}),
        When::PeriodEnd => W::PeriodEnd(PeriodEnd {}),
        When::ProviderDefault => W::ProviderDefault(ProviderDefault {}),
        When::At(at) => W::At(time(at)),
    };
    proto::SubscriptionCancellation {
        account: c.account.as_str().to_owned(),
        subscription_id: c.subscription_id.as_str().to_owned(),
        idempotency_key: String::new(),
        when: Some(proto::When { when: Some(when) }),
        reason: c.reason.map_or(proto::Reason::Unspecified, reason).into(),
        comment: shown_text(c.comment.as_deref()).to_owned(),
        initiated_by: c
            .initiated_by
            .map_or(proto::Initiator::Unspecified, initiator)
            .into(),
        prorate: c.prorate,
        line_items: c.line_items.iter().map(line_item).collect(),
        provider_options: c.options.as_ref().map(|options| match options {
            ProviderOptions::Solidgate { channel_id } => {
                proto::subscription_cancellation::ProviderOptions::Solidgate(
                    proto::SolidgateOptions {
                        channel_id: channel_id
                            .as_ref()
                            .map(ToString::to_string)
                            .unwrap_or_default(),
                    },
                )
            }
        }),
    }
}

fn reason(reason: Reason) -> proto::Reason {
    match reason {
        Reason::DidNotUse => proto::Reason::DidNotUse,
        Reason::DidNotWant => proto::Reason::DidNotWant,
        Reason::MissingFeatures => proto::Reason::MissingFeatures,
        Reason::BugsOrProblems => proto::Reason::BugsOrProblems,
        Reason::DoNotRemember => proto::Reason::DoNotRemember,
        Reason::RiskWarning => proto::Reason::RiskWarning,
        Reason::ContractExpired => proto::Reason::ContractExpired,
        Reason::TooExpensive => proto::Reason::TooExpensive,
        Reason::Other => proto::Reason::Other,
        Reason::BillingFailure => proto::Reason::BillingFailure,
    }
}

fn initiator(initiator: Initiator) -> proto::Initiator {
    match initiator {
        Initiator::Merchant => proto::Initiator::Merchant,
        Initiator::Customer => proto::Initiator::Customer,
        Initiator::Provider => proto::Initiator::Provider,
    }
}

fn line_item(item: &crate::domain::command::LineItem) -> proto::LineItem {
    proto::LineItem {
        r#type: match item.direction {
            Direction::Debit => proto::LineItemType::Debit,
            Direction::Credit => proto::LineItemType::Credit,
        }
        .into(),
        description: shown_text(item.description.as_deref()).to_owned(),
        unit_price_amount: item.unit_price.as_str().to_owned(),
        unit_price_currency: item.currency.as_str().to_owned(),
        quantity: item.quantity,
        period_start_time: item.period_start.map(time),
        period_end_time: item.period_end.map(time),
    }
}

pub(crate) fn enrollments_command(
    c: &crate::domain::command::EnrollmentsCommand,
) -> proto::EnrollmentCancellation {
    use proto::enrollment_cancellation::Target as T;
    let texts =
        |ids: &[crate::domain::ids::TargetId]| ids.iter().map(ToString::to_string).collect();
    let target = match &c.target {
        EnrollmentsTarget::Subscriber(id) => T::SubscriberId(id.to_string()),
        EnrollmentsTarget::Subscribers(ids) => {
            T::SubscriberIds(proto::SubscriberIds { ids: texts(ids) })
        }
        EnrollmentsTarget::Field { path, values } => T::Field(proto::FieldMatch {
            path: path.as_ref().map(ToString::to_string).unwrap_or_default(),
            values: texts(values),
        }),
        EnrollmentsTarget::All => T::All(proto::AllEnrollments {}),
    };
    proto::EnrollmentCancellation {
        account: c.account.as_str().to_owned(),
        sequence_id: c.sequence_id.as_str().to_owned(),
        idempotency_key: String::new(),
        target: Some(target),
        reason: shown_text(c.reason.as_deref()).to_owned(),
        // Only what was to be done is ever recorded.
        dry_run: Some(false),
        max_matches: c.matches_max,
    }
}
