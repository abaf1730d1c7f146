//! Output of results: JSON Lines for programs, one line each for people.

use serde_json::{Map, Value, json};

use super::summary;
use crate::{
    domain::outcome::FailureReason,
    rpc::proto::{EnrollmentResult, Failure, SubscriptionResult},
};

/// A result that can be shown.
pub(in crate::cli) trait Shown {
    /// The whole result, with the proto's field names and without empty members.
    fn json(&self) -> Value;
    /// Account, target, outcome, and a note.
    fn cells(&self) -> [String; 4];
    fn account(&self) -> &str;
    /// Whether the same key replays it.
    fn is_final(&self) -> bool;
}

/// The object without its empty members.
fn compact(members: Value) -> Value {
    let Value::Object(members) = members else {
        return members;
    };
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
    };
    let kept = members.into_iter().filter(|(_, value)| !is_empty(value));
    Value::Object(kept.collect::<Map<_, _>>())
}

fn time(time: Option<&prost_types::Timestamp>) -> Value {
    time.map_or(Value::Null, |time| Value::String(time.to_string()))
}

fn failure(failure: Option<&Failure>) -> Value {
    let Some(failure) = failure else {
        return Value::Null;
    };
    let fields = failure.provider_fields.iter();
    compact(json!({
        "reason": failure.reason,
        "message": failure.message,
        "provider_reached": failure.provider_reached().as_str_name(),
        "same_key_retryable": failure.same_key_retryable,
        "retry_time": time(failure.retry_time.as_ref()),
        "provider_http_status":
            Some(failure.provider_http_status).filter(|status| *status > 0),
        "provider_code": failure.provider_code,
        "provider_message": failure.provider_message,
        "provider_fields": fields
            .map(|field| json!({"field": field.field, "description": field.description}))
            .collect::<Vec<_>>(),
    }))
}

/// The note beside the outcome.
fn note(failure: Option<&Failure>, preview: &str, else_say: impl FnOnce() -> String) -> String {
    match failure {
        // The outcome says the same.
        Some(failure) if failure.reason == FailureReason::TargetNotFound.name() => {
            failure.message.clone()
        }
        Some(failure) => format!("{}: {}", failure.reason, failure.message),
        None if !preview.is_empty() => preview.to_owned(),
        None => else_say(),
    }
}

fn outcome(outcome: i32, replayed: bool) -> String {
    let name = summary::name(outcome);
    if replayed {
        format!("{name} (replayed)")
    } else {
        name
    }
}

impl Shown for SubscriptionResult {
    fn json(&self) -> Value {
        let state = self.state.as_ref().map(|state| {
            compact(json!({
                "status": state.status().as_str_name(),
                "provider_status": state.provider_status,
                "period_end_time": time(state.period_end_time.as_ref()),
                "canceled_time": time(state.canceled_time.as_ref()),
                "renews": state.renews,
                "customer_id": state.customer_id,
                "payment_provider": state.payment_provider,
                "cancellation_id": state.cancellation_id,
                "provider_reason": state.provider_reason,
                "sandbox": state.sandbox,
            }))
        });
        let charges = self.charges.as_ref().map(|charges| {
            compact(json!({
                "subtotal_amount": charges.subtotal_amount,
                "subtotal_currency": charges.subtotal_currency,
                "prorated_invoice_id": charges.prorated_invoice_id,
                "applied_invoice_id": charges.applied_invoice_id,
            }))
        });
        compact(json!({
            "index": self.index,
            "idempotency_key": self.idempotency_key,
            "account": self.account,
            "subscription_id": self.subscription_id,
            "outcome": self.outcome().as_str_name(),
            "effective_time": time(self.effective_time.as_ref()),
            "state": state,
            "attempts": self.attempts,
            "replayed": self.replayed,
            "settled_time": time(self.settled_time.as_ref()),
            "ignored_fields": self.ignored_fields,
            "failure": failure(self.failure.as_ref()),
            "charges": charges,
            "confirmed_by_lookup": self.confirmed_by_lookup,
            "preview": self.preview,
            "removed_parts": self.removed_parts,
            "is_final": self.is_final,
        }))
    }

    fn cells(&self) -> [String; 4] {
        [
            self.account.clone(),
            self.subscription_id.clone(),
            outcome(self.outcome, self.replayed),
            note(self.failure.as_ref(), &self.preview, || {
                let effective = self.effective_time.as_ref();
                effective.map(|at| format!("ends {at}")).unwrap_or_default()
            }),
        ]
    }

    fn account(&self) -> &str {
        &self.account
    }

    fn is_final(&self) -> bool {
        self.is_final
    }
}

impl Shown for EnrollmentResult {
    fn json(&self) -> Value {
        let enrollments = self.enrollments.iter().map(|enrollment| {
            compact(json!({
                "enrollment_id": enrollment.enrollment_id,
                "subscriber_id": enrollment.subscriber_id,
                "subscriber_email": enrollment.subscriber_email,
                "status": enrollment.status,
                "enrollment_key": enrollment.enrollment_key,
            }))
        });
        compact(json!({
            "index": self.index,
            "idempotency_key": self.idempotency_key,
            "account": self.account,
            "sequence_id": self.sequence_id,
            "outcome": self.outcome().as_str_name(),
            "matched_count": self.matched_count,
            "canceled_count": self.canceled_count,
            "remaining_count": self.remaining_count,
            "enrollments": enrollments.collect::<Vec<_>>(),
            "enrollments_truncated": self.enrollments_truncated,
            "unknown_subscriber_ids": self.unknown_subscriber_ids,
            "attempts": self.attempts,
            "replayed": self.replayed,
            "settled_time": time(self.settled_time.as_ref()),
            "ignored_fields": self.ignored_fields,
            "failure": failure(self.failure.as_ref()),
            "confirmed_by_lookup": self.confirmed_by_lookup,
            "preview": self.preview,
            "removed_parts": self.removed_parts,
            "is_final": self.is_final,
        }))
    }

    fn cells(&self) -> [String; 4] {
        [
            self.account.clone(),
            self.sequence_id.clone(),
            outcome(self.outcome, self.replayed),
            note(self.failure.as_ref(), &self.preview, || {
                format!(
                    "{} of {} matching ended",
                    self.canceled_count, self.matched_count
                )
            }),
        ]
    }

    fn account(&self) -> &str {
        &self.account
    }

    fn is_final(&self) -> bool {
        self.is_final
    }
}
