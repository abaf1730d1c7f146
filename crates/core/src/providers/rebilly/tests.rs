//! Items against a model of Rebilly that loses requests and replies, acts late, and is changed by
//! others too. Every outcome has to be true of the model, and nothing has two effects.

mod engine;
mod model;

use fastrand::Rng;
use serde_json::{Value, json};

use self::{engine::Engine, model::Model};
use super::{DRAFT, LOOK, Rebilly};
use crate::{
    domain::{
        account::ProviderId,
        command::{Command, When},
        http_exchange::{Class, Exchange, Fault, FaultKind, HttpMethod, Operation, Reply, Seen},
        ids::{CallerId, Key, Scope},
        outcome::{Conclusion, FailureReason, Outcome},
    },
    providers::{EffectId, Facts, Mode, Provider, Task, conformance},
};

#[test]
fn what_is_concluded_is_true() {
    for seed in 0..6_000 {
        play(seed);
    }
}

/// Plays one key to its final outcome, or for some runs.
fn play(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let when = [When::Now, When::PeriodEnd][rng.usize(..2)];
    let mut model = Model::new(&mut rng);
    let mut engine = Engine::new();
    for run in 0..6 {
        let before = model.told();
        let conclusion = engine.run(&mut model, when, &mut rng);
        let told = format!(
            "seed {seed}, run {run}, {when:?}: {before} then {}\n{conclusion:?}",
            model.told()
        );
        holds(&model, &conclusion, when, &told);
        if conclusion.is_final() {
            return;
        }
        let then = model.now + rng.u64(0..60_000);
        model.wait_until(then);
    }
}

fn holds(model: &Model, conclusion: &Conclusion, when: When, told: &str) {
    let confirmed = conclusion.confirmed_by_lookup;
    let at_once = when == When::Now;
    let reason = conclusion.failure.as_ref().map(|failure| failure.reason);
    assert!(model.effects <= 1 || model.was_revoked, "{told}");
    match conclusion.outcome {
        Outcome::Canceled => {
            assert!(
                model.life == "churned" && (model.ours || confirmed),
                "{told}"
            );
            assert!(model.ours || !model.was_long_before(), "{told}");
        }
        Outcome::Scheduled => {
            assert!(
                model.life != "active" && (model.ours || confirmed),
                "{told}"
            );
            assert!(
                !at_once && (model.ours || !model.was_long_before()),
                "{told}"
            );
        }
        Outcome::AlreadyCanceled => assert!(model.life == "churned" && !model.ours, "{told}"),
        Outcome::AlreadyScheduled => {
            assert!(model.life != "active" && !model.ours && !at_once, "{told}");
        }
        Outcome::Unavailable => assert!(!model.ours && model.late.is_empty(), "{told}"),
        Outcome::Rejected if reason == Some(FailureReason::TimingConflict) => {
            assert!(at_once && model.life == "canceled", "{told}");
            assert!(model.late.is_empty(), "{told}");
        }
        Outcome::Rejected => assert!(!model.ours && model.late.is_empty(), "{told}"),
        Outcome::InDoubt => {}
        Outcome::NotFound | Outcome::Previewed | Outcome::Stopped => panic!("{told}"),
    }
}

/// The later request that removes what a dry run with these exchanges may have left.
#[track_caller]
fn check_clean_up(mode: Mode, history: &[(Operation, Class)], is_due: bool) {
    let account = conformance::account(ProviderId::Rebilly, &Value::Null).unwrap();
    let command = json!({"account": account.name, "subscription_id": "7", "when": "now"});
    let command = Command::Subscription(serde_json::from_value(command).unwrap());
    let (caller, kind) = (CallerId::anonymous(), command.kind());
    let key = Key::try_from("k").unwrap();
    let effect_id = EffectId::derive(&Scope { caller, kind }, &key, &command);
    let task = Task {
        account: &account,
        command: &command,
        effect_id: &effect_id,
        mode,
        doubt: None,
        facts: Facts::default(),
    };
    let exchange = |(operation, class): &(Operation, Class)| Exchange {
        operation: Some(*operation),
        reply: Reply::InDoubt(Fault {
            kind: FaultKind::Timeout,
            message: "no answer in time".to_owned(),
        }),
        class: *class,
        seen: Seen::default(),
    };
    let history: Vec<_> = history.iter().map(exchange).collect();
    let sent = Rebilly.clean_up(&task, &history);
    assert_eq!(sent.is_some(), is_due);
    if let Some(request) = sent {
        assert_eq!(request.method, HttpMethod::Delete);
        assert!(request.path.as_str().contains("/cancelot-dry-"));
    }
}

#[test]
fn a_draft_that_may_come_late_is_deleted_once_more() {
    let discard = super::DISCARD;
    let (lost, accepted) = (Class::Lost, Class::Accepted);
    for (history, is_due) in [
        (
            vec![(LOOK, accepted), (DRAFT, lost), (discard, Class::Refused)],
            true,
        ),
        (
            vec![(LOOK, accepted), (DRAFT, accepted), (discard, lost)],
            true,
        ),
        (
            vec![
                (LOOK, accepted),
                (DRAFT, lost),
                (DRAFT, accepted),
                (discard, accepted),
            ],
            true,
        ),
        (
            vec![(LOOK, accepted), (DRAFT, accepted), (discard, accepted)],
            false,
        ),
        (vec![(LOOK, lost)], false),
    ] {
        check_clean_up(Mode::DryRun, &history, is_due);
        check_clean_up(Mode::Cancel, &history, false);
    }
}
