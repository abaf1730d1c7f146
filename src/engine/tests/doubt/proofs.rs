//! Which place and credential a proof is about, and how long it holds.

use std::sync::{Arc, OnceLock};

use secrecy::SecretString;
use serde_json::json;

use crate::{
    domain::outcome::Outcome,
    engine::{
        Engine,
        tests::support::{
            scene::{Scene, told},
            script::{Act, Asked, says},
            stage::Stage,
        },
    },
};

/// A provider that knows one subscription only.
fn knows_one(asked: &Asked) -> Act {
    match asked.id == "there" {
        true => says(200, json!({"id": "there", "status": "cancelled"})),
        false => says(404, json!({"message": "no Route matched"})),
    }
}

/// Whether a reply "unknown subscription" is believed. Each call needs another id.
async fn is_proven(scene: &Scene, id: &str) -> bool {
    let settled = scene.cancels(id, id).await;
    match told(&settled) {
        (Outcome::NotFound, "TARGET_NOT_FOUND") => true,
        (Outcome::Unavailable, "ACCOUNT_UNPROVEN") => false,
        other => panic!("{other:?}"),
    }
}

/// How an account is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Cancel,
    DryRun,
    /// A dry run, and then the outcome of another item.
    DryRunAndSettle,
}

/// A process whose account was proven.
async fn proven(by: By) -> Scene {
    let scene = Stage::at_funnelfox().plays(knows_one).await;
    assert!(!is_proven(&scene, "before").await);
    let settled = match by {
        By::Cancel => scene.cancels("proof", "there").await,
        By::DryRun | By::DryRunAndSettle => scene.dry_runs("there").await,
    };
    assert_ne!(settled.conclusion.outcome, Outcome::Unavailable);
    if by == By::DryRunAndSettle {
        assert!(is_proven(&scene, "after").await);
    }
    scene
}

#[tokio::test(start_paused = true)]
async fn a_cancel_and_a_dry_run_prove_an_account_in_this_process() {
    for by in [By::Cancel, By::DryRun] {
        let scene = proven(by).await;
        assert!(is_proven(&scene, "s").await, "{by:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_goes_with_the_next_outcome_and_then_a_crash_does_not_end_it() {
    for (by, holds) in [
        (By::Cancel, true),
        (By::DryRunAndSettle, true),
        // A proof has no write of its own, and no outcome was recorded with it.
        (By::DryRun, false),
    ] {
        let stage = proven(by).await.dies().await;
        let scene = stage.plays(knows_one).await;
        assert_eq!(is_proven(&scene, "s").await, holds, "{by:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stops_in_order_leaves_the_proof_of_a_dry_run_too() {
    let stage = proven(By::DryRun).await.stops().await;
    let scene = stage.plays(knows_one).await;
    assert!(is_proven(&scene, "s").await);
}

#[tokio::test(start_paused = true)]
async fn a_proof_ends_with_the_place_and_with_the_credential() {
    let mut stage = proven(By::Cancel).await.stops().await;
    stage.base_url = "https://elsewhere";
    let scene = stage.plays(knows_one).await;
    assert!(!is_proven(&scene, "moved").await);

    let mut stage = scene.stops().await;
    stage.base_url = "https://provider";
    stage.secret = "another";
    let scene = stage.plays(knows_one).await;
    assert!(!is_proven(&scene, "another").await);

    let mut stage = scene.stops().await;
    stage.secret = "secret";
    let scene = stage.plays(knows_one).await;
    assert!(is_proven(&scene, "as-they-were").await);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_replaced_while_the_process_runs_ends_the_proof() {
    let scene = proven(By::Cancel).await;
    show(&scene.engine, "another");
    assert!(!is_proven(&scene, "another").await);
    show(&scene.engine, "secret");
    assert!(is_proven(&scene, "as-it-was").await);
}

#[tokio::test(start_paused = true)]
async fn an_answer_proves_the_credential_that_was_shown_for_it() {
    let serving = Arc::new(OnceLock::<Arc<Engine>>::new());
    let replaced = Arc::clone(&serving);
    let scene = Stage::at_funnelfox().plays(move |asked| {
        // The credential file is reloaded while the request is under way.
        if asked.id == "there" {
            show(replaced.get().unwrap(), "another");
        }
        knows_one(asked)
    });
    let scene = scene.await;
    serving.set(Arc::clone(&scene.engine)).unwrap();

    scene.cancels("proof", "there").await;

    assert!(!is_proven(&scene, "s").await);
}

fn show(engine: &Engine, secret: &str) {
    for lane in engine.lanes.values() {
        let secret = SecretString::from(secret);
        lane.options.egress.replace_credential(&secret).unwrap();
    }
}
