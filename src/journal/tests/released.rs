//! Journals of earlier formats open in place, and say what they said.

use std::{fs, path::PathBuf};

use super::{
    audited::{PATIENCE, check_chain, follow},
    *,
};
use crate::{
    domain::doubt::{Doubt, Moment},
    journal::{
        directory::{JournalDir, Purpose, manifest::Manifest},
        format::{
            key::StoreKey,
            record::{FORMAT, FORMATS_READ},
        },
        offline::Offline,
    },
    limits,
};

fn released() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/released/journals")
}

/// A copy of the journal that was released with this format: a test must not change it.
pub(super) fn copy_of(format: u8) -> TempDir {
    let dir = TempDir::new().unwrap();
    copy(&released().join(format.to_string()), dir.path());
    dir
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

pub(super) fn earlier() -> impl Iterator<Item = u8> {
    FORMATS_READ.into_iter().filter(|format| *format < FORMAT)
}

#[track_caller]
fn verify(dir: &Path) {
    let mut out = Vec::new();
    let offline = Offline::open(&SledJournalOptions::new(dir)).unwrap();
    let report = offline.verify(&mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert_eq!(
        (report.problems, report.items, report.open_items),
        (0, 10, 4),
        "{out}"
    );
    for (of, items) in [(None, 10), (Some(BatchName::plain(BatchId(1))), 5)] {
        let mut out = Vec::new();
        match &of {
            None => offline.export(&mut out).unwrap(),
            of => offline.inspect(of.as_ref(), &mut out).unwrap(),
        }
        let out = String::from_utf8(out).unwrap();
        let lines = out.lines().filter(|line| line.contains("request_key"));
        assert_eq!(
            lines.filter(|line| line.contains("command")).count(),
            items,
            "{out}"
        );
    }
}

/// What it says in the mark and in the database.
pub(super) fn formats(dir: &Path) -> (u8, u8) {
    let home = JournalDir::open(dir, 16 << 20, Purpose::Look).unwrap();
    assert!(
        home.store
            .current()
            .get(&StoreKey::Meta.encode())
            .unwrap()
            .is_some()
    );
    (home.marker.format, home.format)
}

fn doubt(earliest: Option<i64>, start: i64) -> Option<Doubt> {
    let ended = at(start) + SignedDuration::from_millis(limits::TCP_USER_TIMEOUT_MS.cast_signed());
    let earliest = earliest.map(|earliest| Moment::wall(at(earliest)));
    Some(Doubt::between(earliest, Moment::wall(ended)))
}

/// Holds what the journal of a format has. It is the first to work on it if it begins at 1000.
#[track_caller]
fn check(journal: &SledJournal, start: i64) {
    wait(journal.begin(Moment::wall(at(start)))).unwrap();
    let open = journal.open_items().unwrap().into_iter();
    let open: Vec<_> = open
        .map(|open| (open.key.to_string(), open.stopped, open.doubt))
        .collect();
    // All that was open may have been sent, until the first process began that writes it down.
    let expected = [
        ("mixed/4".to_owned(), false, doubt(Some(0), 1_000)),
        ("stopped/1".to_owned(), true, doubt(Some(20), 1_000)),
        ("again/0".to_owned(), false, doubt(None, 1_000)),
        ("again/1".to_owned(), false, doubt(Some(40), 1_000)),
    ];
    assert_eq!(open, expected);
    assert!(journal.account_states().unwrap().is_empty());
    assert!(journal.doubtful_targets().unwrap().is_empty());
    for (key, outcome) in [
        ("mixed/0", Some(Outcome::Canceled)),
        ("own-1", Some(Outcome::Unavailable)),
        ("mixed/2", Some(Outcome::InDoubt)),
        ("mixed/3", Some(Outcome::NotFound)),
        ("mixed/4", None),
        ("stopped/0", Some(Outcome::Stopped)),
        ("stopped/1", None),
        ("again/0", None),
        ("again/1", None),
        ("done/0", Some(Outcome::Scheduled)),
    ] {
        let record = journal
            .find(&scope(), &self::key(key), &ReadLimits::default())
            .unwrap()
            .unwrap();
        assert_eq!(super::outcome(&record), outcome, "{key}");
    }
}

#[test]
fn the_journal_of_each_earlier_format_opens_in_place_and_holds_what_it_held() {
    assert!(earlier().count() > 0);
    for format in earlier() {
        let dir = copy_of(format);
        verify(dir.path());
        assert_eq!(
            formats(dir.path()),
            (format, format),
            "a look changes nothing"
        );
        for start in [1_000, 2_000] {
            let journal = open_audited(dir.path());
            check(&journal, start);
            wait(async { follow(dir.path(), &journal).await.stop(PATIENCE).await }).unwrap();
            drop(journal);
            assert_eq!(formats(dir.path()), (FORMAT, FORMAT));
            verify(dir.path());
        }
        check_chain(dir.path(), 0);
        // What it holds is replayed and goes on.
        let journal = open_audited(dir.path());
        check(&journal, 3_000);
        let slots = [
            item("sub-0"),
            keyed("own-1", "sub-1"),
            item("sub-2"),
            item("sub-3"),
            item("sub-4"),
        ];
        let admitted = wait(journal.admit(admission("mixed", slots))).unwrap();
        let [canceled, lost, doubtful, not_found, open] =
            [0, 1, 2, 3, 4].map(|index| id(admitted.batch, index));
        let expected = [
            Told::Settled(canceled, Outcome::Canceled),
            Told::Again(lost, Outcome::Unavailable),
            Told::Again(doubtful, Outcome::InDoubt),
            Told::Settled(not_found, Outcome::NotFound),
            Told::Running(open),
        ];
        assert_eq!(told(&admitted), expected);
        let settlements = [lost, doubtful, open].map(|id| Settlement {
            id,
            settled: settled(Outcome::Canceled),
        });
        wait(journal.settle(Vec::from(settlements).into())).unwrap();
        assert_eq!(journal.open_items().unwrap().len(), 3);
        audit_all(&journal);
        assert_eq!(wait(journal.purge(at(2_000), 100)), Ok(2));
    }
}

#[test]
fn a_journal_that_is_cut_off_while_its_format_is_raised_opens() {
    for format in earlier() {
        let dir = copy_of(format);
        let marker = Manifest::read(dir.path()).unwrap().unwrap();
        let raised = Manifest {
            format: FORMAT,
            ..marker.clone()
        };
        // The new mark is written and not in its place; then it is, and the database as it was.
        raised.stage(dir.path()).unwrap();
        verify(dir.path());
        assert_eq!(formats(dir.path()), (format, format));
        raised.write(dir.path()).unwrap();
        verify(dir.path());
        assert_eq!(formats(dir.path()), (FORMAT, format));
        check(&open(dir.path()), 1_000);
        assert_eq!(formats(dir.path()), (FORMAT, FORMAT));
    }
}

/// Format 1 was read by the word before a space in each line, and any other number than its own
/// was refused: "use the version of Cancelot that wrote it, or a newer one".
#[test]
fn a_raised_journal_is_refused_by_programs_that_read_the_format_it_had() {
    let dir = copy_of(1);
    drop(open(dir.path()));
    let text = fs::read_to_string(dir.path().join("CANCELOT")).unwrap();
    let mut words = text.lines().filter_map(|line| line.split_once(' '));
    let found = words.find(|(word, _)| *word == "format").unwrap().1;
    assert_eq!(found, FORMAT.to_string());
}

/// It is what it was made to be: nothing in it was changed by a test.
#[test]
fn each_released_journal_is_listed_and_none_has_been_opened() {
    let readme = fs::read_to_string(released().join("README.md")).unwrap();
    for format in earlier() {
        let dir = released().join(format.to_string());
        let marker = Manifest::read(&dir).unwrap().unwrap();
        assert_eq!(marker.format, format);
        assert!(!dir.join("lock").exists());
        assert!(readme.contains(&format!("| {format} |")), "{format}");
        assert!(released().join(format!("{format}.rs")).exists(), "{format}");
    }
}
