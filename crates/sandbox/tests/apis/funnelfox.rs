//! FunnelFox as its pages describe it.

use cancelot_sandbox::{
    Provider, Variants,
    variants::{FunnelFoxAlready, FunnelFoxSuccess, FunnelFoxVariants},
};

use super::client::{Client, at, reading};

const CANCEL: &str = "/subscriptions/s1/cancel";
const REQUIRED: [&str; 18] = [
    "id",
    "psp_id",
    "status",
    "profile",
    "funnel",
    "funnel_version",
    "billing_interval",
    "billing_interval_count",
    "price",
    "currency",
    "price_usd",
    "payment_provider",
    "created_at",
    "updated_at",
    "period_starts_at",
    "renews",
    "sandbox",
    "session",
];

fn funnelfox() -> Client {
    at(Provider::FunnelFox)
}

fn reads(funnelfox: FunnelFoxVariants) -> Client {
    reading(
        Provider::FunnelFox,
        Variants {
            funnelfox,
            ..Variants::default()
        },
    )
}

#[tokio::test]
async fn cancel_stops_renewal_and_returns_every_required_field() {
    let client = funnelfox();

    let body = client
        .post(CANCEL, r#"{"reason":"Customer asked"}"#)
        .await
        .expect(200);

    for field in REQUIRED {
        assert!(!body[field].is_null(), "{field}");
    }
    assert_eq!(
        (&body["status"], &body["renews"]),
        (&"cancelled".into(), &false.into())
    );
    assert_eq!(body["cancellation_reason"], "Customer asked");
    assert!(body["cancelled_at"].as_str().unwrap() < body["period_ends_at"].as_str().unwrap());
    assert_eq!(client.get("/subscriptions/s1").await.expect(200), body);
    assert_eq!(client.effects(), 1);
}

#[tokio::test]
async fn the_body_and_its_reason_are_optional() {
    let client = funnelfox();
    for (id, body) in [("a", ""), ("b", "{}"), ("c", r#"{"reason":null}"#)] {
        let answer = client
            .post(&format!("/subscriptions/{id}/cancel"), body)
            .await
            .expect(200);
        assert_eq!(answer["cancellation_reason"], "User requested cancellation");
    }
    for body in ["[]", r#"{"reason":1}"#, "{"] {
        let answer = client
            .post("/subscriptions/d/cancel", body)
            .await
            .expect(400);
        assert!(answer["message"].is_string());
    }
    assert_eq!(client.effects(), 3);
}

#[tokio::test]
async fn an_already_cancelled_one_is_an_error_of_either_kind() {
    let client = funnelfox();
    client.post(CANCEL, "").await.expect(200);
    client.post(CANCEL, "").await.expect(400);

    let not_found = FunnelFoxAlready::NotFound;
    let client = reads(FunnelFoxVariants {
        already: not_found,
        ..Default::default()
    });
    client
        .post("/subscriptions/canceled_1/cancel", "")
        .await
        .expect(404);
    client.get("/subscriptions/canceled_1").await.expect(200);
}

#[tokio::test]
async fn renewal_may_be_off_while_the_status_stays() {
    let renews_off = FunnelFoxSuccess::RenewsOff;
    let client = reads(FunnelFoxVariants {
        success: renews_off,
        ..Default::default()
    });

    let body = client
        .post("/subscriptions/trialing_1/cancel", "")
        .await
        .expect(200);

    assert_eq!(
        (&body["status"], &body["renews"]),
        (&"trialing".into(), &false.into())
    );
    client.control().advance(21 * 24 * 60 * 60 * 1_000);
    let later = client.get("/subscriptions/trialing_1").await.expect(200);
    assert_eq!(later["status"], "cancelled");
}

#[tokio::test]
async fn payment_providers_outside_the_enum_occur_and_braintree_cannot_cancel() {
    let client = funnelfox();
    for name in ["paddle", "paypal", "solidgate", "funnelfox", "unknownpsp"] {
        let body = client
            .post(&format!("/subscriptions/{name}_1/cancel"), "")
            .await
            .expect(200);
        assert_eq!(body["payment_provider"], name);
    }
    let body = client.get("/subscriptions/braintree_1").await.expect(200);
    assert_eq!(body["payment_provider"], "braintree");
    client
        .post("/subscriptions/braintree_1/cancel", "")
        .await
        .expect(400);
}

#[tokio::test]
async fn ids_choose_the_status() {
    let client = funnelfox();
    for (id, status, cancels) in [
        ("paused", "paused", 200),
        ("unpaid", "unpaid", 200),
        ("pending", "created", 400),
        ("expired", "expired", 400),
        ("scheduled", "cancelled", 400),
    ] {
        let body = client
            .get(&format!("/subscriptions/{id}"))
            .await
            .expect(200);
        assert_eq!(body["status"], status);
        client
            .post(&format!("/subscriptions/{id}/cancel"), "")
            .await
            .expect(cancels);
    }
    client.get("/subscriptions/missing").await.expect(404);
    client
        .post("/subscriptions/missing/cancel", "")
        .await
        .expect(404);
}

#[tokio::test]
async fn lists_are_filtered_and_paged_by_cursor() {
    let client = funnelfox();
    for id in ["a", "b", "c", "paused_d"] {
        client
            .get(&format!("/subscriptions/{id}"))
            .await
            .expect(200);
    }

    let first = client
        .get("/subscriptions?limit=2&filter%5Bstatus%5D=active")
        .await
        .expect(200);
    assert_eq!(first["pagination"]["total"], 3);
    assert_eq!(first["pagination"]["has_more"], true);
    assert_eq!(first["pagination"]["next_cursor"], "b");
    let second = client
        .get("/subscriptions?limit=2&cursor=b&filter[status]=active")
        .await;
    let second = second.expect(200);
    assert_eq!(second["data"][0]["id"], "c");
    assert_eq!(second["pagination"]["has_more"], false);
}

#[tokio::test]
async fn messages_answer_credentials_routes_and_methods() {
    let bad = funnelfox().with("Fox-Secret", "secret_invalid");
    assert!(bad.post(CANCEL, "").await.expect(401)["message"].is_string());
    funnelfox()
        .with("Authorization", "Bearer x")
        .post(CANCEL, "")
        .await
        .expect(401);
    funnelfox()
        .with("Fox-Secret", "forbidden")
        .post(CANCEL, "")
        .await
        .expect(403);
    let client = funnelfox();
    client.get("/nowhere").await.expect(404);
    client.get(CANCEL).await.expect(405);
}
