//! Requests that join running items of other requests.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use jiff::Timestamp;

use super::support::{
    bench::{Choices, items, keyed, submission},
    hooked::Hooked,
};
use crate::{
    domain::{
        ids::{BatchId, ItemId},
        outcome::{Conclusion, Detail, Outcome, Settled},
    },
    engine::{Submission, results::feed::StreamClosed},
    journal::{Admission, Journal as _, Settlement, Slot, Unavailable},
};

/// Admits a request like another call that has not registered its items yet.
async fn admitted_elsewhere(journal: &Hooked, request: &Submission) -> BatchId {
    let slot = |item: &crate::engine::SubmittedItem| Slot::Item {
        key: item.key.clone(),
        command: Arc::clone(&item.command),
    };
    let admission = Admission {
        scope: request.scope.clone(),
        key: request.key.clone(),
        slots: request.items.iter().map(slot).collect(),
        at: Timestamp::UNIX_EPOCH,
        from: None,
        boot: None,
        clear: BTreeMap::new(),
        retry_until: Timestamp::MAX,
        with_answers: false,
        quota: None,
        may_open: None,
        overfull: None,
    };
    journal.disk.admit(admission).await.unwrap().batch
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, work).await.expect("in time")
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_and_goes_away_leaves_nothing_behind() {
    let bench = Choices::default().start().await;
    let request = submission("k", items("k", 100));
    let live = &bench.engine.shared.live;
    let first = bench.engine.submit(request.clone()).await.unwrap();
    for _ in 0..1_000 {
        let again = bench.engine.submit(request.clone()).await.unwrap();
        assert!(live.watcher_count() <= 2, "{}", live.watcher_count());
        drop(again);
    }
    assert_eq!(live.watcher_count(), 1);
    drop(first);
    assert_eq!(live.watcher_count(), 0);
}

#[tokio::test]
async fn what_is_new_starts_also_if_what_it_joins_cannot_be_read() {
    let journal = Hooked::new();
    let bench = Choices {
        journal: Arc::new(journal.clone()),
        ..Choices::default()
    };
    let bench = bench.start().await;
    let other = submission("other", vec![keyed("own", "s")]);
    admitted_elsewhere(&journal, &other).await;
    let has_failed = AtomicBool::new(false);
    journal.before_batch(move || match has_failed.swap(true, Ordering::AcqRel) {
        true => Ok(()),
        false => Err(Unavailable("a bad block".to_owned())),
    });

    let mut new = items("new", 10);
    new.insert(5, keyed("own", "s"));
    let ticket = bench.engine.submit(submission("k", new)).await.unwrap();

    let taken = in_time(ticket.feed.take(100)).await;
    assert_eq!(taken.unwrap_err(), StreamClosed::Unread);
    let stop = bench.engine.stop_batch(
        ticket.batch.unwrap(),
        crate::domain::ids::CallerId::try_from("ann").unwrap(),
    );
    let stopped = stop.await.unwrap();
    assert_eq!(stopped.stopped + stopped.finishing, 10);
    assert!(stopped.stopped >= 9, "{stopped:?}");
    let open = bench.engine.open_items.taken();
    assert_eq!(open, stopped.finishing);
}

fn settlement(batch: BatchId, index: u32) -> Settlement {
    let detail = Detail::Subscription(Default::default());
    let settled = Settled {
        conclusion: Conclusion::success(Outcome::Canceled, detail),
        attempts: 1,
        doubt: None,
        settled_at: Timestamp::UNIX_EPOCH,
    };
    Settlement {
        id: ItemId { batch, index },
        settled: Arc::new(settled),
    }
}

#[tokio::test(start_paused = true)]
async fn what_settles_while_it_is_joined_is_told_once() {
    let journal = Hooked::new();
    let bench = Choices {
        journal: Arc::new(journal.clone()),
        ..Choices::default()
    };
    let bench = bench.start().await;
    let request = submission("k", items("k", 4));
    let batch = admitted_elsewhere(&journal, &request).await;
    let settle = {
        let (disk, live) = (journal.disk.clone(), Arc::clone(&bench.engine.shared.live));
        move |index: u32| {
            let group = vec![settlement(batch, index)];
            let recorded = disk.settle(group.clone().into()).now_or_never();
            recorded.unwrap().unwrap();
            live.settled(&group);
        }
    };
    let before = settle.clone();
    // One item settles before the request subscribes, one while it reads the journal.
    settle(0);
    journal.before_batch(move || {
        before(1);
        Ok(())
    });

    let ticket = bench.engine.submit(request).await.unwrap();

    settle(2);
    let mut told = ticket.feed.take(10).await.unwrap().unwrap();
    settle(3);
    told.extend(ticket.feed.take(10).await.unwrap().unwrap());
    let mut places: Vec<_> = told.iter().map(|(place, _)| *place).collect();
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2, 3]);
    assert!(ticket.feed.take(10).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_join_that_waits_for_the_disk_keeps_nobody_else_waiting() {
    let journal = Hooked::new();
    let bench = Choices {
        journal: Arc::new(journal.clone()),
        ..Choices::default()
    };
    let bench = bench.start().await;
    let request = submission("slow", items("slow", 3));
    admitted_elsewhere(&journal, &request).await;
    let (reading, reads) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    journal.before_batch(move || {
        reading.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        Ok(())
    });
    let engine = Arc::clone(&bench.engine);
    let slow = tokio::spawn(async move { engine.submit(request).await });
    tokio::task::spawn_blocking(move || reads.recv().unwrap())
        .await
        .unwrap();

    let engine = Arc::clone(&bench.engine);
    let others = async move {
        let other = submission("k", items("k", 50));
        let ticket = engine.submit(other.clone()).await.unwrap();
        let again = engine.submit(other).await.unwrap();
        let batch = ticket.batch.unwrap();
        let stopped = engine.stop_batch(
            batch,
            crate::domain::ids::CallerId::try_from("ann").unwrap(),
        );
        let stopped = stopped.await.unwrap();
        assert!(stopped.stopped >= 49, "{stopped:?}");
        for feed in [ticket.feed, again.feed] {
            assert!(!feed.take(100).await.unwrap().unwrap().is_empty());
        }
    };
    in_time(tokio::spawn(others)).await.unwrap();

    assert!(!slow.is_finished());
    release.send(()).unwrap();
    in_time(slow).await.unwrap().unwrap();
}
