//! What the audit is told: each thing once, after a crash too, and nothing is deleted before it is.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::journal::{
    error::StorageError,
    format::key::Span,
    memory_journal::MemoryTable,
    outbox::{self, read},
    read::reader::Reader,
    store::table::{Table, WriteBatch},
    write::{encoded::EncodedAdmission, ledger::Ledger},
};

fn off(dir: &Path) -> SledJournal {
    SledJournal::open(&SledJournalOptions::new(dir)).unwrap()
}

#[test]
fn nothing_is_deleted_that_the_audit_has_not_read() {
    for mut bench in Bench::both() {
        let mut auditor = Auditor::default();
        let admitted = bench.admit(many("a", 2));
        for index in 0..2 {
            bench.settle(id(admitted.batch, index), &settled(Outcome::Canceled));
        }
        let purge = |bench: &Bench| wait(bench.journal().purge(at(100), 10)).unwrap();
        assert_eq!(purge(&bench), 0);
        bench.restart();
        assert_eq!(purge(&bench), 0);
        let told = auditor.look(bench.journal());
        let expected = [
            "admitted a/0",
            "admitted a/1",
            "settled a/0 Canceled",
            "settled a/1 Canceled",
        ];
        assert_eq!(told, expected);
        auditor.record(bench.journal());
        assert_eq!(purge(&bench), 1);
        assert_eq!(auditor.look(bench.journal()), [""; 0]);
    }
}

#[test]
fn a_stop_is_told_with_what_was_open_of_its_batch() {
    for mut bench in Bench::both() {
        let batch = bench.admit(many("a", 5)).batch;
        bench.settle(id(batch, 2), &settled(Outcome::Canceled));
        wait(bench.journal().stop(batch, scope().caller.into(), at(3))).unwrap();
        bench.restart();
        let told = bench.journal().trail().read(0, usize::MAX).unwrap();
        let mut happened = told.into_iter().flat_map(|entry| entry.happened);
        let stopped = happened.find_map(|happened| match happened {
            ItemEvent::Stopped { indexes, .. } => Some(indexes),
            _ => None,
        });
        let indexes = stopped.unwrap().unwrap();
        assert_eq!(indexes.indexes().collect::<Vec<_>>(), [0, 1, 3, 4]);
    }
}

#[test]
fn an_entry_reads_the_same_after_all_that_came_later() {
    for mut bench in Bench::both() {
        let first = bench.admit(admission("a", [item("s"), Slot::Vacant]));
        bench.settle(id(first.batch, 0), &settled(Outcome::Unavailable));
        // Takes the first up again, and fills the vacant slot.
        bench.admit(admission("a", [item("s"), item("t")]));
        wait(
            bench
                .journal()
                .stop(first.batch, scope().caller.into(), at(3)),
        )
        .unwrap();
        bench.settle_all([
            (id(first.batch, 1), &settled(Outcome::Canceled)),
            (id(first.batch, 0), &settled(Outcome::Stopped)),
        ]);
        bench.restart();
        let told = Auditor::default().look(bench.journal());
        let expected = [
            "admitted a/0",
            "settled a/0 Unavailable",
            "opened a/0",
            "admitted a/1",
            "stopped b000000000001",
            "settled a/1 Canceled",
            "settled a/0 Stopped",
        ];
        assert_eq!(told, expected);
    }
}

#[test]
fn a_journal_that_had_no_audit_begins_one_and_a_pause_shows() {
    let dir = TempDir::new().unwrap();
    let journal = off(dir.path());
    wait(journal.admit(many("before", 1))).unwrap();
    assert_eq!(journal.trail().end(), 0);
    drop(journal);

    let journal = open_restless(dir.path());
    let mut auditor = Auditor::default();
    auditor.record(&journal);
    wait(journal.admit(many("with", 1))).unwrap();
    assert_eq!(auditor.look(&journal), ["admitted with/0"]);
    drop(journal);

    let journal = off(dir.path());
    wait(journal.admit(many("without", 1))).unwrap();
    drop(journal);

    let journal = open_restless(dir.path());
    wait(journal.admit(many("again", 1))).unwrap();
    let told = auditor.look(&journal);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.contains(&"admitted again/0".to_owned()), "{told:?}");
    assert!(told.iter().any(|told| told.starts_with("Off")), "{told:?}");
    drop(journal);
    let offline =
        crate::journal::offline::Offline::open(&SledJournalOptions::new(dir.path())).unwrap();
    let mut out = Vec::new();
    let report = offline.verify(&mut out).unwrap();
    assert_eq!(report.problems, 0, "{}", String::from_utf8_lossy(&out));
}

