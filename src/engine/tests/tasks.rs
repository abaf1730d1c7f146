//! The engine's tasks: a panic in one of them, and the end of all.

use std::{sync::Arc, time::Duration};

use super::support::bench::{self, item};
use crate::{
    domain::{
        account::{Account, FunnelFoxEnd, ProviderSettings},
        http_exchange::{Request, Response},
        outcome::{FailureReason, Outcome, Reached},
    },
    egress::{
        Egress, SendError,
        flow::{
            self, adaptive_concurrency::Bounds, backoff::Backoff, circuit_breaker::Pauses,
            retry_budget,
        },
    },
    engine::{
        Clock, Engine, EngineOptions, LaneOptions, Submission, SubmitError, results::feed::Update,
    },
    journal::{Journal as _, memory_journal::MemoryJournal},
    shared_budget::Members,
};

const SECOND: Duration = Duration::from_secs(1);

/// A lane whose provider answers like this.
fn lane<F>(provider: fn(Request) -> F) -> LaneOptions
where
    F: Future<Output = Result<Response, SendError>> + Send + 'static,
{
    let account = Arc::new(Account {
        name: "a".try_into().unwrap(),
        base_url: "http://unused".to_owned(),
        settings: ProviderSettings::Solidgate {
            channel_id: None,
            lookup_path: "v2/subscriptions/get".to_owned(),
        },
    });
    LaneOptions {
        place: account.place(None),
        egress: Egress::simulated(&account, SECOND, tower::service_fn(provider)),
        account,
        gate: flow::FlowOptions {
            concurrency: Bounds {
                floor: 1,
                ceiling: 8,
            },
            rate_per_second: 1_000.0,
            rate_burst: 1_000,
            retries: retry_budget::RetryBudgetOptions {
                per_request: 0.2,
                per_second: 1.0,
                saved_max: 10.0,
            },
            pauses: Pauses {
                base: SECOND,
                max: SECOND,
            },
        },
        backoff: Backoff {
            base: SECOND,
            max: SECOND,
        },
        timeout: SECOND,
        settling: SECOND,
    }
}

fn options(lanes: Vec<LaneOptions>) -> EngineOptions {
    EngineOptions {
        lanes,
        open_items_max: 10,
        members: Members::default(),
        scanners: Members::default(),
        open_bytes_max: 1_000_000,
        audit: crate::audit::Usage::default(),
        results_held_max: 10,
        reader_patience: 30 * SECOND,
        retry_window: 60 * SECOND,
        clock: Clock::system(),
        seed: 1,
    }
}

fn submission() -> Submission {
    submission_of("1")
}

fn submission_of(id: &str) -> Submission {
    bench::submission("k", vec![item(id)])
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_panics_ends_the_engine_and_leaves_its_item_open() {
    let journal = MemoryJournal::new();
    let panics = lane(|_| async { panic!("out of its mind") });
    let options = options(vec![panics]);
    let engine = Engine::start(Arc::new(journal.clone()), options).await;
    let engine = engine.unwrap();

    engine.submit(submission()).await.unwrap();
    let why = tokio::time::timeout(SECOND, engine.failed()).await;

    let why = why.expect("it has failed within a second").to_string();
    assert_eq!(why, "the conversation panicked: out of its mind");
    engine.drain(SECOND).await;
    assert_eq!(journal.open_items().unwrap().len(), 1);
}

/// 10,000 such items must not cost 10,000 disk reads before capacity is reserved.
#[tokio::test(start_paused = true)]
async fn items_that_may_be_too_late_are_looked_for_once_room_is_taken() {
    let nothing = lane(|_| std::future::pending());
    let engine = Engine::start(Arc::new(MemoryJournal::new()), options(vec![nothing])).await;
    let engine = engine.unwrap();
    let known = submission();
    let ticket = engine.submit(submission()).await.unwrap();
    let unknown = Submission {
        key: "other".try_into().unwrap(),
        ..submission()
    };
    for (submission, expected) in [(&known, vec![]), (&unknown, vec![0])] {
        let unrecorded = engine.unrecorded(submission, &[0]).await;
        assert_eq!(unrecorded, Ok(expected), "{}", submission.key);
    }
    let _all = engine
        .results_held
        .take(&"ann".try_into().unwrap(), 9)
        .unwrap();
    let refused = engine.unrecorded(&unknown, &[0]).await;
    assert!(matches!(refused, Err(SubmitError::Full(_))), "{refused:?}");
    assert_eq!(engine.unrecorded(&unknown, &[]).await, Ok(Vec::new()));
    drop(ticket);
    assert_eq!(engine.unrecorded(&unknown, &[0]).await, Ok(vec![0]));
}

/// Earlier versions admitted such ids, and their open items continue.
#[tokio::test(start_paused = true)]
async fn an_id_that_could_be_read_as_another_address_is_rejected_and_never_sent() {
    let mut lane = lane(|request| async move { panic!("sent: {request:?}") });
    lane.account = Arc::new(Account {
        settings: ProviderSettings::FunnelFox {
            cancel_ends: FunnelFoxEnd::Now,
        },
        ..(*lane.account).clone()
    });
    lane.place = lane.account.place(None);
    let engine = Engine::start(Arc::new(MemoryJournal::new()), options(vec![lane])).await;
    let engine = engine.unwrap();
    let hostile = submission_of("../customers/cus_2");

    let ticket = engine.submit(hostile.clone()).await.unwrap();

    let updates = tokio::time::timeout(SECOND, ticket.feed.take(10)).await;
    let updates = updates.expect("it ends at once").unwrap().unwrap();
    let [(_, Update::Settled { settled, replayed })] = updates.as_slice() else {
        panic!("{updates:?}");
    };
    assert!(!replayed);
    let failure = settled.conclusion.failure.as_ref().unwrap();
    assert_eq!(settled.conclusion.outcome, Outcome::Rejected);
    assert_eq!(failure.reason, FailureReason::TargetIdUnsafe);
    assert_eq!(failure.reached, Reached::No);
    assert_eq!(settled.attempts, 0);
    drop(ticket);
    let again = engine.submit(hostile).await.unwrap();
    let updates = again.feed.take(10).await.unwrap().unwrap();
    assert!(matches!(
        updates.as_slice(),
        [(_, Update::Settled { replayed: true, .. })]
    ));
}

/// Between a lane's last pop and the spawn of that execution no other task is running.
#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_lanes_too() {
    let nothing = lane(|_| std::future::pending());
    let options = options(vec![nothing]);
    let engine = Engine::start(Arc::new(MemoryJournal::new()), options).await;
    let engine = engine.unwrap();
    assert_eq!(engine.shared.tasks.len(), 1, "the lane");

    engine.drain(SECOND).await;

    assert!(engine.shared.tasks.is_empty());
}
