//! What an earlier process may have sent: how long it may act, by which clock, and when a lookup is
//! believed.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::{
    domain::outcome::Outcome,
    engine::tests::support::{
        scene::{Scene, request, told, within},
        script::{Asked, lost, obeys, says},
        stage::{Clocks, HOUR, SECOND, SETTLING, Second, Stage, TIMEOUT},
    },
    limits,
};

/// After this many seconds a request of an earlier process cannot arrive any more.
const UNDER_WAY: u64 = limits::TCP_USER_TIMEOUT_MS / 1_000;
/// The settling time, which is longer than the timeout here: a lookup proves nothing before.
const SETTLES: u64 = SETTLING.as_secs();

/// Starts a process whose cancel is never answered, and runs it for `wait`.
async fn begins(mut stage: Stage, clocks: Clocks, wait: Duration) -> Scene {
    stage.clocks = clocks;
    let scene = stage.plays(|_| lost()).await;
    let patient = within(7 * 24 * HOUR, request("K", ["s"]));
    let _ticket = scene.opens(patient).await;
    tokio::time::sleep(wait).await;
    scene
}

/// Continues with a new process until the item has an outcome; returns the provider's requests.
async fn goes_on(stage: Stage) -> Vec<Second> {
    let before = stage.seconds().len();
    let scene = stage.plays(obeys).await;
    let settled = scene.cancels("K", "s").await;
    assert_eq!(told(&settled), (Outcome::Canceled, ""), "{settled:?}");
    scene.seconds().split_off(before)
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_sent_may_act_until_it_cannot_arrive_after_this_one_began() {
    assert!(SETTLING > TIMEOUT);
    let scene = begins(Stage::at_funnelfox(), Clocks::default(), SECOND / 2).await;
    let stage = scene.dies().await;
    tokio::time::sleep(20 * SECOND).await;

    let asked = goes_on(stage).await;

    // One lookup at once. How long the process has been gone does not say when it sent the request.
    let believed = 20 + UNDER_WAY + SETTLES;
    assert_eq!(
        asked,
        [(20, "look"), (believed, "look"), (believed, "cancel")]
    );
}

/// Kills a first process, and a second one after `alive` seconds. Asserts when a third one, with
/// these clocks, believes a lookup.
async fn check_third(second: Clocks, third: Clocks, alive: u64, believed_in: u64) {
    let first = begins(Stage::at_funnelfox(), second, SECOND / 2).await;
    let mut stage = first.dies().await;
    stage.clocks = second;
    let scene = stage.plays(|_| lost()).await;
    tokio::time::sleep(Duration::from_secs(alive)).await;
    let mut stage = scene.dies().await;
    stage.clocks = third;

    let asked = goes_on(stage).await;

    let effect = asked.iter().find(|(_, operation)| *operation == "cancel");
    let told = format!("{second:?} {third:?}: {asked:?}");
    assert_eq!(effect, Some(&(alive + believed_in, "cancel")), "{told}");
}

/// The second process sends nothing itself, so that its end does not restart the wait.
#[tokio::test(start_paused = true)]
async fn the_clock_of_the_boot_decides_within_one_and_the_wall_clock_between_two() {
    let whole = UNDER_WAY + SETTLES;
    let alive = 4;
    let left = whole - alive;
    let (boot, other) = (Some((1, 1_000)), Some((2, 0)));
    let wall = |wall, boot| Clocks { wall, boot };
    for (second, third, believed_in) in [
        // The same boot: the wall clock does not matter.
        (wall(0, boot), wall(0, boot), left),
        (wall(0, boot), wall(86_400, boot), left),
        (wall(0, boot), wall(-86_400, boot), left),
        // Another boot, or none: the wall clock decides.
        (wall(0, boot), wall(0, other), left),
        (wall(0, boot), wall(3, other), left - 3),
        (wall(0, boot), wall(600, other), 0),
        (wall(0, None), wall(3, None), left - 3),
        // The clock is behind the end of what may be under way: the whole settling time is to come,
        // plus at most the time that a request can be under way.
        (wall(0, boot), wall(-4, other), whole),
        (wall(0, boot), wall(-86_400, other), whole),
        (wall(0, None), wall(-86_400, None), whole),
    ] {
        check_third(second, third, alive, believed_in).await;
    }
}

/// Repeats a key in doubt, in the same process or in a next one whose wall clock is `next` seconds
/// ahead. Returns the provider's requests and the time taken.
async fn sent_again(next: Option<i64>) -> (Vec<&'static str>, Duration) {
    let script = |asked: &Asked| match asked.is_look {
        true => says(401, json!({"message": "bad key"})),
        false => lost(),
    };
    let mut scene = Stage::at_funnelfox().plays(script).await;
    let settled = scene.cancels("K", "s").await;
    assert_eq!(settled.conclusion.outcome, Outcome::InDoubt, "{settled:?}");
    match next {
        Some(wall) => {
            let mut stage = scene.stops().await;
            stage.clocks.wall = wall;
            scene = stage.plays(obeys).await;
        }
        None => scene.play(obeys),
    }
    let (before, begun) = (scene.seconds().len(), Instant::now());
    let settled = scene.cancels("K", "s").await;
    assert_eq!(told(&settled), (Outcome::Canceled, ""), "{settled:?}");
    let asked = scene.seconds().split_off(before);
    let asked = asked.into_iter().map(|(_, operation)| operation);
    (asked.collect(), begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_key_does_not_wait_for_its_own_request_in_the_next_process_either() {
    let here = sent_again(None).await;
    assert_eq!(sent_again(Some(0)).await, here);
    // A set-back clock prolongs the wait of other keys only; the key has its own end.
    let (asked, took) = sent_again(Some(-86_400)).await;
    assert_eq!(asked, here.0);
    let whole = Duration::from_secs(UNDER_WAY + SETTLES);
    assert!(took <= whole, "{took:?}");
}

/// Other keys wait for a request that an earlier process left. With a set-back clock the remaining
/// time is unknown, so they wait for the longest time that a request can act.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_binds_a_target_for_no_longer_than_a_request_can_act() {
    const ACTS_MAX: u64 = (limits::SETTLING_MS_MAX + limits::TCP_USER_TIMEOUT_MS) / 1_000;
    for (wall, bound) in [(0, SETTLES), (5, SETTLES - 5), (-7 * 86_400, 1 + ACTS_MAX)] {
        let mut sent = 0;
        let scene = Stage::at_funnelfox().plays(move |_| {
            sent += 1;
            match sent {
                1 => lost(),
                _ => says(401, json!({"message": "no"})),
            }
        });
        let scene = scene.await;
        let left = scene.cancels("K", "s").await;
        assert_eq!(told(&left), (Outcome::InDoubt, "CREDENTIALS_REFUSED"));
        let mut stage = scene.stops().await;
        stage.clocks.wall = wall;
        let scene = stage.plays(obeys).await;
        let before = scene.seconds().len();

        let settled = scene.outcome(within(24 * HOUR, request("L", ["s"]))).await;

        assert_eq!(told(&settled), (Outcome::Canceled, ""), "{wall}");
        assert_eq!(
            scene.seconds().split_off(before),
            [(bound, "cancel")],
            "{wall}"
        );
    }
}
