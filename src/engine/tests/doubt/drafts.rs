//! What a dry run leaves at Rebilly if the reply to its draft, or to the draft's deletion, is lost.

use serde_json::json;

use crate::{
    domain::outcome::{FailureReason, Outcome},
    engine::tests::support::{
        scene::{Scene, told},
        script::{Act, lost, page, says},
        stage::{HOUR, SECOND, SETTLING, Second, Stage},
    },
};

/// A process that loses the first `times` replies to this operation.
async fn loses(operation: &'static str, mut times: u32) -> Scene {
    let mut play = move |asked: &str| -> Act {
        if asked == operation && times > 0 {
            times -= 1;
            return lost();
        }
        match asked {
            "look" => says(200, json!({"id": "s", "status": "active"})),
            "draft" => says(201, json!({"subscriptionId": "s", "status": "draft"})),
            _ => page(204, &[], ""),
        }
    };
    let stage = Stage::at_rebilly();
    stage.plays(move |asked| play(asked.operation.0)).await
}

/// These operations, all in the first second.
fn first(operations: &[&'static str]) -> Vec<Second> {
    operations.iter().map(|operation| (0, *operation)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lost_draft_is_deleted_at_once_and_again_at_belief_and_the_answer_does_not_wait() {
    for (operation, at_once) in [
        ("draft", ["look", "draft", "draft", "discard"]),
        ("discard", ["look", "draft", "discard", "discard"]),
    ] {
        let scene = loses(operation, 1).await;

        let settled = scene.dry_runs("s").await;

        assert_eq!(told(&settled), (Outcome::Previewed, ""), "{settled:?}");
        assert_eq!(scene.seconds(), first(&at_once), "{operation}");
        tokio::time::sleep(SETTLING - SECOND).await;
        assert_eq!(scene.seconds(), first(&at_once), "{operation}");
        tokio::time::sleep(2 * SECOND).await;
        let expected = [first(&at_once), vec![(SETTLING.as_secs(), "discard")]].concat();
        assert_eq!(scene.seconds(), expected, "{operation}");
        tokio::time::sleep(HOUR).await;
        assert_eq!(scene.seconds(), expected, "once more only: {operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_draft_whose_answers_were_all_known_is_deleted_once() {
    let scene = loses("nothing", 0).await;

    let settled = scene.dry_runs("s").await;

    assert_eq!(told(&settled), (Outcome::Previewed, ""), "{settled:?}");
    tokio::time::sleep(HOUR).await;
    assert_eq!(scene.seconds(), first(&["look", "draft", "discard"]));
}

/// After a restart the draft is unknown, since the journal does not record dry runs.
#[tokio::test(start_paused = true)]
async fn a_process_that_stops_before_belief_deletes_a_lost_draft_then() {
    let scene = loses("draft", 1).await;
    scene.dry_runs("s").await;
    tokio::time::sleep(3 * SECOND).await;

    let stage = scene.stops().await;

    let at_once = first(&["look", "draft", "draft", "discard"]);
    assert_eq!(stage.seconds(), [at_once, vec![(3, "discard")]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_draft_that_is_lost_until_the_window_ends_is_deleted_at_belief_too() {
    let scene = loses("draft", u32::MAX).await;

    let settled = scene.dry_runs("s").await;

    let failure = settled.conclusion.failure.as_ref().unwrap();
    assert_eq!(settled.conclusion.outcome, Outcome::Unavailable);
    assert_ne!(failure.reason, FailureReason::NotTheProvider);
    let before = scene.seconds().len();
    tokio::time::sleep(SETTLING + SECOND).await;
    let asked = scene.seconds();
    assert_eq!(asked.len(), before + 1);
    assert_eq!(
        asked.last().map(|(_, operation)| *operation),
        Some("discard")
    );
}
