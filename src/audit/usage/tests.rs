//! What callers may take of the audit, and what its files are known to hold.

use super::*;

fn caller(name: &str) -> CallerId {
    name.try_into().unwrap()
}

/// An audit of 1,000 bytes that these callers share, of which each has taken so much.
fn shared(taken: &[(&str, usize)]) -> Usage {
    let members = taken.iter().map(|(name, _)| caller(name));
    let usage = Usage::new(Some(1_000), members.filter(|name| name.as_str() != "gone"));
    for (name, bytes) in taken {
        usage.taken().add(Some(name), *bytes);
    }
    usage
}

#[track_caller]
fn check(taken: &[(&str, usize)], may: &[bool]) {
    let usage = shared(taken);
    let found = taken
        .iter()
        .map(|(name, _)| usage.check(&caller(name)).is_ok());
    assert_eq!(found.collect::<Vec<_>>(), may, "{taken:?}");
}

#[test]
fn half_is_kept_for_all_callers_in_equal_parts_and_the_rest_is_for_whoever_comes() {
    check(&[("a", 0), ("b", 0)], &[true, true]);
    check(&[("a", 749), ("b", 0)], &[true, true]);
    check(&[("a", 750), ("b", 0)], &[false, true]);
    check(&[("a", 750), ("b", 249)], &[false, true]);
    check(&[("a", 500), ("b", 499)], &[true, true]);
    check(&[("a", 750), ("b", 250)], &[false, false]);
    // What was open goes on beyond the bound, and takes nothing that is another's.
    check(&[("a", 2_000), ("b", 0)], &[false, true]);
    check(&[("a", 2_000), ("b", 249)], &[false, true]);
    check(&[("a", 2_000), ("b", 250)], &[false, false]);
    // One alone has all of it, and one who is not configured any more has nothing kept.
    check(&[("a", 999)], &[true]);
    check(&[("a", 1_000)], &[false]);
    check(&[("a", 0), ("b", 0), ("gone", 600)], &[true, true, false]);
    // Others share it from now on.
    let usage = shared(&[("a", 0), ("b", 0), ("gone", 700)]);
    usage.share_anew([caller("gone")]);
    let may = ["a", "b", "gone"].map(|name| usage.check(&caller(name)).is_ok());
    assert_eq!(may, [true, true, true]);
    usage.share_anew(["gone", "b", "c"].map(caller));
    assert!(usage.check(&caller("gone")).is_err());
    let unbounded = Usage::new(None, []);
    unbounded.taken().add(Some("a"), usize::MAX);
    assert_eq!(unbounded.check(&caller("a")), Ok(()));
}

/// A file of lines with so many bytes of each caller, and their sum.
fn file(dir: &Path, first: u64, lines: &[Option<&str>]) -> (Segment, Tally) {
    let (segment, mut tally, mut text) =
        (Segment::new(dir, first), Tally::default(), String::new());
    for caller in lines {
        let line = match caller {
            Some(caller) => format!("{{\"event\":\"admitted\",\"caller\":\"{caller}\"}}\n"),
            None => "{\"event\":\"started\"}\n".to_owned(),
        };
        tally.add(*caller, line.len());
        text.push_str(&line);
    }
    fs::write(&segment.path, text).unwrap();
    (segment, tally)
}

fn load(dir: &Path) -> (Tallies, Usage) {
    let usage = Usage::new(Some(1), []);
    (Tallies::load(dir, usage.clone()).unwrap(), usage)
}

#[test]
fn a_start_knows_the_last_file_at_once_and_all_others_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let (first, mut sum) = file(dir.path(), 1, &[Some("a"), Some("b"), None]);
    let (_, second) = file(dir.path(), 4, &[Some("b")]);
    let (_, last) = file(dir.path(), 5, &[Some("a")]);
    sum.join(&second);
    sum.join(&last);
    let (mut tallies, usage) = load(dir.path());
    assert_eq!(usage.bytes(), sum.bytes, "lengths are known");
    assert_eq!(usage.held(), [("a".to_owned(), last.bytes)]);
    while tallies.is_counting() {
        tallies.count_one();
    }
    assert_eq!(*usage.taken(), sum);

    // Another start need not count them, unless one is not as long as it was.
    let (tallies, usage) = load(dir.path());
    assert!(!tallies.is_counting());
    assert_eq!(*usage.taken(), sum);
    let (_, other) = file(dir.path(), 1, &[Some("c")]);
    let (mut tallies, usage) = load(dir.path());
    assert!(tallies.is_counting());
    tallies.count_one();
    assert_eq!(usage.taken().of("c"), other.bytes);

    tallies.forget(std::slice::from_ref(&first));
    assert_eq!(usage.bytes(), second.bytes + last.bytes);
    assert!(!path_of(&first).exists());
}

#[test]
fn what_is_added_counts_once_also_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let (mut tallies, usage) = load(dir.path());
    let mut all = Tally::default();
    for (first, is_closed) in [(1, false), (1, true), (3, false)] {
        let mut tally = Tally::default();
        tally.add(Some("a"), 10);
        all.join(&tally);
        let path = Segment::new(dir.path(), first).path;
        let mut text = fs::read(&path).unwrap_or_default();
        text.extend(b"123456789\n");
        fs::write(path, text).unwrap();
        tallies.add(
            dir.path(),
            &Synced {
                first,
                tally,
                is_closed,
            },
        );
    }
    assert_eq!(*usage.taken(), all);
    let (tallies, usage) = load(dir.path());
    assert!(!tallies.is_counting(), "the closed one is written down");
    assert_eq!(usage.bytes(), 30);
    assert_eq!(usage.taken().of("a"), 20);
}
