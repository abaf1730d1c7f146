//! What an orderly stop waits for, and what it and a crash leave to recovery.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::support::{
    scene::{Scene, outcomes, request, settle_down},
    script::{Act, Asked, late, lost, obeys, says_wait, silence, unsent},
    stage::{SECOND, SETTLING, Stage},
};
use crate::domain::outcome::Outcome;

/// Sends a request that does not finish.
async fn begin(scene: &Scene, key: &str, ids: &[&str]) {
    drop(scene.opens(request(key, ids)).await);
    settle_down().await;
}

/// Restarts and repeats the open request. Returns the process and the provider's requests, in
/// seconds since the restart, up to the item's outcome.
async fn after_restart(stage: Stage, ids: &[&str]) -> (Scene, Vec<(f64, &'static str)>) {
    let restarted = Instant::now();
    let scene = stage.plays(obeys).await;
    let ticket = scene.opens(request("K", ids)).await;
    for settled in outcomes(&ticket).await {
        assert_eq!(settled.conclusion.outcome, Outcome::Canceled, "{settled:?}");
    }
    let asked = scene.seconds_after(restarted);
    (scene, asked)
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_a_request_under_way_and_writes_what_came_of_it() {
    let stage = Stage::at_funnelfox();
    let scene = stage.plays(|asked| late(5 * SECOND, obeys(asked))).await;
    begin(&scene, "K", &["s"]).await;
    let begun = Instant::now();
    let stage = scene.stops().await;
    assert_eq!(begun.elapsed(), 5 * SECOND);
    let (_, later) = after_restart(stage, &["s"]).await;
    assert_eq!(later, [], "it had settled");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_no_look_and_leaves_a_lost_request_with_its_ends() {
    // Before each of the early lookups, and between the last one and the believed one.
    for at in [SECOND / 2, 5 * SECOND, 20 * SECOND] {
        let scene = Stage::at_funnelfox().plays(|asked| match asked.is_look {
            true => obeys(asked),
            false => lost(),
        });
        let scene = scene.await;
        begin(&scene, "K", &["s"]).await;
        sleep(at).await;
        let begun = Instant::now();
        let stage = scene.stops().await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "after {at:?}");

        let (_, asked) = after_restart(stage, &["s"]).await;

        // One lookup at once, and the believed one no later than without the stop.
        let belief = (SETTLING - at).as_secs_f64();
        let expected = [(0.0, "look"), (belief, "look"), (belief, "cancel")];
        assert_eq!(asked, expected, "after {at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_withdraws_what_no_try_of_was_lost() {
    type Try = fn(&Asked) -> Act;
    let tries: [(&str, Try); 3] = [
        ("throttled", |_| {
            says_wait(429, "1", json!({"message": "no"}))
        }),
        ("refused", |_| unsent()),
        // The rate lets only the first item go.
        ("not sent", obeys),
    ];
    for (what, act) in tries {
        let mut stage = Stage::at_funnelfox();
        let free = (stage.rate, stage.burst);
        if what == "not sent" {
            (stage.rate, stage.burst) = (0.01, 1);
        }
        let scene = stage.plays(act).await;
        begin(&scene, "K", &["s", "t", "u"]).await;
        let mut stage = scene.stops().await;
        (stage.rate, stage.burst) = free;

        let (scene, _) = after_restart(stage, &["s", "t", "u"]).await;

        assert_eq!(scene.looks(), 0, "{what}: {:?}", scene.asked());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_off_at_the_end_of_the_drain_time_is_in_doubt() {
    let scene = Stage::at_funnelfox().plays(|_| silence()).await;
    begin(&scene, "K", &["s"]).await;
    let begun = Instant::now();
    let stage = scene.stops_within(3 * SECOND).await;
    assert_eq!(begun.elapsed(), 3 * SECOND);

    let (_, asked) = after_restart(stage, &["s"]).await;

    // A request can be under way for as long as TCP retransmits.
    let belief = (SETTLING + 5 * SECOND).as_secs_f64();
    let expected = [(0.0, "look"), (belief, "look"), (belief, "cancel")];
    assert_eq!(asked, expected);
}

/// How many of 20 items are sent at once.
async fn go_at_once(scene: &Scene, key: &str) -> usize {
    let before = scene.effects();
    let ids: Vec<_> = (0..20).map(|n| format!("{key}{n}")).collect();
    drop(scene.opens(request(key, ids)).await);
    settle_down().await;
    scene.effects() - before
}

#[tokio::test(start_paused = true)]
async fn the_level_of_the_token_bucket_is_kept_at_a_stop_and_is_one_token_after_a_crash() {
    let mut stage = Stage::at_funnelfox();
    (stage.rate, stage.burst) = (0.01, 10);
    let scene = stage.starts().await;
    let ids = (0..4).map(|n| format!("s{n}"));
    outcomes(&scene.opens(request("K", ids)).await).await;
    let stage = scene.stops().await;
    sleep(201 * SECOND).await;
    let scene = stage.starts().await;
    assert_eq!(go_at_once(&scene, "stopped").await, 6 + 2);
    let scene = scene.dies().await.starts().await;
    let sent = go_at_once(&scene, "crashed").await;
    assert_eq!(sent, 1, "what was saved is spent once");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_provider_asked_for_outlives_a_stop_and_a_crash() {
    for crashes in [false, true] {
        let stage = Stage::at_funnelfox();
        let scene = stage.plays(|_| says_wait(429, "600", json!({"message": "no"})));
        let scene = scene.await;
        begin(&scene, "K", &["s"]).await;
        let paused = Instant::now();
        let stage = match crashes {
            true => scene.dies().await,
            false => scene.stops().await,
        };
        sleep(100 * SECOND).await;
        let (_, asked) = after_restart(stage, &["s"]).await;
        let waited = paused.elapsed();
        assert!(
            waited >= 600 * SECOND && waited < 700 * SECOND,
            "{waited:?}"
        );
        let (first, _) = asked[0];
        assert!(first >= 500.0, "{crashes}: {asked:?}");
    }
}
