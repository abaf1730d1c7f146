//! What is not a journal, or not a whole one, is never taken for an empty one.

use std::{fs, path::PathBuf};

use super::*;
use crate::journal::{
    directory::{JournalDir, OpenError, Purpose, commit_watermark::HIGH_WATER},
    format::{
        key::StoreKey,
        record::{self, FORMAT},
    },
    offline::{JournalReport, Offline},
    store::table::{Table, WriteBatch},
    write::writer_thread::SyncDisk,
};

/// The name of a batch, by its number.
fn name(number: u64) -> BatchName {
    BatchName::plain(BatchId(number))
}

/// A directory with a batch of three items in it, one of them settled.
fn used() -> TempDir {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path());
    let slots = [item("a"), keyed("k", "b"), item("c")];
    let batch = wait(journal.admit(admission("r", slots))).unwrap().batch;
    let settled = settled(Outcome::Canceled);
    let settlement = Settlement {
        id: id(batch, 0),
        settled,
    };
    wait(journal.settle(vec![settlement].into())).unwrap();
    dir
}

#[track_caller]
fn refused(dir: &Path) -> OpenError {
    match SledJournal::open(&SledJournalOptions::new(dir)) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

/// Changes the store behind the journal's back.
pub(super) fn tamper(dir: &Path, writes: impl FnOnce(&mut WriteBatch)) {
    let home = JournalDir::open(dir, 16 << 20, Purpose::Look).unwrap();
    let mut changes = WriteBatch::default();
    writes(&mut changes);
    home.store.write(changes).unwrap();
    home.store.disk().sync().unwrap();
}

/// Where a journal that was never compacted has its database.
fn store(dir: &Path) -> PathBuf {
    dir.join("store-1")
}

/// A record with a wrong byte.
pub(super) fn torn() -> Vec<u8> {
    let mut parts = record::split(b"[null]").unwrap();
    let (_, mut value) = parts.next().unwrap();
    *value.last_mut().unwrap() ^= 1;
    value
}

#[track_caller]
pub(super) fn verify(dir: &Path) -> (JournalReport, String) {
    let mut out = Vec::new();
    let offline = Offline::open(&SledJournalOptions::new(dir)).unwrap();
    let report = offline.verify(&mut out).unwrap();
    (report, String::from_utf8(out).unwrap())
}

#[test]
fn a_second_process_is_told_who_has_the_journal() {
    let dir = TempDir::new().unwrap();
    let journal = open(dir.path());
    let error = refused(dir.path());
    assert!(
        matches!(&error, OpenError::Locked { pid: Some(pid), .. } if *pid == std::process::id())
    );
    let text = error.to_string();
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
    assert!(
        text.contains(&*dir.path().join("lock").to_string_lossy()),
        "{text}"
    );
    assert!(matches!(
        Offline::open(&SledJournalOptions::new(dir.path())),
        Err(OpenError::Locked { .. })
    ));
    drop(journal);
    open(dir.path());
}

#[test]
fn a_torn_snapshot_does_not_keep_it_from_opening() {
    let dir = used();
    for lsn in ["0000000000000001", "ffffffffffffffff"] {
        fs::write(
            store(dir.path()).join(format!("snap.{lsn}.generating")),
            "torn",
        )
        .unwrap();
    }
    let journal = open(dir.path());
    assert_eq!(journal.open_items().unwrap().len(), 2);
}

#[test]
fn a_journal_without_its_database_is_not_an_empty_one() {
    let dir = used();
    fs::remove_file(store(dir.path()).join("db")).unwrap();
    assert!(matches!(refused(dir.path()), OpenError::Emptied { .. }));
    fs::write(store(dir.path()).join("db"), "").unwrap();
    assert!(matches!(refused(dir.path()), OpenError::Emptied { .. }));
    // Not even if the store is a good one that has nothing in it.
    for name in ["db", "conf"] {
        fs::remove_file(store(dir.path()).join(name)).unwrap();
    }
    for entry in fs::read_dir(store(dir.path())).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("snap.") {
            fs::remove_file(path).unwrap();
        }
    }
    let empty = TempDir::new().unwrap();
    drop(crate::journal::store::sled_store::SledStore::open(empty.path(), 16 << 20).unwrap());
    for name in ["db", "conf"] {
        fs::copy(empty.path().join(name), store(dir.path()).join(name)).unwrap();
    }
    assert!(matches!(refused(dir.path()), OpenError::Emptied { .. }));
}

