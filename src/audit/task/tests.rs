//! The end of the audit, and what panics in it.

use std::sync::{
    Mutex,
    mpsc::{Receiver, Sender, channel},
};

use super::*;
use crate::{
    audit::segments::Segment,
    domain::opaque::Names,
    journal::{Audited, Event, ItemEvent, Pending, Unavailable},
};

/// What a read of the trail comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Works,
    Fails,
    Hangs,
    Panics,
}

/// A trail with one entry, the reading of which does what a test says. It tells that it was read.
#[derive(Debug)]
struct Scripted {
    read: Mutex<Read>,
    was_read: Mutex<Sender<Read>>,
    release: Mutex<Receiver<()>>,
}

impl OutboxReader for Scripted {
    fn journal(&self) -> String {
        "scripted".to_owned()
    }

    fn names(&self) -> Arc<Names> {
        Arc::new(Names::plain())
    }

    fn end(&self) -> u64 {
        1
    }

    fn audited(&self) -> Result<Option<Audited>, Unavailable> {
        Ok(None)
    }

    fn read(&self, after: u64, _: usize) -> Result<Vec<Event>, Unavailable> {
        if after > 0 {
            return Ok(Vec::new());
        }
        let read = *self.read.lock().unwrap();
        let _ = self.was_read.lock().unwrap().send(read);
        match read {
            Read::Works => {}
            Read::Fails => return Err(Unavailable("not now".to_owned())),
            Read::Hangs => self.release.lock().unwrap().recv().unwrap(),
            Read::Panics => panic!("out of its mind"),
        }
        let happened = vec![ItemEvent::Off { commits: 1 }];
        Ok(vec![Event {
            number: 1,
            happened,
        }])
    }

    fn note(&self, _: Audited) {}

    fn is_noted(&self) -> bool {
        false
    }

    fn record(&self, _: Audited) -> Pending<Result<(), Unavailable>> {
        Box::pin(async { Ok(()) })
    }
}

struct Bench {
    dir: tempfile::TempDir,
    trail: Arc<Scripted>,
    was_read: Receiver<Read>,
    release: Sender<()>,
    overseer: TaskSupervisor,
    follower: AuditTask,
}

impl Bench {
    /// An audit that has read its trail once.
    async fn after(read: Read) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (was_read, reads) = channel();
        let (release, released) = channel();
        let trail = Arc::new(Scripted {
            read: Mutex::new(read),
            was_read: Mutex::new(was_read),
            release: Mutex::new(released),
        });
        let options = AuditOptions {
            dir: dir.path().to_owned(),
            retention: Duration::from_secs(1_000_000),
            now: Arc::new(Timestamp::now),
            for_deletions: Arc::new(|| None),
            sink: Sink::default(),
            usage: Usage::default(),
            config: None,
            signer: None,
            shown: Shown::default(),
        };
        let overseer = TaskSupervisor::default();
        let of_it = Arc::clone(&trail);
        let follower = AuditTask::start(of_it, options, &overseer).await.unwrap();
        let (was_read, first) = tokio::task::spawn_blocking(move || {
            let first = reads.recv().unwrap();
            (reads, first)
        })
        .await
        .unwrap();
        assert_eq!(first, read);
        Self {
            dir,
            trail,
            was_read,
            release,
            overseer,
            follower,
        }
    }

    /// How many lines tell of the entry.
    fn told(dir: &tempfile::TempDir) -> usize {
        let segments = Segment::list(dir.path()).unwrap();
        let text = |segment: &Segment| std::fs::read_to_string(&segment.path).unwrap();
        let text: String = segments.iter().map(text).collect();
        text.matches("\"commits\"").count()
    }
}

const LONG: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn an_audit_that_is_failing_is_tried_once_more_at_the_end() {
    let bench = Bench::after(Read::Fails).await;
    *bench.trail.read.lock().unwrap() = Read::Works;
    bench.follower.stop(LONG).await.unwrap();
    assert_eq!(Bench::told(&bench.dir), 1);
}

#[tokio::test]
async fn an_audit_that_fails_to_the_end_says_so() {
    let bench = Bench::after(Read::Fails).await;
    let ended = bench.follower.stop(LONG).await;
    assert!(matches!(ended, Err(Error::Journal(_))), "{ended:?}");
    assert_eq!(bench.was_read.try_recv(), Ok(Read::Fails), "it was tried");
}

#[tokio::test]
async fn a_disk_that_hangs_does_not_hold_up_the_end() {
    let bench = Bench::after(Read::Hangs).await;
    let ended = bench.follower.stop(Duration::from_millis(1)).await;
    assert!(matches!(ended, Err(Error::Unfinished { .. })), "{ended:?}");
    // The runtime of a test waits for it.
    bench.release.send(()).unwrap();
}

#[tokio::test]
async fn a_panic_is_told_to_the_one_who_watches() {
    let bench = Bench::after(Read::Panics).await;
    let panicked = bench.overseer.panicked().await.to_string();
    assert_eq!(panicked, "the audit panicked: out of its mind");
    let ended = bench.follower.stop(LONG).await;
    assert!(matches!(ended, Err(Error::Panicked)), "{ended:?}");
}
