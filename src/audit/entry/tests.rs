//! What lines say of free text: bounded, and without addresses; and of many items at once.

use std::sync::Arc;

use super::*;
use crate::{
    audit::{ChainHead, Error},
    domain::{command::EnrollmentsCommand, ids::BatchId},
    journal::{AuditedAnswer, AuditedConclusion, AuditedFailure},
};

/// A line with what stands behind its hash.
fn as_written(line: &AuditEntry<'_>) -> Result<serde_json::Value, Error> {
    let mut text = Vec::new();
    chain::add(&mut ChainHead::empty(), line, line.personal(), &mut text)?;
    Ok(serde_json::from_slice(&text).unwrap())
}

/// What lines say of an item with this text wherever a text is free.
fn lines(text: &str) -> Vec<serde_json::Value> {
    let subject = ItemRef {
        index: 0,
        key: "k/0".try_into().unwrap(),
        command: Arc::new(Command::Enrollments(EnrollmentsCommand {
            account: "sequenzy".try_into().unwrap(),
            sequence_id: "seq".try_into().unwrap(),
            target: EnrollmentsTarget::All,
            reason: Some(text.to_owned()),
            matches_max: None,
        })),
    };
    let ended = AuditedOutcome {
        conclusion: AuditedConclusion {
            outcome: Outcome::Rejected,
            detail: AuditedDetail::Enrollments {
                matched: 0,
                canceled: 0,
                remaining: 0,
            },
            failure: Some(AuditedFailure {
                reason: FailureReason::ProviderError,
                reached: Reached::Yes,
                provider: Some(AuditedAnswer {
                    http_status: 400,
                    code: Some(text.to_owned()),
                }),
            }),
            confirmed_by_lookup: false,
        },
        attempts: 1,
        settled_at: Timestamp::MIN,
    };
    let happened = ItemEvent::ToItems {
        scope: Scope {
            caller: "billing".try_into().unwrap(),
            kind: Kind::Enrollments,
        },
        batch: BatchId(1),
        from: None,
        items: vec![
            (subject.clone(), EventContent::Admitted(Timestamp::MIN)),
            (subject, EventContent::Settled(Arc::new(ended))),
        ],
    };
    let mut lines = Vec::new();
    let given = each(Timestamp::MIN, &Names::plain(), &happened, |line| {
        lines.push(as_written(&line)?);
        Ok::<_, Error>(())
    });
    given.unwrap();
    lines
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let lines = lines(text);
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!(line["reason"], expected, "{text}");
    }
    assert_eq!(lines[1]["provider_code"], expected, "{text}");
}

#[test]
fn free_text_is_bounded_and_has_no_addresses() {
    check("closed", "closed");
    check("closed by ann@example.com.", "closed by (e-mail removed).");
    check(&"ü".repeat(200), &"ü".repeat(127));
    // Cut first, the address would have no domain to be known by.
    let filler = format!("{} ", "x".repeat(243));
    check(
        &format!("{filler}ann@example.com"),
        &format!("{filler}(e-mail rem"),
    );
}

#[test]
fn addresses_and_words_are_left_out_where_they_are_not_to_be_kept() {
    let noted = Noted {
        event: "read",
        filters: vec!["target=ann@example.com".to_owned(), "account=eu".to_owned()],
        ..Noted::default()
    };
    let shown = Shown {
        words: false,
        emails: false,
    };
    let filters = |line: AuditEntry<'_>| {
        let filters = line.personal().filters.into_iter().flatten();
        filters.map(Cow::into_owned).collect::<Vec<_>>()
    };
    let line = AuditEntry::noted(&noted);
    assert_eq!(filters(line.clone()), noted.filters);
    assert_eq!(
        filters(line.with(shown)),
        ["target=(e-mail removed)", "account=eu"]
    );
    let line = AuditEntry {
        words: Some("moved to Graz".into()),
        ..AuditEntry::default()
    };
    assert!(
        line.clone()
            .with(Shown::default())
            .personal()
            .reason
            .is_some()
    );
    assert!(line.with(shown).personal().reason.is_none());
}

/// The end of an item that was stopped after so many requests.
fn stopped(attempts: u32, second: i64) -> EventContent {
    EventContent::Settled(Arc::new(AuditedOutcome {
        conclusion: AuditedConclusion {
            outcome: Outcome::Stopped,
            detail: AuditedDetail::Subscription {
                effective_at: None,
                state: None,
            },
            failure: None,
            confirmed_by_lookup: false,
        },
        attempts,
        settled_at: at(second),
    }))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// What lines say of items at these accounts, in short: the event, which items, and the account.
fn told(items: &[(u32, &str, EventContent)]) -> Vec<String> {
    let items = items.iter().map(|(index, account, what)| {
        let subject = ItemRef {
            index: *index,
            key: format!("k/{index}").as_str().try_into().unwrap(),
            command: Arc::new(Command::Enrollments(EnrollmentsCommand {
                account: (*account).try_into().unwrap(),
                sequence_id: "seq".try_into().unwrap(),
                target: EnrollmentsTarget::All,
                reason: None,
                matches_max: None,
            })),
        };
        (subject, what.clone())
    });
    let happened = ItemEvent::ToItems {
        scope: Scope {
            caller: "billing".try_into().unwrap(),
            kind: Kind::Enrollments,
        },
        batch: BatchId(1),
        from: None,
        items: items.collect(),
    };
    let mut lines = Vec::new();
    let given = each(Timestamp::MIN, &Names::plain(), &happened, |line| {
        let line = as_written(&line)?;
        assert_eq!(line["key"].is_string(), line["index"].is_u64(), "{line}");
        let of = match &line["indexes"] {
            serde_json::Value::Null => &line["index"],
            indexes => indexes,
        };
        let (event, account, time) = (&line["event"], &line["account"], &line["time"]);
        lines.push(format!("{event} {of} {account} {time}").replace('"', ""));
        Ok::<_, Error>(())
    });
    given.unwrap();
    lines
}

#[test]
fn items_to_which_the_same_happened_share_a_line_and_one_alone_has_its_own() {
    let lines = told(&[
        (0, "a", stopped(0, 1)),
        (1, "a", EventContent::Admitted(at(2))),
        (2, "a", stopped(3, 1)),
        (3, "a", stopped(0, 5)),
        (4, "a", stopped(0, 4)),
        (9, "a", EventContent::Opened(at(6))),
    ]);
    let expected = [
        "settled [[0,0],[3,4]] a 1970-01-01T00:00:05Z",
        "admitted 1 a 1970-01-01T00:00:02Z",
        "settled 2 a 1970-01-01T00:00:01Z",
        "opened 9 a 1970-01-01T00:00:06Z",
    ];
    assert_eq!(lines, expected);
    let lines = told(&[
        (0, "a", EventContent::Opened(at(6))),
        (1, "b", EventContent::Opened(at(6))),
    ]);
    assert_eq!(lines, ["opened [[0,1]] null 1970-01-01T00:00:06Z"]);
}
