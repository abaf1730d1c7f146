//! What is theirs goes, and nothing of others.

use super::*;
use crate::domain::{
    command::{EnrollmentsCommand, SubscriptionCommand, When},
    outcome::{Enrollment, EnrollmentsDetail, Outcome, SubscriptionDetail},
};

fn target(id: &str) -> Whose {
    Whose::Target(id.try_into().unwrap())
}

fn subscription(id: &str, comment: &str) -> Command {
    Command::Subscription(SubscriptionCommand {
        account: "rebilly".try_into().unwrap(),
        subscription_id: id.try_into().unwrap(),
        when: When::Now,
        reason: None,
        comment: Some(comment.to_owned()),
        initiated_by: None,
        prorate: None,
        line_items: Vec::new(),
        options: None,
    })
}

fn enrollments(target: EnrollmentsTarget) -> Command {
    Command::Enrollments(EnrollmentsCommand {
        account: "sequenzy".try_into().unwrap(),
        sequence_id: "seq".try_into().unwrap(),
        target,
        reason: None,
        matches_max: None,
    })
}

fn list(ids: &[&str]) -> Command {
    let ids = ids.iter().map(|id| TargetId::try_from(*id).unwrap());
    enrollments(EnrollmentsTarget::Subscribers(ids.collect()))
}

#[test]
fn a_command_is_theirs_alone_in_part_or_not_at_all() {
    let text = |text| Whose::text(text).unwrap();
    for (command, whose, extent) in [
        (subscription("sub-1", "x"), target("sub-1"), Extent::Whole),
        (subscription("sub-12", "x"), target("sub-1"), Extent::None),
        (
            subscription("sub-2", "as sub-1"),
            target("sub-1"),
            Extent::Part,
        ),
        (
            subscription("sub-2", "as sub-12"),
            target("sub-1"),
            Extent::None,
        ),
        (
            subscription("sub-2", "for Ann SMITH"),
            text("ann smith"),
            Extent::Whole,
        ),
        (
            subscription("sub-2", "ann%40x.de"),
            text("Ann@x.de"),
            Extent::Whole,
        ),
        (list(&["ann", "bob"]), target("ann"), Extent::Part),
        (list(&["ann"]), target("ann"), Extent::Whole),
        (list(&["bob"]), target("ann"), Extent::None),
        (
            enrollments(EnrollmentsTarget::All),
            target("seq"),
            Extent::None,
        ),
    ] {
        assert_eq!(command.extent(&whose), extent, "{command:?} {whose:?}");
    }
    assert!(Whose::text("abc").is_err());
}

#[test]
fn what_is_left_of_a_command_has_nothing_of_theirs_and_its_digest_is_known_again() {
    let key = DigestKey::new([7; 32]);
    let sent = subscription("sub-1", "for Ann, ann@example.com");
    let left = sent.erased(&target("sub-1"), Extent::Whole, &key);
    let json = serde_json::to_string(&left).unwrap();
    for theirs in ["sub-1", "Ann", "example"] {
        assert!(!json.contains(theirs), "{json}");
    }
    // The same whatever was taken out before, and not for another command.
    let digest = sent.digest(&key);
    let Command::Subscription(mut same) = sent.clone() else {
        panic!("{sent:?}");
    };
    same.prorate = Some(false);
    assert_eq!(Command::Subscription(same).digest(&key), digest);
    assert_eq!(sent.without_emails(&key).unwrap().digest(&key), digest);
    assert_eq!(sent.without_comments(&key).unwrap().digest(&key), digest);
    assert_ne!(
        subscription("sub-2", "for Ann, ann@example.com").digest(&key),
        digest
    );

    let left = list(&["ann", "bob"]).erased(&target("ann"), Extent::Part, &key);
    let json = serde_json::to_string(&left).unwrap();
    assert!(!json.contains("ann") && json.contains("bob"), "{json}");
    assert_eq!(left.extent(&target("ann")), Extent::None);
}

#[test]
fn an_outcome_keeps_how_it_ended_and_what_is_others() {
    let row = |id: &str| Enrollment {
        enrollment_id: format!("e-{id}"),
        subscriber_id: id.to_owned(),
        subscriber_email: format!("{id}@example.com"),
        ..Enrollment::default()
    };
    let detail = Detail::Enrollments(EnrollmentsDetail {
        matched: 2,
        canceled: 2,
        enrollments: vec![row("ann"), row("bob")],
        ..EnrollmentsDetail::default()
    });
    let mut conclusion = Conclusion::success(Outcome::Canceled, detail);
    conclusion.answer = Some(ProviderResponse::from_text(r#"{"ids":["ann","bob"]}"#));
    let whose = target("ann");
    assert_eq!(conclusion.extent(&target("eve")), Extent::None);
    assert_eq!(conclusion.extent(&whose), Extent::Part);
    conclusion.erase(&whose, Extent::Part, false);
    let json = serde_json::to_string(&conclusion).unwrap();
    assert!(!json.contains("ann") && json.contains("bob"), "{json}");
    assert!(json.contains(r#""matched":2,"canceled":2"#), "{json}");

    let state = SubscriptionState {
        customer_id: Some("cus-1".to_owned()),
        cancellation_id: Some("can-1".to_owned()),
        provider_reason: Some("Ann said so".to_owned()),
        ..SubscriptionState::default()
    };
    let detail = Detail::Subscription(SubscriptionDetail {
        effective_at: Some(jiff::Timestamp::UNIX_EPOCH),
        state: Some(state),
        charges: None,
    });
    let mut conclusion = Conclusion::success(Outcome::Canceled, detail);
    assert_eq!(conclusion.extent(&target("cus-1")), Extent::Whole);
    conclusion.erase(&target("cus-1"), Extent::Whole, true);
    let json = serde_json::to_string(&conclusion).unwrap();
    assert!(!json.contains("-1") && !json.contains("Ann"), "{json}");
    assert!(
        json.contains("1970-01-01") && conclusion.is_final(),
        "{json}"
    );
}
