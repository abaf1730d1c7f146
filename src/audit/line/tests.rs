//! What lines say of free text: bounded, and without addresses.

use std::sync::Arc;

use super::*;
use crate::{
    audit::{Error, Head},
    domain::command::EnrollmentsCommand,
    journal::{Concluded, Failed, Said},
};

/// What lines say of an item with this text wherever a text is free.
fn lines(text: &str) -> Vec<serde_json::Value> {
    let subject = Subject {
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
    let ended = Ended {
        conclusion: Concluded {
            outcome: Outcome::Rejected,
            detail: Known::Enrollments {
                matched: 0,
                canceled: 0,
                remaining: 0,
            },
            failure: Some(Failed {
                reason: FailureReason::ProviderError,
                reached: Reached::Yes,
                provider: Some(Said {
                    http_status: 400,
                    code: Some(text.to_owned()),
                }),
            }),
            confirmed_by_lookup: false,
        },
        attempts: 1,
        settled_at: Timestamp::MIN,
    };
    let happened = Happened::ToItems {
        scope: Scope {
            caller: "billing".try_into().unwrap(),
            kind: Kind::Enrollments,
        },
        batch: BatchId(1),
        from: None,
        items: vec![
            (subject.clone(), What::Admitted(Timestamp::MIN)),
            (subject, What::Settled(Arc::new(ended))),
        ],
    };
    let mut lines = Vec::new();
    let given = each(Timestamp::MIN, &happened, |line| {
        let mut text = Vec::new();
        let personal = line.personal();
        crate::audit::chain::add(&mut Head::empty(), &line, personal, &mut text)?;
        lines.push(serde_json::from_slice(&text).unwrap());
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
    let filters = |line: Line<'_>| {
        let filters = line.personal().filters.into_iter().flatten();
        filters.map(Cow::into_owned).collect::<Vec<_>>()
    };
    let line = Line::noted(&noted);
    assert_eq!(filters(line.clone()), noted.filters);
    assert_eq!(
        filters(line.with(shown)),
        ["target=(e-mail removed)", "account=eu"]
    );
    let line = Line {
        words: Some("moved to Graz".into()),
        ..Line::default()
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
