//! What an orderly stop waits for, and what it and a crash leave.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::play::{
    Act, Asked, SECOND, SETTLING, Stage, answer_with, obeys, outcomes, request, settle_down,
};
use crate::{dispatch::Dispatch, domain::outcome::Outcome};

const HOUR: Duration = Duration::from_secs(3_600);

/// Sends a request for one subscription, which does not end.
async fn begin(dispatch: &Arc<Dispatch>, key: &str, ids: &[&str]) {
    drop(dispatch.submit(request(key, ids)).await.unwrap());
    settle_down().await;
}

/// What is asked after a restart for the key that was open, in seconds, until it has ended as it
/// should.
async fn after_restart(stage: &mut Stage, ids: &[&str]) -> Vec<(f64, &'static str)> {
    stage.play(obeys);
    let restarted = Instant::now();
    let dispatch = stage.start().await;
    let ticket = dispatch.submit(request("K", ids)).await.unwrap();
    for settled in outcomes(&ticket).await {
        assert_eq!(settled.conclusion.outcome, Outcome::Canceled, "{settled:?}");
    }
    stage.seconds_after(restarted)
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_a_request_under_way_and_writes_what_came_of_it() {
    let mut stage = Stage::new();
    stage.answers_after = 5 * SECOND;
    let dispatch = stage.start().await;
    begin(&dispatch, "K", &["s"]).await;
    let begun = Instant::now();
    dispatch.drain(HOUR).await;
    assert_eq!(begun.elapsed(), 5 * SECOND);
    let later = after_restart(&mut stage, &["s"]).await;
    assert_eq!(later, [], "it had settled");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_no_look_and_leaves_a_lost_request_with_its_ends() {
    // Before each of the early looks, and between the last one and belief.
    for at in [SECOND / 2, 5 * SECOND, 20 * SECOND] {
        let mut stage = Stage::new();
        stage.play(|asked: &Asked| match asked.is_look {
            true => obeys(asked),
            false => Act::Lose,
        });
        let dispatch = stage.start().await;
        begin(&dispatch, "K", &["s"]).await;
        sleep(at).await;
        let begun = Instant::now();
        dispatch.drain(HOUR).await;
        assert_eq!(begun.elapsed(), Duration::ZERO, "after {at:?}");

        let asked = after_restart(&mut stage, &["s"]).await;

        // One look at once, and the one that decides no later than without the stop.
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
            answer_with(429, &[("retry-after", "1")], &json!({"message": "no"}))
        }),
        ("refused", |_| Act::Refuse),
        // The rate keeps all but the first back.
        ("not sent", obeys),
    ];
    for (what, act) in tries {
        let mut stage = Stage::new();
        (stage.rate, stage.burst) = match what {
            "not sent" => (0.01, 1),
            _ => (1_000.0, 1_000),
        };
        stage.play(act);
        let dispatch = stage.start().await;
        begin(&dispatch, "K", &["s", "t", "u"]).await;
        dispatch.drain(HOUR).await;
        (stage.rate, stage.burst) = (1_000.0, 1_000);

        after_restart(&mut stage, &["s", "t", "u"]).await;

        assert_eq!(stage.looks(), 0, "{what}: {:?}", stage.asked());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_off_at_the_end_of_the_drain_time_is_in_doubt() {
    let mut stage = Stage::new();
    stage.play(|_: &Asked| Act::Silence);
    let dispatch = stage.start().await;
    begin(&dispatch, "K", &["s"]).await;
    let begun = Instant::now();
    dispatch.drain(3 * SECOND).await;
    assert_eq!(begun.elapsed(), 3 * SECOND);

    let asked = after_restart(&mut stage, &["s"]).await;

    // It can be under way for as long as TCP keeps trying.
    let belief = (SETTLING + 5 * SECOND).as_secs_f64();
    let expected = [(0.0, "look"), (belief, "look"), (belief, "cancel")];
    assert_eq!(asked, expected);
}

/// How many of twenty go at once.
async fn go_at_once(stage: &Stage, dispatch: &Arc<Dispatch>, key: &str) -> usize {
    let before = stage.effects();
    let ids: Vec<_> = (0..20).map(|n| format!("{key}{n}")).collect();
    drop(dispatch.submit(request(key, ids)).await.unwrap());
    settle_down().await;
    stage.effects() - before
}

#[tokio::test(start_paused = true)]
async fn the_level_of_the_token_bucket_is_kept_at_a_stop_and_is_one_token_after_a_crash() {
    let mut stage = Stage::new();
    (stage.rate, stage.burst) = (0.01, 10);
    let mut dispatch = stage.start().await;
    let ids: Vec<_> = (0..4).map(|n| format!("s{n}")).collect();
    outcomes(&dispatch.submit(request("K", ids)).await.unwrap()).await;
    dispatch.drain(HOUR).await;
    sleep(201 * SECOND).await;
    dispatch = stage.start().await;
    assert_eq!(go_at_once(&stage, &dispatch, "stopped").await, 6 + 2);
    stage.crash(dispatch).await;
    dispatch = stage.start().await;
    let sent = go_at_once(&stage, &dispatch, "crashed").await;
    assert_eq!(sent, 1, "what was saved is spent once");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_provider_asked_for_outlives_a_stop_and_a_crash() {
    for crashes in [false, true] {
        let mut stage = Stage::new();
        stage.play(|_: &Asked| {
            answer_with(429, &[("retry-after", "600")], &json!({"message": "no"}))
        });
        let dispatch = stage.start().await;
        begin(&dispatch, "K", &["s"]).await;
        let paused = Instant::now();
        match crashes {
            true => stage.crash(dispatch).await,
            false => dispatch.drain(HOUR).await,
        }
        sleep(100 * SECOND).await;
        let asked = after_restart(&mut stage, &["s"]).await;
        let waited = paused.elapsed();
        assert!(
            waited >= 600 * SECOND && waited < 700 * SECOND,
            "{waited:?}"
        );
        let (first, _) = asked[0];
        assert!(first >= 500.0, "{crashes}: {asked:?}");
    }
}
