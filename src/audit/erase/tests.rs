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

#[test]
fn the_key_of_a_request_is_theirs_if_all_items_of_its_batch_are() {
    let dir = tempfile::tempdir().unwrap();
    let (mut head, mut out) = (chain::ChainHead::empty(), Vec::new());
    let mut add = |batch: &str, index: u32, target: &'static str| {
        let content = serde_json::json!({
            "time": "2027-01-15T08:00:00Z",
            "event": "admitted",
            "method": "CancelSubscription",
            "caller": "billing",
            "batch": batch,
            "index": index,
        });
        let values = chain::opening::Values {
            key: Some(format!("of-{batch}/{index}").into()),
            target: Some(target.into()),
            ..Default::default()
        };
        chain::add(&mut head, &content, values, &mut out).unwrap();
    };
    // One that only later lines show to be of others too, one of theirs alone, one of others.
    add("mixed", 0, "person-ann");
    for index in 0..2 {
        add("theirs", index, "person-ann");
        add("others", index, "person-bob");
    }
    add("mixed", 1, "person-bob");
    fs::write(Segment::new(dir.path(), 1).path, out).unwrap();
    let erasure = Erasure {
        whose: &whose(),
        digest: "0a",
        found: &Found::default(),
        names: &Names::plain(),
        known: None,
        why: None,
        now: Timestamp::UNIX_EPOCH,
    };
    let segments = Segment::list(dir.path()).unwrap();

    let theirs = Theirs::find(&segments, &erasure).unwrap();

    let keys: Vec<_> = theirs.keys.iter().map(|(_, key)| key.as_str()).collect();
    assert_eq!(
        keys,
        ["of-mixed/0", "of-theirs", "of-theirs/0", "of-theirs/1"]
    );
    let gathered = theirs.batches(&segments).unwrap();
    let gathered: Vec<_> = gathered.keys().map(|(_, batch)| batch.as_str()).collect();
    assert_eq!(gathered, ["mixed", "theirs"]);
}
