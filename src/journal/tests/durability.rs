//! Nothing is told that is not on the disk.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use super::*;
use crate::journal::{
    directory::{JournalDir, Purpose},
    write::writer_thread::SyncDisk,
};

/// A disk that counts, and does what a test tells it to before it really syncs.
struct Watched<F> {
    real: Box<dyn SyncDisk>,
    syncs: Arc<AtomicUsize>,
    before: F,
}

impl<F: FnMut() -> io::Result<()> + Send> SyncDisk for Watched<F> {
    fn sync(&mut self) -> io::Result<()> {
        (self.before)()?;
        self.real.sync()?;
        self.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// A journal whose disk is watched, and the number of its syncs.
fn watched(
    dir: &Path,
    before: impl FnMut() -> io::Result<()> + Send + 'static,
) -> (SledJournal, Arc<AtomicUsize>) {
    let options = SledJournalOptions::new(dir);
    let home = JournalDir::open(dir, options.cache_bytes, Purpose::Serve).unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let disk = Watched {
        real: Box::new(home.store.disk()),
        syncs: Arc::clone(&syncs),
        before,
    };
    let journal = SledJournal::start(&options, home, Box::new(disk)).unwrap();
    (journal, syncs)
}

#[test]
fn every_write_syncs_the_disk_once_and_a_replay_never_does() {
    let dir = TempDir::new().unwrap();
    let (journal, syncs) = watched(dir.path(), || Ok(()));
    let count = || syncs.load(Ordering::SeqCst);
    let batch = wait(journal.admit(many("r", 100))).unwrap().batch;
    assert_eq!(count(), 1);
    let settlements = (0..100).map(|index| Settlement {
        id: id(batch, index),
        settled: settled(Outcome::Unavailable),
    });
    wait(journal.settle(settlements.collect::<Vec<_>>().into())).unwrap();
    assert_eq!(count(), 2);
    wait(journal.admit(many("r", 100))).unwrap();
    assert_eq!(count(), 3, "taking up again is a write");
    wait(journal.admit(many("r", 100))).unwrap();
    assert_eq!(count(), 3, "joining is not");
    let conflict = wait(journal.admit(many("r", 99)));
    assert!(matches!(conflict, Err(AdmitError::Conflict(_))));
    assert_eq!(count(), 3, "nor is a refusal");
    wait(journal.stop(batch, scope().caller.into(), at(1))).unwrap();
    assert_eq!(count(), 4);
    assert_eq!(wait(journal.purge(at(0), 10)), Ok(0));
    assert_eq!(count(), 4, "nor a purge of nothing");
}

#[test]
fn what_comes_while_the_disk_is_busy_shares_one_sync() {
    let dir = TempDir::new().unwrap();
    let (begun, has_begun) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let (journal, syncs) = watched(dir.path(), move || {
        begun.send(()).unwrap();
        gone.recv().unwrap();
        Ok(())
    });
    let first = RUNTIME.spawn(journal.stop(BatchId(1), scope().caller.into(), at(0)));
    wait(first).unwrap().unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 0, "nothing was written");

    let first = RUNTIME.spawn(journal.admit(many("first", 1)));
    has_begun.recv().unwrap();
    // Polled once, each of these waits in the queue.
    let rest: Vec<_> = (0..100)
        .map(|n| journal.admit(many(&format!("r{n}"), 1)))
        .collect();
    let mut rest = Box::pin(futures_util::future::join_all(rest));
    // They are looked up on other threads first; all are in the queue once the first is not
    // alone any more in having room there.
    while journal.waiting() < 100 {
        wait(async {
            tokio::select! {
                biased;
                _ = &mut rest => panic!("acknowledged before the sync"),
                () = tokio::task::yield_now() => {}
            }
        });
    }
    go.send(()).unwrap();
    wait(first).unwrap().unwrap();
    has_begun.recv().unwrap();
    go.send(()).unwrap();
    assert!(wait(rest).iter().all(Result::is_ok));
    assert_eq!(syncs.load(Ordering::SeqCst), 2);
}

#[test]
fn a_reader_is_told_of_a_write_only_after_it_is_durable() {
    let dir = TempDir::new().unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let (begun, has_begun) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let log = Arc::clone(&events);
    let (journal, _) = watched(dir.path(), move || {
        begun.send(()).unwrap();
        gone.recv().unwrap();
        log.lock().unwrap().push("durable");
        Ok(())
    });
    thread::scope(|threads| {
        let admitted = RUNTIME.spawn(journal.admit(many("r", 1)));
        // It is in the store by now, and not on the disk.
        has_begun.recv().unwrap();
        let reading = Arc::new(std::sync::Barrier::new(4));
        let mut readers = Vec::new();
        for read in 0..3 {
            let (journal, events) = (&journal, &events);
            let reading = Arc::clone(&reading);
            readers.push(threads.spawn(move || {
                reading.wait();
                let is_there = match read {
                    0 => journal
                        .find(&scope(), &key("r/0"), &ReadLimits::default())
                        .unwrap()
                        .is_some(),
                    1 => !journal.open_items().unwrap().is_empty(),
                    _ => wait(journal.admit(many("r", 1))).unwrap().batch == BatchId(1),
                };
                assert!(is_there);
                events.lock().unwrap().push("told");
            }));
        }
        reading.wait();
        go.send(()).unwrap();
        for reader in readers {
            reader.join().unwrap();
        }
        wait(admitted).unwrap().unwrap();
    });
    assert_eq!(*events.lock().unwrap(), ["durable", "told", "told", "told"]);
}

#[test]
fn a_sync_that_fails_acknowledges_nothing_and_fails_the_store_for_good() {
    let dir = TempDir::new().unwrap();
    let mut good = 1;
    let (journal, syncs) = watched(dir.path(), move || {
        good -= 1;
        if good >= 0 {
            return Ok(());
        }
        Err(io::Error::from(io::ErrorKind::StorageFull))
    });
    let batch = wait(journal.admit(many("r", 1))).unwrap().batch;
    let settlement = || {
        vec![Settlement {
            id: id(batch, 0),
            settled: settled(Outcome::Canceled),
        }]
    };
    let why = wait(journal.settle(settlement().into())).unwrap_err();
    assert!(why.0.contains("making it durable"), "{why}");
    assert_eq!(journal.failure(), Some(why.clone()));

    // The disk would work again, and nobody knows what it holds.
    assert_eq!(wait(journal.settle(settlement().into())), Err(why.clone()));
    assert_eq!(
        wait(journal.stop(batch, scope().caller.into(), at(1))),
        Err(why.clone())
    );
    assert_eq!(wait(journal.purge(at(1), 1)), Err(why.clone()));
    assert_eq!(
        journal
            .find(&scope(), &key("r/0"), &ReadLimits::default())
            .unwrap_err(),
        why
    );
    let admitted = wait(journal.admit(many("r", 1)));
    assert!(matches!(admitted, Err(AdmitError::Unavailable(answer)) if answer == why));
    assert_eq!(syncs.load(Ordering::SeqCst), 1);

    // What was not acknowledged may be there or not; what was is.
    drop(journal);
    let journal = open(dir.path());
    assert_eq!(journal.failure(), None);
    assert!(
        journal
            .find(&scope(), &key("r/0"), &ReadLimits::default())
            .unwrap()
            .is_some()
    );
}

#[test]
fn closing_writes_what_waits_and_refuses_what_comes_later() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path());
    let late = journal.admit(many("late", 1));
    let early = wait(journal.admit(many("early", 1))).unwrap().batch;
    drop(journal);
    assert!(matches!(wait(late), Err(AdmitError::Unavailable(_))));
    let journal = open(dir.path());
    assert_eq!(
        journal
            .batch(early, &ReadLimits::default())
            .unwrap()
            .unwrap()
            .key,
        key("early")
    );
    assert!(
        journal
            .find(&scope(), &key("late/0"), &ReadLimits::default())
            .unwrap()
            .is_none()
    );
}