#[test]
fn a_database_of_others_is_left_alone() {
    let dir = TempDir::new().unwrap();
    drop(crate::journal::store::sled_store::SledStore::open(dir.path(), 16 << 20).unwrap());
    let before = fs::read(dir.path().join("db")).unwrap();
    assert!(matches!(refused(dir.path()), OpenError::Foreign { .. }));
    assert_eq!(fs::read(dir.path().join("db")).unwrap(), before);
}

#[test]
fn a_mark_that_does_not_say_where_the_database_is_is_refused() {
    let dir = used();
    let marker = dir.path().join("CANCELOT");
    let text = fs::read_to_string(&marker).unwrap();
    for wrong in [
        "",
        "database db\n",
        "database ../store-1\n",
        "database store-\n",
    ] {
        fs::write(&marker, text.replace("database store-1\n", wrong)).unwrap();
        let error = refused(dir.path());
        assert!(
            matches!(&error, OpenError::Damaged { why, .. } if why.contains("where its database is")),
            "{wrong:?}: {error}"
        );
    }
    fs::write(&marker, text).unwrap();
    assert_eq!(open(dir.path()).open_items().unwrap().len(), 2);
}

#[test]
fn a_database_in_a_directory_of_its_own_is_left_alone_without_a_mark() {
    let dir = used();
    fs::remove_file(dir.path().join("CANCELOT")).unwrap();
    assert!(matches!(refused(dir.path()), OpenError::Foreign { .. }));
    assert!(store(dir.path()).join("db").exists());
}

#[test]
fn a_database_of_another_journal_is_refused() {
    let (one, other) = (used(), used());
    fs::copy(other.path().join("CANCELOT"), one.path().join("CANCELOT")).unwrap();
    let error = refused(one.path());
    assert!(
        matches!(&error, OpenError::Damaged { why, .. } if why.contains("CANCELOT")),
        "{error}"
    );
}

#[test]
fn a_making_that_was_cut_short_begins_anew() {
    let dir = TempDir::new().unwrap();
    let marker = format!("format {FORMAT}\njournal new\ndatabase store-1\n");
    fs::write(dir.path().join("CANCELOT"), marker).unwrap();
    fs::create_dir(store(dir.path())).unwrap();
    fs::write(store(dir.path()).join("db"), [7; 100_000]).unwrap();
    fs::write(store(dir.path()).join("conf"), "x").unwrap();
    let journal = open(dir.path());
    assert!(journal.open_items().unwrap().is_empty());
    let name = journal.name().to_owned();
    drop(journal);
    assert_eq!(open(dir.path()).name(), name);
}

#[test]
fn an_unknown_format_is_refused_by_its_version() {
    let dir = used();
    let marker = dir.path().join("CANCELOT");
    let text = fs::read_to_string(&marker).unwrap();
    fs::write(
        &marker,
        text.replace(&format!("format {FORMAT}"), "format 9"),
    )
    .unwrap();
    assert!(matches!(refused(dir.path()), OpenError::Format { found, .. } if found == "9"));
    fs::write(&marker, text).unwrap();

    tamper(dir.path(), |writes| {
        writes.put(StoreKey::Meta.encode(), vec![9, 1, 2])
    });
    assert!(matches!(refused(dir.path()), OpenError::Format { found, .. } if found == "9"));

    let dir = used();
    let header = StoreKey::Header(BatchId(1)).encode();
    tamper(dir.path(), |writes| writes.put(header, vec![9; 100]));
    let error = refused(dir.path()).to_string();
    assert!(error.contains("format version 9"), "{error}");
    let (report, out) = verify(dir.path());
    assert!(
        report.problems > 0 && out.contains("format version 9"),
        "{out}"
    );
}

