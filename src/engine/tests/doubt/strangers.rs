//! How the circuit breaker counts replies of an intermediary.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;

use crate::{
    engine::tests::support::{
        bench::{items, submission},
        scene::{Scene, dry},
        script::{Act, lost, page, says},
        stage::{SECOND, SETTLING, Stage},
    },
    providers::Mode,
};

/// How every request is answered.
type Answer = fn() -> Act;

/// A page of an intermediary.
fn html(status: u16) -> Act {
    page(status, &[], "<html>")
}

/// A process whose place has proved to be the provider's, or never has; then every request is
/// answered like this.
async fn at(has_answered: bool, answer: Answer) -> Scene {
    let mut is_first = has_answered;
    let scene = Stage::at_funnelfox().plays(move |_| match std::mem::take(&mut is_first) {
        true => says(200, json!({"status": "cancelled"})),
        false => answer(),
    });
    let scene = scene.await;
    if has_answered {
        scene.cancels("first", "first").await;
    }
    scene
}

/// Whether the breaker is open after 12 requests in this mode.
async fn is_away(scene: &Scene, mode: Mode) -> bool {
    let request = submission("K", items("s", 12));
    let request = match mode {
        Mode::Cancel => request,
        Mode::DryRun => dry(request),
    };
    let _ticket = scene.opens(request).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut standings = scene.engine.account_standings();
    standings.next().unwrap().gate.is_away
}

#[tokio::test(start_paused = true)]
async fn a_foreign_answer_to_a_request_with_an_effect_is_a_failure() {
    let answers: [(u16, Answer); 6] = [
        (301, || html(301)),
        (400, || html(400)),
        (403, || html(403)),
        (404, || html(404)),
        (407, || html(407)),
        (502, || html(502)),
    ];
    for (status, answer) in answers {
        let scene = at(false, answer).await;
        assert!(is_away(&scene, Mode::Cancel).await, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_tells_nothing_is_a_failure_while_the_place_has_never_answered() {
    let answers: [(&str, Answer); 6] = [
        ("a page of its own", || html(200)),
        ("another's JSON", || says(200, json!({"ok": true}))),
        ("another's subscription", || {
            says(200, json!({"id": "other", "status": "active"}))
        }),
        ("a redirect", || html(302)),
        ("a firewall", || html(403)),
        ("a wrong path", || html(404)),
    ];
    for (what, answer) in answers {
        for has_answered in [false, true] {
            let scene = at(has_answered, answer).await;
            let is_away = is_away(&scene, Mode::DryRun).await;
            assert_eq!(is_away, !has_answered, "{what}, {has_answered}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_no_in_the_provider_s_form_is_an_answer_of_a_place_that_never_answered() {
    let answers: [(&str, Answer); 3] = [
        ("credentials", || says(401, json!({"message": "no"}))),
        ("unknown", || says(404, json!({"message": "no"}))),
        ("undocumented", || says(418, json!({"message": "no"}))),
    ];
    for (what, answer) in answers {
        for mode in [Mode::Cancel, Mode::DryRun] {
            let scene = at(false, answer).await;
            assert!(!is_away(&scene, mode).await, "{what}, {mode:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_to_delete_a_lost_draft_at_belief_is_heard_as_one() {
    for (status, expected) in [(204, false), (404, false), (503, true)] {
        let mut seen = BTreeSet::new();
        let begun = tokio::time::Instant::now();
        let scene = Stage::at_rebilly().plays(move |asked| match asked.operation.0 {
            "look" => says(200, json!({"status": "active"})),
            "draft" => says(201, json!({"status": "draft"})),
            _ if seen.insert(asked.path.clone()) => lost(),
            _ if begun.elapsed() < SETTLING => page(204, &[], ""),
            _ => says(status, json!({"status": status, "title": "No"})),
        });
        let scene = scene.await;
        let _ticket = scene.opens(dry(submission("K", items("s", 40)))).await;
        let is_away = || {
            let mut standings = scene.engine.account_standings();
            standings.next().unwrap().gate.is_away
        };
        tokio::time::sleep(SETTLING - SECOND).await;
        assert!(!is_away(), "{status}");
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(is_away(), expected, "{status}");
    }
}
