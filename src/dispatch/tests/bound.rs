//! A target on which a request of one key may still act, and other keys of it.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use super::play::{
    Act, Asked, SECOND, SETTLING, Stage, account, answer, dry, fox, obeys, outcome, outcomes,
    prorated, request, settle_down, target,
};
use crate::{
    dispatch::Dispatch,
    domain::outcome::{Outcome, Settled},
    providers::Mode,
};

const UNSETTLED: &str = "an earlier cancellation of it may not be settled yet";

fn preview(settled: &Settled) -> &str {
    assert_eq!(
        settled.conclusion.outcome,
        Outcome::Previewed,
        "{settled:?}"
    );
    settled.conclusion.preview.as_deref().unwrap_or_default()
}

/// A key loses its request for `s`, and the credentials are refused then: it ends in doubt long
/// before that can be settled.
async fn left_in_doubt(stage: &Stage, dispatch: &Arc<Dispatch>) {
    let other = outcome(dispatch, request("O", ["other"])).await;
    assert_eq!(other.conclusion.outcome, Outcome::Canceled);
    stage.play(|asked: &Asked| match asked.is_look {
        true => answer(401, &json!({"message": "no"})),
        false => Act::Lose,
    });
    let settled = outcome(dispatch, request("K", ["s"])).await;
    assert_eq!(settled.conclusion.outcome, Outcome::InDoubt, "{settled:?}");
    stage.play(obeys);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_goes_at_once_and_says_that_an_earlier_cancellation_is_unsettled() {
    let mut stage = Stage::new();
    let mut dispatch = stage.start().await;
    left_in_doubt(&stage, &dispatch).await;
    for restarts in [false, true] {
        if restarts {
            stage.crash(dispatch).await;
            dispatch = stage.start().await;
        }
        let begun = Instant::now();
        let settled = outcome(&dispatch, dry(request("D", ["s", "t"]))).await;
        assert!(preview(&settled).contains(UNSETTLED), "{settled:?}");
        assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    }
    tokio::time::sleep(SETTLING).await;
    let settled = outcome(&dispatch, dry(request("D", ["s"]))).await;
    assert!(!preview(&settled).contains(UNSETTLED), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_beside_one_that_settles_says_so_too() {
    let mut stage = Stage::new();
    stage.play(|asked: &Asked| match asked.is_look {
        true => fox(asked, "active"),
        false => Act::Lose,
    });
    let dispatch = stage.start().await;
    let _settles = dispatch.submit(request("K", ["s"])).await.unwrap();
    tokio::time::sleep(5 * SECOND).await;
    let begun = Instant::now();

    let both = dispatch
        .submit(dry(request("D", ["s", "t"])))
        .await
        .unwrap();
    let both = outcomes(&both).await;

    assert!(preview(&both[0]).contains(UNSETTLED), "{both:?}");
    assert!(!preview(&both[1]).contains(UNSETTLED), "{both:?}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_cancel_of_another_key_waits_for_a_doubt_that_binds_the_target() {
    let mut stage = Stage::new();
    let dispatch = stage.start().await;
    left_in_doubt(&stage, &dispatch).await;
    let lost = Instant::now();
    let ticket = dispatch.submit(request("L", ["s"])).await.unwrap();
    settle_down().await;
    assert_eq!(stage.effects(), 2, "it waits for the doubt of the other");

    let settled = outcomes(&ticket).await.remove(0);

    assert_eq!(settled.conclusion.outcome, Outcome::Canceled);
    let sent = stage.asked().into_iter().rfind(|asked| !asked.is_look);
    let waited = sent.unwrap().at - lost;
    assert!(
        waited > SETTLING - 2 * SECOND && waited < SETTLING + SECOND,
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_key_looks_at_once_while_its_own_doubt_binds_the_target() {
    let mut stage = Stage::new();
    let dispatch = stage.start().await;
    left_in_doubt(&stage, &dispatch).await;
    stage.play(|asked: &Asked| fox(asked, "cancelled"));
    let begun = Instant::now();
    let settled = outcome(&dispatch, request("K", ["s"])).await;
    assert_eq!(settled.conclusion.outcome, Outcome::Canceled, "{settled:?}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(stage.effects(), 2);
}

#[tokio::test(start_paused = true)]
async fn looks_never_wait_for_others_and_what_they_found_before_is_looked_for_again() {
    let mut stage = Stage::new();
    let dispatch = stage.start().await;
    left_in_doubt(&stage, &dispatch).await;
    // Another key may act there too, and for longer.
    let begun = Instant::now();
    let later = begun + 3 * SETTLING;
    dispatch.lanes[&account()].bind(target("s"), None, later);

    let settled = outcome(&dispatch, request("K", ["s"])).await;

    assert_eq!(settled.conclusion.outcome, Outcome::Canceled, "{settled:?}");
    let asked: Vec<_> = stage.seconds_after(begun + SECOND);
    let operations: Vec<_> = asked.iter().map(|(_, operation)| *operation).collect();
    assert_eq!(operations, ["look", "look", "cancel"], "{asked:?}");
    assert!(asked[0].0 < SETTLING.as_secs_f64(), "{asked:?}");
    let end = (later - begun - SECOND).as_secs_f64();
    assert!(asked[1..].iter().all(|(at, _)| *at >= end), "{asked:?}");
}

/// What a Rebilly cancellation of `s` that moves money sends first, and how it ends.
async fn first_of_money(stage: &Stage, dispatch: &Arc<Dispatch>, key: &str) -> &'static str {
    let from = stage.asked().len();
    stage.play(|asked: &Asked| match asked.is_look {
        true => answer(200, &json!({"id": asked.id, "status": "active"})),
        false => {
            let own = json!({"subscriptionId": asked.id, "status": "completed"});
            answer(201, &own)
        }
    });
    let settled = outcome(dispatch, prorated(request(key, ["s"]))).await;
    assert_eq!(settled.conclusion.outcome, Outcome::Canceled, "{settled:?}");
    stage.asked()[from].operation.0
}

#[tokio::test(start_paused = true)]
async fn what_moves_money_looks_first_only_if_another_key_is_known_or_a_doubt_binds_the_target() {
    let mut stage = Stage::rebilly();
    let dispatch = stage.start().await;
    assert_eq!(
        first_of_money(&stage, &dispatch, "K").await,
        "cancel",
        "neither"
    );
    assert_eq!(
        first_of_money(&stage, &dispatch, "L").await,
        "look",
        "a key"
    );

    // A doubt of which the key is not known: the journal has forgotten it.
    let mut stage = Stage::rebilly();
    let dispatch = stage.start().await;
    let belief = Instant::now() + SETTLING;
    dispatch.lanes[&account()].bind(target("s"), None, belief);
    assert_eq!(
        first_of_money(&stage, &dispatch, "K").await,
        "look",
        "a doubt"
    );
    assert!(Instant::now() >= belief, "and waits for it");
    // What moves none is sent at once.
    let begun = stage.asked().len();
    outcome(&dispatch, request("N", ["s"])).await;
    assert_eq!(stage.asked()[begun].operation.0, "cancel");
}

#[tokio::test(start_paused = true)]
async fn a_preview_of_what_moves_money_calls_no_settled_key_unsettled() {
    let mut stage = Stage::rebilly();
    let dispatch = stage.start().await;
    first_of_money(&stage, &dispatch, "K").await;
    stage.play(|asked: &Asked| match asked.operation.0 {
        "look" => answer(200, &json!({"id": asked.id, "status": "active"})),
        "discard" => answer(204, &json!({})),
        _ => answer(201, &json!({"subscriptionId": asked.id, "status": "draft"})),
    });
    let settled = outcome(&dispatch, dry(prorated(request("D", ["s"])))).await;
    assert!(!preview(&settled).contains(UNSETTLED), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_leaves_nothing_in_the_journal() {
    for (mut stage, answers) in [
        (Stage::new(), true),
        (Stage::new(), false),
        (Stage::rebilly(), true),
        (Stage::rebilly(), false),
    ] {
        stage.play(move |asked: &Asked| match asked.operation.0 {
            _ if !answers => Act::Lose,
            "look" if asked.id.is_empty() => Act::Lose,
            "look" => answer(200, &json!({"id": asked.id, "status": "active"})),
            // The draft is lost, and may be there all the same.
            _ => Act::Lose,
        });
        let dispatch = stage.start().await;
        let before = stage.journal.entries();
        let mut planned = dry(request("D", ["s", "t"]));
        planned.retry_window = Some(5 * SECOND);
        assert!(planned.items.iter().all(|item| item.mode == Mode::DryRun));

        let ticket = dispatch.submit(planned).await.unwrap();
        let settled = outcomes(&ticket).await;

        assert_eq!(ticket.batch, None);
        for settled in settled {
            assert_eq!(settled.doubt, None, "{settled:?}");
        }
        assert_eq!(stage.journal.entries(), before, "{:?}", stage.settings);
        assert_eq!(dispatch.lanes[&account()].settling.count(), 0);
        dispatch.drain(100 * SECOND).await;
        stage.journal = stage.journal.restarted();
        let journal: &dyn crate::journal::Journal = &stage.journal;
        assert!(journal.open_items().unwrap().is_empty());
        assert!(journal.doubtful_targets().unwrap().is_empty());
    }
}
