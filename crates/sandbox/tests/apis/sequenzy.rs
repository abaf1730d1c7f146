//! Sequenzy as its pages describe it.

use cancelot_sandbox::{
    EnrollmentSeed, EnrollmentStatus, Provider, SequenceSeed, Variants,
    variants::{
        SequenzyErrors, SequenzyRemaining, SequenzyTargets, SequenzyUnknownSubscriber,
        SequenzyVariants,
    },
};
use serde_json::Value;

use super::client::{Client, at, reading};

const CANCEL: &str = "/sequences/seq_1/enrollments/cancel";
const LIST: &str = "/sequences/seq_1/enrollments";

fn sequenzy() -> Client {
    at(Provider::Sequenzy)
}

fn reads(sequenzy: SequenzyVariants) -> Client {
    reading(
        Provider::Sequenzy,
        Variants {
            sequenzy,
            ..Variants::default()
        },
    )
}

#[track_caller]
fn counts(body: &Value) -> (u64, u64, u64) {
    let count = |name: &str| body[name].as_u64().unwrap();
    (
        count("matchedCount"),
        count("cancelledCount"),
        count("remainingCount"),
    )
}

#[tokio::test]
async fn one_subscriber_is_cancelled_at_once() {
    let client = sequenzy();

    let sent = r#"{"subscriberId":"sub_1","reason":"Order cancelled"}"#;
    let body = client.post(CANCEL, sent).await.expect(200);

    assert_eq!(counts(&body), (3, 3, 0));
    assert_eq!(
        (&body["success"], &body["dryRun"]),
        (&true.into(), &false.into())
    );
    assert_eq!(body["sequenceId"], "seq_1");
    assert_eq!(body["message"], "Cancelled 3 sequence enrollments.");
    assert_eq!(body["target"]["mode"], "subscriber");
    let row = &body["enrollments"][0];
    assert_eq!(
        (&row["status"], &row["subscriberId"]),
        (&"cancelled".into(), &"sub_1".into())
    );
    assert!(row["tokenId"].is_string() && row["enrollmentKey"].is_string());
    let again = client.post(CANCEL, sent).await.expect(200);
    assert_eq!(counts(&again), (0, 0, 0));
    let effects = client.control().effects(Provider::Sequenzy);
    assert_eq!(effects.values().copied().collect::<Vec<_>>(), [1, 1, 1]);
    let views = client.control().sequence("seq_1").unwrap();
    assert!(
        views
            .iter()
            .any(|view| view.reason.as_deref() == Some("Order cancelled"))
    );
}

