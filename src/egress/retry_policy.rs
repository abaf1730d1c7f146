//! Retry policy: whether an exchange is finished or retried, from the class of its reply and the
//! safety of its request.
//!
//! | the reply is                          | Look     | Repeatable    | Once                 |
//! |---------------------------------------|----------|---------------|----------------------|
//! | throttled                             | again    | again         | again: not processed |
//! | never sent                            | again    | again         | again                |
//! | lost                                  | again    | again: unseen | finished, in doubt   |
//! | foreign: not the provider's           | again    | again         | finished: not done   |
//! | anything else that the provider says  | finished | finished      | finished             |

use std::time::Duration;

use super::flow::Feedback;
use crate::domain::http_exchange::{Class, Fault, FaultKind, Reply, Safety};

/// What to do with a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum RetryDecision {
    /// Append it to the history.
    Finished,
    /// Append it to the history; the request may still act.
    FinishedInDoubt,
    /// Retry the same request later.
    Again {
        /// Set if this try may have had an unseen effect, with the reason. No later reply disproves
        /// it.
        unseen: Option<Fault>,
    },
}

/// Decides whether a reply finishes its exchange.
#[must_use]
pub fn judge(class: Class, safety: Safety, reply: &Reply) -> RetryDecision {
    match (class, safety) {
        (
            Class::Accepted
            | Class::Refused
            | Class::Undocumented
            | Class::Busy
            | Class::Unauthenticated
            | Class::Forbidden
            | Class::Unreadable,
            _,
        )
        // A request that must not be repeated blindly is followed by a lookup, not by a retry.
        | (Class::Foreign, Safety::Once) => RetryDecision::Finished,
        (Class::Lost, Safety::Once) => RetryDecision::FinishedInDoubt,
        (Class::Lost, Safety::Repeatable) => RetryDecision::Again {
            unseen: Some(lost(reply)),
        },
        (Class::Lost, Safety::Look)
        | (Class::Throttled | Class::Unsent, _)
        | (Class::Foreign, Safety::Look | Safety::Repeatable) => RetryDecision::Again { unseen: None },
    }
}

/// Why a reply counts as lost.
fn lost(reply: &Reply) -> Fault {
    match reply {
        Reply::InDoubt(fault) | Reply::NotSent(fault) => fault.clone(),
        Reply::Answered(response) => Fault {
            kind: FaultKind::Broken,
            message: format!("the answer was HTTP {}", response.status),
        },
    }
}

/// What a reply says to flow control. `is_known` says that the place has answered in the provider's
/// own format, now or before.
#[must_use]
pub fn heard(class: Class, is_known: bool, after: Duration) -> Feedback {
    match class {
        // An address that has never proved to be the provider's may be anything that answers.
        Class::Unreadable if !is_known => Feedback::Failed,
        Class::Accepted
        | Class::Refused
        | Class::Undocumented
        | Class::Busy
        | Class::Unauthenticated
        | Class::Forbidden
        | Class::Unreadable => Feedback::Answered(after),
        Class::Throttled => Feedback::Throttled,
        Class::Lost | Class::Foreign | Class::Unsent => Feedback::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: fn() -> Fault = || Fault {
        kind: FaultKind::Timeout,
        message: "no answer in time".to_owned(),
    };

    #[test]
    fn only_what_was_certainly_not_processed_is_sent_again_without_a_look() {
        let reply = Reply::InDoubt(FAULT());
        let again = RetryDecision::Again { unseen: None };
        for (class, once) in [
            (Class::Throttled, again.clone()),
            (Class::Unsent, again),
            (Class::Lost, RetryDecision::FinishedInDoubt),
            (Class::Foreign, RetryDecision::Finished),
            (Class::Accepted, RetryDecision::Finished),
            (Class::Refused, RetryDecision::Finished),
            (Class::Undocumented, RetryDecision::Finished),
            (Class::Busy, RetryDecision::Finished),
            (Class::Unauthenticated, RetryDecision::Finished),
            (Class::Forbidden, RetryDecision::Finished),
        ] {
            assert_eq!(judge(class, Safety::Once, &reply), once, "{class:?}");
        }
    }

    #[test]
    fn the_breaker_hears_who_answers_and_not_what() {
        let after = Duration::from_millis(7);
        let answered = Feedback::Answered(after);
        for (class, never_answered, has_answered) in [
            (Class::Accepted, answered, answered),
            (Class::Refused, answered, answered),
            (Class::Undocumented, answered, answered),
            (Class::Busy, answered, answered),
            (Class::Unauthenticated, answered, answered),
            (Class::Forbidden, answered, answered),
            (Class::Throttled, Feedback::Throttled, Feedback::Throttled),
            (Class::Lost, Feedback::Failed, Feedback::Failed),
            (Class::Foreign, Feedback::Failed, Feedback::Failed),
            (Class::Unsent, Feedback::Failed, Feedback::Failed),
            (Class::Unreadable, Feedback::Failed, answered),
        ] {
            assert_eq!(heard(class, false, after), never_answered, "{class:?}");
            assert_eq!(heard(class, true, after), has_answered, "{class:?}");
        }
    }

    #[test]
    fn a_lost_answer_is_remembered_of_what_may_be_repeated_and_not_of_a_look() {
        let unseen = |safety| match judge(Class::Lost, safety, &Reply::InDoubt(FAULT())) {
            RetryDecision::Again { unseen } => unseen,
            other => panic!("{other:?}"),
        };
        assert_eq!(unseen(Safety::Look), None);
        assert_eq!(unseen(Safety::Repeatable), Some(FAULT()));
    }
}
