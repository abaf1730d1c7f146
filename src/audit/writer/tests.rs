//! A journal whose place an older copy took.

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::{
    audit::{
        Noted, Signer, Sink, Usage,
        chain::verify::{KnownHead, verify},
        segments::Segment,
    },
    domain::opaque::Names,
    journal::{Event, ItemEvent, Pending, Unavailable},
};

/// A journal's trail: each entry tells a number of its own.
#[derive(Debug, Default)]
struct Told {
    first: u64,
    end: AtomicU64,
    audited: Mutex<Option<Audited>>,
}

impl OutboxReader for Told {
    fn journal(&self) -> String {
        "told".to_owned()
    }

    fn names(&self) -> Arc<Names> {
        Arc::new(Names::plain())
    }

    fn end(&self) -> u64 {
        self.end.load(Ordering::SeqCst)
    }

    fn audited(&self) -> Result<Option<Audited>, Unavailable> {
        Ok(self.audited.lock().unwrap().clone())
    }

    fn read(&self, after: u64, entries_max: usize) -> Result<Vec<Event>, Unavailable> {
        let entries = (after + 1..=self.end()).take(entries_max);
        let entries = entries.map(|number| Event {
            number,
            happened: vec![ItemEvent::Off {
                commits: self.first + number,
            }],
        });
        Ok(entries.collect())
    }

    fn note(&self, _: Audited) {}

    fn is_noted(&self) -> bool {
        false
    }

    fn record(&self, audited: Audited) -> Pending<Result<(), Unavailable>> {
        *self.audited.lock().unwrap() = Some(audited);
        Box::pin(async { Ok(()) })
    }
}

fn options(dir: &std::path::Path) -> AuditOptions {
    AuditOptions {
        dir: dir.to_owned(),
        retention: Duration::from_secs(1_000_000),
        now: Arc::new(|| Timestamp::from_second(1_800_000_000).unwrap()),
        for_deletions: Arc::new(|| None),
        sink: Sink::default(),
        usage: Usage::default(),
        config: None,
        signer: None,
        shown: crate::audit::Shown::default(),
    }
}

/// As [`Follower::start`] does it. To drop the writer is a crash.
fn open(trail: &Arc<Told>, dir: &std::path::Path) -> Writer {
    let (writer, is_known) = Writer::open(Arc::<Told>::clone(trail), options(dir)).unwrap();
    if !is_known {
        *trail.audited.lock().unwrap() = Some(writer.audited());
    }
    writer
}

/// The numbers that the lines tell, and how many say that an older journal was found.
fn told(dir: &std::path::Path) -> (Vec<u64>, usize) {
    let segments = Segment::list(dir).unwrap();
    let text: String = segments
        .iter()
        .map(|segment| fs::read_to_string(&segment.path).unwrap())
        .collect();
    let numbers = text.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["commits"].as_u64()
    });
    (numbers.collect(), text.matches("an older copy").count())
}

#[test]
fn after_an_older_journal_was_put_in_place_a_crash_at_once_loses_no_entry() {
    for (is_begun, new) in (0..8).flat_map(|new| [(false, new), (true, new)]) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Arc::new(Told::default());
        let mut writer = open(&journal, dir.path());
        journal.end.store(2, Ordering::SeqCst);
        writer.pass(false).unwrap();
        let older = Told {
            first: 100,
            end: AtomicU64::new(2),
            audited: Mutex::new(Some(writer.audited())),
        };
        journal.end.store(5, Ordering::SeqCst);
        writer.pass(true).unwrap();
        drop(writer);

        let journal = Arc::new(older);
        let mut writer = open(&journal, dir.path());
        if is_begun {
            writer.pass(false).unwrap();
        }
        drop(writer);
        journal.end.fetch_add(new, Ordering::SeqCst);
        let mut writer = open(&journal, dir.path());
        writer.pass(true).unwrap();

        let expected: Vec<_> = (1..=5).chain(103..103 + new).collect();
        let case = format!("{new} entries, begun: {is_begun}");
        assert_eq!(told(dir.path()), (expected, 1), "{case}");
    }
}

