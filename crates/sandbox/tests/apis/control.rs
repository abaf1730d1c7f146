//! The control handle, by method and by HTTP.

use cancelot_sandbox::{Provider, Standing, Variants};
use serde_json::json;

use super::client::{Answer, Client, at, reading};

async fn control(client: &Client, method: &str, path: &str, body: &str) -> Answer {
    client.raw(method, path, &[], body).await.unwrap()
}

#[tokio::test]
async fn requests_are_recorded_as_they_were_on_the_wire() {
    let client = at(Provider::FunnelFox);
    let headers = [("X-Trace", "1")];
    let path = "/subscriptions/a%2Fb%20c/cancel?x=%5B1%5D";
    client
        .send_with("POST", path, &headers, r#"{"reason":"r"}"#)
        .await
        .unwrap();

    let recorded = client.control().requests(Provider::FunnelFox);

    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0].method, "POST");
    assert_eq!(recorded[0].path, format!("/funnelfox/public/v1{path}"));
    assert_eq!(recorded[0].header("x-trace"), Some("1"));
    assert_eq!(recorded[0].header("fox-secret"), Some("secret_1"));
    assert_eq!(recorded[0].body, r#"{"reason":"r"}"#);
    let found = client
        .control()
        .subscription(Provider::FunnelFox, "a/b c")
        .unwrap();
    assert_eq!(found.standing, Standing::Scheduled);
    assert_eq!(client.control().counts(Provider::FunnelFox).requests, 1);
}

#[tokio::test]
async fn variants_have_distinct_names_and_survive_json() {
    let all = Variants::all();
    assert!(all.len() > 20);
    for (index, (name, variants)) in all.iter().enumerate() {
        let json = serde_json::to_string(variants).unwrap();
        assert_eq!(serde_json::from_str::<Variants>(&json).unwrap(), *variants);
        for (other, others) in &all[..index] {
            assert!(other != name && others != variants, "{name} {other}");
        }
    }
}