#[test]
fn bytes_that_are_no_database_are_refused() {
    for (from, length) in [(0, 100), (0, usize::MAX), (500, 2_000)] {
        let dir = used();
        let path = store(dir.path()).join("db");
        let mut bytes = fs::read(&path).unwrap();
        let to = bytes.len().min(from + length.min(bytes.len()));
        bytes[from..to].fill(0xa5);
        fs::write(&path, &bytes).unwrap();
        match SledJournal::open(&SledJournalOptions::new(dir.path())) {
            Err(
                OpenError::Damaged { .. } | OpenError::Emptied { .. } | OpenError::Shortened { .. },
            ) => {}
            Err(other) => panic!("{other}"),
            // It had a whole copy elsewhere in the file: then nothing may be missing.
            Ok(journal) => assert_eq!(journal.open_items().unwrap().len(), 2),
        }
    }
}

#[test]
fn a_database_that_lost_its_end_is_refused_until_an_operator_says_otherwise() {
    let dir = used();
    let before = fs::read(dir.path().join(HIGH_WATER)).unwrap();
    let backup = TempDir::new().unwrap();
    fs::create_dir(store(backup.path())).unwrap();
    for name in ["CANCELOT", "store-1/conf", "store-1/db"] {
        fs::copy(dir.path().join(name), backup.path().join(name)).unwrap();
    }
    let journal = open(dir.path());
    wait(journal.admit(many("late", 1))).unwrap();
    drop(journal);
    // An old database beside the new number.
    fs::copy(dir.path().join(HIGH_WATER), backup.path().join(HIGH_WATER)).unwrap();
    let error = refused(backup.path());
    assert!(
        matches!(
            &error,
            OpenError::Shortened {
                found: 2,
                expected: 3,
                ..
            }
        ),
        "{error}"
    );
    let (report, out) = verify(backup.path());
    assert!(
        report.problems == 1 && out.contains("its end is lost"),
        "{out}"
    );
    fs::remove_file(backup.path().join(HIGH_WATER)).unwrap();
    drop(open(backup.path()));
    // A journal that is made where another was moved away begins with its own number.
    let anew = TempDir::new().unwrap();
    fs::copy(dir.path().join(HIGH_WATER), anew.path().join(HIGH_WATER)).unwrap();
    drop(open(anew.path()));
    drop(open(anew.path()));
    fs::write(backup.path().join(HIGH_WATER), before).unwrap();
    assert_eq!(open(backup.path()).open_items().unwrap().len(), 2);
}

#[test]
fn records_that_make_no_sense_are_reported_and_never_skipped() {
    let batch = BatchId(1);
    let log = StoreKey::Log {
        batch,
        seq: 0,
        part: 0,
    };
    let items = StoreKey::Items {
        batch,
        group: 0,
        part: 0,
    };
    for key in [&log, &items] {
        let dir = used();
        tamper(dir.path(), |writes| writes.put(key.encode(), torn()));
        // What it does not read when it opens, the service reads before it begins.
        match SledJournal::open(&SledJournalOptions::new(dir.path())) {
            Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "{error}"),
            Ok(journal) => {
                let why = journal.open_items().unwrap_err();
                assert!(why.0.contains("journal is damaged"), "{why}");
            }
        }
        let (report, out) = verify(dir.path());
        assert!(report.problems > 0);
        assert!(out.contains("checksum"), "{out}");
    }
    // A batch that settled is not read when the journal opens, but when it is asked for.
    let dir = used();
    let journal = open(dir.path());
    for index in [1, 2] {
        let settled = settled(Outcome::Canceled);
        wait(
            journal.settle(
                vec![Settlement {
                    id: id(batch, index),
                    settled,
                }]
                .into(),
            ),
        )
        .unwrap();
    }
    drop(journal);
    tamper(dir.path(), |writes| {
        writes.remove(
            StoreKey::Log {
                batch,
                seq: 1,
                part: 0,
            }
            .encode(),
        );
    });
    let journal = open(dir.path());
    let why = journal
        .find(&scope(), &key("r/0"), &ReadLimits::default())
        .unwrap_err();
    assert!(
        why.0.contains("journal is damaged") && why.0.contains("backup"),
        "{why}"
    );
}

