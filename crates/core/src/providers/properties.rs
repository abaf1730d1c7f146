//! Properties of every adapter, whatever the replies are: every history has a step, and an end
//! within the bound; a request that must not be sent twice is repeated only after a lookup; a dry
//! run sends lookups and drafts only.

mod anything;

use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    prop_assert, prop_assert_eq,
    sample::select,
    test_runner::{
        Config, RngAlgorithm, TestCaseError, TestCaseResult, TestError, TestRng, TestRunner,
    },
};

use self::anything::{Item, exchange, fault, item, reply, response};
use super::{Mode, Step, of};
use crate::{
    domain::{
        account::ProviderId,
        http_exchange::{Class, Exchange, FaultKind, Pace, Reply, Safety, Seen},
        outcome::{Conclusion, Outcome},
    },
    limits,
};

#[test]
fn any_history_gives_a_step() {
    let histories = vec(exchange(), 0..12);
    holds(1, 3_000, (item(), histories), |(item, exchanges)| {
        if let Step::Done(conclusion) = item.provider().next(&item.task(), &exchanges) {
            sound(&conclusion)?;
        }
        let _ = item.provider().progress(&item.task(), &exchanges);
        Ok(())
    });
}

#[test]
fn a_history_of_the_greatest_length_is_the_end() {
    let histories = vec(exchange(), 1..4);
    holds(2, 60, (item(), histories), |(item, part)| {
        let whole: Vec<_> = part
            .into_iter()
            .cycle()
            .take(limits::EXCHANGES_MAX)
            .collect();
        match item.provider().next(&item.task(), &whole) {
            Step::Done(conclusion) => sound(&conclusion),
            Step::Send(request) => Err(TestCaseError::fail(format!("sends {request:?}"))),
        }
    });
}

#[test]
fn every_conversation_ends_and_sends_nothing_it_must_not() {
    let replies = vec((reply(), any::<bool>()), 1..8);
    let inputs = (item(), any::<bool>(), replies);
    holds(3, 2_000, inputs, |(item, restarted, replies)| {
        let task = item.task();
        let mut history = Vec::new();
        // An admitted item can be interrupted; a dry run is not admitted.
        if restarted && item.mode == Mode::Cancel {
            history.push(Exchange::recovered());
        }
        let mut sent = Vec::new();
        let mut replies = replies.into_iter().cycle();
        loop {
            let request = match item.provider().next(&task, &history) {
                Step::Done(conclusion) => {
                    told_in_doubt(&item, &history, &sent, &conclusion)?;
                    return sound(&conclusion);
                }
                Step::Send(request) => request,
            };
            prop_assert!(history.len() < limits::EXCHANGES_MAX);
            prop_assert!(request.path.as_str().starts_with('/'));
            if request.safety == Safety::Once {
                let quiet = is_quiet(&item, &history, &sent);
                prop_assert!(quiet, "{request:?} while another may act");
            }
            let dry = item.mode == Mode::DryRun;
            prop_assert!(!dry || request.operation.0 != "cancel", "{request:?}");
            prop_assert!(!dry || request.pace != Pace::Settle, "{request:?}");
            let (reply, believed) = replies.next().unwrap();
            let class = item.provider().classify(&task, &request, &reply);
            history.push(Exchange {
                operation: Some(request.operation),
                reply,
                class,
                seen: Seen {
                    believed: believed && request.safety == Safety::Look,
                    ..Seen::default()
                },
            });
            sent.push(request.safety);
        }
    });
}

/// Whether no request that must not be sent twice can still act, and none was accepted.
fn is_quiet(item: &Item, history: &[Exchange], sent: &[Safety]) -> bool {
    let recovered = history.len() - sent.len();
    let mut quiet = recovered == 0 && item.doubt.as_ref().is_none_or(|doubt| !doubt.may_act);
    let mut accepted = item.doubt.as_ref().is_some_and(|doubt| doubt.accepted);
    for (exchange, safety) in history[recovered..].iter().zip(sent) {
        match (safety, exchange.class) {
            (Safety::Once, Class::Accepted) => (quiet, accepted) = (false, true),
            (Safety::Once, Class::Lost) => quiet = false,
            (Safety::Look, Class::Accepted | Class::Refused) if exchange.seen.believed => {
                quiet = true;
            }
            _ => {}
        }
    }
    // Rebilly's own id makes a repeat harmless, so any answered lookup is enough.
    let has_looked = history.is_empty()
        || sent.last() == Some(&Safety::Look)
            && history.last().is_some_and(|last| last.class != Class::Lost);
    match item.account.provider() {
        ProviderId::Rebilly => has_looked,
        _ => quiet && !accepted,
    }
}

