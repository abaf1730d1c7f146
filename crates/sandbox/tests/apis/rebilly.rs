//! Rebilly as its pages describe it.

use cancelot_sandbox::{
    Provider, Standing, Variants,
    variants::{
        RebillyAlready, RebillyImmediate, RebillyMedia, RebillyPutCompleted, RebillyUnknown,
        RebillyVariants,
    },
};

use super::client::{Answer, Client, at, reading};

const PATH: &str = "/organizations/acme/subscription-cancellations";

fn rebilly() -> Client {
    at(Provider::Rebilly)
}

fn reads(rebilly: RebillyVariants) -> Client {
    reading(
        Provider::Rebilly,
        Variants {
            rebilly,
            ..Variants::default()
        },
    )
}

#[track_caller]
fn invalid(answer: &Answer, field: &str) {
    let body = answer.expect(422);
    let fields = body["invalidFields"].as_array().unwrap();
    assert!(
        fields
            .iter()
            .any(|one| one["field"] == field && one["message"].is_string()),
        "{body}"
    );
}

#[tokio::test]
async fn a_bare_subscription_id_cancels_at_once_with_the_documented_defaults() {
    let client = rebilly();

    let answer = client.post(PATH, r#"{"subscriptionId":"sub_1"}"#).await;

    let body = answer.expect(201);
    assert_eq!(body["status"], "completed");
    assert_eq!(body["canceledBy"], "customer");
    assert_eq!(body["reason"], "other");
    assert_eq!(body["prorated"], false);
    assert!(body["churnTime"].is_string() && body["canceledTime"].is_string());
    assert!(answer.header("x-ratelimit-limit").is_some());
    assert!(answer.header("x-ratelimit-remaining").is_some());
    let id = body["id"].as_str().unwrap();
    let location = format!("http://sandbox/rebilly{PATH}/{id}");
    assert_eq!(answer.header("location"), Some(location.as_str()));
    let order = client
        .get("/organizations/acme/subscriptions/sub_1")
        .await
        .expect(200);
    assert_eq!(order["status"], "churned");
    assert_eq!(client.control().effects(Provider::Rebilly)["sub_1"], 1);
}

#[tokio::test]
async fn at_next_renewal_is_confirmed_until_the_period_ends() {
    let client = rebilly();
    let put = format!("{PATH}/c-1");

    let sent = r#"{"subscriptionId":"sub_1","churnTimePolicy":"at-next-renewal",
                   "churnTime":"2001-01-01T00:00:00Z","canceledBy":"merchant"}"#;
    let body = client.put(&put, sent).await.expect(201);
    assert_eq!(body["status"], "confirmed", "the policy wins over the time");
    assert_eq!(body["id"], "c-1");
    let order = client.get("/subscriptions/sub_1").await.expect(200);
    assert_eq!(order["status"], "canceled");
    assert_eq!(order["churnTime"], order["renewalTime"]);
    assert_eq!(order["canceledBy"], "merchant");

    client.control().advance(21 * 24 * 60 * 60 * 1_000);
    assert_eq!(client.get(&put).await.expect(200)["status"], "completed");
    assert_eq!(
        client.get("/subscriptions/sub_1").await.expect(200)["status"],
        "churned"
    );
    assert_eq!(client.effects(), 1);
}

#[tokio::test]
async fn a_repeated_put_is_no_second_effect_but_another_cancellation_may_be() {
    let client = reads(RebillyVariants {
        already: RebillyAlready::AcceptsAnother,
        ..RebillyVariants::default()
    });
    let sent = r#"{"subscriptionId":"sub_1","churnTimePolicy":"at-next-renewal"}"#;

    client.put(&format!("{PATH}/c-1"), sent).await.expect(201);
    client.put(&format!("{PATH}/c-1"), sent).await.expect(200);
    assert_eq!(client.effects(), 1);

    client.post(PATH, sent).await.expect(201);
    assert_eq!(client.effects(), 2);
}