#[test]
fn files_go_by_the_time_that_is_believed_and_not_by_the_clock() {
    let (dir, day) = (tempfile::tempdir().unwrap(), Duration::from_secs(86_400));
    let start = Timestamp::from_second(1_800_000_000).unwrap();
    let (now, believed) = (Arc::new(Mutex::new(start)), Arc::new(Mutex::new(None)));
    let (clock, course) = (Arc::clone(&now), Arc::clone(&believed));
    let options = AuditOptions {
        retention: 10 * day,
        now: Arc::new(move || *clock.lock().unwrap()),
        for_deletions: Arc::new(move || *course.lock().unwrap()),
        ..options(dir.path())
    };
    let trail = Arc::new(Told::default());
    let (mut writer, _) = Writer::open(Arc::<Told>::clone(&trail), options).unwrap();
    let first = Segment::new(dir.path(), 1);
    let mut has_first_at = |at: Timestamp, by: Option<Timestamp>| {
        (*now.lock().unwrap(), *believed.lock().unwrap()) = (at, by);
        trail.end.fetch_add(1, Ordering::SeqCst);
        writer.pass(false).unwrap();
        Segment::list(dir.path()).unwrap().contains(&first)
    };
    // Each of these ends a file.
    for days in [0, 2, 4, 6] {
        let at = start + days * day;
        assert!(has_first_at(at, Some(at)), "after {days} days");
    }
    let jumped = start + 400 * day;
    assert!(has_first_at(jumped, Some(start + 7 * day)));
    assert!(has_first_at(jumped, None));
    assert!(!has_first_at(jumped, Some(jumped)));
}

#[test]
fn a_second_writer_of_a_directory_is_refused_and_readers_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = Arc::new(Told::default());
    let mut writer = open(&first, dir.path());
    writer.pass(false).unwrap();
    let of_another = || Writer::open(Arc::new(Told::default()), options(dir.path()));

    let refused = of_another().map(|_| ()).unwrap_err().to_string();

    let lock = dir.path().join("lock").display().to_string();
    let process = format!("process {}", std::process::id());
    for part in [&lock, &process, "audit.dir"] {
        assert!(refused.contains(part), "{part:?} is not in {refused}");
    }
    let report = verify(dir.path(), &KnownHead::default(), |_| Ok(())).unwrap();
    assert_eq!((report.lines, report.problems), (1, 0));
    drop(writer);
    of_another().unwrap();
}

