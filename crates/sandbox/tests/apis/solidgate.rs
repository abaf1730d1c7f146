//! Solidgate as its pages describe it.

use cancelot_sandbox::{
    Provider, Variants,
    variants::{SolidgateIdempotency, SolidgateNowWhileScheduled, SolidgateVariants},
};
use serde_json::Value;

use super::client::{Answer, Client, at, reading};

const CANCEL: &str = "/v2/subscriptions/cancel";
const GET: &str = "/v2/subscriptions/get";
const NOW: &str = r#"{"id":"subs_1","mode":"NOW","comment":"Customer asked"}"#;
const PERIOD_END: &str = r#"{"id":"subs_1","mode":"PERIOD_END"}"#;

fn solidgate() -> Client {
    at(Provider::Solidgate)
}

fn reads(solidgate: SolidgateVariants) -> Client {
    reading(
        Provider::Solidgate,
        Variants {
            solidgate,
            ..Variants::default()
        },
    )
}

async fn keyed(client: &Client, key: &str, body: &str) -> Answer {
    client
        .send_with("POST", CANCEL, &[("Idempotency-Key", key)], body)
        .await
        .unwrap()
}

#[tokio::test]
async fn now_ends_it_and_the_reply_has_every_required_field() {
    let client = solidgate();

    let body = client.post(CANCEL, NOW).await.expect(200);

    assert_eq!(body["status"], "CANCELLED");
    for field in [
        "id",
        "currency",
        "line_items",
        "created_at",
        "updated_at",
        "customer_id",
    ] {
        assert!(!body[field].is_null(), "{field}");
    }
    let item = &body["line_items"][0];
    for field in [
        "id",
        "billing_type",
        "amount",
        "quantity",
        "product_info",
        "product_price_id",
    ] {
        assert!(!item[field].is_null(), "{field}");
    }
    let info = &body["cancellation_info"];
    assert_eq!(info["reason"], "CANCELLATION_REQUESTED");
    assert_eq!(info["comment"], "Customer asked");
    assert_eq!(info["cancel_at"], info["requested_at"]);
    let stamp = info["cancel_at"].as_str().unwrap();
    assert!(
        stamp.len() == 27 && stamp.ends_with('Z'),
        "microseconds: {stamp}"
    );
    assert_eq!(body.get("next_billing_at"), None);
    assert_eq!(
        client.post(GET, r#"{"id":"subs_1"}"#).await.expect(200),
        body
    );
    assert_eq!(client.effects(), 1);
}

#[tokio::test]
async fn period_end_keeps_the_status_and_shows_when_it_ends() {
    let client = solidgate();

    let body = client.post(CANCEL, PERIOD_END).await.expect(200);

    assert_eq!(body["status"], "ACTIVE");
    assert_eq!(
        body["cancellation_info"]["cancel_at"],
        body["line_items"][0]["period"]["end_at"]
    );
    let again = client.post(CANCEL, PERIOD_END).await.expect(422);
    assert_eq!(again["code"], "SCHEDULED_FOR_CANCELLATION");
    client.control().advance(21 * 24 * 60 * 60 * 1_000);
    let later = client.post(GET, r#"{"id":"subs_1"}"#).await.expect(200);
    assert_eq!(later["status"], "CANCELLED");
    assert_eq!(client.effects(), 1);
}

#[tokio::test]
async fn now_while_scheduled_is_read_both_ways() {
    let client = solidgate();
    client.post(CANCEL, PERIOD_END).await.expect(200);
    assert_eq!(
        client.post(CANCEL, NOW).await.expect(200)["status"],
        "CANCELLED"
    );
    assert_eq!(client.effects(), 2);
    assert_eq!(
        client.post(CANCEL, NOW).await.expect(422)["code"],
        "INCOMPATIBLE_STATUS"
    );

    let refused = SolidgateNowWhileScheduled::Refused;
    let client = reads(SolidgateVariants {
        now_while_scheduled: refused,
        ..Default::default()
    });
    client.post(CANCEL, PERIOD_END).await.expect(200);
    assert_eq!(
        client.post(CANCEL, NOW).await.expect(422)["code"],
        "SCHEDULED_FOR_CANCELLATION"
    );
}

#[tokio::test]
async fn ids_choose_the_status() {
    let client = solidgate();
    for (id, status, cancels) in [
        ("subs_1", "ACTIVE", 200),
        ("subs_paused", "PAUSED", 200),
        ("subs_trialing", "TRIALING", 200),
        ("subs_unpaid", "UNPAID", 200),
        ("subs_redemption", "REDEMPTION", 200),
        ("subs_pending", "PENDING", 422),
        ("subs_canceled", "CANCELLED", 422),
        ("subs_expired", "EXPIRED", 422),
    ] {
        let body = format!(r#"{{"id":"{id}","mode":"PERIOD_END"}}"#);
        assert_eq!(
            client.post(GET, &body).await.expect(200)["status"],
            status,
            "{id}"
        );
        client.post(CANCEL, &body).await.expect(cancels);
    }
    let missing = r#"{"id":"subs_missing","mode":"NOW"}"#;
    assert_eq!(
        client.post(CANCEL, missing).await.expect(404)["code"],
        "NOT_FOUND"
    );
    assert_eq!(
        client.post(GET, missing).await.expect(404)["code"],
        "NOT_FOUND"
    );
}

#[tokio::test]
async fn the_same_key_replays_the_first_answer() {
    let client = solidgate();

    let first = keyed(&client, "key-1", PERIOD_END).await;
    client.post(CANCEL, NOW).await.expect(200);
    let replay = keyed(&client, "key-1", PERIOD_END).await;

    assert_eq!(first.expect(200)["status"], "ACTIVE");
    assert_eq!(replay.body, first.body);
    assert_eq!(client.effects(), 2);
    keyed(&client, "key-1", NOW).await.expect(422);
    for bad in ["a b", "", &"k".repeat(256), "schlüssel"] {
        assert_eq!(
            keyed(&client, bad, NOW).await.expect(400)["code"],
            "VALIDATION",
            "{bad}"
        );
    }
    let refused = keyed(&client, "key-2", NOW).await;
    assert_eq!(refused.expect(422)["code"], "INCOMPATIBLE_STATUS");
    assert_eq!(keyed(&client, "key-2", NOW).await.body, refused.body);
}

#[tokio::test]
async fn an_endpoint_without_idempotency_says_so_and_executes_again() {
    let ignored = SolidgateIdempotency::Ignored;
    let client = reads(SolidgateVariants {
        idempotency: ignored,
        ..Default::default()
    });

    let first = keyed(&client, "key-1", PERIOD_END).await;
    let second = keyed(&client, "key-1", PERIOD_END).await;

    assert_eq!(first.header("idempotency-status"), Some("ignored"));
    first.expect(200);
    assert_eq!(second.expect(422)["code"], "SCHEDULED_FOR_CANCELLATION");
}

#[tokio::test]
async fn violations_are_keyed_by_field() {
    let client = solidgate();
    for (field, body) in [
        ("id", r#"{"mode":"NOW"}"#),
        ("id", r#"{"id":7,"mode":"NOW"}"#),
        ("mode", r#"{"id":"subs_1"}"#),
        ("mode", r#"{"id":"subs_1","mode":"LATER"}"#),
        ("comment", r#"{"id":"subs_1","mode":"NOW","comment":1}"#),
        ("body", "[]"),
    ] {
        let answer = client.post(CANCEL, body).await.expect(400);
        assert_eq!(answer["code"], "VALIDATION");
        let constraint = &answer["context"]["constraints"][field];
        assert!(
            constraint["type"].is_string() && constraint["message"].is_string(),
            "{answer}"
        );
    }
    let client = solidgate().with("Authorization", "Bearer asec_multichannel");
    let answer = client.post(CANCEL, NOW).await.expect(400);
    assert_ne!(answer["context"]["constraints"]["channel_id"], Value::Null);
    client
        .post(
            CANCEL,
            r#"{"id":"subs_1","mode":"NOW","channel_id":"chn_1"}"#,
        )
        .await
        .expect(200);
}

#[tokio::test]
async fn codes_answer_credentials_routes_and_methods() {
    let bad = solidgate().with("Authorization", "Bearer invalid");
    assert_eq!(
        bad.post(CANCEL, NOW).await.expect(401)["code"],
        "UNAUTHENTICATED"
    );
    let none = solidgate().with("X-Nothing", "");
    assert_eq!(
        none.post(CANCEL, NOW).await.expect(401)["code"],
        "UNAUTHENTICATED"
    );
    let weak = solidgate().with("Authorization", "Bearer forbidden");
    assert_eq!(
        weak.post(CANCEL, NOW).await.expect(403)["code"],
        "PERMISSION_DENIED"
    );
    let client = solidgate();
    client.post("/subscriptions/cancel", NOW).await.expect(404);
    client.get(CANCEL).await.expect(405);
}
