//! Replies of intermediaries, and replies about another target.

use cancelot_sandbox::{Fault, FaultRates, Foreign, Provider, Scripted};

use super::client::at;

#[tokio::test]
async fn what_stands_in_between_answers_before_or_after_the_effect() {
    for (answer, status, says) in [
        (
            Foreign::PlainHttp,
            400,
            "plain HTTP request was sent to HTTPS port",
        ),
        (Foreign::Firewall, 406, "Mod_Security"),
        (Foreign::Proxy, 407, "Cache access denied"),
        (Foreign::PageMissing, 404, "<h1>404 Not Found</h1>"),
        (
            Foreign::NoRoute,
            404,
            r#"{"message":"no Route matched with those values"}"#,
        ),
        (Foreign::Empty, 400, ""),
        (Foreign::Redirect, 302, ""),
        (Foreign::Blocked, 403, "Request blocked"),
        (Foreign::Maintenance, 200, "down for maintenance"),
    ] {
        let client = at(Provider::Solidgate);
        let control = client.control();
        for (effects, fault) in [
            (0, Fault::ForeignBefore { answer }),
            (1, Fault::ForeignAfter { answer }),
        ] {
            control.script(client.provider, fault);
            let body = r#"{"id":"s","mode":"NOW"}"#;
            let got = client.post("/v2/subscriptions/cancel", body).await;
            assert_eq!(got.status, status, "{answer:?}");
            assert!(got.body.contains(says), "{answer:?}: {}", got.body);
            assert_eq!(client.effects(), effects, "{answer:?}");
        }
    }
    assert_eq!(Foreign::ALL.len(), 9);
}

#[tokio::test]
async fn looks_are_answered_by_others_too() {
    let client = at(Provider::FunnelFox);
    let rates = r#"{"foreign_before":1.0,"foreign":"no_route","on":{"method":"GET"}}"#;
    let rates: FaultRates = serde_json::from_str(rates).unwrap();
    client.control().set_fault_rates(client.provider, rates);
    client.get("/subscriptions/s").await.expect(404);
    client.post("/subscriptions/s/cancel", "").await.expect(200);
}

#[tokio::test]
async fn something_in_progress_is_refused_in_the_providers_own_form() {
    for (provider, path, body, says) in [
        (
            Provider::Rebilly,
            "/subscription-cancellations",
            r#"{"subscriptionId":"s"}"#,
            "detail",
        ),
        (
            Provider::Solidgate,
            "/v2/subscriptions/cancel",
            r#"{"id":"s","mode":"NOW"}"#,
            "code",
        ),
        (
            Provider::FunnelFox,
            "/subscriptions/s/cancel",
            "",
            "message",
        ),
        (
            Provider::Revolv3,
            "/api/Subscriptions/7/cancel",
            "",
            "message",
        ),
        (
            Provider::Sequenzy,
            "/sequences/q/enrollments/cancel",
            r#"{"subscriberId":"s"}"#,
            "error",
        ),
    ] {
        for status in [409, 423] {
            let client = at(provider);
            client.control().script(provider, Fault::Busy { status });
            assert!(client.post(path, body).await.expect(status)[says].is_string());
            assert_eq!(client.effects(), 0);
        }
    }
}

#[tokio::test]
async fn an_answer_can_be_about_another_target() {
    let client = at(Provider::Revolv3);
    client
        .control()
        .script(client.provider, Fault::AboutAnother);
    let got = client
        .post("/api/Subscriptions/7/cancel", "")
        .await
        .expect(200);
    assert_eq!(got["subscriptionId"], 8);
    assert_eq!(client.effects(), 1);

    let client = at(Provider::Rebilly);
    let scripted: Scripted = serde_json::from_str(r#"{"fault":{"kind":"about_another"}}"#).unwrap();
    client.control().script(client.provider, scripted);
    let body = r#"{"subscriptionId":"s"}"#;
    let got = client
        .put("/subscription-cancellations/c", body)
        .await
        .expect(201);
    assert_eq!(
        (&got["id"], &got["subscriptionId"]),
        (&"c9".into(), &"s9".into())
    );
}
