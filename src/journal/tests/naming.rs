//! What batches are named by is a part of the journal: a name leads to its batch for good, wherever
//! the journal goes.

use super::{
    compaction::{replaced, settle_batch},
    released::{copy, copy_of},
    *,
};
use crate::journal::offline::Offline;

/// What an operator is shown of a batch, by either of its names.
fn inspected(dir: &Path, name: &BatchName) -> String {
    let offline = Offline::open(&SledJournalOptions::new(dir)).unwrap();
    let mut out = Vec::new();
    offline.inspect(Some(name), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_name_stays_over_restarts_and_moves_and_no_two_journals_share_names() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path());
    let batch = wait(journal.admit(many("a", 1))).unwrap().batch;
    let name = journal.names().of(batch);
    assert!(name.as_str().starts_with("bx"), "{name}");
    drop(journal);

    let moved = TempDir::new().unwrap();
    copy(dir.path(), moved.path());
    for dir in [dir.path(), moved.path()] {
        let journal = open(dir);
        assert_eq!(journal.names().of(batch), name);
        assert_eq!(journal.names().batch(&name), Some(batch));
        assert_eq!(journal.trail().names(), journal.names());
        drop(journal);
        let shown = inspected(dir, &name);
        assert!(shown.contains(name.as_str()), "{shown}");
        assert_eq!(inspected(dir, &BatchName::plain(batch)), shown);
    }
    let other = TempDir::new().unwrap();
    assert_ne!(open(other.path()).names().of(batch), name);
}

#[test]
fn a_name_stays_when_the_database_is_replaced() {
    let dir = TempDir::new().unwrap();
    let journal = open_restless(dir.path());
    let batch = wait(journal.admit(many("open", 50))).unwrap().batch;
    let name = journal.names().of(batch);
    let mut rounds = 0;
    while replaced(dir.path()) < 1 {
        settle_batch(&journal, &format!("old-{rounds}"), 300, 0);
        audit_all(&journal);
        assert_eq!(wait(journal.purge(at(900), 100)), Ok(1));
        rounds += 1;
        assert!(rounds < 500, "it is never replaced");
    }
    drop(journal);
    assert_eq!(open(dir.path()).names().batch(&name), Some(batch));
}

#[test]
fn batches_that_were_there_before_there_was_a_key_keep_their_numbers_as_names() {
    let dir = copy_of(1);
    let before = BatchName::plain(BatchId(1));
    assert!(inspected(dir.path(), &before).contains(before.as_str()));
    let journal = open_audited(dir.path());
    assert_eq!(journal.names().of(BatchId(1)), before);
    let batch = wait(journal.admit(many("new", 1))).unwrap().batch;
    let name = journal.names().of(batch);
    assert!(name.as_str().starts_with("bx"), "{name}");
    drop(journal);
    for _ in 0..2 {
        let journal = open_audited(dir.path());
        let names = journal.names();
        assert_eq!(names.batch(&before), Some(BatchId(1)));
        assert_eq!(names.batch(&name), Some(batch));
        // To count on from the last one that was shown leads nowhere.
        assert_eq!(names.batch(&BatchName::plain(batch)), None);
    }
}
