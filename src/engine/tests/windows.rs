//! Many items whose retry windows end together.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::support::{
    bench::{Bench, Choices, item, items, submission},
    hooked::Hooked,
};
use crate::engine::{SubmittedItem, Ticket};

const MANY: usize = 10_000;
const WINDOW: Duration = Duration::from_secs(2);
/// Maximum of running items: those that bypass flow control, and its concurrency limit.
const AT_WORK_MAX: usize = 256 + 16;

/// Sends items with a short window.
async fn briefly(bench: &Bench, key: &str, items: Vec<SubmittedItem>) -> Ticket {
    let mut request = submission(key, items);
    request.retry_window = Some(WINDOW);
    bench.engine.submit(request).await.unwrap()
}

/// Runs all tasks that can go on without time passing.
async fn settle_down() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

async fn read_all(ticket: &Ticket) -> usize {
    let mut count = 0;
    while let Some(updates) = ticket.feed.take(usize::MAX).await.unwrap() {
        count += updates.len();
    }
    count
}

#[tokio::test(start_paused = true)]
async fn many_that_end_together_are_settled_a_few_at_a_time() {
    let journal = Hooked::new();
    let bench = Choices {
        journal: Arc::new(journal.clone()),
        ..Choices::default()
    };
    let bench = bench.start().await;
    // The first item is sent and never answered: the account sends one request in 1,000 s.
    drop(briefly(&bench, "first", items("first", 1)).await);
    let ticket = briefly(&bench, "many", items("many", MANY)).await;
    settle_down().await;
    journal.settles(false);

    tokio::time::advance(2 * WINDOW).await;
    settle_down().await;

    let at_work = bench.engine.shared.tasks.len();
    assert!((2..=AT_WORK_MAX).contains(&at_work), "{at_work}");
    journal.settles(true);
    assert_eq!(read_all(&ticket).await, MANY);
    assert_eq!(bench.sent.load(Ordering::Acquire), 1);
}

#[tokio::test(start_paused = true)]
async fn others_start_while_many_settle_whose_windows_ended_behind_a_target() {
    let journal = Hooked::new();
    let bench = Choices {
        journal: Arc::new(journal.clone()),
        rate: 1_000.0,
        ..Choices::default()
    };
    let bench = bench.start().await;
    let of_one = |count| (0..count).map(|_| item("one")).collect::<Vec<_>>();
    drop(bench.engine.submit(submission("first", of_one(1))).await);
    let ticket = briefly(&bench, "many", of_one(MANY)).await;
    settle_down().await;
    journal.settles(false);

    tokio::time::advance(2 * WINDOW).await;
    settle_down().await;
    let others = submission("others", items("other", 5));
    let _others = bench.engine.submit(others).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;

    assert_eq!(bench.sent.load(Ordering::Acquire), 1 + 5);
    let at_work = bench.engine.shared.tasks.len();
    assert!((7..=AT_WORK_MAX).contains(&at_work), "{at_work}");
    journal.settles(true);
    assert_eq!(read_all(&ticket).await, MANY);
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_many_that_wait_keeps_no_others_from_starting() {
    let journal = Hooked::new();
    let bench = Choices {
        journal: Arc::new(journal.clone()),
        rate: 1_000.0,
        ..Choices::default()
    };
    let bench = bench.start().await;
    let of_one = |count| (0..count).map(|_| item("one")).collect::<Vec<_>>();
    drop(bench.engine.submit(submission("first", of_one(1))).await);
    let many = bench.engine.submit(submission("many", of_one(MANY)));
    let many = many.await.unwrap();
    settle_down().await;
    journal.settles(false);
    let (engine, batch) = (Arc::clone(&bench.engine), many.batch.unwrap());
    let stop = tokio::spawn(async move {
        let stopped = engine.stop_batch(
            batch,
            crate::domain::ids::CallerId::try_from("ann").unwrap(),
        );
        stopped.await.unwrap().stopped
    });
    settle_down().await;

    let others = submission("others", items("other", 5));
    let _others = bench.engine.submit(others).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;

    assert_eq!(bench.sent.load(Ordering::Acquire), 1 + 5);
    assert!(!stop.is_finished());
    journal.settles(true);
    assert_eq!(stop.await.unwrap(), MANY);
}
