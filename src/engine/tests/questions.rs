//! Reads for RPCs: how many may run, and who waits for whom.

use std::sync::Arc;

use super::support::bench::{Bench, Choices, items, submission};
use crate::{
    domain::ids::{CallerId, Key, Scope},
    engine::{Engine, ReadError},
    journal::{Filter, Page, Record},
    limits::{CALLER_SCANS_DEFAULT, SCAN_THREADS, SCANS_MAX},
    observe::Refusal,
};

fn caller(name: &str) -> CallerId {
    name.try_into().unwrap()
}

/// An engine with one record. ann and ben share its reads.
async fn bench() -> Bench {
    let members = ["ann", "ben"].map(|name| (caller(name), Some(CALLER_SCANS_DEFAULT)));
    let choices = Choices {
        scanners: members.into_iter().collect(),
        ..Choices::default()
    };
    let bench = choices.start().await;
    drop(bench.engine.submit(submission("r", items("r", 1))).await);
    bench
}

async fn list(engine: &Engine, by: &str) -> Result<Page, ReadError> {
    let filter = Filter::default();
    engine.list(filter, None, 10, &caller(by)).await
}

async fn find(engine: &Engine, by: &str) -> Result<Option<Record>, ReadError> {
    let submission = submission("r", items("r", 1));
    let key: Key = submission.key.derive(0);
    let scope: Scope = submission.scope;
    engine.find(scope, key, &caller(by)).await
}

fn refused(engine: &Engine) -> u64 {
    let mut refusals = engine.refusals().iter();
    let (_, count) = refusals.find(|(why, _)| *why == Refusal::Reading).unwrap();
    count
}

#[tokio::test(start_paused = true)]
async fn a_list_that_finds_no_thread_in_time_is_refused_and_a_look_at_one_record_finds_one() {
    let Bench { engine, .. } = bench().await;
    let turns: Vec<_> = {
        let scans = &engine.questions;
        futures_util::future::join_all((0..SCAN_THREADS).map(|_| scans.scan_turn("ann"))).await
    };
    let error = list(&engine, "ben").await.unwrap_err();
    assert!(matches!(error, ReadError::Scans(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "the call waited for 10 s, and reads of this kind take longer now"
    );
    assert_eq!((refused(&engine), engine.standing().scans[0]), (1, 0));
    assert!(find(&engine, "ben").await.unwrap().is_some());
    drop(turns);
    assert_eq!(list(&engine, "ben").await.unwrap().records.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_lists_as_much_as_it_may_at_a_time_and_no_more() {
    let Bench { engine, .. } = bench().await;
    let _turns: Vec<_> = {
        let scans = &engine.questions;
        futures_util::future::join_all((0..SCAN_THREADS).map(|_| scans.scan_turn("ben"))).await
    };
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..CALLER_SCANS_DEFAULT {
        let engine = Arc::clone(&engine);
        waiting.spawn(async move { list(&engine, "ann").await.map(drop) });
    }
    while engine.standing().scans != [CALLER_SCANS_DEFAULT, SCANS_MAX] {
        tokio::task::yield_now().await;
    }
    let error = list(&engine, "ann").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "this caller may have 16 of these calls at a time, and has them"
    );
    // Callers that hang up free their slots at once.
    waiting.shutdown().await;
    assert_eq!(engine.standing().scans[0], 0);
    assert_eq!(
        engine.scans_of(),
        [("ann", 0), ("ben", 0)].map(|(of, n)| (caller(of), n))
    );
}
