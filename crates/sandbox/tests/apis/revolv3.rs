//! Revolv3 as its pages describe it.

use cancelot_sandbox::{
    Provider, Variants,
    variants::{
        Revolv3Already, Revolv3ContentType, Revolv3GetCancelled, Revolv3PendingCancelledAt,
        Revolv3Variants, Revolv3WhilePending,
    },
};

use super::client::{Client, at, reading};

const END_OF_CYCLE: &str = r#"{"subscriptionCancelType":"EndOfCycle"}"#;

fn revolv3() -> Client {
    at(Provider::Revolv3)
}

fn reads(revolv3: Revolv3Variants) -> Client {
    reading(
        Provider::Revolv3,
        Variants {
            revolv3,
            ..Variants::default()
        },
    )
}

fn cancel(id: i64) -> String {
    format!("/api/Subscriptions/{id}/cancel")
}

fn one(id: i64) -> String {
    format!("/api/Subscriptions/{id}")
}

#[tokio::test]
async fn cancel_is_immediate_unless_the_subscription_says_otherwise() {
    let client = revolv3();

    let body = client.post(&cancel(2232), "").await.expect(200);
    assert_eq!(body["subscriptionId"], 2232);
    assert!(body["customerId"].is_i64());
    assert_eq!(body["subscriptionStatus"], "Cancelled");
    let stamp = body["cancelledAt"].as_str().unwrap();
    assert_eq!(stamp.len(), "2024-07-11T18:16:33.8785322Z".len(), "{stamp}");

    let looked = client.get(&one(2232)).await.expect(200);
    assert_eq!(looked["subscriptionStatusType"], "Cancelled");
    assert_eq!(looked["cancelledAt"], body["cancelledAt"]);
    assert_eq!(looked.get("subscriptionStatus"), None);
    assert_eq!(client.effects(), 1);
}

#[tokio::test]
async fn the_stored_cancel_type_decides_and_patch_changes_it() {
    let client = revolv3().of_type("application/json-patch+json");
    let patched = client.patch(&one(5), END_OF_CYCLE).await.expect(200);
    assert_eq!(patched["subscriptionCancelType"], "EndOfCycle");
    client.patch(&one(5), END_OF_CYCLE).await.expect(200);

    let client = client.of_type("application/json");
    let body = client.post(&cancel(5), "").await.expect(200);
    assert_eq!(body["subscriptionStatus"], "PendingCancellation");
    let looked = client.get(&one(5)).await.expect(200);
    assert_eq!(looked["subscriptionStatusType"], "PendingCancellation");
    assert_eq!(looked["nextBillDate"], serde_json::Value::Null);
    let tally = client.control().tallies(Provider::Revolv3)["5"];
    assert_eq!((tally.effects, tally.changes), (1, 1));
    client.control().advance(21 * 24 * 60 * 60 * 1_000);
    let later = client.get(&one(5)).await.expect(200);
    assert_eq!(later["subscriptionStatusType"], "Cancelled");
}

#[tokio::test]
async fn ranges_choose_the_status() {
    let client = revolv3();
    for (id, status) in [
        (1, "Current"),
        (100_000_000, "Current"),
        (200_000_000, "PendingCancellation"),
        (300_000_000, "Cancelled"),
        (400_000_000, "Recycle"),
        (500_000_000, "Expired"),
        (600_000_000, "Paused"),
    ] {
        let body = client.get(&one(id)).await.expect(200);
        assert_eq!(body["subscriptionStatusType"], status, "{id}");
    }
    for id in [900_000_000, 1_000_000_000] {
        let message = "Unable to find an entity with the provided data.";
        assert_eq!(client.get(&one(id)).await.expect(404)["message"], message);
        assert_eq!(
            client.post(&cancel(id), "").await.expect(404)["message"],
            message
        );
    }
    let body = client.get(&one(7)).await.expect(200);
    let date = body["nextBillDate"].as_str().unwrap();
    assert_eq!(
        (date.len(), date.matches('-').count()),
        ("08-Oct-25".len(), 2),
        "{date}"
    );
}

#[tokio::test]
async fn a_second_cancel_is_answered_as_chosen() {
    for (already, status, effects) in [
        (Revolv3Already::BadRequest, 400, 1),
        (Revolv3Already::NotFound, 404, 1),
        (Revolv3Already::OkAgain, 200, 2),
    ] {
        let client = reads(Revolv3Variants {
            already,
            ..Default::default()
        });
        client.post(&cancel(1), "").await.expect(200);
        client.post(&cancel(1), "").await.expect(status);
        assert_eq!(client.effects(), effects);
    }
}

