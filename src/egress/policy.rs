//! Whether an exchange is finished or is to be tried again: the one place that relates what a
//! reply says to how safe its request is.
//!
//! | reply                     | Look     | Repeatable    | Once                 |
//! |---------------------------|----------|---------------|----------------------|
//! | throttled, 408, 425       | again    | again         | again: not processed |
//! | not sent                  | again    | again         | again                |
//! | no answer, or 5xx         | again    | again: unseen | finished, in doubt   |
//! | a success that is no JSON | again    | again: unseen | finished, in doubt   |
//! | any other answer          | finished | finished      | finished             |

use std::time::Duration;

use super::gate::Heard;
use crate::{
    domain::exchange::{Fault, FaultKind, Reply, Safety, Throttle},
    providers::Provider,
};

/// What to do with a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It belongs into the history.
    Finished,
    /// It belongs into the history, and the provider deserves a pause before the next step.
    FinishedInDoubt,
    /// Try the same request again, later.
    Again {
        /// The provider's own wish, if it throttles: it concerns the whole account.
        throttle: Option<Throttle>,
        /// This try may have had an effect that nobody saw, for this reason. No later answer
        /// takes that back.
        unseen: Option<Fault>,
    },
}

/// Reads a reply.
#[must_use]
pub fn judge(provider: &dyn Provider, safety: Safety, reply: &Reply) -> Verdict {
    let again = || Verdict::Again {
        throttle: None,
        unseen: None,
    };
    let in_doubt = |fault: Fault| match safety {
        Safety::Look => again(),
        Safety::Repeatable => Verdict::Again {
            throttle: None,
            unseen: Some(fault),
        },
        Safety::Once => Verdict::FinishedInDoubt,
    };
    match reply {
        Reply::NotSent(_) => again(),
        Reply::InDoubt(fault) => in_doubt(fault.clone()),
        Reply::Answered(response) => {
            if let Some(throttle) = provider.throttle(response) {
                return Verdict::Again {
                    throttle: Some(throttle),
                    unseen: None,
                };
            }
            match response.status {
                408 | 425 => again(),
                500.. => in_doubt(Fault {
                    kind: FaultKind::Broken,
                    message: format!("the provider answered {}", response.status),
                }),
                // All five answer in JSON or with nothing; this is a page of something in between.
                200..=299 if response.json.is_none() && !response.text.is_empty() => {
                    in_doubt(Fault {
                        kind: FaultKind::Broken,
                        message: format!("the provider answered {} without JSON", response.status),
                    })
                }
                _ => Verdict::Finished,
            }
        }
    }
}

/// What the account's gate hears of it.
#[must_use]
pub fn heard(verdict: &Verdict, after: Duration) -> Heard {
    match verdict {
        Verdict::Finished => Heard::Answered(after),
        Verdict::Again {
            throttle: Some(_), ..
        } => Heard::Throttled,
        Verdict::Again { throttle: None, .. } | Verdict::FinishedInDoubt => Heard::Failed,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::{account::ProviderId, exchange::Response},
        providers,
    };

    fn answered(status: u16) -> Reply {
        answered_with(status, "")
    }

    fn answered_with(status: u16, body: &str) -> Reply {
        Reply::Answered(Arc::new(Response::new(status, Vec::new(), body.to_owned())))
    }

    fn fault() -> Fault {
        Fault {
            kind: FaultKind::Broken,
            message: "x".to_owned(),
        }
    }

    #[test]
    fn only_what_was_certainly_not_processed_is_sent_again_without_a_look() {
        let provider = providers::of(ProviderId::Revolv3);
        let again = Verdict::Again {
            throttle: None,
            unseen: None,
        };
        let throttled = Verdict::Again {
            throttle: Some(Throttle::Unsaid),
            unseen: None,
        };
        for (reply, once) in [
            (answered(429), throttled),
            (answered(408), again.clone()),
            (Reply::NotSent(fault()), again),
            (Reply::InDoubt(fault()), Verdict::FinishedInDoubt),
            (answered(500), Verdict::FinishedInDoubt),
            (answered(503), Verdict::FinishedInDoubt),
            (answered(524), Verdict::FinishedInDoubt),
            (answered(200), Verdict::Finished),
            (answered_with(200, "{}"), Verdict::Finished),
            (answered_with(200, "<html>"), Verdict::FinishedInDoubt),
            (answered_with(404, "<html>"), Verdict::Finished),
            (answered(301), Verdict::Finished),
            (answered(404), Verdict::Finished),
        ] {
            assert_eq!(judge(provider, Safety::Once, &reply), once, "{reply:?}");
        }
    }

    #[test]
    fn a_lost_answer_is_remembered_of_what_may_be_repeated_and_not_of_a_look() {
        let provider = providers::of(ProviderId::Sequenzy);
        for reply in [
            answered(502),
            answered_with(200, "<html>"),
            Reply::InDoubt(fault()),
        ] {
            let unseen = |safety| match judge(provider, safety, &reply) {
                Verdict::Again { unseen, .. } => unseen,
                other => panic!("{other:?}"),
            };
            assert_eq!(unseen(Safety::Look), None);
            assert!(unseen(Safety::Repeatable).is_some());
        }
    }
}
