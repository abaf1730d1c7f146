//! Outcomes of a cancellation, the same for every provider.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    doubt::{Doubt, Moment},
    provider_response::ProviderResponse,
};

/// The outcome of a cancellation. The proto describes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the proto describes each")]
pub enum Outcome {
    Canceled,
    Scheduled,
    AlreadyCanceled,
    AlreadyScheduled,
    Previewed,
    NotFound,
    Rejected,
    Unavailable,
    InDoubt,
    Stopped,
}

impl Outcome {
    /// All outcomes, in the order of display.
    pub const ALL: [Self; 10] = [
        Self::Canceled,
        Self::Scheduled,
        Self::AlreadyCanceled,
        Self::AlreadyScheduled,
        Self::Previewed,
        Self::NotFound,
        Self::Rejected,
        Self::Unavailable,
        Self::InDoubt,
        Self::Stopped,
    ];

    /// Its published name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Canceled => "CANCELED",
            Self::Scheduled => "SCHEDULED",
            Self::AlreadyCanceled => "ALREADY_CANCELED",
            Self::AlreadyScheduled => "ALREADY_SCHEDULED",
            Self::Previewed => "PREVIEWED",
            Self::NotFound => "NOT_FOUND",
            Self::Rejected => "REJECTED",
            Self::Unavailable => "UNAVAILABLE",
            Self::InDoubt => "IN_DOUBT",
            Self::Stopped => "STOPPED",
        }
    }

    /// Whether the same key replays it for ever. Others are reopened.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Canceled
            | Self::Scheduled
            | Self::AlreadyCanceled
            | Self::AlreadyScheduled
            | Self::Previewed
            | Self::NotFound
            | Self::Rejected => true,
            Self::Unavailable | Self::InDoubt | Self::Stopped => false,
        }
    }

    /// Whether the goal is reached.
    #[must_use]
    pub fn is_success(self) -> bool {
        match self {
            Self::Canceled
            | Self::Scheduled
            | Self::AlreadyCanceled
            | Self::AlreadyScheduled
            | Self::Previewed => true,
            Self::NotFound | Self::Rejected | Self::Unavailable | Self::InDoubt | Self::Stopped => {
                false
            }
        }
    }
}

/// An adapter's conclusion from a history: a result without the time of its recording and the
/// number of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conclusion {
    /// How it ended.
    pub outcome: Outcome,
    /// What is known of the target.
    pub detail: Detail,
    /// Why it is no success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Fields of the command that the provider has no field for, by their published names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_fields: Vec<Cow<'static, str>>,
    /// The outcome was learned by a lookup after a reply was lost.
    #[serde(default, skip_serializing_if = "is_false")]
    pub confirmed_by_lookup: bool,
    /// For dry runs: what would happen, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
    /// The provider's response that decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<ProviderResponse>,
    /// Informative headers of that response, by lower-case name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answer_headers: BTreeMap<String, String>,
    /// The response was removed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub answer_removed: bool,
    /// E-mail addresses were removed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub emails_removed: bool,
    /// Words of the caller's were in it, which are not kept.
    #[serde(default, skip_serializing_if = "is_false")]
    pub comments_removed: bool,
    /// What is one person's was in it, which was erased.
    #[serde(default, skip_serializing_if = "is_false")]
    pub personal_removed: bool,
    /// So was something of the command, so that nothing takes it up again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub erased: bool,
}

impl Conclusion {
    /// Whether the same key replays it for ever. Others are reopened.
    #[must_use]
    pub fn is_final(&self) -> bool {
        let reason = self.failure.as_ref().map(|failure| failure.reason);
        self.outcome.is_final() || self.erased || reason == Some(FailureReason::DoubtUnresolved)
    }

    /// A success.
    #[must_use]
    pub fn success(outcome: Outcome, detail: Detail) -> Self {
        Self {
            outcome,
            detail,
            failure: None,
            ignored_fields: Vec::new(),
            confirmed_by_lookup: false,
            preview: None,
            answer: None,
            answer_headers: BTreeMap::new(),
            answer_removed: false,
            emails_removed: false,
            comments_removed: false,
            personal_removed: false,
            erased: false,
        }
    }

