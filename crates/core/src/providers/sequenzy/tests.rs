//! Drains of a model of Sequenzy that loses requests and replies, acts late, and is changed by
//! others too. Every outcome and every count has to be true of the model.

mod engine;
mod model;

use fastrand::Rng;
use serde_json::{Value, json};

use self::{engine::Engine, model::Model};
use crate::domain::outcome::{Conclusion, Detail, Outcome};

#[test]
fn what_is_concluded_and_counted_is_true() {
    for seed in 0..6_000 {
        play(seed);
    }
}

/// Plays one key to its final outcome, or for some runs.
fn play(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let targets = [
        json!("all"),
        json!({"subscriber": "sub_1"}),
        json!({"subscribers": ["sub_1", "sub_2"]}),
    ];
    let target = &targets[rng.usize(..targets.len())];
    let mut model = Model::new(&mut rng);
    let mut engine = Engine::new();
    let mut counted = 0;
    for run in 0..6 {
        let before = model.told();
        let conclusion = engine.run(&mut model, target, &mut rng);
        let told = format!(
            "seed {seed}, run {run}, {target}: {before} then {}\n{conclusion:?}",
            model.told()
        );
        let Detail::Enrollments(detail) = &conclusion.detail else {
            panic!("{told}");
        };
        counted += detail.canceled;
        assert!(counted <= model.ours, "{told}");
        holds(&model, &conclusion, target, counted, &told);
        if conclusion.is_final() {
            return;
        }
        let then = model.now + rng.u64(0..60_000);
        model.wait_until(then);
    }
}

fn holds(model: &Model, conclusion: &Conclusion, target: &Value, counted: u64, told: &str) {
    let confirmed = conclusion.confirmed_by_lookup;
    if !confirmed {
        assert!(model.ours == counted, "{told}");
    }
    match conclusion.outcome {
        Outcome::Canceled => {
            assert!(model.open() == 0 && (model.ours > 0 || confirmed), "{told}");
            let named = *target != json!("all");
            assert!(!named || model.ours > 0 || model.was_used_since(), "{told}");
        }
        // An earlier run may have cancelled some and counted them.
        Outcome::AlreadyCanceled => {
            assert!(model.open() == 0 && model.ours == counted, "{told}");
        }
        Outcome::Rejected => assert!(model.ours == counted && model.late.is_empty(), "{told}"),
        Outcome::Unavailable => assert!(confirmed || model.late.is_empty(), "{told}"),
        Outcome::InDoubt => {}
        _ => panic!("{told}"),
    }
}
