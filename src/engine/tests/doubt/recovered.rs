//! Recovery of many items in doubt.

use tokio::time::Instant;

use crate::engine::tests::support::{
    scene::{request, settle_down},
    script::{Asked, obeys, silence},
    stage::{SECOND, SETTLING, Stage},
};

/// `count` ids.
fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("s{n}")).collect()
}

/// Crashes while `count` items may have been sent. Returns how many lookups go before they can be
/// believed, and how many then. The rate allows 20 in a third of the settling time.
async fn looks_after_a_crash(count: usize) -> (usize, usize) {
    let mut stage = Stage::at_funnelfox();
    (stage.rate, stage.burst) = (2.0, 1_000);
    let scene = stage.plays(|_| silence()).await;
    let ticket = scene.opens(request("K", ids(count))).await;
    while scene.effects() < count {
        tokio::time::sleep(SECOND).await;
    }
    let stage = scene.dies().await;
    drop(ticket);

    let restarted = Instant::now();
    let scene = stage.plays(obeys).await;
    tokio::time::sleep(SETTLING - SECOND).await;
    let early = scene.looks();
    tokio::time::sleep(SETTLING * 10).await;
    let asked = scene.asked();
    let is_late = |asked: &&Asked| asked.is_look && asked.at >= restarted + SETTLING;
    let late = asked.iter().filter(is_late).count();
    assert_eq!(scene.effects(), 2 * count, "looks found nothing done");
    (early, late)
}

#[tokio::test(start_paused = true)]
async fn only_as_many_are_looked_for_at_once_as_the_rate_sends_in_a_third_of_the_settling_time() {
    for (in_doubt, at_once) in [(19, 19), (20, 20), (21, 20), (60, 20)] {
        let (early, late) = looks_after_a_crash(in_doubt).await;
        assert_eq!((early, late), (at_once, in_doubt), "{in_doubt} in doubt");
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_one_look_at_belief_costs_what_is_new_no_turn_before() {
    let mut stage = Stage::at_funnelfox();
    stage.concurrency = 1_000;
    let scene = stage.plays(|_| silence()).await;
    drop(scene.opens(request("K", ids(500))).await);
    settle_down().await;
    assert_eq!(scene.effects(), 500);
    let mut stage = scene.dies().await;
    (stage.rate, stage.burst) = (2.0, 1);
    let scene = stage.plays(obeys).await;
    let new = (0..500).map(|n| format!("new{n}"));
    drop(scene.opens(request("L", new)).await);

    tokio::time::sleep(SETTLING - SECOND / 2).await;

    // The account sends 2 a second.
    let (looks, sent) = (scene.looks(), scene.effects() - 500);
    assert_eq!(looks, 20);
    assert!(looks + sent >= 59, "{sent} new");
}
