//! Results, as they are streamed and as they are recorded.

use std::collections::HashMap;

use prost_types::Struct;

use super::{answer::answer, outcome, time};
use crate::{
    domain::{
        command::Command,
        ids::Key,
        outcome::{
            Conclusion, Detail, EnrollmentsDetail, Failure, Reached, Settled, SubscriptionDetail,
            SubscriptionState, SubscriptionStatus,
        },
    },
    engine::{SubmittedItem, results::feed::Update},
    providers::Mode,
    rpc::proto,
};

/// What all results have in common.
pub(super) struct Common<'a> {
    outcome: i32,
    attempts: u32,
    replayed: bool,
    settled_time: Option<prost_types::Timestamp>,
    ignored_fields: Vec<String>,
    failure: Option<proto::Failure>,
    provider_response: Option<Struct>,
    provider_response_headers: HashMap<String, String>,
    confirmed_by_lookup: bool,
    preview: String,
    removed_parts: Vec<String>,
    is_final: bool,
    detail: Option<&'a Detail>,
}

impl<'a> Common<'a> {
    fn of(update: &'a Update, mode: Mode, with_answer: bool) -> Self {
        match update {
            Update::Settled { settled, replayed } => {
                let mut common = Self::settled(settled, *replayed, with_answer);
                if mode == Mode::DryRun {
                    // It was told, and not recorded.
                    common.settled_time = None;
                    common.is_final = false;
                }
                common
            }
            Update::Progress {
                detail,
                attempts,
                lost,
            } => Self {
                attempts: *attempts,
                confirmed_by_lookup: *lost,
                detail: Some(detail),
                ..Self::open()
            },
        }
    }

    pub(super) fn open() -> Self {
        Self {
            outcome: proto::Outcome::Unspecified.into(),
            attempts: 0,
            replayed: false,
            settled_time: None,
            ignored_fields: Vec::new(),
            failure: None,
            provider_response: None,
            provider_response_headers: HashMap::new(),
            confirmed_by_lookup: false,
            preview: String::new(),
            removed_parts: Vec::new(),
            is_final: false,
            detail: None,
        }
    }

    pub(super) fn settled(settled: &'a Settled, replayed: bool, with_answer: bool) -> Self {
        let conclusion = &settled.conclusion;
        Self {
            outcome: outcome(conclusion.outcome).into(),
            attempts: settled.attempts,
            replayed,
            settled_time: Some(time(settled.settled_at)),
            ignored_fields: conclusion
                .ignored_fields
                .iter()
                .map(ToString::to_string)
                .collect(),
            failure: conclusion
                .failure
                .as_ref()
                .map(|f| failure(f, conclusion.is_final())),
            provider_response: with_answer
                .then(|| conclusion.answer.as_ref().map(answer))
                .flatten(),
            provider_response_headers: conclusion
                .answer_headers
                .iter()
                .filter(|_| with_answer)
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            confirmed_by_lookup: conclusion.confirmed_by_lookup,
            preview: conclusion.preview.clone().unwrap_or_default(),
            removed_parts: removed_parts(conclusion),
            is_final: conclusion.is_final(),
            detail: Some(&conclusion.detail),
        }
    }
}

/// What an outcome had and has no more.
fn removed_parts(conclusion: &Conclusion) -> Vec<String> {
    let parts = [
        (conclusion.answer_removed, "provider_response"),
        (conclusion.emails_removed, "email_addresses"),
        (conclusion.comments_removed, COMMENTS),
        (conclusion.personal_removed, "personal_data"),
    ];
    let removed = parts.into_iter().filter(|(is_removed, _)| *is_removed);
    removed.map(|(_, part)| part.to_owned()).collect()
}

const COMMENTS: &str = "comments";

/// With what the command had and has no more.
fn with_command(mut removed: Vec<String>, command: &Command) -> Vec<String> {
    if command.lacks_comments() && removed.iter().all(|part| part != COMMENTS) {
        removed.push(COMMENTS.to_owned());
    }
    removed
}

/// News of a subscription's cancellation.
pub(in crate::rpc) fn subscription_result(
    index: u32,
    key: &Key,
    item: &SubmittedItem,
    update: &Update,
    with_answer: bool,
) -> proto::SubscriptionResult {
    let common = Common::of(update, item.mode, with_answer);
    subscription(index, key, &item.command, common)
}

pub(super) fn subscription(
    index: u32,
    key: &Key,
    command: &Command,
    common: Common<'_>,
) -> proto::SubscriptionResult {
    let blank = SubscriptionDetail::default();
    let detail = match common.detail {
        Some(Detail::Subscription(detail)) => detail,
        Some(Detail::Enrollments(_)) | None => &blank,
    };
    proto::SubscriptionResult {
        index,
        idempotency_key: key.as_str().to_owned(),
        account: command.account().as_str().to_owned(),
        subscription_id: command.resource().as_str().to_owned(),
        outcome: common.outcome,
        effective_time: detail.effective_at.map(time),
        state: detail.state.as_ref().map(state),
        attempts: common.attempts,
        replayed: common.replayed,
        settled_time: common.settled_time,
        ignored_fields: common.ignored_fields,
        failure: common.failure,
        charges: detail.charges.as_ref().map(|charges| {
            let (amount, currency) = charges.subtotal.clone().unwrap_or_default();
            proto::Charges {
                subtotal_amount: amount,
                subtotal_currency: currency,
                prorated_invoice_id: charges.prorated_invoice_id.clone().unwrap_or_default(),
                applied_invoice_id: charges.applied_invoice_id.clone().unwrap_or_default(),
            }
        }),
        provider_response: common.provider_response,
        confirmed_by_lookup: common.confirmed_by_lookup,
        preview: common.preview,
        removed_parts: with_command(common.removed_parts, command),
        is_final: common.is_final,
        provider_response_headers: common.provider_response_headers,
    }
}

