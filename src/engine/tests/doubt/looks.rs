//! When lookups for lost requests are sent.

use tokio::time::Instant;

use crate::{
    domain::outcome::Outcome,
    egress::flow::retry_budget::RetryBudgetOptions,
    engine::tests::support::{
        scene::{outcomes, request, within},
        script::{Act, Asked, lost, obeys},
        stage::{SECOND, SETTLING, Stage},
    },
};

/// The first request of each of `count` subscriptions is lost, without an effect.
fn loses_first(count: usize) -> impl FnMut(&Asked) -> Act + Send {
    let mut sent = 0;
    move |asked| {
        sent += usize::from(!asked.is_look);
        match !asked.is_look && sent <= count {
            true => lost(),
            false => obeys(asked),
        }
    }
}

/// The seconds at which a subscription was looked up.
fn looks_for(stage: &Stage, id: &str, from: Instant) -> Vec<f64> {
    let asked = stage.asked();
    let looks = asked.iter().filter(|asked| asked.is_look && asked.id == id);
    looks.map(|look| (look.at - from).as_secs_f64()).collect()
}

#[tokio::test(start_paused = true)]
async fn early_looks_go_after_first_requests_and_the_one_that_decides_takes_turns_with_them() {
    let mut stage = Stage::at_funnelfox();
    (stage.rate, stage.burst) = (1.0, 1);
    let scene = stage.plays(loses_first(1)).await;
    let begun = Instant::now();
    let lost = scene.opens(request("K", ["lost"])).await;
    let others = (0..60).map(|n| format!("s{n}"));
    let others = scene.opens(request("L", others)).await;

    let settled = outcomes(&lost).await.remove(0);

    assert_eq!(settled.conclusion.outcome, Outcome::Canceled);
    let looks = looks_for(&scene, "lost", begun);
    assert_eq!(looks.len(), 1, "early ones were late: {looks:?}");
    let belief = SETTLING.as_secs_f64();
    assert!((belief..belief + 3.0).contains(&looks[0]), "{looks:?}");
    outcomes(&others).await;
}

#[tokio::test(start_paused = true)]
async fn where_nothing_waits_a_lost_answer_is_looked_for_early_and_when_that_is_believed() {
    let scene = Stage::at_funnelfox().plays(loses_first(1)).await;
    let begun = Instant::now();

    let settled = scene.cancels("K", "lost").await;

    assert_eq!(settled.conclusion.outcome, Outcome::Canceled);
    let asked = [
        (0.0, "cancel"),
        (1.0, "look"),
        (10.0, "look"),
        (30.0, "look"),
        (30.0, "cancel"),
    ];
    assert_eq!(scene.seconds_after(begun), asked);
}

#[tokio::test(start_paused = true)]
async fn early_looks_use_the_retry_budget_up_and_the_one_that_decides_needs_none() {
    let mut stage = Stage::at_funnelfox();
    stage.retries = RetryBudgetOptions {
        per_request: 0.0,
        per_second: 0.000_001,
        saved_max: 2.0,
    };
    let begun = Instant::now();
    // Only retries that fail use up the budget.
    let scene = stage.plays(move |asked| match asked.at < begun + SETTLING {
        true => lost(),
        false => obeys(asked),
    });
    let scene = scene.await;
    let ids = ["a", "b", "c", "d", "e"];
    // The end of the window makes an early lookup no more urgent.
    let brief = within(5 * SECOND, request("K", ids));

    let settled = outcomes(&scene.opens(brief).await).await;

    for settled in &settled {
        let outcome = settled.conclusion.outcome;
        assert_eq!(outcome, Outcome::Unavailable, "{settled:?}");
    }
    let looks = ids.iter().flat_map(|id| looks_for(&scene, id, begun));
    let (early, late): (Vec<_>, Vec<_>) = looks.partition(|at| *at < SETTLING.as_secs_f64());
    assert_eq!(
        (early.len(), late.len()),
        (2, ids.len()),
        "{early:?} {late:?}"
    );
}
