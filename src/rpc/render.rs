//! From the domain's types to messages.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use prost_types::{Struct, Value, value::Kind as ValueKind};

use super::proto;
use crate::{
    dispatch::{Item, feed::Update},
    domain::{
        account::{Account, Capabilities, DryRun, ProviderId, Timing},
        answer::Answer,
        command::{
            Command, Direction, EnrollmentsTarget, Initiator, ProviderOptions, Reason, When,
        },
        ids::{Key, Kind},
        outcome::{
            Conclusion, Detail, EnrollmentsDetail, Failure, Outcome, Reached, Settled,
            SubscriptionDetail, SubscriptionState, SubscriptionStatus,
        },
    },
    journal::Record,
    providers::{self, Mode},
};

/// Levels of an answer that are kept as structure. Each costs a client's decoder four levels of
/// nested messages, and common decoders stop at 100.
const ANSWER_LEVELS_MAX: usize = 16;

/// A time in the proto's form.
pub(super) fn time(time: Timestamp) -> prost_types::Timestamp {
    // Both count nanoseconds in the direction of the seconds for times before 1970; the proto
    // counts forward.
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 {
        prost_types::Timestamp {
            seconds: seconds - 1,
            nanos: nanos + 1_000_000_000,
        }
    } else {
        prost_types::Timestamp { seconds, nanos }
    }
}

/// An outcome in the proto's form.
pub(super) fn outcome(outcome: Outcome) -> proto::Outcome {
    match outcome {
        Outcome::Canceled => proto::Outcome::Canceled,
        Outcome::Scheduled => proto::Outcome::Scheduled,
        Outcome::AlreadyCanceled => proto::Outcome::AlreadyCanceled,
        Outcome::AlreadyScheduled => proto::Outcome::AlreadyScheduled,
        Outcome::Previewed => proto::Outcome::Previewed,
        Outcome::NotFound => proto::Outcome::NotFound,
        Outcome::Rejected => proto::Outcome::Rejected,
        Outcome::Unavailable => proto::Outcome::Unavailable,
        Outcome::InDoubt => proto::Outcome::InDoubt,
        Outcome::Stopped => proto::Outcome::Stopped,
    }
}

/// Counts in the order of the outcomes.
pub(super) fn outcome_counts(counts: &BTreeMap<Outcome, u32>) -> Vec<proto::OutcomeCount> {
    counts
        .iter()
        .map(|(o, count)| proto::OutcomeCount {
            outcome: outcome(*o).into(),
            count: *count,
        })
        .collect()
}

/// What all results have in common.
struct Common<'a> {
    outcome: i32,
    attempts: u32,
    replayed: bool,
    settled_time: Option<prost_types::Timestamp>,
    ignored_fields: Vec<String>,
    failure: Option<proto::Failure>,
    provider_response: Option<Struct>,
    confirmed_by_lookup: bool,
    preview: String,
    removed_parts: Vec<String>,
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

    fn open() -> Self {
        Self {
            outcome: proto::Outcome::Unspecified.into(),
            attempts: 0,
            replayed: false,
            settled_time: None,
            ignored_fields: Vec::new(),
            failure: None,
            provider_response: None,
            confirmed_by_lookup: false,
            preview: String::new(),
            removed_parts: Vec::new(),
            detail: None,
        }
    }

    fn settled(settled: &'a Settled, replayed: bool, with_answer: bool) -> Self {
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
                .map(|f| failure(f, conclusion.outcome)),
            provider_response: with_answer
                .then(|| conclusion.answer.as_ref().map(answer))
                .flatten(),
            confirmed_by_lookup: conclusion.confirmed_by_lookup,
            preview: conclusion.preview.clone().unwrap_or_default(),
            removed_parts: removed_parts(conclusion),
            detail: Some(&conclusion.detail),
        }
    }
}

/// What an outcome had and has no more.
fn removed_parts(conclusion: &Conclusion) -> Vec<String> {
    let parts = [
        (conclusion.answer_removed, "provider_response"),
        (conclusion.emails_removed, "email_addresses"),
    ];
    let removed = parts.into_iter().filter(|(is_removed, _)| *is_removed);
    removed.map(|(_, part)| part.to_owned()).collect()
}

/// News of a subscription's cancellation.
pub(super) fn subscription_result(
    index: u32,
    key: &Key,
    item: &Item,
    update: &Update,
    with_answer: bool,
) -> proto::SubscriptionResult {
    let common = Common::of(update, item.mode, with_answer);
    subscription(index, key, &item.command, common)
}

fn subscription(
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
        removed_parts: common.removed_parts,
    }
}

/// News of enrollments.
pub(super) fn enrollment_result(
    index: u32,
    key: &Key,
    item: &Item,
    update: &Update,
    with_answer: bool,
) -> proto::EnrollmentResult {
    let common = Common::of(update, item.mode, with_answer);
    enrollments(index, key, &item.command, common)
}