/// News of enrollments.
pub(in crate::rpc) fn enrollment_result(
    index: u32,
    key: &Key,
    item: &SubmittedItem,
    update: &Update,
    with_answer: bool,
) -> proto::EnrollmentResult {
    let common = Common::of(update, item.mode, with_answer);
    enrollments(index, key, &item.command, common)
}

pub(super) fn enrollments(
    index: u32,
    key: &Key,
    command: &Command,
    common: Common<'_>,
) -> proto::EnrollmentResult {
    let blank = EnrollmentsDetail::default();
    let detail = match common.detail {
        Some(Detail::Enrollments(detail)) => detail,
        Some(Detail::Subscription(_)) | None => &blank,
    };
    let listed = detail
        .enrollments
        .iter()
        .map(|enrollment| proto::Enrollment {
            enrollment_id: enrollment.enrollment_id.clone(),
            subscriber_id: enrollment.subscriber_id.clone(),
            subscriber_email: enrollment.subscriber_email.clone(),
            status: enrollment.status.clone(),
            enrollment_key: enrollment.enrollment_key.clone(),
        });
    proto::EnrollmentResult {
        index,
        idempotency_key: key.as_str().to_owned(),
        account: command.account().as_str().to_owned(),
        sequence_id: command.resource().as_str().to_owned(),
        outcome: common.outcome,
        matched_count: detail.matched,
        canceled_count: detail.canceled,
        remaining_count: detail.remaining,
        enrollments: listed.collect(),
        enrollments_truncated: detail.truncated,
        unknown_subscriber_ids: detail.unknown_subscriber_ids.clone(),
        attempts: common.attempts,
        replayed: common.replayed,
        settled_time: common.settled_time,
        ignored_fields: common.ignored_fields,
        failure: common.failure,
        provider_response: common.provider_response,
        confirmed_by_lookup: common.confirmed_by_lookup,
        preview: common.preview,
        removed_parts: with_command(common.removed_parts, command),
        is_final: common.is_final,
        provider_response_headers: common.provider_response_headers,
    }
}

fn state(state: &SubscriptionState) -> proto::SubscriptionState {
    let status = match state.status {
        SubscriptionStatus::Unknown => proto::SubscriptionStatus::Unspecified,
        SubscriptionStatus::Pending => proto::SubscriptionStatus::Pending,
        SubscriptionStatus::Trialing => proto::SubscriptionStatus::Trialing,
        SubscriptionStatus::Active => proto::SubscriptionStatus::Active,
        SubscriptionStatus::Paused => proto::SubscriptionStatus::Paused,
        SubscriptionStatus::PastDue => proto::SubscriptionStatus::PastDue,
        SubscriptionStatus::Scheduled => proto::SubscriptionStatus::Scheduled,
        SubscriptionStatus::Canceled => proto::SubscriptionStatus::Canceled,
        SubscriptionStatus::Expired => proto::SubscriptionStatus::Expired,
    };
    proto::SubscriptionState {
        status: status.into(),
        provider_status: state.provider_status.clone(),
        period_end_time: state.period_end.map(time),
        canceled_time: state.canceled_at.map(time),
        renews: state.renews,
        customer_id: state.customer_id.clone().unwrap_or_default(),
        payment_provider: state.payment_provider.clone().unwrap_or_default(),
        cancellation_id: state.cancellation_id.clone().unwrap_or_default(),
        provider_reason: state.provider_reason.clone().unwrap_or_default(),
        sandbox: state.sandbox,
    }
}

fn failure(failure: &Failure, is_final: bool) -> proto::Failure {
    let reached = match failure.reached {
        Reached::No => proto::ProviderReached::No,
        Reached::Yes => proto::ProviderReached::Yes,
        Reached::Unknown => proto::ProviderReached::Unknown,
    };
    let provider = failure.provider.clone().unwrap_or_default();
    proto::Failure {
        reason: failure.reason.name().to_owned(),
        message: failure.message.clone(),
        provider_reached: reached.into(),
        same_key_retryable: !is_final,
        retry_time: failure.retry_at.map(time),
        provider_http_status: u32::from(provider.http_status),
        provider_code: provider.code.unwrap_or_default(),
        provider_message: provider.message.unwrap_or_default(),
        provider_fields: provider
            .fields
            .into_iter()
            .map(|(field, description)| proto::FieldViolation { field, description })
            .collect(),
    }
}
