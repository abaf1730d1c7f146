//! Which items may be sent, and when the journal has their clearance.

use tokio::time::{Instant, sleep};

use crate::{
    engine::tests::support::{
        hooked::Written,
        scene::{Scene, request, settle_down},
        script::silence,
        stage::{HOUR, SECOND, Stage, TIMEOUT},
    },
    limits,
};

/// `count` ids with this prefix.
fn ids(of: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{of}{n}")).collect()
}

/// A process whose account has this rate and sends nothing.
async fn held(rate: f64) -> Scene {
    let mut stage = Stage::at_funnelfox();
    stage.rate = rate;
    let scene = stage.starts().await;
    scene.lane().state().gate.pause(Instant::now() + HOUR);
    scene
}

async fn admit(scene: &Scene, key: &str, count: usize) {
    drop(scene.opens(request(key, ids(key, count))).await);
}

#[tokio::test(start_paused = true)]
async fn an_admission_clears_its_first_sixteen_as_far_as_the_lane_has_room() {
    // 5 s of the rate, at least 16 and at most 4,096.
    for (rate, admitted, cleared) in [
        (0.1, vec![10], 10),
        (0.1, vec![40], 16),
        (0.1, vec![10, 10, 10], 16),
        (10.0, vec![40], 16),
        (10.0, vec![40, 40, 40], 48),
        (10.0, vec![40, 40, 40, 40, 40], 50),
        (100_000.0, vec![20; 300], 4_096),
    ] {
        let scene = held(rate).await;
        // Nothing is cleared ahead.
        scene.lane().close();
        for (n, count) in admitted.iter().enumerate() {
            admit(&scene, &format!("b{n}-"), *count).await;
        }
        let doubtful = scene.dies().await.in_doubt().await;
        assert_eq!(doubtful.len(), cleared, "{rate} a second, {admitted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_cleared_ahead_in_the_order_of_turns() {
    let scene = held(20.0).await;
    admit(&scene, "long", 1_000).await;
    admit(&scene, "short", 60).await;
    settle_down().await;
    let doubtful = scene.dies().await.in_doubt().await;
    assert_eq!(doubtful.len(), 100, "5 s of 20 a second");
    let last = doubtful.iter().map(|id| id.batch).max();
    let of_short = doubtful.iter().filter(|id| Some(id.batch) == last);
    // Everything cleared before the second batch came belongs to the first.
    assert!(of_short.count() >= 16);
    let first = doubtful.iter().filter(|id| Some(id.batch) != last);
    let first: Vec<_> = first.map(|id| id.index).collect();
    assert_eq!(first, (0..).take(first.len()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn never_more_than_four_thousand_are_cleared_and_not_sent() {
    let scene = held(100_000.0).await;
    admit(&scene, "long", 10_000).await;
    settle_down().await;
    let doubtful = scene.dies().await.in_doubt().await;
    assert_eq!(doubtful.len(), limits::CLEARED_MAX);
}

#[tokio::test(start_paused = true)]
async fn clearances_are_refilled_when_half_of_them_are_used_up() {
    let mut stage = Stage::at_funnelfox();
    (stage.rate, stage.burst, stage.concurrency) = (20.0, 1, 10_000);
    // No outcome causes a write of its own.
    let scene = stage.plays(|_| silence()).await;
    admit(&scene, "long", 400).await;
    sleep(9 * SECOND).await;

    let written = scene.hooked.written();
    let cleared: Vec<_> = written.iter().map(|written| written.cleared).collect();
    // The admission cleared 16 of the 100, and 20 a second are sent.
    let [first, refills @ ..] = cleared.as_slice() else {
        panic!("{cleared:?}");
    };
    assert!((84..=85).contains(first), "{cleared:?}");
    assert!(refills.iter().all(|count| *count == 50), "{cleared:?}");
    assert!((3..=4).contains(&refills.len()), "{cleared:?}");
    assert!(scene.effects() >= 180, "{}", scene.effects());
}

#[tokio::test(start_paused = true)]
async fn one_beside_ten_thousand_waits_for_one_write_at_most() {
    let mut stage = Stage::at_funnelfox();
    (stage.rate, stage.burst, stage.concurrency) = (10.0, 1, 10_000);
    let scene = stage.plays(|_| silence()).await;
    // The first item takes the only token, so the clearances of later items stay unused.
    admit(&scene, "first", 1).await;
    settle_down().await;
    admit(&scene, "long", 10_000).await;
    settle_down().await;
    assert_eq!(scene.effects(), 1);
    scene.hooked.settles(false);
    let _ = scene.hooked.written();

    admit(&scene, "one", 1).await;
    sleep(SECOND).await;
    let is_sent = |scene: &Scene| scene.asked().iter().any(|asked| asked.id == "one0");
    assert!(!is_sent(&scene), "the lane has all that it may have");
    scene.hooked.settles(true);
    sleep(SECOND / 5).await;

    assert!(is_sent(&scene));
    let one = Written {
        outcomes: 0,
        cleared: 1,
    };
    assert_eq!(scene.hooked.written(), [one]);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_and_not_resolved_blocks_no_clearance() {
    let mut stage = Stage::at_funnelfox();
    (stage.rate, stage.burst, stage.concurrency) = (4.0, 1, 10_000);
    let scene = stage.plays(|_| silence()).await;
    admit(&scene, "long", 100).await;

    // Shortly before the first requests count as lost.
    sleep(TIMEOUT - SECOND / 2).await;

    let sent = scene.effects();
    assert!(sent > 35, "{sent} sent, and 20 may be cleared and not sent");
    let written = scene.hooked.written();
    assert!(written.iter().all(|written| written.outcomes == 0));
}
