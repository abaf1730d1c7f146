//! Refused credentials at each provider: by the provider, or by an intermediary.

use super::*;
use crate::{
    domain::{
        doubt::{Doubt, Moment},
        outcome::{Conclusion, FailureReason, Outcome},
    },
    providers::Step,
};

const DENIALS: [(u16, FailureReason); 2] = [
    (401, FailureReason::CredentialsRefused),
    (403, FailureReason::PermissionDenied),
];

/// The outcome of a run that gets these replies, the last one for ever, and its number of requests.
fn ends(
    provider: ProviderId,
    doubt: Option<&Doubt>,
    answered: bool,
    replies: &[Reply],
) -> (Conclusion, usize) {
    let bench = Bench::new(provider);
    let task = Task {
        doubt,
        ..bench.task(answered)
    };
    let provider = of(provider);
    let mut history = match doubt {
        Some(doubt) if doubt.may_act => vec![Exchange::recovered()],
        _ => Vec::new(),
    };
    for sent in 0..20 {
        let request = match provider.next(&task, &history) {
            Step::Send(request) => request,
            Step::Done(conclusion) => return (conclusion, sent),
        };
        let reply = replies
            .get(sent)
            .or_else(|| replies.last())
            .unwrap()
            .clone();
        let class = provider.classify(&task, &request, &reply);
        history.push(Exchange {
            operation: Some(request.operation),
            reply,
            class,
            seen: Seen::default(),
        });
    }
    panic!("it goes on: {history:?}");
}

fn denied(provider: ProviderId, status: u16) -> Reply {
    answered(status, &[], &error(provider, status, "DENIED"))
}

fn lost() -> Reply {
    Reply::InDoubt(Fault {
        kind: FaultKind::Timeout,
        message: "no answer in time".to_owned(),
    })
}

#[track_caller]
fn is(conclusion: &Conclusion, outcome: Outcome, reason: FailureReason, told: &str) {
    let failure = conclusion.failure.as_ref().unwrap();
    let found = (conclusion.outcome, failure.reason);
    assert_eq!(found, (outcome, reason), "{told}: {conclusion:?}");
    assert!(!conclusion.is_final(), "{told}");
}

#[test]
fn a_denial_of_the_provider_s_own_ends_the_run_at_once_and_nothing_was_done() {
    for provider in ProviderId::ALL {
        for (status, reason) in DENIALS {
            for known in [false, true] {
                let told = format!("{provider:?} {status} {known}");
                let reply = denied(provider, status);
                let (conclusion, sent) = ends(provider, None, known, &[reply]);
                is(&conclusion, Outcome::Unavailable, reason, &told);
                assert_eq!(sent, 1, "{told}");
            }
        }
    }
}

#[test]
fn a_denial_after_a_lost_answer_ends_the_run_at_once_and_in_doubt() {
    for provider in ProviderId::ALL {
        for (status, reason) in DENIALS {
            let told = format!("{provider:?} {status}");
            let replies = [lost(), denied(provider, status)];
            let (conclusion, sent) = ends(provider, None, true, &replies);
            is(&conclusion, Outcome::InDoubt, reason, &told);
            assert_eq!(sent, 2, "{told}");
        }
    }
}

#[test]
fn a_denial_of_the_look_for_an_earlier_run_s_request_keeps_its_doubt() {
    let since = Moment::wall("2026-11-21T08:00:00Z".parse().unwrap());
    let doubt = Doubt::between(Some(since), since);
    for provider in ProviderId::ALL {
        for (status, reason) in DENIALS {
            let told = format!("{provider:?} {status}");
            let reply = denied(provider, status);
            let (conclusion, sent) = ends(provider, Some(&doubt), true, &[reply]);
            is(&conclusion, Outcome::InDoubt, reason, &told);
            assert_eq!(sent, 1, "{told}");
        }
    }
}

#[test]
fn a_denial_in_any_other_form_is_not_the_provider_s_and_names_credentials_and_firewall() {
    for provider in ProviderId::ALL {
        for (status, _) in DENIALS {
            for (known, outcome) in [(false, Outcome::Unavailable), (true, Outcome::InDoubt)] {
                let told = format!("{provider:?} {status} {known}");
                let page = answered(status, &[], "<html>blocked</html>");
                let (conclusion, _) = ends(provider, None, known, &[page]);
                let failure = conclusion.failure.as_ref().unwrap();
                assert_eq!(conclusion.outcome, outcome, "{told}: {conclusion:?}");
                if !known {
                    assert_eq!(failure.reason, FailureReason::NotTheProvider, "{told}");
                }
                let message = &failure.message;
                assert!(
                    message.contains("credentials") && message.contains("firewall"),
                    "{told}: {message}"
                );
            }
        }
    }
}