#[test]
fn a_signature_that_cannot_be_written_gives_back_nothing_that_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let start = Timestamp::from_second(1_800_000_000).unwrap();
    let now = Arc::new(Mutex::new(start));
    let clock = Arc::clone(&now);
    let (private, _) = crate::audit::chain::signature::tests::pems();
    let sink = Sink::new(move || start);
    let options = AuditOptions {
        now: Arc::new(move || *clock.lock().unwrap()),
        signer: Some(Arc::new(Signer::from_pem(&private).unwrap())),
        sink: sink.clone(),
        ..options(dir.path())
    };
    let trail = Arc::new(Told::default());
    let (mut writer, _) = Writer::open(Arc::<Told>::clone(&trail), options).unwrap();
    writer.pass(false).unwrap();
    // The first file is full by age with what is noted, and a second one cannot be made.
    *now.lock().unwrap() = start + SignedDuration::from_hours(48);
    let noted = Noted {
        event: "read",
        ..Noted::default()
    };
    sink.note(noted).unwrap();
    let second = Segment::new(dir.path(), 4).path;
    fs::create_dir(&second).unwrap();
    for _ in 0..3 {
        writer.pass(false).unwrap_err();
        assert!(writer.has_work(), "the signature is tried again");
        assert!(!sink.is_waiting());
    }
    fs::remove_dir(&second).unwrap();
    writer.pass(false).unwrap();

    assert!(!writer.has_work());
    let text: String = Segment::list(dir.path())
        .unwrap()
        .iter()
        .map(|segment| fs::read_to_string(&segment.path).unwrap())
        .collect();
    assert_eq!(text.matches(r#""event":"read""#).count(), 1, "{text}");
    assert_eq!(text.matches(r#""event":"signed""#).count(), 2, "{text}");
    assert_eq!(problems(dir.path(), &KnownHead::default()).1, "");
}

/// A log that was signed each hour for a day, and what it says of itself with that key.
fn signed(hours: i64) -> (tempfile::TempDir, KnownHead) {
    let dir = tempfile::tempdir().unwrap();
    let start = Timestamp::from_second(1_800_000_000).unwrap();
    let now = Arc::new(Mutex::new(start));
    let clock = Arc::clone(&now);
    let (private, public) = crate::audit::chain::signature::tests::pems();
    let options = AuditOptions {
        now: Arc::new(move || *clock.lock().unwrap()),
        signer: Some(Arc::new(Signer::from_pem(&private).unwrap())),
        ..options(dir.path())
    };
    let trail = Arc::new(Told::default());
    let (mut writer, _) = Writer::open(Arc::<Told>::clone(&trail), options).unwrap();
    for minutes in (0..hours * 60).step_by(20) {
        *now.lock().unwrap() = start + SignedDuration::from_mins(minutes);
        trail.end.fetch_add(1, Ordering::SeqCst);
        assert!(writer.has_work());
        writer.pass(false).unwrap();
        assert!(!writer.has_work(), "once an hour is enough");
    }
    trail.end.fetch_add(1, Ordering::SeqCst);
    writer.pass(true).unwrap();
    let known = KnownHead {
        keys: vec![crate::audit::PublicKey::from_pem(&public).unwrap()],
        ..KnownHead::default()
    };
    (dir, known)
}

fn problems(
    dir: &std::path::Path,
    known: &KnownHead,
) -> (crate::audit::chain::verify::AuditReport, String) {
    let mut told = String::new();
    let report = verify(dir, known, |problem| {
        told.push_str(&problem.problem);
        told.push('\n');
        Ok(())
    });
    (report.unwrap(), told)
}

#[test]
fn the_head_is_signed_each_hour_and_at_the_end() {
    let (dir, known) = signed(6);
    let (report, told) = problems(dir.path(), &known);
    assert_eq!(told, "");
    assert_eq!(report.signatures, Some(7));
    assert_eq!(report.signed_seq, Some(report.lines - 1));
    let start = Timestamp::from_second(1_800_000_000).unwrap();
    assert_eq!(
        report.signed_at,
        Some(start + SignedDuration::from_mins(340))
    );
}

#[test]
fn a_changed_or_cut_log_whose_chain_was_written_anew_fails_by_its_signatures() {
    let (dir, known) = signed(6);
    let file = Segment::list(dir.path()).unwrap().remove(0).path;
    let whole = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = whole.lines().collect();
    // Whoever can write the files can write the whole chain anew, and not its signatures.
    let again = |lines: &mut dyn Iterator<Item = &str>| {
        let (mut head, mut out) = (ChainHead::empty(), Vec::new());
        for line in lines {
            let mut content: serde_json::Map<_, _> = serde_json::from_str(line).unwrap();
            for field in ["seq", "prev", "hash"] {
                content.remove(field);
            }
            let none = crate::audit::chain::opening::Values::default();
            crate::audit::chain::add(&mut head, &content, none, &mut out).unwrap();
        }
        fs::write(&file, out).unwrap();
    };
    let is_signed = |line: &&str| line.contains("\"signed\"");

    again(&mut lines.iter().copied());
    let (report, told) = problems(dir.path(), &known);
    assert!(
        report.problems > 0 && told.contains("its signature is not"),
        "{told}"
    );
    // With one line less in the middle; without signatures; without those after some time.
    again(
        &mut lines
            .iter()
            .copied()
            .enumerate()
            .filter(|(at, _)| *at != 5)
            .map(|(_, line)| line),
    );
    assert!(
        problems(dir.path(), &known)
            .1
            .contains("its signature is not")
    );
    again(&mut lines.iter().copied().filter(|line| !is_signed(line)));
    assert!(
        problems(dir.path(), &known)
            .1
            .contains("no line of it is signed")
    );
    let first: Vec<_> = whole.split_inclusive('\n').collect();
    let kept = first
        .iter()
        .filter(|line| !is_signed(line) || line.contains("\"seq\":3,"));
    let kept: String = kept.copied().collect();
    fs::write(&file, kept).unwrap();
    assert!(
        problems(dir.path(), &known)
            .1
            .contains("the end of it is not signed")
    );

    // Cut off behind a signature it is whole, and old.
    let signed = first
        .iter()
        .rposition(|line| is_signed(line) && !line.contains(first[first.len() - 1]));
    fs::write(&file, first[..=signed.unwrap()].concat()).unwrap();
    assert_eq!(problems(dir.path(), &known).1, "");
    let start = Timestamp::from_second(1_800_000_000).unwrap();
    let lately = KnownHead {
        signed_since: Some(start + SignedDuration::from_mins(330)),
        ..known.clone()
    };
    assert!(
        problems(dir.path(), &lately)
            .1
            .contains("earlier than asked for")
    );
    // By a key that is not known.
    fs::write(&file, &whole).unwrap();
    let other = KnownHead {
        keys: vec![crate::audit::PublicKey::from_pem(&other_public()).unwrap()],
        ..known
    };
    assert!(
        problems(dir.path(), &other)
            .1
            .contains("which was not given")
    );
}

fn other_public() -> String {
    let kind = "PUBLIC KEY";
    let text = "MCowBQYDK2VwAyEAT1R9cPBsBLMDqlZosVmSl7Iq3JkZ9F+EPvuNaaNIIW0=";
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}