#[tokio::test]
async fn open_questions_are_read_as_chosen() {
    let default = Revolv3Variants::default();
    let hidden = Revolv3GetCancelled::NotFound;
    let client = reads(Revolv3Variants {
        get_cancelled: hidden,
        ..default
    });
    client.get(&one(300_000_001)).await.expect(404);
    client
        .patch(&one(300_000_001), END_OF_CYCLE)
        .await
        .expect(404);

    let immediate = r#"{"subscriptionCancelType":"Immediate"}"#;
    for (reading, status) in [
        (Revolv3WhilePending::Accepted, 200),
        (Revolv3WhilePending::Refused, 400),
    ] {
        let client = reads(Revolv3Variants {
            while_pending: reading,
            ..default
        });
        client.patch(&one(200_000_001), immediate).await.expect(200);
        client.post(&cancel(200_000_001), "").await.expect(status);
    }

    let absent = Revolv3PendingCancelledAt::Absent;
    let client = reads(Revolv3Variants {
        pending_cancelled_at: absent,
        ..default
    });
    let body = client.post(&cancel(100_000_001), "").await.expect(200);
    assert_eq!(body.get("cancelledAt"), None);
    let effective = Revolv3PendingCancelledAt::Effective;
    let client = reads(Revolv3Variants {
        pending_cancelled_at: effective,
        ..default
    });
    let body = client.post(&cancel(100_000_001), "").await.expect(200);
    assert!(body["cancelledAt"].as_str().unwrap() > client.control().now().to_string().as_str());
}

#[tokio::test]
async fn content_types_are_required_and_negotiated() {
    revolv3().of_type("").post(&cancel(1), "").await.expect(415);
    revolv3()
        .of_type("text/csv")
        .post(&cancel(1), "")
        .await
        .expect(415);
    revolv3()
        .of_type("text/csv")
        .patch(&one(1), END_OF_CYCLE)
        .await
        .expect(415);
    let optional = Revolv3ContentType::Optional;
    let client = reads(Revolv3Variants {
        content_type: optional,
        ..Default::default()
    });
    client.of_type("").post(&cancel(1), "").await.expect(200);

    let client = revolv3();
    for (accept, media) in [
        ("text/plain", "text/plain; charset=utf-8"),
        ("application/json", "application/json; charset=utf-8"),
        ("text/json;q=0.9", "text/json; charset=utf-8"),
        ("*/*", "application/json; charset=utf-8"),
    ] {
        let answer = client
            .send_with("GET", &one(1), &[("Accept", accept)], "")
            .await
            .unwrap();
        assert_eq!(answer.header("content-type"), Some(media));
    }
}

#[tokio::test]
async fn bad_ids_and_bodies_are_bad_requests() {
    let client = revolv3();
    for id in ["abc", "0", "-1", "1000000001", "9223372036854775808", "1.5"] {
        let body = client
            .post(&format!("/api/Subscriptions/{id}/cancel"), "")
            .await
            .expect(400);
        assert!(body["errors"][0].is_string(), "{id}");
    }
    let wrong = r#"{"subscriptionCancelType":"Whenever"}"#;
    let body = client.patch(&one(1), wrong).await.expect(400);
    assert_eq!(body["fluentValidatorErrors"][0]["severity"], "Error");
    client.patch(&one(1), "[]").await.expect(400);
}

#[tokio::test]
async fn messages_answer_credentials_routes_and_methods() {
    let message = "Attempted to perform an unauthorized operation.";
    for (header, value) in [
        ("x-revolv3-token", "invalid"),
        ("x-revolv3-token", "forbidden"),
        ("X-Nothing", ""),
        ("Authorization", "Bearer static"),
    ] {
        let client = revolv3().with(header, value);
        assert_eq!(
            client.post(&cancel(1), "").await.expect(401)["message"],
            message
        );
    }
    revolv3()
        .with("Authorization", "Bearer a.b.c")
        .post(&cancel(1), "")
        .await
        .expect(200);
    let client = revolv3();
    client.get("/api/Nothing").await.expect(404);
    client.get(&cancel(1)).await.expect(405);
    client.post(&one(1), "").await.expect(405);
}

#[tokio::test]
async fn a_list_without_matches_has_no_content() {
    let client = revolv3();
    assert_eq!(client.get("/api/Subscriptions").await.status, 204);
    client.get(&one(12)).await.expect(200);
    let path = "/api/Subscriptions?merchantSubscriptionRefId=ref-12";
    assert_eq!(client.get(path).await.expect(200)[0]["subscriptionId"], 12);
}