#[tokio::test]
async fn a_draft_previews_and_is_confirmed_by_put_or_deleted() {
    let client = rebilly();
    let draft = r#"{"subscriptionId":"sub_1","status":"draft","prorated":true,"lineItems":[
        {"type":"debit","unitPriceAmount":49.95,"unitPriceCurrency":"USD","quantity":2},
        {"type":"credit","unitPriceAmount":10,"unitPriceCurrency":"USD","quantity":1}]}"#;

    let body = client.put(&format!("{PATH}/c-1"), draft).await.expect(201);
    assert_eq!(body["status"], "draft");
    assert_eq!(body["lineItemSubtotal"]["amount"].to_string(), "89.9");
    assert!(body["proratedInvoiceId"].is_string());
    let tally = client.control().tallies(Provider::Rebilly)["sub_1"];
    assert_eq!((tally.effects, tally.drafts, tally.drafts_open), (0, 1, 1));

    let gone = client
        .send("DELETE", &format!("{PATH}/c-1"), "")
        .await
        .unwrap();
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    client.get(&format!("{PATH}/c-1")).await.expect(404);

    client.put(&format!("{PATH}/c-2"), draft).await.expect(201);
    let confirmed = r#"{"subscriptionId":"sub_1"}"#;
    let body = client
        .put(&format!("{PATH}/c-2"), confirmed)
        .await
        .expect(200);
    assert_eq!(body["status"], "completed");
    let tally = client.control().tallies(Provider::Rebilly)["sub_1"];
    assert_eq!((tally.effects, tally.drafts, tally.drafts_open), (1, 2, 0));
    client
        .send("DELETE", &format!("{PATH}/c-2"), "")
        .await
        .unwrap()
        .expect(409);
}

#[tokio::test]
async fn a_confirmed_cancellation_can_be_revoked() {
    let client = rebilly();
    let path = format!("{PATH}/c-1");
    let sent = r#"{"subscriptionId":"sub_1","churnTimePolicy":"at-next-renewal"}"#;
    client.put(&path, sent).await.expect(201);

    let revoke = r#"{"subscriptionId":"sub_1","status":"revoked"}"#;
    assert_eq!(
        client.put(&path, revoke).await.expect(200)["status"],
        "revoked"
    );
    assert_eq!(
        client.get("/subscriptions/sub_1").await.expect(200)["status"],
        "active"
    );
}