/// A history that ends right after a lost reply ends in doubt.
fn told_in_doubt(
    item: &Item,
    history: &[Exchange],
    sent: &[Safety],
    conclusion: &Conclusion,
) -> TestCaseResult {
    let lost = history.last().is_some_and(|last| last.class == Class::Lost);
    let effect = sent.last().is_some_and(|sent| *sent == Safety::Once);
    if lost && effect && item.mode == Mode::Cancel {
        prop_assert_eq!(conclusion.outcome, Outcome::InDoubt, "{:?}", conclusion);
    }
    Ok(())
}

#[test]
fn what_was_never_sent_never_reached_anyone() {
    holds(4, 300, item(), |mut item| {
        item.doubt = None;
        let Step::Send(first) = item.provider().next(&item.task(), &[]) else {
            return Ok(());
        };
        let unsent = Exchange {
            operation: Some(first.operation),
            reply: Reply::NotSent(fault(FaultKind::Connect)),
            class: Class::Unsent,
            seen: Seen::default(),
        };
        let Step::Done(conclusion) = item.provider().next(&item.task(), &[unsent]) else {
            return Err(TestCaseError::fail("it goes on"));
        };
        prop_assert_eq!(conclusion.outcome, Outcome::Unavailable);
        let failure = conclusion.failure.unwrap();
        prop_assert_eq!(failure.reached, crate::domain::outcome::Reached::No);
        Ok(())
    });
}

#[test]
fn throttling_is_read_from_any_response() {
    let inputs = (select(ProviderId::ALL.to_vec()), response());
    holds(5, 3_000, inputs, |(provider, response)| {
        let _ = of(provider).throttle(&response);
        Ok(())
    });
}

/// Properties of every conclusion.
fn sound(conclusion: &Conclusion) -> TestCaseResult {
    let fails = conclusion.failure.is_some();
    prop_assert_eq!(fails, !conclusion.outcome.is_success(), "{:?}", conclusion);
    prop_assert!(!matches!(conclusion.outcome, Outcome::Stopped));
    let previewed = conclusion.outcome == Outcome::Previewed;
    prop_assert_eq!(previewed, conclusion.preview.is_some());
    if matches!(
        conclusion.outcome,
        Outcome::AlreadyCanceled | Outcome::AlreadyScheduled
    ) {
        prop_assert!(!conclusion.confirmed_by_lookup);
    }
    if let Some(failure) = &conclusion.failure {
        prop_assert!(!failure.message.is_empty());
        let said = failure.provider.as_ref().and_then(|p| p.message.as_ref());
        let chars = said.map_or(0, |said| said.chars().count());
        prop_assert!(chars <= limits::MESSAGE_CHARS_MAX);
    }
    let stored = serde_json::to_string(conclusion).unwrap();
    let read: Conclusion = serde_json::from_str(&stored).unwrap();
    prop_assert_eq!(&read, conclusion, "the journal keeps it");
    Ok(())
}

/// Runs a property with this fixed seed, which is printed if it fails.
#[track_caller]
fn holds<S: Strategy>(
    seed: u8,
    cases: u32,
    strategy: S,
    property: impl Fn(S::Value) -> TestCaseResult,
) where
    S::Value: std::fmt::Debug,
{
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    match runner.run(&strategy, property) {
        Ok(()) => {}
        Err(TestError::Fail(reason, input)) => panic!("seed {seed}: {reason}\n{input:#?}"),
        Err(TestError::Abort(reason)) => panic!("seed {seed}: {reason}"),
    }
}