    /// A failure.
    #[must_use]
    pub fn failure(outcome: Outcome, detail: Detail, failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            ..Self::success(outcome, detail)
        }
    }
}

/// A recorded conclusion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// The conclusion.
    pub conclusion: Conclusion,
    /// HTTP requests that may have reached the provider, over all known runs.
    pub attempts: u32,
    /// When it was recorded.
    pub settled_at: Timestamp,
    /// The doubt that it leaves, for when its key is sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Box<Doubt>>,
}

impl Settled {
    /// The doubt that it leaves. In records of older versions it follows from the outcome.
    #[must_use]
    pub fn left_unknown(&self) -> Option<Doubt> {
        if let Some(doubt) = &self.doubt {
            return Some(Doubt::clone(doubt));
        }
        let failure = self.conclusion.failure.as_ref();
        let is_unknown = self.conclusion.outcome == Outcome::InDoubt
            || failure.is_some_and(|failure| failure.reached == Reached::Unknown);
        is_unknown.then(|| Doubt::between(None, Moment::wall(self.settled_at)))
    }
}

/// What is known of the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are of the larger one"
)]
pub enum Detail {
    /// Of a subscription.
    Subscription(SubscriptionDetail),
    /// Of a sequence's enrollments.
    Enrollments(EnrollmentsDetail),
}

/// What is known of a subscription.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionDetail {
    /// When it ended or will end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_at: Option<Timestamp>,
    /// The subscription as last described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<SubscriptionState>,
    /// Money that the cancellation moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charges: Option<Charges>,
}

/// A subscription as a provider described it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the proto's SubscriptionState describes each")]
pub struct SubscriptionState {
    pub status: SubscriptionStatus,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub provider_status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_end: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canceled_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renews: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_provider: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<bool>,
}

/// The status of a subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the proto describes each")]
pub enum SubscriptionStatus {
    #[default]
    Unknown,
    Pending,
    Trialing,
    Active,
    Paused,
    PastDue,
    Scheduled,
    Canceled,
    Expired,
}

/// Money that a cancellation moves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charges {
    /// Sum of the line items, as the provider's decimal number, and its currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtotal: Option<(String, String)>,
    /// The invoice for the rest of the period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prorated_invoice_id: Option<String>,
    /// The invoice that got the credit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_invoice_id: Option<String>,
}

/// What is known of a sequence's enrollments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollmentsDetail {
    /// Matches at the first call.
    pub matched: u64,
    /// Cancelled so far.
    pub canceled: u64,
    /// Still matching.
    pub remaining: u64,
    /// The listed enrollments, at most [`crate::limits::ENROLLMENTS_LISTED_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enrollments: Vec<Enrollment>,
    /// More matched than are listed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// Requested subscribers that the provider does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_subscriber_ids: Vec<String>,
}

/// A subscriber's enrollment in a sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the proto's Enrollment describes each")]
pub struct Enrollment {
    pub enrollment_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subscriber_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subscriber_email: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub enrollment_key: String,
}

/// Why it is no success, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable word for programs.
    pub reason: FailureReason,
    /// A message for people, with what to do.
    pub message: String,
    /// Whether a request may have reached the provider.
    pub reached: Reached,
    /// The earliest time to send the key again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// The provider's error, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderError>,
}

/// The error in a provider's reply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderError {
    /// The HTTP status.
    pub http_status: u16,
    /// The provider's own error code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Its message, cut at [`crate::limits::MESSAGE_CHARS_MAX`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The fields that it rejected, with its messages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}

/// Whether a request with an effect may have reached the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// No.
    No,
    /// Yes: it answered.
    Yes,
    /// A reply was lost.
    Unknown,
}

