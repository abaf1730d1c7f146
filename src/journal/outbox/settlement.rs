//! The audited part of an outcome, read from its record.

use jiff::Timestamp;
use serde::Deserialize;

use crate::domain::outcome::{
    Conclusion, Detail, Failure, FailureReason, Outcome, Reached, Settled,
};

/// How many lines an audit makes of these, about: see [`AuditedOutcome::is_shared`].
pub(in crate::journal) fn lines<'a>(ended: impl Iterator<Item = &'a AuditedOutcome>) -> usize {
    let (mut own, mut shared) = (0_usize, 0);
    for one in ended {
        if one.is_shared() {
            shared = 1;
        } else {
            own = own.saturating_add(1);
        }
    }
    own.saturating_add(shared)
}

/// How an item ended: what an audit keeps of its outcome.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AuditedOutcome {
    /// The audited part of the conclusion.
    pub conclusion: AuditedConclusion,
    /// HTTP requests that may have reached the provider.
    pub attempts: u32,
    /// When it was recorded.
    pub settled_at: Timestamp,
}

/// The audited part of a conclusion.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AuditedConclusion {
    /// How it ended.
    pub outcome: Outcome,
    /// What is known of the target.
    pub detail: AuditedDetail,
    /// Why it is no success.
    #[serde(default)]
    pub failure: Option<AuditedFailure>,
    /// The outcome was learned by a lookup.
    #[serde(default)]
    pub confirmed_by_lookup: bool,
}

/// The audited part of a failure.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AuditedFailure {
    /// A stable word.
    pub reason: FailureReason,
    /// Whether a request may have reached the provider.
    pub reached: Reached,
    /// The provider's error.
    #[serde(default)]
    pub provider: Option<AuditedAnswer>,
}

/// The audited part of a provider's error.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AuditedAnswer {
    /// The HTTP status.
    pub http_status: u16,
    /// The provider's own error code.
    #[serde(default)]
    pub code: Option<String>,
}

/// The audited part of what is known of a target.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditedDetail {
    /// Of a subscription.
    Subscription {
        /// When it ended or will end.
        #[serde(default)]
        effective_at: Option<Timestamp>,
        /// The subscription as last described.
        #[serde(default)]
        state: Option<AuditedState>,
    },
    /// Of a sequence's enrollments.
    Enrollments {
        /// Matches at the first call.
        matched: u64,
        /// Cancelled so far.
        canceled: u64,
        /// Still matching.
        remaining: u64,
    },
}

/// The audited part of a subscription's state.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AuditedState {
    /// The provider's id of the cancellation.
    #[serde(default)]
    pub cancellation_id: Option<String>,
}

impl AuditedOutcome {
    /// Whether an audit tells of it together with others that ended the same: a stop, of which
    /// there can be thousands at once that never reached a provider.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.conclusion.outcome == Outcome::Stopped
    }

    /// Whether another ended the same, whenever it did.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.attempts == other.attempts && self.conclusion == other.conclusion
    }
}

impl From<&Settled> for AuditedOutcome {
    fn from(settled: &Settled) -> Self {
        Self {
            conclusion: AuditedConclusion::from(&settled.conclusion),
            attempts: settled.attempts,
            settled_at: settled.settled_at,
        }
    }
}

impl From<&Conclusion> for AuditedConclusion {
    fn from(conclusion: &Conclusion) -> Self {
        Self {
            outcome: conclusion.outcome,
            detail: AuditedDetail::from(&conclusion.detail),
            failure: conclusion.failure.as_ref().map(AuditedFailure::from),
            confirmed_by_lookup: conclusion.confirmed_by_lookup,
        }
    }
}

impl From<&Failure> for AuditedFailure {
    fn from(failure: &Failure) -> Self {
        Self {
            reason: failure.reason,
            reached: failure.reached,
            provider: failure.provider.as_ref().map(|said| AuditedAnswer {
                http_status: said.http_status,
                code: said.code.clone(),
            }),
        }
    }
}

impl From<&Detail> for AuditedDetail {
    fn from(detail: &Detail) -> Self {
        match detail {
            Detail::Subscription(detail) => Self::Subscription {
                effective_at: detail.effective_at,
                state: detail.state.as_ref().map(|state| AuditedState {
                    cancellation_id: state.cancellation_id.clone(),
                }),
            },
            Detail::Enrollments(detail) => Self::Enrollments {
                matched: detail.matched,
                canceled: detail.canceled,
                remaining: detail.remaining,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::{
        EnrollmentsDetail, ProviderError, SubscriptionDetail, SubscriptionState,
    };

    /// Asserts that the audited part is the same from memory and from the record.
    #[track_caller]
    fn check(conclusion: Conclusion) {
        let settled = Settled {
            doubt: None,
            conclusion,
            attempts: 7,
            settled_at: Timestamp::new(1_800_000_000, 123_456_789).unwrap(),
        };
        let read: AuditedOutcome =
            serde_json::from_value(serde_json::to_value(&settled).unwrap()).unwrap();
        assert_eq!(AuditedOutcome::from(&settled), read);
    }

    #[test]
    fn an_end_is_the_same_in_memory_and_in_the_record() {
        let detail = Detail::Subscription(SubscriptionDetail {
            effective_at: Some(Timestamp::MAX),
            state: Some(SubscriptionState {
                cancellation_id: Some("ord-1".to_owned()),
                ..SubscriptionState::default()
            }),
            charges: None,
        });
        let mut conclusion = Conclusion::success(Outcome::Canceled, detail.clone());
        conclusion.confirmed_by_lookup = true;
        check(conclusion);
        check(Conclusion::success(
            Outcome::Canceled,
            Detail::Subscription(SubscriptionDetail::default()),
        ));
        check(Conclusion::success(
            Outcome::Canceled,
            Detail::Enrollments(EnrollmentsDetail {
                matched: 3,
                canceled: 2,
                remaining: 1,
                ..EnrollmentsDetail::default()
            }),
        ));
        let provider = Some(ProviderError {
            http_status: 422,
            code: Some("already".to_owned()),
            message: Some("it is over".to_owned()),
            fields: Vec::new(),
        });
        for provider in [None, provider] {
            let failure = Failure {
                reason: FailureReason::ProviderRefused,
                message: "refused".to_owned(),
                reached: Reached::Yes,
                retry_at: Some(Timestamp::MIN),
                provider,
            };
            let detail = detail.clone();
            check(Conclusion::failure(Outcome::Rejected, detail, failure));
        }
    }
}