#[test]
fn verify_finds_nothing_wrong_with_a_used_journal_and_counts_it() {
    let dir = used();
    let journal = open(dir.path());
    let slots = [keyed("k", "b"), Slot::Vacant, item("d")];
    wait(journal.admit(admission("s", slots))).unwrap();
    let old = wait(journal.admit(many("old", 40))).unwrap().batch;
    let settled = settled(Outcome::Canceled);
    let settlements = (0..40).map(|index| Settlement {
        id: id(old, index),
        settled: settled.clone(),
    });
    wait(journal.settle(settlements.collect::<Vec<_>>().into())).unwrap();
    wait(journal.stop(BatchId(1), scope().caller.into(), at(1))).unwrap();
    drop(journal);
    let (report, out) = verify(dir.path());
    assert_eq!(report.problems, 0, "{out}");
    assert_eq!(
        (report.batches, report.items, report.open_items),
        (3, 44, 3)
    );
    assert_eq!(out.lines().count(), 1);
    let journal = open(dir.path());
    assert_eq!(wait(journal.purge(at(100), 10)), Ok(1));
    drop(journal);
    let (report, out) = verify(dir.path());
    assert_eq!(
        (report.problems, report.batches, report.items),
        (0, 2, 4),
        "{out}"
    );
}

#[test]
fn verify_names_each_thing_that_does_not_fit() {
    let batch = BatchId(1);
    let scope = scope();
    let item_key = |own: &str| StoreKey::Item {
        scope: scope.clone(),
        key: key(own),
    };
    let request = |own: &str| StoreKey::Request {
        scope: scope.clone(),
        key: key(own),
    };
    let cases: [(&str, StoreKey, Option<Vec<u8>>); 8] = [
        ("marked as settled", StoreKey::Open(batch), None),
        (
            "there is no batch b000000000009",
            StoreKey::Open(BatchId(9)),
            Some(record::marker()),
        ),
        ("its key does not lead to it", request("r"), None),
        ("its key k does not lead to it", item_key("k"), None),
        (
            "is not its item",
            item_key("free"),
            Some(record::item_id(id(batch, 1))),
        ),
        ("is not its batch", request("free"), Some(record::number(1))),
        (
            "targets are missing",
            StoreKey::Targets { batch, part: 0 },
            None,
        ),
        (
            "checksum",
            StoreKey::Log {
                batch,
                seq: 1,
                part: 0,
            },
            Some(torn()),
        ),
    ];
    for (expected, key, value) in cases {
        let dir = used();
        tamper(dir.path(), |writes| match value {
            Some(value) => writes.put(key.encode(), value),
            None => writes.remove(key.encode()),
        });
        let (report, out) = verify(dir.path());
        assert!(
            report.problems > 0 && out.contains(expected),
            "{expected}: {out}"
        );
    }
}

#[test]
fn export_and_inspect_write_one_json_object_a_line() {
    let dir = used();
    let journal = open(dir.path());
    let mut odd = Settled::clone(&settled(Outcome::Rejected));
    odd.conclusion.answer = Some(ProviderResponse::from_text("{\n\"a\":\r\n\"x\\ny\"}"));
    let settled = Arc::new(odd);
    wait(
        journal.settle(
            vec![Settlement {
                id: id(BatchId(1), 1),
                settled,
            }]
            .into(),
        ),
    )
    .unwrap();
    drop(journal);

    let offline = Offline::open(&SledJournalOptions::new(dir.path())).unwrap();
    let lines = |write: &dyn Fn(&mut Vec<u8>)| -> Vec<serde_json::Value> {
        let mut out = Vec::new();
        write(&mut out);
        let text = String::from_utf8(out).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let exported = lines(&|out| offline.export(out).unwrap());
    assert_eq!(exported.len(), 3);
    assert_eq!(exported[1]["idempotency_key"], "k");
    assert_eq!(
        exported[1]["settled"]["conclusion"]["answer"]["json"]["a"],
        "x\ny"
    );
    assert_eq!(exported[2]["settled"], serde_json::Value::Null);
    let batches = lines(&|out| offline.inspect(None, out).unwrap());
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0]["open_items"], 1);
    let one = lines(&|out| offline.inspect(Some(&name(1)), out).unwrap());
    assert_eq!(one.len(), 1 + 3 + 2);
    assert_eq!(one[5]["what"], "settled");
    assert_eq!(one[5]["indexes"][0], 1);
    assert!(offline.inspect(Some(&name(2)), &mut Vec::new()).is_err());
}

