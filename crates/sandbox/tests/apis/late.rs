//! Late effects, lagging lookups, and wrong clocks.

use std::time::Duration;

use cancelot_sandbox::{
    Fault, FaultRates, Meanwhile, Provider, RequestMatch, Scripted, Seed, Standing,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::client::{Answer, Client, at};

/// Enough for a request on this machine; not so much that a test is slow.
const LATE_MS: u64 = 60;

async fn cancel(client: &Client) -> std::io::Result<Answer> {
    let (method, path, body) = match client.provider {
        Provider::Rebilly => (
            "PUT",
            "/subscription-cancellations/c",
            r#"{"subscriptionId":"s","churnTimePolicy":"now"}"#,
        ),
        Provider::Solidgate => (
            "POST",
            "/v2/subscriptions/cancel",
            r#"{"id":"s","mode":"NOW"}"#,
        ),
        Provider::FunnelFox => ("POST", "/subscriptions/s/cancel", ""),
        Provider::Revolv3 => ("POST", "/api/Subscriptions/7/cancel", ""),
        Provider::Sequenzy => (
            "POST",
            "/sequences/q/enrollments/cancel",
            r#"{"subscriberId":"s","dryRun":false}"#,
        ),
    };
    client.send(method, path, body).await
}

/// The word for how it is, by a look.
async fn look(client: &Client) -> Value {
    let (answer, field) = match client.provider {
        Provider::Rebilly => (client.get("/subscriptions/s").await, "status"),
        Provider::Solidgate => (
            client.post("/v2/subscriptions/get", r#"{"id":"s"}"#).await,
            "status",
        ),
        Provider::FunnelFox => (client.get("/subscriptions/s").await, "status"),
        Provider::Revolv3 => (
            client.get("/api/Subscriptions/7").await,
            "subscriptionStatusType",
        ),
        Provider::Sequenzy => {
            let path = "/sequences/q/enrollments?subscriberId=s&status=cancelled";
            let found = client.get(path).await.expect(200);
            let over = found["pagination"]["total"] == 3;
            return Value::from(if over { "cancelled" } else { "active" });
        }
    };
    answer.expect(200)[field].clone()
}

fn runs(word: &Value) -> bool {
    ["active", "ACTIVE", "Current"]
        .iter()
        .any(|runs| word == runs)
}

/// Waits until it has an effect, and says how long that took.
async fn effect(client: &Client) -> Duration {
    let begun = Instant::now();
    while client.effects() == 0 {
        sleep(Duration::from_millis(2)).await;
    }
    begun.elapsed()
}

#[tokio::test]
async fn an_effect_comes_after_a_gateways_timeout_or_a_hang_up() {
    for provider in Provider::ALL {
        for meanwhile in [Meanwhile::Error { status: 504 }, Meanwhile::Reset] {
            let client = at(provider);
            let fault = Fault::LateEffect {
                effect_ms: LATE_MS,
                meanwhile,
            };
            client.control().script(provider, fault);
            match (meanwhile, cancel(&client).await) {
                (Meanwhile::Error { .. }, answer) => assert_eq!(answer.unwrap().status, 504),
                (_, answer) => assert!(answer.is_err()),
            }
            assert_eq!(client.effects(), 0, "{provider:?}");
            assert!(effect(&client).await > Duration::from_millis(LATE_MS / 2));
            assert!(!runs(&look(&client).await), "{provider:?}");
        }
    }
}

#[tokio::test]
async fn an_acceptance_shows_the_target_as_it_still_is_until_it_is_carried_out() {
    for provider in Provider::ALL {
        let client = at(provider);
        let fault = Fault::LateEffect {
            effect_ms: LATE_MS,
            meanwhile: Meanwhile::Accepted,
        };
        client.control().script(provider, fault);
        let answer = cancel(&client).await.unwrap();
        let accepted = if provider == Provider::Rebilly {
            201
        } else {
            200
        };
        let body = answer.expect(accepted);
        assert!(runs(&look(&client).await), "{provider:?}");
        match provider {
            Provider::Rebilly => assert_eq!(body["status"], "confirmed"),
            Provider::Solidgate => assert_eq!(body["status"], "ACTIVE"),
            Provider::FunnelFox => assert_eq!(body["status"], "active"),
            Provider::Revolv3 => assert_eq!(body["subscriptionStatus"], "Current"),
            Provider::Sequenzy => {
                let counts = ["matchedCount", "cancelledCount", "remainingCount"];
                assert_eq!(counts.map(|count| body[count].as_u64().unwrap()), [3, 0, 3]);
            }
        }
        effect(&client).await;
        assert!(!runs(&look(&client).await), "{provider:?}");
    }
}

#[tokio::test]
async fn what_would_be_refused_is_refused_and_no_effect_follows() {
    let client = at(Provider::Solidgate);
    let fault = Fault::LateEffect {
        effect_ms: 1,
        meanwhile: Meanwhile::Accepted,
    };
    client.control().script(client.provider, fault);
    let body = r#"{"id":"s_missing","mode":"NOW"}"#;
    let answer = client.post("/v2/subscriptions/cancel", body).await;
    assert_eq!(answer.expect(404)["code"], "NOT_FOUND");
}

#[tokio::test]
async fn looks_show_an_effect_only_some_time_after_it() {
    for provider in Provider::ALL {
        let client = at(provider);
        let control = client.control();
        control.set_fault_rates(
            provider,
            FaultRates {
                looks_lag_ms: 3_600_000,
                ..FaultRates::default()
            },
        );
        assert!(runs(&look(&client).await));
        cancel(&client).await.unwrap();
        assert!(runs(&look(&client).await), "{provider:?}");
        assert!(client.effects() > 0);
        control.advance(3_599_000);
        assert!(runs(&look(&client).await), "{provider:?}");
        control.advance(1_001);
        assert!(!runs(&look(&client).await), "{provider:?}");
    }
}

#[tokio::test]
async fn a_look_at_a_cancellation_is_behind_too() {
    let client = at(Provider::Rebilly);
    let control = client.control();
    let lag = FaultRates {
        looks_lag_ms: 60_000,
        ..FaultRates::default()
    };
    control.set_fault_rates(client.provider, lag);
    cancel(&client).await.unwrap().expect(201);
    client
        .get("/subscription-cancellations/c")
        .await
        .expect(404);
    // A request that changes something is not behind.
    let body = r#"{"subscriptionId":"s","churnTimePolicy":"now"}"#;
    client
        .put("/subscription-cancellations/c", body)
        .await
        .expect(200);
    assert_eq!(client.effects(), 1);
    control.advance(60_001);
    let seen = client
        .get("/subscription-cancellations/c")
        .await
        .expect(200);
    assert_eq!(seen["status"], "completed");
}

#[tokio::test]
async fn answers_carry_the_time_by_the_providers_clock_or_none() {
    let client = at(Provider::FunnelFox);
    let control = client.control();
    let date = |answer: &Answer| {
        let text = answer.header("date")?.to_owned();
        let time = jiff::fmt::rfc2822::parse(&text).unwrap();
        Some(time.timestamp().as_second())
    };
    for skew in [0, 600, -600] {
        let rates = FaultRates {
            clock_skew_ms: skew * 1_000,
            ..FaultRates::default()
        };
        control.set_fault_rates(client.provider, rates);
        let id = format!("s_{skew}");
        let (before, answer) = (
            control.now().as_second() + skew,
            client
                .post(&format!("/subscriptions/{id}/cancel"), "")
                .await,
        );
        let after = control.now().as_second() + skew;
        let date = date(&answer).unwrap();
        assert!((before..=after).contains(&date), "{before} {date} {after}");
        let canceled_at: jiff::Timestamp = answer.expect(200)["cancelled_at"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((before..=after).contains(&canceled_at.as_second()));
    }
    let rates = FaultRates {
        no_date: true,
        ..FaultRates::default()
    };
    control.set_fault_rates(client.provider, rates);
    assert_eq!(date(&client.get("/subscriptions/a").await), None);
    control.clear_faults(client.provider);
    assert!(date(&client.get("/subscriptions/a").await).is_some());
}

#[tokio::test]
async fn what_others_ended_says_when_they_asked_for_it() {
    const DAYS: i64 = 24 * 60 * 60;
    for (provider, path, field) in [
        (
            Provider::Rebilly,
            "/subscriptions/s_canceled",
            "/canceledTime",
        ),
        (
            Provider::FunnelFox,
            "/subscriptions/s_canceled",
            "/cancelled_at",
        ),
        (Provider::Solidgate, "", "/cancellation_info/requested_at"),
        (
            Provider::Revolv3,
            "/api/Subscriptions/300000007",
            "/cancelledAt",
        ),
    ] {
        let client = at(provider);
        let seen = match provider {
            Provider::Solidgate => {
                let body = r#"{"id":"s_canceled"}"#;
                client.post("/v2/subscriptions/get", body).await
            }
            _ => client.get(path).await,
        };
        let seen = seen.expect(200);
        let asked = seen.pointer(field).and_then(Value::as_str).unwrap();
        let asked: jiff::Timestamp = asked.parse().unwrap();
        let ago = client.control().now().as_second() - asked.as_second();
        assert!(
            (27 * DAYS..27 * DAYS + 60).contains(&ago),
            "{provider:?} {ago}"
        );
    }
    let client = at(Provider::FunnelFox);
    let seed = Seed {
        standing: Standing::Scheduled,
        canceled_ms_ago: Some(5_000),
        ..Seed::default()
    };
    client.control().create(client.provider, "s", &seed);
    let seen = client.control().subscription(client.provider, "s").unwrap();
    let ago = client
        .control()
        .now()
        .duration_since(seen.requested_at.unwrap());
    assert!((5..10).contains(&ago.as_secs()));
}

#[tokio::test]
async fn late_effects_can_be_chosen_by_name_and_by_chance() {
    let client = at(Provider::FunnelFox);
    let script = r#"{"fault":{"kind":"late_effect","effect_ms":20,"meanwhile":{"is":"reset"}}}"#;
    let scripted: Scripted = serde_json::from_str(script).unwrap();
    client.control().script(client.provider, scripted);
    assert!(cancel(&client).await.is_err());
    effect(&client).await;
    let rates =
        r#"{"late_effect":1.0,"late_effect_ms":20,"error_status":504,"on":{"method":"POST"}}"#;
    let rates: FaultRates = serde_json::from_str(rates).unwrap();
    assert_eq!(
        rates.on,
        RequestMatch {
            method: Some("POST".into()),
            path_contains: None
        }
    );
    client.control().set_fault_rates(client.provider, rates);
    client
        .post("/subscriptions/other/cancel", "")
        .await
        .expect(504);
    while client.effects() == 1 {
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(look(&client).await, "cancelled");
}