#[tokio::test]
async fn every_documented_field_is_checked() {
    let client = rebilly();
    let long = "x".repeat(256);
    let cases = [
        ("subscriptionId", r#"{}"#.to_owned()),
        (
            "subscriptionId",
            format!(r#"{{"subscriptionId":"{}"}}"#, &long[..51]),
        ),
        (
            "canceledBy",
            r#"{"subscriptionId":"s","canceledBy":"me"}"#.to_owned(),
        ),
        (
            "reason",
            r#"{"subscriptionId":"s","reason":"because"}"#.to_owned(),
        ),
        (
            "description",
            format!(r#"{{"subscriptionId":"s","description":"{long}"}}"#),
        ),
        (
            "prorated",
            r#"{"subscriptionId":"s","prorated":"yes"}"#.to_owned(),
        ),
        (
            "status",
            r#"{"subscriptionId":"s","status":"completed"}"#.to_owned(),
        ),
        (
            "status",
            r#"{"subscriptionId":"s","status":"revoked"}"#.to_owned(),
        ),
        (
            "churnTime",
            r#"{"subscriptionId":"s","churnTime":"soon"}"#.to_owned(),
        ),
        (
            "churnTimePolicy",
            r#"{"subscriptionId":"s","churnTimePolicy":"later"}"#.to_owned(),
        ),
        (
            "lineItems",
            r#"{"subscriptionId":"s","lineItems":{}}"#.to_owned(),
        ),
        (
            "lineItems.0.quantity",
            r#"{"subscriptionId":"s","lineItems":[{}]}"#.to_owned(),
        ),
        (
            "lineItems.1.unitPriceAmount",
            r#"{"subscriptionId":"s","lineItems":[
                {"type":"debit","unitPriceAmount":1,"unitPriceCurrency":"USD","quantity":1},
                {"type":"debit","unitPriceAmount":"1","unitPriceCurrency":"USD","quantity":1}]}"#
                .to_owned(),
        ),
        ("", "not json".to_owned()),
    ];
    for (field, body) in cases {
        invalid(&client.post(PATH, &body).await, field);
    }
    let ignored = r#"{"subscriptionId":"s1","id":"mine","churnTimePolicy":"null"}"#;
    assert_ne!(client.post(PATH, ignored).await.expect(201)["id"], "mine");
    assert_eq!(client.effects(), 1);
    invalid(
        &client
            .put(&format!("{PATH}/not%20valid"), r#"{"subscriptionId":"s"}"#)
            .await,
        "id",
    );
}

#[tokio::test]
async fn ids_choose_the_state() {
    let client = rebilly();
    for (id, status) in [
        ("sub_1", "active"),
        ("sub_paused", "paused"),
        ("sub_pending", "pending"),
        ("sub_scheduled", "canceled"),
        ("sub_canceled", "churned"),
        ("sub_expired", "completed"),
    ] {
        let order = client
            .get(&format!("/subscriptions/{id}"))
            .await
            .expect(200);
        assert_eq!(order["status"], status, "{id}");
    }
    client.get("/subscriptions/sub_missing").await.expect(404);
    for id in [
        "sub_pending",
        "sub_expired",
        "sub_scheduled",
        "sub_canceled",
        "sub_missing",
    ] {
        client
            .post(PATH, &format!(r#"{{"subscriptionId":"{id}"}}"#))
            .await
            .expect(422);
    }
    assert_eq!(client.effects(), 0);
}

#[tokio::test]
async fn open_questions_are_read_as_chosen() {
    let default = RebillyVariants::default();
    let canceled = r#"{"subscriptionId":"sub_canceled"}"#;
    let client = reads(RebillyVariants {
        already: RebillyAlready::Conflict,
        ..default
    });
    client.post(PATH, canceled).await.expect(409);

    let client = reads(RebillyVariants {
        unknown: RebillyUnknown::NotFound,
        ..default
    });
    client
        .post(PATH, r#"{"subscriptionId":"sub_missing"}"#)
        .await
        .expect(404);

    let client = reads(RebillyVariants {
        media: RebillyMedia::ProblemJson,
        ..default
    });
    let answer = client.post(PATH, canceled).await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );

    let client = reads(RebillyVariants {
        immediate: RebillyImmediate::Confirmed,
        ..default
    });
    let path = format!("{PATH}/c-1");
    let sent = r#"{"subscriptionId":"sub_1","churnTimePolicy":"now"}"#;
    assert_eq!(
        client.put(&path, sent).await.expect(201)["status"],
        "confirmed"
    );
    assert_eq!(client.get(&path).await.expect(200)["status"], "completed");

    for (reading, status) in [
        (RebillyPutCompleted::Ok, 200),
        (RebillyPutCompleted::Conflict, 409),
        (RebillyPutCompleted::Unprocessable, 422),
    ] {
        let client = reads(RebillyVariants {
            put_completed: reading,
            ..default
        });
        client.put(&path, sent).await.expect(201);
        client.put(&path, sent).await.expect(status);
        assert_eq!(client.effects(), 1);
    }
}

#[tokio::test]
async fn cancellations_are_listed_by_filter() {
    let client = rebilly();
    for id in ["a", "b", "c"] {
        let body = format!(r#"{{"subscriptionId":"{id}","reason":"too-expensive"}}"#);
        client
            .put(&format!("{PATH}/c-{id}"), &body)
            .await
            .expect(201);
    }

    let answer = client
        .get(&format!(
            "{PATH}?filter=subscriptionId:a,b&limit=1&offset=1"
        ))
        .await;

    let body = answer.expect(200);
    assert_eq!(body.as_array().unwrap().len(), 1);
    assert_eq!(body[0]["id"], "c-b");
    assert_eq!(answer.header("pagination-total"), Some("2"));
    let none = client
        .get(&format!("{PATH}?filter=reason:other;status:completed"))
        .await;
    assert_eq!(none.body, "[]");
}

#[tokio::test]
async fn problems_answer_credentials_routes_and_methods() {
    let bearer = rebilly().with("Authorization", "Bearer a.b.c");
    bearer.get("/subscriptions/sub_1").await.expect(200);
    let none = rebilly().with("X-Nothing", "");
    let problem = none.get("/subscriptions/sub_1").await.expect(401);
    assert_eq!(
        (&problem["status"], &problem["title"]),
        (&401.into(), &"Unauthorized".into())
    );
    assert_eq!(problem["type"], "about:blank");
    rebilly()
        .with("REB-APIKEY", "invalid")
        .get("/subscriptions/s")
        .await
        .expect(401);
    rebilly()
        .with("REB-APIKEY", "forbidden")
        .get("/subscriptions/s")
        .await
        .expect(403);
    let client = rebilly();
    client.get("/nowhere").await.expect(404);
    let answer = client.patch(PATH, "{}").await;
    answer.expect(405);
    assert_eq!(answer.header("allow"), Some("GET, POST"));
}

#[tokio::test]
async fn a_seed_sets_the_state_by_hand() {
    let client = rebilly();
    let seed = cancelot_sandbox::Seed {
        standing: Standing::Paused,
        ..Default::default()
    };
    client.control().create(Provider::Rebilly, "sub_1", &seed);

    let order = client.get("/subscriptions/sub_1").await.expect(200);

    assert_eq!(order["status"], "paused");
}
