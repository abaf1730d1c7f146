//! A failing journal, and streams that buffer more results than there is room for.

use std::{sync::Arc, time::Duration};

use super::support::bench::{self, item};
use crate::{
    engine::{Clock, Engine, EngineOptions, Hangup, Submission, SubmitError, Ticket},
    journal::{Unavailable, memory_journal::MemoryJournal},
    shared_budget::Members,
};

const PATIENCE: Duration = Duration::from_secs(30);

async fn engine(journal: MemoryJournal) -> Arc<Engine> {
    let options = EngineOptions {
        lanes: Vec::new(),
        open_items_max: 10,
        members: Members::default(),
        scanners: Members::default(),
        open_bytes_max: 1_000_000,
        audit: crate::audit::Usage::default(),
        results_held_max: 1,
        reader_patience: PATIENCE,
        retry_window: Duration::from_secs(1),
        clock: Clock::system(),
        seed: 1,
    };
    Engine::start(Arc::new(journal), options).await.unwrap()
}

fn submission(key: &str) -> Submission {
    Submission {
        hangup: Some(Hangup::new()),
        ..bench::submission(key, vec![item("s")])
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_fails_while_nothing_is_open_ends_the_engine_too() {
    let journal = MemoryJournal::new();
    let engine = engine(journal.clone()).await;
    journal.fail("the disk is full");
    let why = Unavailable("the disk is full".to_owned());
    let refused = engine.submit(submission("k")).await.unwrap_err();
    assert_eq!(refused, SubmitError::Unavailable(why.clone()));
    let failed = tokio::time::timeout(Duration::from_secs(1), engine.failed());
    assert_eq!(failed.await, Ok(why));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_sleeps_makes_room_when_there_is_none_and_one_that_waits_does_not() {
    let engine = engine(MemoryJournal::new()).await;
    let first = submission("a");
    let hangup = first.hangup.clone().unwrap();
    let ticket = engine.submit(first).await.unwrap();
    let full = |sent: Result<Ticket, SubmitError>| matches!(sent, Err(SubmitError::Full(_)));

    let feed = Arc::clone(&ticket.feed);
    let reading = tokio::spawn(async move { feed.take(10).await });
    tokio::time::sleep(2 * PATIENCE).await;
    assert!(full(engine.submit(submission("b")).await));
    assert!(!hangup.is_cancelled(), "it waits for news");

    reading.abort();
    assert!(reading.await.is_err());
    assert!(full(engine.submit(submission("b")).await));
    assert!(!hangup.is_cancelled(), "it has only just gone");
    tokio::time::sleep(PATIENCE).await;
    assert!(full(engine.submit(submission("b")).await));
    assert!(hangup.is_cancelled());

    drop(ticket);
    assert!(engine.submit(submission("b")).await.is_ok());
}