#[tokio::test]
async fn wider_targets_are_dry_runs_unless_told_otherwise() {
    let client = sequenzy();
    for (target, mode) in [
        (
            r#""fieldPath":"order.id","fieldValues":["ord_123"]"#,
            "field",
        ),
        (r#""fieldValues":["ord_456"]"#, "field"),
        (r#""subscriberIds":["sub_1","sub_2"]"#, "subscribers"),
        (r#""cancelAll":true"#, "all"),
    ] {
        let body = client
            .post(CANCEL, &format!("{{{target}}}"))
            .await
            .expect(200);
        assert_eq!(
            (&body["dryRun"], &body["cancelledCount"]),
            (&true.into(), &0.into())
        );
        assert_eq!(body["target"]["mode"], mode);
        assert!(body["matchedCount"].as_u64().unwrap() > 0, "{target}");
        assert_eq!(body["enrollments"][0]["status"], "active");
    }
    assert_eq!(client.effects(), 0);

    let sent = r#"{"fieldPath":"order.id","fieldValues":["ord_123","ord_456"],"dryRun":false}"#;
    let body = client.post(CANCEL, sent).await.expect(200);
    let (matched, cancelled, remaining) = counts(&body);
    assert!((2..=4).contains(&matched) && cancelled == matched && remaining == 0);
    let key = body["enrollments"][0]["enrollmentKey"].as_str().unwrap();
    assert!(
        key.starts_with("event:ecommerce.order_placed:field:order.id:ord_"),
        "{key}"
    );
}

#[tokio::test]
async fn a_call_cancels_a_thousand_and_shows_fifty() {
    let client = sequenzy();
    let path = "/sequences/seq_drain_3522/enrollments/cancel";
    let sent = r#"{"cancelAll":true,"dryRun":false}"#;
    for (matched, cancelled, remaining) in [
        (3522, 1000, 2522),
        (2522, 1000, 1522),
        (1522, 1000, 522),
        (522, 522, 0),
        (0, 0, 0),
    ] {
        let body = client.post(path, sent).await.expect(200);
        assert_eq!(counts(&body), (matched, cancelled, remaining));
        let shown = u64::try_from(body["enrollments"].as_array().unwrap().len()).unwrap();
        assert_eq!(shown, matched.min(50));
        assert_eq!(body["hasMore"], matched > 50);
    }
    assert_eq!(client.effects(), 3522);
}

#[tokio::test]
async fn exactly_one_target_is_required() {
    let client = sequenzy();
    for body in [
        "{}",
        r#"{"subscriberId":"s","fieldValues":["v"]}"#,
        r#"{"subscriberId":"s","cancelAll":true}"#,
        r#"{"cancelAll":false}"#,
        r#"{"fieldValues":[]}"#,
        r#"{"subscriberIds":[1,{}]}"#,
        "nonsense",
    ] {
        assert!(client.post(CANCEL, body).await.expect(400)["error"].is_string());
    }
    let ids: Vec<_> = (0..501).map(|n| format!("s{n}")).collect();
    let many = serde_json::json!({"subscriberIds": ids}).to_string();
    client.post(CANCEL, &many).await.expect(400);
    let path = "/sequences/seq_nopath/enrollments/cancel";
    client
        .post(path, r#"{"fieldValues":["v"]}"#)
        .await
        .expect(400);

    let two = SequenzyTargets::Two;
    let client = reads(SequenzyVariants {
        targets: two,
        ..Default::default()
    });
    let body = client
        .post(CANCEL, r#"{"cancelAll":true}"#)
        .await
        .expect(400);
    assert_eq!(
        body["error"],
        "Provide exactly one target: subscriberId or fieldValues."
    );
}

#[tokio::test]
async fn unknown_ones_are_reported_as_chosen() {
    let client = sequenzy();
    let one = r#"{"subscriberId":"sub_missing"}"#;
    client.post(CANCEL, one).await.expect(404);
    let many = r#"{"subscriberIds":["sub_missing","sub_1"],"dryRun":false}"#;
    let body = client.post(CANCEL, many).await.expect(200);
    assert_eq!(
        body["target"]["notFoundSubscriberIds"],
        serde_json::json!(["sub_missing"])
    );
    assert_eq!(body["cancelledCount"], 3);
    let missing = "/sequences/seq_missing/enrollments/cancel";
    assert_eq!(
        client.post(missing, one).await.expect(404)["error"],
        "Sequence not found"
    );

    let nothing = SequenzyUnknownSubscriber::NothingMatched;
    let client = reads(SequenzyVariants {
        unknown_subscriber: nothing,
        ..Default::default()
    });
    let body = client.post(CANCEL, one).await.expect(200);
    assert_eq!(counts(&body), (0, 0, 0));
}

#[tokio::test]
async fn an_older_server_sends_no_remaining_count() {
    let absent = SequenzyRemaining::Absent;
    let client = reads(SequenzyVariants {
        remaining: absent,
        ..Default::default()
    });
    let body = client
        .post(CANCEL, r#"{"subscriberId":"sub_1"}"#)
        .await
        .expect(200);
    assert_eq!(
        (body.get("remainingCount"), body.get("target")),
        (None, None)
    );
}

#[tokio::test]
async fn errors_may_be_rich() {
    let client = reads(SequenzyVariants {
        errors: SequenzyErrors::Rich,
        ..Default::default()
    });
    let body = client.post(CANCEL, "{}").await.expect(400);
    assert_eq!(body["success"], false);
    for field in [
        "code",
        "error",
        "title",
        "description",
        "resolution",
        "docsUrl",
    ] {
        assert!(body[field].is_string(), "{field}");
    }
}

#[tokio::test]
async fn lists_show_open_ones_and_are_paged() {
    let client = sequenzy();
    client
        .post(CANCEL, r#"{"subscriberId":"sub_1"}"#)
        .await
        .expect(200);

    let open = client.get(LIST).await.expect(200);
    assert_eq!(
        open["pagination"]["total"], 3,
        "those the sequence was born with"
    );
    let path = format!("{LIST}?subscriberId=sub_1&status=cancelled,failed&limit=2&offset=1");
    let cancelled = client.get(&path).await.expect(200);
    assert_eq!(cancelled["enrollments"].as_array().unwrap().len(), 2);
    assert_eq!(cancelled["pagination"]["hasMore"], false);
    let row = &cancelled["enrollments"][0];
    assert!(row["enrollmentId"].is_string() && row["lastUpdatedAt"].is_string());
    let drained = "/sequences/seq_drain_600/enrollments?limit=9999";
    let page = client.get(drained).await.expect(200);
    assert_eq!(
        (&page["pagination"]["limit"], &page["pagination"]["hasMore"]),
        (&500.into(), &true.into())
    );
}

#[tokio::test]
async fn a_sequence_can_be_created_by_hand() {
    let client = sequenzy();
    let enrollment = |subscriber: &str, status, order: &str| EnrollmentSeed {
        subscriber_id: subscriber.to_owned(),
        status,
        properties: [("order.id".to_owned(), order.to_owned())].into(),
    };
    let enrollments = vec![
        enrollment("a", EnrollmentStatus::Active, "ord_1"),
        enrollment("b", EnrollmentStatus::Waiting, "ord_1"),
        enrollment("c", EnrollmentStatus::Completed, "ord_1"),
        enrollment("d", EnrollmentStatus::Active, "ord_2"),
    ];
    let field_path = Some("order.id".to_owned());
    let seed = SequenceSeed {
        field_path,
        enrollments,
        auto_create: false,
    };
    client.control().create_sequence("seq_1", &seed);

    let sent = r#"{"fieldValues":["ord_1","ord_3"],"dryRun":false}"#;
    assert_eq!(
        counts(&client.post(CANCEL, sent).await.expect(200)),
        (2, 2, 0)
    );
    let other_path = r#"{"fieldPath":"event.id","fieldValues":["ord_2"]}"#;
    assert_eq!(
        counts(&client.post(CANCEL, other_path).await.expect(200)),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn errors_answer_credentials_routes_and_methods() {
    let sent = r#"{"subscriberId":"sub_1"}"#;
    let bad = sequenzy().with("Authorization", "Bearer invalid");
    assert_eq!(
        bad.post(CANCEL, sent).await.expect(401)["error"],
        "Invalid API key"
    );
    sequenzy()
        .with("X-API-Key", "seq_live_1")
        .post(CANCEL, sent)
        .await
        .expect(401);
    let forbidden = sequenzy().with("Authorization", "Bearer forbidden");
    let text = "No companies found. Create a company first using the create_company tool.";
    assert_eq!(
        forbidden.post(CANCEL, sent).await.expect(403)["error"],
        text
    );
    sequenzy()
        .with("Authorization", "Bearer unscoped")
        .post(CANCEL, sent)
        .await
        .expect(403);
    let several = sequenzy().with("Authorization", "Bearer seq_user_multicompany");
    several.post(CANCEL, sent).await.expect(403);
    let company = [("x-company-id", "com_1")];
    several
        .send_with("POST", CANCEL, &company, sent)
        .await
        .unwrap()
        .expect(200);
    let client = sequenzy();
    client.get("/nowhere").await.expect(404);
    client.get(CANCEL).await.expect(405);
}

#[tokio::test]
async fn a_list_can_be_asked_for_several_subscribers_and_statuses_a_page_at_a_time() {
    let client = at(Provider::Sequenzy);
    let cancel = r#"{"subscriberIds":["a","b"],"dryRun":false}"#;
    let path = "/sequences/q/enrollments/cancel";
    let before = client.control().now();
    client.post(path, cancel).await.expect(200);
    client
        .post(path, r#"{"subscriberId":"c","dryRun":true}"#)
        .await
        .expect(200);

    let pages = "/sequences/q/enrollments?subscriberId=a,b%2Cc&status=cancelled,failed&limit=4";
    let first = client.get(pages).await.expect(200);
    let rest = client.get(&format!("{pages}&offset=4")).await.expect(200);

    assert_eq!(first["pagination"]["total"], 6);
    assert_eq!(first["pagination"]["hasMore"], true);
    assert_eq!(rest["pagination"]["hasMore"], false);
    let rows = |page: &Value| page["enrollments"].as_array().unwrap().clone();
    let all = [rows(&first), rows(&rest)].concat();
    assert_eq!(all.len(), 6);
    for row in all {
        let at: jiff::Timestamp = row["lastUpdatedAt"].as_str().unwrap().parse().unwrap();
        assert!(at.as_second() >= before.as_second(), "{row}");
        assert_eq!(row["status"], "cancelled");
    }
}