#[test]
fn export_goes_on_past_what_is_damaged_and_says_so() {
    let dir = used();
    let journal = open(dir.path());
    wait(journal.admit(many("s", 2))).unwrap();
    drop(journal);
    let header = StoreKey::Header(BatchId(1)).encode();
    tamper(dir.path(), |writes| writes.put(header, torn()));
    let mut out = Vec::new();
    let offline = Offline::open(&SledJournalOptions::new(dir.path())).unwrap();
    let error = offline.export(&mut out).unwrap_err().to_string();
    assert!(error.contains("1 batches could not be read"), "{error}");
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
}

#[test]
fn looking_off_line_makes_no_journal() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing");
    assert!(Offline::open(&SledJournalOptions::new(&missing)).is_err());
    assert!(!missing.exists());
    assert!(Offline::open(&SledJournalOptions::new(dir.path())).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_is_kept_beside_batches_is_checked_and_never_guessed() {
    use crate::domain::doubt::{AccountState, Moment};
    use crate::journal::{Clearance, DoubtfulTarget, Note};

    let account = subscription("x").account;
    let target = |name: &str| DoubtfulTarget {
        account: account.clone(),
        target: TargetId::try_from(name).unwrap(),
        until: Moment::wall(at(50)),
        owner: None,
    };
    let made = || {
        let dir = used();
        let journal = open(dir.path());
        wait(journal.begin(Moment::wall(at(2)))).unwrap();
        let group = Group {
            clearances: vec![Clearance {
                at: Moment::wall(at(3)),
                items: vec![id(BatchId(1), 1), id(BatchId(1), 2)],
            }],
            notes: vec![Note {
                id: id(BatchId(1), 2),
                doubt: None,
            }],
            accounts: vec![(account.clone(), AccountState::default())],
            targets: vec![target("x")],
            ..Group::default()
        };
        wait(journal.settle(group)).unwrap();
        drop(journal);
        assert_eq!(verify(dir.path()).0.problems, 0);
        dir
    };
    let mut out = Vec::new();
    let dir = made();
    let offline = Offline::open(&SledJournalOptions::new(dir.path())).unwrap();
    offline.inspect(Some(&name(1)), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    for line in [
        r#""what":"cleared","at":"2027-01-15T08:00:03Z","indexes":[1,2]}"#,
        r#""what":"withdrawn","at":null,"indexes":[2]}"#,
    ] {
        assert!(out.contains(line), "{out}");
    }
    let log = |seq| StoreKey::Log {
        batch: BatchId(1),
        seq,
        part: 0,
    };
    let hash = record::target_hash("x");
    let doubtful = StoreKey::Doubtful {
        account: account.clone(),
        hash,
    };
    let no_such_item = record::Step::<()>::Withdrawn {
        life: 1,
        indexes: [7].into_iter().collect(),
    };
    for (key, value, starts) in [
        (StoreKey::Life(1), torn(), false),
        (StoreKey::Account(account.clone()), torn(), true),
        (doubtful.clone(), torn(), false),
        (doubtful, record::whole(&vec![target("y")]).unwrap(), true),
        (log(1), torn(), false),
        (log(2), record::whole(&no_such_item).unwrap(), false),
    ] {
        let dir = made();
        tamper(dir.path(), |writes| writes.put(key.encode(), value));
        let (report, out) = verify(dir.path());
        assert!(report.problems > 0, "{key:?}: {out}");
        let opened = SledJournal::open(&SledJournalOptions::new(dir.path()));
        assert_eq!(opened.is_ok(), starts, "{key:?}");
        if let (Ok(journal), StoreKey::Account(_)) = (opened, key) {
            assert!(journal.account_states().is_err());
        }
    }
}