#[tokio::test]
async fn every_reading_cancels_an_active_subscription_once() {
    for (name, variants) in Variants::all() {
        for (provider, path, body, effects) in [
            (
                Provider::Rebilly,
                "/subscription-cancellations",
                r#"{"subscriptionId":"s"}"#,
                1,
            ),
            (
                Provider::Solidgate,
                "/v2/subscriptions/cancel",
                r#"{"id":"s","mode":"NOW"}"#,
                1,
            ),
            (Provider::FunnelFox, "/subscriptions/s/cancel", "", 1),
            (Provider::Revolv3, "/api/Subscriptions/1/cancel", "", 1),
            (
                Provider::Sequenzy,
                "/sequences/q/enrollments/cancel",
                r#"{"subscriberId":"s"}"#,
                3,
            ),
        ] {
            let client = reading(provider, variants);
            let answer = client.post(path, body).await;
            assert!(matches!(answer.status, 200 | 201), "{name}: {answer:?}");
            assert_eq!(client.effects(), effects, "{name}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn everything_is_steered_over_http_too() {
    let client = at(Provider::Solidgate);
    let at = "/_sandbox/solidgate";
    assert!(
        control(&client, "GET", "/_sandbox", "")
            .await
            .body
            .contains("/solidgate")
    );

    let seed = r#"{"standing":"unpaid","period_left_ms":60000}"#;
    let put = control(&client, "PUT", &format!("{at}/subscriptions/s"), seed).await;
    assert_eq!(put.status, 204);
    let fault = r#"{"fault":{"kind":"error_before","status":503},"on":{"method":"POST"}}"#;
    assert_eq!(
        control(&client, "POST", &format!("{at}/faults"), fault)
            .await
            .status,
        204
    );
    let faults = control(&client, "GET", &format!("{at}/faults"), "")
        .await
        .expect(200);
    assert_eq!(faults["script"][0]["fault"]["kind"], "error_before");

    let cancel = r#"{"id":"s","mode":"PERIOD_END"}"#;
    client
        .post("/v2/subscriptions/cancel", cancel)
        .await
        .expect(503);
    let body = client
        .post("/v2/subscriptions/cancel", cancel)
        .await
        .expect(200);
    assert_eq!(body["status"], "UNPAID");

    let counts = control(&client, "GET", at, "").await.expect(200);
    assert_eq!(
        (&counts["requests"], &counts["effects"]),
        (&2.into(), &1.into())
    );
    let effects = control(&client, "GET", &format!("{at}/effects"), "")
        .await
        .expect(200);
    assert_eq!(effects["s"]["effects"], 1);
    let requests = control(&client, "GET", &format!("{at}/requests"), "")
        .await
        .expect(200);
    assert_eq!(requests[1]["body"], cancel);
    let clock = r#"{"advance_ms":120000}"#;
    assert_eq!(
        control(&client, "POST", "/_sandbox/clock", clock)
            .await
            .status,
        204
    );
    let found = control(&client, "GET", &format!("{at}/subscriptions/s"), "")
        .await
        .expect(200);
    assert_eq!(found["standing"], "canceled");
}

#[tokio::test]
async fn readings_rates_and_the_reset_are_steered_over_http_too() {
    let client = at(Provider::Solidgate);
    let at = "/_sandbox/solidgate";
    let get = r#"{"id":"s"}"#;
    let variants = r#"{"rebilly":{"already":"conflict"}}"#;
    assert_eq!(
        control(&client, "PUT", "/_sandbox/variants", variants)
            .await
            .status,
        204
    );
    let read = control(&client, "GET", "/_sandbox/variants", "")
        .await
        .expect(200);
    assert_eq!(read["rebilly"]["already"], "conflict");
    let rates = r#"{"throttle":1.0}"#;
    assert_eq!(
        control(&client, "PUT", &format!("{at}/faults"), rates)
            .await
            .status,
        204
    );
    client.post("/v2/subscriptions/get", get).await.expect(429);

    assert_eq!(
        control(&client, "POST", "/_sandbox/reset", "").await.status,
        204
    );
    let counts = control(&client, "GET", at, "").await.expect(200);
    assert_eq!(
        (&counts["requests"], &counts["effects"]),
        (&0.into(), &0.into())
    );
    client.post("/v2/subscriptions/get", get).await.expect(200);
}

#[tokio::test]
async fn sequences_are_created_and_read_over_http() {
    let client = at(Provider::Sequenzy);
    let path = "/_sandbox/sequenzy/sequences/seq_1";
    let seed = json!({"enrollments": [{"subscriber_id": "a", "properties": {"order.id": "o"}}]});
    assert_eq!(
        control(&client, "PUT", path, &seed.to_string())
            .await
            .status,
        204
    );
    let sent = r#"{"cancelAll":true,"dryRun":false}"#;
    client
        .post("/sequences/seq_1/enrollments/cancel", sent)
        .await
        .expect(200);

    let found = control(&client, "GET", path, "").await.expect(200);

    assert_eq!(found[0]["status"], "cancelled");
    assert_eq!(found[0]["effects"], 1);
}

#[tokio::test]
async fn bad_controls_are_explained() {
    let client = at(Provider::Rebilly);
    for (method, path, body, status) in [
        ("GET", "/_sandbox/nobody", "", 404),
        ("GET", "/_sandbox/rebilly/nothing", "", 404),
        (
            "GET",
            "/_sandbox/rebilly/subscriptions/never_touched",
            "",
            404,
        ),
        ("PUT", "/_sandbox/rebilly/faults", r#"{"throtle":1}"#, 400),
        (
            "PUT",
            "/_sandbox/variants",
            r#"{"rebilly":{"already":"perhaps"}}"#,
            400,
        ),
        ("POST", "/_sandbox/clock", "{}", 400),
        ("GET", "/elsewhere", "", 404),
        ("GET", "/funnelfox/subscriptions/s", "", 404),
    ] {
        let answer = control(&client, method, path, body).await.expect(status);
        assert!(answer["error"].is_string(), "{path}");
    }
}
