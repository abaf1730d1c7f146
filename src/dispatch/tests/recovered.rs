//! What is found in doubt at a start.

use tokio::time::Instant;

use super::play::{Act, Asked, SECOND, SETTLING, Stage, obeys, request, settle_down};

/// So many ids.
fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("s{n}")).collect()
}

/// So many items may have been sent when the process crashed. Says how many are looked for before
/// that can be believed, and how many then. The rate sends 20 within a third of the settling time.
async fn looks_after_a_crash(count: usize) -> (usize, usize) {
    let mut stage = Stage::new();
    (stage.rate, stage.burst) = (2.0, 1_000);
    stage.play(|_: &Asked| Act::Silence);
    let dispatch = stage.start().await;
    let ticket = dispatch.submit(request("K", ids(count))).await.unwrap();
    while stage.effects() < count {
        tokio::time::sleep(SECOND).await;
    }
    stage.crash(dispatch).await;
    drop(ticket);

    stage.play(obeys);
    let restarted = Instant::now();
    let dispatch = stage.start().await;
    tokio::time::sleep(SETTLING - SECOND).await;
    let early = stage.looks();
    tokio::time::sleep(SETTLING * 10).await;
    let asked = stage.asked();
    let is_late = |asked: &&Asked| asked.is_look && asked.at >= restarted + SETTLING;
    let late = asked.iter().filter(is_late).count();
    assert_eq!(stage.effects(), 2 * count, "looks found nothing done");
    drop(dispatch);
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
    let mut stage = Stage::new();
    stage.play(|_: &Asked| Act::Silence);
    stage.concurrency = 1_000;
    let dispatch = stage.start().await;
    drop(dispatch.submit(request("K", ids(500))).await.unwrap());
    settle_down().await;
    assert_eq!(stage.effects(), 500);
    stage.crash(dispatch).await;
    stage.play(obeys);
    (stage.rate, stage.burst) = (2.0, 1);
    let dispatch = stage.start().await;
    let new = (0..500).map(|n| format!("new{n}"));
    drop(dispatch.submit(request("L", new)).await.unwrap());

    tokio::time::sleep(SETTLING - SECOND / 2).await;

    // It sends 2 a second.
    let (looks, sent) = (stage.looks(), stage.effects() - 500);
    assert_eq!(looks, 20);
    assert!(looks + sent >= 59, "{sent} new");
}
