//! How long a provider's throttling can pause an account.

use std::collections::BTreeSet;

use serde_json::json;

use super::support::{
    scene::{request, told},
    script::{Act, says, says_wait},
    stage::{Clocks, SECOND, Stage},
};
use crate::{domain::outcome::Outcome, limits};

/// `THROTTLE_MS_MAX` in seconds.
const BOUND: u64 = limits::THROTTLE_MS_MAX / 1_000;

fn canceled() -> Act {
    says(200, json!({"status": "cancelled"}))
}

#[tokio::test(start_paused = true)]
async fn no_provider_has_everyone_wait_for_longer_than_the_bound() {
    let ages = [
        "1000000000",
        "99999999999999999999",
        "Fri, 01 Jan 2100 00:00:00 GMT",
    ];
    for (status, wait) in [429, 500, 503]
        .into_iter()
        .flat_map(|s| ages.map(|w| (s, w)))
    {
        let mut count = 0;
        let scene = Stage::at_funnelfox().plays(move |asked| {
            count += 1;
            match (count, asked.operation.0) {
                (1, _) => says_wait(status, wait, json!({"message": "wait"})),
                (_, "look") => says(200, json!({"id": "s", "status": "active"})),
                _ => canceled(),
            }
        });
        let scene = scene.await;

        let settled = scene.cancels("K", "s").await;

        let told_of = format!("{status} {wait}");
        assert_eq!(told(&settled), (Outcome::Canceled, ""), "{told_of}");
        let expected: &[_] = match status {
            429 => &[(0, "cancel"), (BOUND, "cancel")],
            // The fate of the lost request is not known either.
            _ => &[(0, "cancel"), (BOUND, "look"), (BOUND, "cancel")],
        };
        assert_eq!(scene.seconds(), expected, "{told_of}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_bound_holds_for_a_busy_provider_too() {
    let mut count = 0;
    let scene = Stage::at_funnelfox().plays(move |asked| {
        count += 1;
        match (count, asked.operation.0) {
            (1, _) => says_wait(409, "1000000000", json!({"message": "in progress"})),
            (_, "look") => says(200, json!({"id": "s", "status": "active"})),
            _ => canceled(),
        }
    });
    let scene = scene.await;

    let settled = scene.cancels("K", "s").await;

    assert_eq!(told(&settled), (Outcome::Canceled, ""), "{settled:?}");
    let expected = [(0, "cancel"), (BOUND, "look"), (BOUND, "cancel")];
    assert_eq!(scene.seconds(), expected);
}

/// Asserts that a pause asked for by the provider ends `over` seconds after a restart with these
/// clocks.
async fn check_kept(clocks: Clocks, over: u64) {
    let stage = Stage::at_funnelfox();
    let scene = stage.plays(|_| says_wait(429, "1000000000", json!({"message": "wait"})));
    let scene = scene.await;
    let _before = scene.opens(request("K", ["s"])).await;
    tokio::time::sleep(SECOND).await;
    let mut stage = scene.stops().await;
    stage.clocks = clocks;
    let scene = stage.plays(|_| canceled()).await;

    let settled = scene.cancels("L", "t").await;

    assert_eq!(told(&settled), (Outcome::Canceled, ""), "{clocks:?}");
    let asked = scene.seconds().into_iter().skip(1);
    let at: BTreeSet<_> = asked.map(|(at, _)| at).collect();
    assert_eq!(at, [1 + over].into(), "{clocks:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_kept_over_a_restart_has_the_same_bound_whatever_clocks_say() {
    let wall = |wall| Clocks { wall, boot: None };
    check_kept(wall(0), BOUND - 1).await;
    check_kept(wall(300), BOUND - 301).await;
    check_kept(wall(86_400), 0).await;
    // Set back by a day: the remaining time is unknown.
    check_kept(wall(-86_400), BOUND).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_brings_a_pause_once_and_not_at_every_start() {
    let stage = Stage::at_funnelfox();
    let scene = stage.plays(|_| says_wait(429, "600", json!({"message": "wait"})));
    let scene = scene.await;
    let _before = scene.opens(request("K", ["s"])).await;
    tokio::time::sleep(SECOND).await;
    let mut stage = scene.stops().await;
    stage.clocks.wall = -86_400;
    let scene = stage.plays(|_| canceled()).await;
    scene.cancels("L", "t").await;
    let stage = scene.stops().await;
    let scene = stage.plays(|_| canceled()).await;

    scene.cancels("M", "u").await;

    let at: BTreeSet<_> = scene.seconds().iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [0, 1 + BOUND].into());
}