#[test]
fn an_audit_that_is_too_far_behind_stops_admissions_until_it_has_caught_up() {
    let dir = TempDir::new().unwrap();
    let options = SledJournalOptions {
        audit_lag_max: Some(10),
        ..SledJournalOptions::new(dir.path())
    };
    let journal = SledJournal::open(&options).unwrap();
    wait(journal.admit(many("a", 11))).unwrap();
    let Err(AdmitError::Behind(behind)) = wait(journal.admit(many("b", 1))) else {
        panic!("it is behind");
    };
    assert_eq!((behind.lines, behind.lines_max), (11, 10));
    // What needs no write is answered, and what was admitted settles.
    wait(journal.admit(many("a", 11))).unwrap();
    let settlement = Settlement {
        id: id(BatchId(1), 3),
        settled: settled(Outcome::Canceled),
    };
    wait(journal.settle(vec![settlement].into())).unwrap();
    let mut auditor = Auditor::default();
    assert_eq!(auditor.look(&journal).len(), 12);
    auditor.record(&journal);
    wait(journal.admit(many("b", 1))).unwrap();
}

#[test]
fn what_the_audit_has_is_forgotten_with_the_next_write() {
    let dir = TempDir::new().unwrap();
    let journal = open_restless(dir.path());
    let mut auditor = Auditor::default();
    wait(journal.admit(many("a", 3))).unwrap();
    auditor.look(&journal);
    let trail = journal.trail();
    trail.note(Audited {
        trail: auditor.after,
        seq: 9,
        hash: "h".to_owned(),
    });
    assert!(trail.is_noted());
    assert_eq!(trail.audited().unwrap(), None);
    wait(journal.admit(many("b", 1))).unwrap();
    assert!(!trail.is_noted());
    assert_eq!(trail.audited().unwrap().map(|known| known.seq), Some(9));
    let left = trail.read(0, 10).unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    drop((trail, journal));

    let journal = open_restless(dir.path());
    assert_eq!(journal.trail().end(), 2, "numbers are not used again");
    auditor.look(&journal);
    auditor.record(&journal);
    drop(journal);
    let journal = open_restless(dir.path());
    assert_eq!(journal.trail().end(), 2, "numbers are not used again");
}

/// A table under which an admission is written right before one of its reads.
struct Racing {
    table: Arc<MemoryTable>,
    reads: AtomicUsize,
    before: usize,
    write: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Racing {
    fn read(&self) {
        if self.reads.fetch_add(1, Ordering::SeqCst) == self.before {
            let write = self.write.lock().unwrap().take();
            write.unwrap()();
        }
    }
}

impl Table for Racing {
    type Bytes = Arc<[u8]>;

    fn get(&self, key: &[u8]) -> Result<Option<Self::Bytes>, StorageError> {
        self.read();
        self.table.get(key)
    }

    fn scan(
        &self,
        span: Span,
    ) -> impl DoubleEndedIterator<Item = Result<(Self::Bytes, Self::Bytes), StorageError>> {
        self.read();
        self.table.scan(span)
    }

    fn write(&self, _: WriteBatch) -> Result<(), StorageError> {
        panic!("it is only read");
    }
}

#[test]
fn an_item_that_comes_to_a_vacant_slot_while_the_audit_reads_is_told_once() {
    let admit = |ledger: &mut Ledger<MemoryTable>, slots: [Slot; 2]| {
        let prepared = EncodedAdmission::new(admission("a", slots)).unwrap();
        ledger.admit(&prepared, Ok(())).unwrap().unwrap();
        ledger.close_group().unwrap();
    };
    for before in 0.. {
        let table = Arc::new(MemoryTable::default());
        let mut ledger = Ledger::load(Arc::clone(&table), true).unwrap();
        admit(&mut ledger, [item("s"), Slot::Vacant]);
        let racing = Racing {
            table,
            reads: AtomicUsize::new(0),
            before,
            write: Mutex::new(Some(Box::new(move || {
                admit(&mut ledger, [item("s"), item("t")]);
            }))),
        };
        let (shared, mut cache) = (outbox::OutboxState::default(), read::BatchCache::default());
        let (mut after, mut told) = (0, Vec::new());
        loop {
            let range = (after, u64::MAX);
            let read = read::read(
                Reader(&racing),
                &shared,
                || {},
                &mut cache,
                range,
                usize::MAX,
            )
            .unwrap();
            let Some(last) = read.last() else { break };
            after = last.number;
            told.extend(
                read.iter()
                    .flat_map(|entry| &entry.happened)
                    .flat_map(words),
            );
        }
        if racing.write.lock().unwrap().is_some() {
            assert!(before > 3, "it is read in several looks");
            return;
        }
        let expected = ["admitted a/0", "admitted a/1"];
        assert_eq!(told, expected, "written before read {before}");
    }
}
