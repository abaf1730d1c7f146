//! Sequenzy's replies.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::{
    enrollments::{Enrollment, Target},
    wire::Stamp,
};

const SUBSCRIBER_EMAIL: &str = "customer@example.com";

/// The target as the server understood it.
pub(super) fn target_view(target: &Target, not_found: &[String]) -> Value {
    match target {
        Target::All => json!({"mode": "all"}),
        Target::Subscriber(id) => json!({"mode": "subscriber", "subscriberId": id}),
        Target::Subscribers(ids) => json!({
            "mode": "subscribers", "subscriberIds": ids, "notFoundSubscriberIds": not_found,
        }),
        Target::Field { path, values } => {
            json!({"mode": "field", "fieldPath": path, "fieldValues": values})
        }
    }
}

pub(super) fn message(dry_run: bool, matched: usize, cancelled: usize) -> String {
    let plural = |count| if count == 1 { "" } else { "s" };
    if dry_run {
        format!(
            "Dry run: {matched} sequence enrollment{} would be cancelled.",
            plural(matched)
        )
    } else {
        format!(
            "Cancelled {cancelled} sequence enrollment{}.",
            plural(cancelled)
        )
    }
}

/// The reply to a cancel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cancelled<'a> {
    pub(super) success: bool,
    pub(super) sequence_id: &'a str,
    pub(super) dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<Value>,
    pub(super) matched_count: usize,
    pub(super) cancelled_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remaining_count: Option<usize>,
    pub(super) enrollments: Vec<SampleRow<'a>>,
    pub(super) has_more: bool,
    pub(super) message: String,
}

/// An enrollment in the reply to a cancel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SampleRow<'a> {
    token_id: String,
    subscriber_id: &'a str,
    subscriber_email: &'static str,
    status: &'static str,
    enrollment_key: String,
}

impl<'a> SampleRow<'a> {
    pub(super) fn new(sequence_id: &str, of: &'a Enrollment) -> Self {
        Self {
            token_id: of.token_id(sequence_id),
            subscriber_id: &of.subscriber_id,
            subscriber_email: SUBSCRIBER_EMAIL,
            status: of.status.word(),
            enrollment_key: of.key(),
        }
    }
}

/// An enrollment in a list; here the token's id is `enrollmentId`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListRow<'a> {
    enrollment_id: String,
    subscriber_id: &'a str,
    subscriber_email: &'static str,
    status: &'static str,
    enrollment_key: String,
    enrollment_started_at: Stamp<3>,
    last_updated_at: Stamp<3>,
    failed_reason: Option<&'static str>,
}

impl<'a> ListRow<'a> {
    /// A row of a list that shows the state of an earlier time.
    pub(super) fn new(sequence_id: &str, of: &'a Enrollment, shown_at: Timestamp) -> Self {
        let status = of.shown(shown_at);
        let last_updated_at = if status == of.status {
            of.updated_at
        } else {
            of.started_at
        };
        Self {
            enrollment_id: of.token_id(sequence_id),
            subscriber_id: &of.subscriber_id,
            subscriber_email: SUBSCRIBER_EMAIL,
            status: status.word(),
            enrollment_key: of.key(),
            enrollment_started_at: Stamp(of.started_at),
            last_updated_at: Stamp(last_updated_at),
            failed_reason: (status.word() == "failed").then_some("Step failed"),
        }
    }
}