/// The stable reasons of failures. docs/api.md says what to do about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureReason {
    /// The provider does not know the target.
    TargetNotFound,
    /// The target's state does not allow a cancellation.
    TargetStateIncompatible,
    /// It ends at another time than asked for, and the provider does not change that.
    TimingConflict,
    /// The provider rejected the request, for its own reason.
    ProviderRefused,
    /// More enrollments matched than `max_matches` allows.
    TooManyMatches,
    /// The provider was throttling, and the retry window ended.
    ProviderThrottled,
    /// The provider could not be reached.
    ProviderUnreachable,
    /// The provider answered with an error of its own (5xx).
    ProviderError,
    /// The provider rejected the account's credentials.
    CredentialsRefused,
    /// The account's credentials lack the permission.
    PermissionDenied,
    /// The provider's reply is not documented.
    AnswerUnreadable,
    /// A reply was lost, and no lookup could determine the effect.
    AnswerLost,
    /// A lookup before sending failed, so nothing was sent.
    LookFailed,
    /// The provider accepts requests but nothing changes.
    NoProgress,
    /// A drain took more calls than one run makes.
    DrainUnfinished,
    /// The account is no longer configured, or is at another provider now.
    AccountChanged,
    /// The batch was stopped before.
    Stopped,
    /// An intermediary answers: a proxy, a firewall, a wrong address.
    NotTheProvider,
    /// The provider rejected the request in a way that its page does not describe.
    UndocumentedRefusal,
    /// The account has not described any subscription yet, so a message alone proves nothing.
    AccountUnproven,
    /// Believed lookups leave the doubt open: final.
    DoubtUnresolved,
    /// A server could take the target's id for another path, so it is not sent.
    TargetIdUnsafe,
}

impl FailureReason {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::TargetNotFound,
        Self::TargetStateIncompatible,
        Self::TimingConflict,
        Self::ProviderRefused,
        Self::TooManyMatches,
        Self::ProviderThrottled,
        Self::ProviderUnreachable,
        Self::ProviderError,
        Self::CredentialsRefused,
        Self::PermissionDenied,
        Self::AnswerUnreadable,
        Self::AnswerLost,
        Self::LookFailed,
        Self::NoProgress,
        Self::DrainUnfinished,
        Self::AccountChanged,
        Self::Stopped,
        Self::NotTheProvider,
        Self::UndocumentedRefusal,
        Self::AccountUnproven,
        Self::DoubtUnresolved,
        Self::TargetIdUnsafe,
    ];

    /// Its published name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TargetNotFound => "TARGET_NOT_FOUND",
            Self::TargetStateIncompatible => "TARGET_STATE_INCOMPATIBLE",
            Self::TimingConflict => "TIMING_CONFLICT",
            Self::ProviderRefused => "PROVIDER_REFUSED",
            Self::TooManyMatches => "TOO_MANY_MATCHES",
            Self::ProviderThrottled => "PROVIDER_THROTTLED",
            Self::ProviderUnreachable => "PROVIDER_UNREACHABLE",
            Self::ProviderError => "PROVIDER_ERROR",
            Self::CredentialsRefused => "CREDENTIALS_REFUSED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::AnswerUnreadable => "ANSWER_UNREADABLE",
            Self::AnswerLost => "ANSWER_LOST",
            Self::LookFailed => "LOOK_FAILED",
            Self::NoProgress => "NO_PROGRESS",
            Self::DrainUnfinished => "DRAIN_UNFINISHED",
            Self::AccountChanged => "ACCOUNT_CHANGED",
            Self::Stopped => "STOPPED",
            Self::NotTheProvider => "NOT_THE_PROVIDER",
            Self::UndocumentedRefusal => "UNDOCUMENTED_REFUSAL",
            Self::AccountUnproven => "ACCOUNT_UNPROVEN",
            Self::DoubtUnresolved => "DOUBT_UNRESOLVED",
            Self::TargetIdUnsafe => "TARGET_ID_UNSAFE",
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_recorded_by_its_published_name() {
        for reason in FailureReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }
}
