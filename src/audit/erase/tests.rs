//! What goes of lines, and that the rest of them and the chain stay.

use super::*;
use crate::{
    audit::{
        Noted, Rejection, RejectionWord,
        chain::verify::{KnownHead, verify},
    },
    domain::access::provenance::Provenance,
};

fn log(dir: &Path, add: impl Fn(&mut SegmentLog)) {
    let mut log = SegmentLog::open(dir, None).unwrap().log;
    add(&mut log);
    log.sync(Timestamp::UNIX_EPOCH).unwrap();
}

fn refused(key: &str) -> Rejection {
    Rejection {
        at: Timestamp::UNIX_EPOCH,
        why: RejectionWord::KeyReused,
        code: Some("FAILED_PRECONDITION"),
        cause: None,
        detail: None,
        caller: Some("billing".try_into().unwrap()),
        from: Provenance::default(),
        method: Some("CancelSubscription"),
        key: Some(key.try_into().unwrap()),
        account: None,
        batch: None,
        items: Some(1),
    }
}

fn text(dir: &Path) -> String {
    let segments = Segment::list(dir).unwrap();
    let texts = segments
        .iter()
        .map(|segment| fs::read_to_string(&segment.path).unwrap());
    texts.collect()
}

fn problems(dir: &Path) -> u64 {
    verify(dir, &KnownHead::default(), |_| Ok(()))
        .unwrap()
        .problems
}

fn whose() -> Whose {
    Whose::Target("person-ann".try_into().unwrap())
}

/// With a key that the journal says to be theirs.
fn found() -> Found {
    Found {
        keys: [("billing".try_into().unwrap(), "order-7".try_into().unwrap())].into(),
        ..Found::default()
    }
}

fn erased(dir: &Path) -> usize {
    let erasure = Erasure {
        whose: &whose(),
        digest: "0a",
        found: &found(),
        names: &Names::plain(),
        known: None,
        why: None,
        now: Timestamp::UNIX_EPOCH,
    };
    erase(dir, &erasure).unwrap()
}

#[test]
fn refusals_of_their_keys_and_looks_at_them_lose_what_is_theirs_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let look = Noted {
        event: "read",
        filters: ["account=eu", "target=person-ann", "key=order-7"]
            .map(str::to_owned)
            .into(),
        ..Noted::default()
    };
    log(dir.path(), |log| {
        for key in ["order-7", "order-8", "of-person-ann"] {
            log.add(AuditEntry::refused(&refused(key)), None).unwrap();
        }
        log.add(AuditEntry::noted(&look), None).unwrap();
    });
    assert_eq!(erased(dir.path()), 3);
    let text = text(dir.path());
    assert!(
        !text.contains("person-ann") && !text.contains("order-7"),
        "{text}"
    );
    assert!(text.contains("order-8"), "{text}");
    assert!(
        text.contains(r#""filters":["account=eu",null,null]"#),
        "{text}"
    );
    assert_eq!(text.matches("IDEMPOTENCY_KEY_REUSED").count(), 3);
    assert_eq!(problems(dir.path()), 0);
    assert_eq!(erased(dir.path()), 0);
    assert_eq!(problems(dir.path()), 0);
}

#[test]
fn what_a_crash_left_half_done_verifies_and_is_done_by_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    log(dir.path(), |log| {
        log.add(AuditEntry::refused(&refused("order-7")), None)
            .unwrap()
    });
    // The line that says so was durable, and no file was replaced yet.
    log(dir.path(), |log| {
        let line = AuditEntry::erased(Timestamp::UNIX_EPOCH, ("target", "0a"), None, 0, Some("1"));
        log.add(line, None).unwrap();
    });
    fs::write(dir.path().join("00000000000000000001.fresh"), "half of it").unwrap();
    assert_eq!(problems(dir.path()), 0);
    assert_eq!(erased(dir.path()), 1);
    assert_eq!(problems(dir.path()), 0);
    assert!(!text(dir.path()).contains("order-7"));
    assert!(!dir.path().join("00000000000000000001.fresh").exists());
}