fn enrollments(
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
        removed_parts: common.removed_parts,
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

fn failure(failure: &Failure, outcome: Outcome) -> proto::Failure {
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
        same_key_retryable: !outcome.is_final(),
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

/// A provider's answer as a Struct.
fn answer(answer: &Answer) -> Struct {
    let text = |text: &str| single("text", ValueKind::StringValue(text.to_owned()));
    match answer {
        Answer::Text(body) => text(body),
        Answer::Json(raw) => match serde_json::from_str(raw.get()) {
            Ok(serde_json::Value::Object(members)) => object(members, ANSWER_LEVELS_MAX),
            Ok(other) => Struct {
                fields: [("value".to_owned(), value(other, ANSWER_LEVELS_MAX))].into(),
            },
            Err(_) => text(raw.get()),
        },
    }
}

fn single(name: &str, kind: ValueKind) -> Struct {
    Struct {
        fields: [(name.to_owned(), Value { kind: Some(kind) })].into(),
    }
}

fn object(members: serde_json::Map<String, serde_json::Value>, levels: usize) -> Struct {
    Struct {
        fields: members
            .into_iter()
            .map(|(name, v)| (name, value(v, levels)))
            .collect(),
    }
}

fn value(json: serde_json::Value, levels: usize) -> Value {
    let kind = match json {
        serde_json::Value::Null => ValueKind::NullValue(0),
        serde_json::Value::Bool(flag) => ValueKind::BoolValue(flag),
        serde_json::Value::String(text) => ValueKind::StringValue(text),
        // A number that no double holds stays what it was, as text.
        serde_json::Value::Number(number) => match number.as_f64().filter(|n| n.is_finite()) {
            Some(double) => ValueKind::NumberValue(double),
            None => ValueKind::StringValue(number.to_string()),
        },
        nested if levels == 0 => ValueKind::StringValue(nested.to_string()),
        serde_json::Value::Array(elements) => ValueKind::ListValue(prost_types::ListValue {
            values: elements
                .into_iter()
                .map(|element| value(element, levels - 1))
                .collect(),
        }),
        serde_json::Value::Object(members) => ValueKind::StructValue(object(members, levels - 1)),
    };
    Value { kind: Some(kind) }
}

/// A kind in the proto's form.
pub(super) fn kind(kind: Kind) -> proto::CancellationKind {
    match kind {
        Kind::Subscription => proto::CancellationKind::Subscription,
        Kind::Enrollments => proto::CancellationKind::Enrollments,
    }
}

/// A whole record.
pub(super) fn record(record: &Record, with_answer: bool) -> proto::Cancellation {
    use proto::cancellation::{Command as C, Result as R};
    let common = match &record.settled {
        Some(settled) => Common::settled(settled, false, with_answer),
        None => Common::open(),
    };
    let (index, key) = (record.id.index, &record.key);
    let (asked, result) = match &*record.command {
        Command::Subscription(command) => (
            C::Subscription(subscription_command(command)),
            R::SubscriptionResult(subscription(index, key, &record.command, common)),
        ),
        Command::Enrollments(command) => (
            C::Enrollments(enrollments_command(command)),
            R::EnrollmentResult(enrollments(index, key, &record.command, common)),
        ),
    };
    proto::Cancellation {
        kind: kind(record.scope.kind).into(),
        idempotency_key: key.as_str().to_owned(),
        request_key: record.request_key.as_str().to_owned(),
        batch_id: record.id.batch.to_string(),
        caller: record.scope.caller.as_str().to_owned(),
        admitted_time: Some(time(record.admitted_at)),
        open: record.settled.is_none(),
        command: Some(asked),
        result: Some(result),
    }
}

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
        comment: c.comment.clone().unwrap_or_default(),
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
        description: item.description.clone().unwrap_or_default(),
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
        reason: c.reason.clone().unwrap_or_default(),
        // Only what was to be done is ever recorded.
        dry_run: Some(false),
        max_matches: c.matches_max,
    }
}

/// An account and what it can do.
pub(super) fn account(account: &Account) -> proto::Account {
    let provider = match account.provider() {
        ProviderId::Rebilly => proto::Provider::Rebilly,
        ProviderId::Solidgate => proto::Provider::Solidgate,
        ProviderId::FunnelFox => proto::Provider::Funnelfox,
        ProviderId::Revolv3 => proto::Provider::Revolv3,
        ProviderId::Sequenzy => proto::Provider::Sequenzy,
    };
    let can: Capabilities = providers::of(account.provider()).capabilities(account);
    proto::Account {
        name: account.name.as_str().to_owned(),
        provider: provider.into(),
        base_url: account.base_url.clone(),
        capabilities: Some(proto::Capabilities {
            kind: kind(can.kind).into(),
            timings: can
                .timings
                .iter()
                .map(|timing| i32::from(timing_of(*timing)))
                .collect(),
            prorate: can.prorate,
            line_items: can.line_items,
            notes: can.notes.iter().map(ToString::to_string).collect(),
            dry_run: match can.dry_run {
                DryRun::Preview => proto::DryRun::Preview,
                DryRun::Lookup => proto::DryRun::Lookup,
            }
            .into(),
        }),
    }
}

fn timing_of(timing: Timing) -> proto::Timing {
    match timing {
        Timing::Now => proto::Timing::Now,
        Timing::PeriodEnd => proto::Timing::PeriodEnd,
        Timing::At => proto::Timing::At,
        Timing::ProviderDefault => proto::Timing::ProviderDefault,
    }
}

/// A batch's progress from its records.
pub(super) fn progress(batch_id: String, records: &[Option<Record>]) -> proto::Progress {
    let mut outcomes: BTreeMap<Outcome, u32> = BTreeMap::new();
    let settled = |record: &Record| record.settled.clone();
    for settled in records.iter().flatten().filter_map(settled) {
        let settled: Arc<Settled> = settled;
        *outcomes.entry(settled.conclusion.outcome).or_default() += 1;
    }
    proto::Progress {
        batch_id,
        total: u32::try_from(records.len()).unwrap_or(u32::MAX),
        settled: outcomes.values().sum(),
        outcomes: outcome_counts(&outcomes),
    }
}
