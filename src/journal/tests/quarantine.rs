//! A batch whose records cannot be read is put aside: what needs it is refused, and all else goes
//! on.

use std::collections::BTreeSet;

use super::{
    damage::{tamper, torn, verify},
    *,
};
use crate::journal::{Removal, format::key::StoreKey};

const DAMAGED: BatchId = BatchId(1);

/// Two batches that have settled, with a record of the first damaged.
fn damaged(key: &StoreKey) -> TempDir {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path());
    for request in ["damaged", "whole"] {
        let slots = [item("a"), keyed(&format!("own-{request}"), "b")];
        let batch = wait(journal.admit(admission(request, slots)))
            .unwrap()
            .batch;
        let settlements = [0, 1].map(|index| Settlement {
            id: id(batch, index),
            settled: settled(Outcome::Canceled),
        });
        wait(journal.settle(Vec::from(settlements).into())).unwrap();
    }
    drop(journal);
    tamper(dir.path(), |writes| writes.put(key.encode(), torn()));
    dir
}

/// Each kind of record that a settled batch has.
fn records() -> [StoreKey; 3] {
    let (batch, group, seq, part) = (DAMAGED, 0, 0, 0);
    [
        StoreKey::Header(batch),
        StoreKey::Items { batch, group, part },
        StoreKey::Log { batch, seq, part },
    ]
}

#[track_caller]
fn still_works(journal: &SledJournal) {
    assert_eq!(journal.failure(), None);
    let request = format!("r-{:x}", fastrand::u64(..));
    let batch = wait(journal.admit(many(&request, 1))).unwrap().batch;
    let settlement = Settlement {
        id: id(batch, 0),
        settled: settled_at(Outcome::Canceled, 2_000),
    };
    wait(journal.settle(vec![settlement].into())).unwrap();
}

#[test]
fn what_is_deleted_or_cleaned_passes_a_damaged_batch_by_and_leaves_it() {
    for key in records() {
        let dir = damaged(&key);
        let journal = open(dir.path());
        // What is kept for a shorter time goes first, as in the service.
        for removal in [Removal::Answers, Removal::Emails] {
            wait(journal.redact(removal, at(1_000), 100)).unwrap();
            still_works(&journal);
        }
        let purged = wait(journal.purge(at(1_000), 100)).unwrap();
        // A purge reads no outcomes, so that it can still delete a batch whose log is damaged.
        let is_readable = journal
            .batch(DAMAGED, &ReadLimits::default())
            .is_ok_and(|batch| batch.is_none());
        assert_eq!(purged, 1 + usize::from(is_readable), "{key:?}");
        assert_eq!(
            journal.vitals().meters.damaged.get(),
            u64::from(!is_readable),
            "{key:?}"
        );
        still_works(&journal);
        assert_eq!(wait(journal.purge(at(1_000), 100)), Ok(0));
        drop(journal);
        let journal = open(dir.path());
        assert_eq!(wait(journal.purge(at(1_000), 100)), Ok(0));
        let damaged = journal.vitals().meters.damaged.get();
        assert_eq!(damaged, u64::from(!is_readable), "{key:?}");
        still_works(&journal);
        drop(journal);
        let (report, _) = verify(dir.path());
        assert_eq!(report.problems > 0, !is_readable, "{key:?}");
    }
}

#[test]
fn a_request_that_needs_a_damaged_batch_is_refused_and_others_are_not() {
    for key in records() {
        let dir = damaged(&key);
        let journal = open(dir.path());
        let again = admission("damaged", [item("a"), keyed("own-damaged", "b")]);
        let other = admission("other", [item("c"), keyed("own-damaged", "b")]);
        // What was sent like this before is told from its outcomes alone.
        let needs_items = matches!(key, StoreKey::Items { .. });
        for (admission, is_told) in [(again, needs_items), (other, false)] {
            match wait(journal.admit(admission)) {
                Ok(admitted) if is_told => {
                    let told = told(&admitted);
                    assert!(told.iter().all(|told| matches!(told, Told::Settled(..))));
                }
                Err(AdmitError::Damaged(why)) if !is_told => {
                    assert!(why.0.contains("damaged"), "{why}");
                }
                other => panic!("{key:?}: {other:?}"),
            }
            still_works(&journal);
        }
        // A service that starts asks this, and starts.
        let brought = journal
            .admitted_since(at(0), &BTreeSet::from([scope().caller]))
            .unwrap();
        let whole = brought.iter().filter(|intake| intake.people == 2).count();
        assert_eq!(
            whole,
            if matches!(key, StoreKey::Header(_)) {
                1
            } else {
                2
            }
        );
        // Nothing of the refused request is there.
        let found = journal
            .find(&scope(), &self::key("other/0"), &ReadLimits::default())
            .unwrap();
        assert!(found.is_none());
        let whole = admission("whole", [item("a"), keyed("own-whole", "b")]);
        let told = told(&wait(journal.admit(whole)).unwrap());
        assert!(told.iter().all(|told| matches!(told, Told::Settled(..))));
    }
}
