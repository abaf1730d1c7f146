//! Items against a model of each provider that loses requests and replies, acts late, and is
//! changed by others too. Every outcome has to be true of the model.

mod engine;
mod model;

use std::collections::BTreeSet;

use fastrand::Rng;

use self::{engine::Engine, model::Model};
use crate::domain::{
    account::ProviderId,
    command::When,
    outcome::{Conclusion, FailureReason, Outcome},
};

#[test]
fn what_is_concluded_is_true() {
    let told: BTreeSet<_> = (0..6_000).flat_map(play).collect();
    let not_told = [Outcome::Previewed, Outcome::Stopped];
    let all = Outcome::ALL.into_iter();
    assert!(
        told.into_iter()
            .eq(all.filter(|outcome| !not_told.contains(outcome))),
        "the model leads to every outcome"
    );
}

/// Plays one key to its final outcome, or for six runs. Returns the outcome of each run.
fn play(seed: u64) -> Vec<Outcome> {
    let mut told_before = Vec::new();
    let mut rng = Rng::with_seed(seed);
    let all = [
        ProviderId::Solidgate,
        ProviderId::FunnelFox,
        ProviderId::Revolv3,
    ];
    let provider = all[rng.usize(..all.len())];
    let whens = match provider {
        ProviderId::Solidgate => [When::Now, When::PeriodEnd],
        ProviderId::FunnelFox => [When::ProviderDefault, When::PeriodEnd],
        _ => [
            [When::Now, When::PeriodEnd],
            [When::Now, When::ProviderDefault],
        ][rng.usize(..2)],
    };
    let when = whens[rng.usize(..2)];
    let mut model = Model::new(provider, &mut rng);
    let mut engine = Engine::new(&mut rng);
    for run in 0..6 {
        let before = (model.life, model.asked_at);
        let conclusion = engine.run(&mut model, when, &mut rng);
        let told = format!(
            "seed {seed}, run {run}: {before:?} then {} (ours: {}) at {provider:?}, {when:?}, \
             {conclusion:?}",
            model.life, model.ours
        );
        holds(&model, &conclusion, when, &told);
        told_before.push(conclusion.outcome);
        if conclusion.is_final() {
            break;
        }
        let then = model.now + rng.u64(0..60_000);
        model.wait_until(then);
    }
    told_before
}

fn holds(model: &Model, conclusion: &Conclusion, when: When, told: &str) {
    let confirmed = conclusion.confirmed_by_lookup;
    let at_once = when == When::Now;
    let is_quiet = model
        .late
        .iter()
        .all(|(_, late)| late.operation.0 != "cancel");
    let reason = conclusion.failure.as_ref().map(|failure| failure.reason);
    match conclusion.outcome {
        Outcome::Canceled => {
            assert!(model.life == "ended" && (model.ours || confirmed), "{told}");
            assert!(model.ours || !was_long_before(model), "{told}");
        }
        Outcome::Scheduled => {
            assert!(
                model.life != "running" && (model.ours || confirmed),
                "{told}"
            );
            assert!(!at_once, "{told}");
            assert!(model.ours || !was_long_before(model), "{told}");
        }
        Outcome::AlreadyCanceled => assert!(model.life == "ended" && !model.ours, "{told}"),
        Outcome::AlreadyScheduled => {
            assert!(model.life != "running" && !model.ours && !at_once, "{told}");
        }
        // Nothing was done, and no request is under way.
        Outcome::Unavailable => assert!(!model.ours && is_quiet, "{told}"),
        Outcome::NotFound => assert!(!model.ours && is_quiet, "{told}"),
        Outcome::Rejected if reason == Some(FailureReason::TimingConflict) => {
            assert!(at_once && model.life == "ending" && is_quiet, "{told}");
        }
        // The provider was busy, or rejected a cancel of what others ended later.
        Outcome::Rejected => assert!(!model.ours && is_quiet, "{told}"),
        Outcome::InDoubt => {}
        Outcome::Previewed | Outcome::Stopped => panic!("{told}"),
    }
}

/// Others had ended it well before the item was admitted, and the provider says when.
fn was_long_before(model: &Model) -> bool {
    let admitted = model.wall() - std::time::Duration::from_millis(model.now);
    let asked = model.asked_at;
    asked.is_some_and(|asked| asked < admitted - jiff::SignedDuration::from_hours(24))
}
