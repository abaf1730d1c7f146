//! A target on which a request of one key may still act, and other keys of it.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::{
    domain::outcome::{Outcome, Settled},
    engine::{
        Submission,
        tests::support::{
            scene::{Scene, dry, outcomes, prorated, request, settle_down, told, within},
            script::{fox, lost, obeys, says},
            stage::{SECOND, SETTLING, Stage},
        },
    },
    journal::Journal,
    providers::Mode,
};

const UNSETTLED: &str = "a cancellation of it may have to wait before it is sent";

fn preview(settled: &Settled) -> &str {
    assert_eq!(
        settled.conclusion.outcome,
        Outcome::Previewed,
        "{settled:?}"
    );
    settled.conclusion.preview.as_deref().unwrap_or_default()
}

/// A process in which key "K" lost its request for `s` and the credentials are refused afterwards:
/// the key ends in doubt long before that can be resolved.
async fn left_in_doubt() -> Scene {
    let scene = Stage::at_funnelfox().starts().await;
    let other = scene.cancels("O", "other").await;
    assert_eq!(other.conclusion.outcome, Outcome::Canceled);
    scene.play(|asked| match asked.is_look {
        true => says(401, json!({"message": "no"})),
        false => lost(),
    });
    let settled = scene.cancels("K", "s").await;
    assert_eq!(settled.conclusion.outcome, Outcome::InDoubt, "{settled:?}");
    scene.play(obeys);
    scene
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_goes_at_once_and_says_that_an_earlier_cancellation_is_unsettled() {
    let mut scene = left_in_doubt().await;
    for restarts in [false, true] {
        if restarts {
            scene = scene.dies().await.starts().await;
        }
        let begun = Instant::now();
        let settled = scene.outcome(dry(request("D", ["s", "t"]))).await;
        assert!(preview(&settled).contains(UNSETTLED), "{settled:?}");
        assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    }
    tokio::time::sleep(SETTLING).await;
    let settled = scene.outcome(dry(request("D", ["s"]))).await;
    assert!(!preview(&settled).contains(UNSETTLED), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_beside_one_that_settles_says_so_too() {
    let scene = Stage::at_funnelfox().plays(|asked| match asked.is_look {
        true => fox(asked, "active"),
        false => lost(),
    });
    let scene = scene.await;
    let _settles = scene.opens(request("K", ["s"])).await;
    tokio::time::sleep(5 * SECOND).await;
    let begun = Instant::now();

    let both = outcomes(&scene.opens(dry(request("D", ["s", "t"]))).await).await;

    assert!(preview(&both[0]).contains(UNSETTLED), "{both:?}");
    assert!(!preview(&both[1]).contains(UNSETTLED), "{both:?}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// As another caller sends it.
fn of(caller: &str, mut request: Submission) -> Submission {
    request.scope.caller = caller.try_into().unwrap();
    request
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_cancel_of_another_caller_learns_no_more_than_that_it_waits() {
    let scene = Stage::at_funnelfox().plays(|asked| match asked.is_look {
        true => fox(asked, "active"),
        false => lost(),
    });
    let scene = scene.await;
    let first = scene
        .opens(of("first", request("key-of-first", ["s"])))
        .await;
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(first.feed.settling_count(), 1);
    let begun = Instant::now();

    let planned = scene
        .outcome(of("second", dry(request("plan", ["s"]))))
        .await;
    let short = within(2 * SECOND, request("mine", ["s"]));
    let waiting = scene.opens(of("second", short)).await;
    settle_down().await;
    assert_eq!(
        waiting.feed.settling_count(),
        0,
        "it settles nothing itself"
    );
    let ended = outcomes(&waiting).await.remove(0);

    assert_eq!(told(&ended).0, Outcome::Unavailable, "{ended:?}");
    assert!(begun.elapsed() < SETTLING, "its own window ends it");
    let failure = ended.conclusion.failure.as_ref().unwrap();
    assert_eq!((ended.attempts, failure.retry_at), (0, None), "{failure:?}");
    let of_first = first.batch.map(|batch| scene.engine.names().of(batch));
    let of_first = of_first.unwrap().to_string();
    for text in [preview(&planned), &failure.message] {
        for word in [
            "first", &of_first, "another", "earlier", "settl", "caller", "2026",
        ] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_cancel_of_another_key_waits_for_a_doubt_that_binds_the_target() {
    let scene = left_in_doubt().await;
    let lost = Instant::now();
    let ticket = scene.opens(request("L", ["s"])).await;
    settle_down().await;
    assert_eq!(scene.effects(), 2, "it waits for the doubt of the other");

    let settled = outcomes(&ticket).await.remove(0);

    assert_eq!(settled.conclusion.outcome, Outcome::Canceled);
    let sent = scene.asked().into_iter().rfind(|asked| !asked.is_look);
    let waited = sent.unwrap().at - lost;
    assert!(
        waited > SETTLING - 2 * SECOND && waited < SETTLING + SECOND,
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_key_looks_at_once_while_its_own_doubt_binds_the_target() {
    let scene = left_in_doubt().await;
    scene.play(|asked| fox(asked, "cancelled"));
    let begun = Instant::now();
    let settled = scene.cancels("K", "s").await;
    assert_eq!(settled.conclusion.outcome, Outcome::Canceled, "{settled:?}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(scene.effects(), 2);
}

#[tokio::test(start_paused = true)]
async fn looks_never_wait_for_others_and_what_they_found_before_is_looked_for_again() {
    let scene = left_in_doubt().await;
    // Another key may still act on it too, for longer.
    let begun = Instant::now();
    let later = begun + 3 * SETTLING;
    scene.lane().bind("s".try_into().unwrap(), None, later);

    let settled = scene.cancels("K", "s").await;

    assert_eq!(settled.conclusion.outcome, Outcome::Canceled, "{settled:?}");
    let asked: Vec<_> = scene.seconds_after(begun + SECOND);
    let operations: Vec<_> = asked.iter().map(|(_, operation)| *operation).collect();
    assert_eq!(operations, ["look", "look", "cancel"], "{asked:?}");
    assert!(asked[0].0 < SETTLING.as_secs_f64(), "{asked:?}");
    let end = (later - begun - SECOND).as_secs_f64();
    assert!(asked[1..].iter().all(|(at, _)| *at >= end), "{asked:?}");
}

/// The first operation of a Rebilly cancellation of `s` that moves money.
async fn first_of_money(scene: &Scene, key: &str) -> &'static str {
    let from = scene.asked().len();
    scene.play(|asked| match asked.is_look {
        true => says(200, json!({"id": asked.id, "status": "active"})),
        false => {
            let own = json!({"subscriptionId": asked.id, "status": "completed"});
            says(201, own)
        }
    });
    let settled = scene.outcome(prorated(request(key, ["s"]))).await;
    assert_eq!(settled.conclusion.outcome, Outcome::Canceled, "{settled:?}");
    scene.asked()[from].operation.0
}

#[tokio::test(start_paused = true)]
async fn what_moves_money_looks_first_only_if_another_key_is_known_or_a_doubt_binds_the_target() {
    let scene = Stage::at_rebilly().starts().await;
    assert_eq!(first_of_money(&scene, "K").await, "cancel", "neither");
    assert_eq!(first_of_money(&scene, "L").await, "look", "a key");

    // A doubt whose key is unknown, because the journal no longer has its record.
    let scene = Stage::at_rebilly().starts().await;
    let belief = Instant::now() + SETTLING;
    scene.lane().bind("s".try_into().unwrap(), None, belief);
    assert_eq!(first_of_money(&scene, "K").await, "look", "a doubt");
    assert!(Instant::now() >= belief, "and waits for it");
    // A command that moves no money is sent at once.
    let begun = scene.asked().len();
    scene.cancels("N", "s").await;
    assert_eq!(scene.asked()[begun].operation.0, "cancel");
}

#[tokio::test(start_paused = true)]
async fn a_preview_of_what_moves_money_calls_no_settled_key_unsettled() {
    let scene = Stage::at_rebilly().starts().await;
    first_of_money(&scene, "K").await;
    scene.play(|asked| match asked.operation.0 {
        "look" => says(200, json!({"id": asked.id, "status": "active"})),
        "discard" => says(204, json!({})),
        _ => says(201, json!({"subscriptionId": asked.id, "status": "draft"})),
    });
    let settled = scene.outcome(dry(prorated(request("D", ["s"])))).await;
    assert!(!preview(&settled).contains(UNSETTLED), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_leaves_nothing_in_the_journal() {
    for (stage, answers) in [
        (Stage::at_funnelfox(), true),
        (Stage::at_funnelfox(), false),
        (Stage::at_rebilly(), true),
        (Stage::at_rebilly(), false),
    ] {
        let scene = stage.plays(move |asked| match asked.operation.0 {
            _ if !answers => lost(),
            "look" if asked.id.is_empty() => lost(),
            "look" => says(200, json!({"id": asked.id, "status": "active"})),
            // The draft's reply is lost, yet the draft may exist.
            _ => lost(),
        });
        let scene = scene.await;
        let before = scene.journal.entries();
        let planned = within(5 * SECOND, dry(request("D", ["s", "t"])));
        assert!(planned.items.iter().all(|item| item.mode == Mode::DryRun));

        let ticket = scene.opens(planned).await;
        let settled = outcomes(&ticket).await;

        assert_eq!(ticket.batch, None);
        for settled in settled {
            assert_eq!(settled.doubt, None, "{settled:?}");
        }
        assert_eq!(scene.journal.entries(), before, "{:?}", scene.settings);
        assert_eq!(scene.lane().settling.count(), 0);
        let stage = scene.stops().await;
        let journal: &dyn Journal = &stage.journal;
        assert!(journal.open_items().unwrap().is_empty());
        assert!(journal.doubtful_targets().unwrap().is_empty());
    }
}
