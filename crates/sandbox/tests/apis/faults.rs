//! Faults on demand, as a client sees them.

use std::{io, time::Duration};

use cancelot_sandbox::{
    Fault, FaultRates, Provider, RateLimit, RequestMatch, Scripted, Variants,
    variants::{
        RebillyThrottle, RebillyVariants, SequenzyRetryAfter, SequenzyVariants, SolidgateNextTryAt,
        SolidgateVariants,
    },
};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::client::{Answer, Client, at, reading};

/// A cancel that succeeds once at each provider.
async fn cancel(client: &Client) -> io::Result<Answer> {
    let (method, path, body) = match client.provider {
        Provider::Rebilly => (
            "POST",
            "/subscription-cancellations",
            r#"{"subscriptionId":"s"}"#,
        ),
        Provider::Solidgate => (
            "POST",
            "/v2/subscriptions/cancel",
            r#"{"id":"s","mode":"NOW"}"#,
        ),
        Provider::FunnelFox => ("POST", "/subscriptions/s/cancel", ""),
        Provider::Revolv3 => ("POST", "/api/Subscriptions/1/cancel", ""),
        Provider::Sequenzy => (
            "POST",
            "/sequences/q/enrollments/cancel",
            r#"{"subscriberId":"s"}"#,
        ),
    };
    client.send(method, path, body).await
}

/// How many effects one good [`cancel`] has.
fn one(provider: Provider) -> u64 {
    if provider == Provider::Sequenzy { 3 } else { 1 }
}

async fn meets(provider: Provider, fault: Fault) -> (Client, io::Result<Answer>) {
    let client = at(provider);
    client.control().script(provider, fault);
    let answer = cancel(&client).await;
    (client, answer)
}

#[tokio::test]
async fn without_faults_every_provider_cancels() {
    for provider in Provider::ALL {
        let client = at(provider);
        let answer = cancel(&client).await.unwrap();
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        assert_eq!(client.effects(), one(provider));
    }
}

#[tokio::test]
async fn resets_close_the_connection_before_or_after_the_effect() {
    for provider in Provider::ALL {
        let (client, answer) = meets(provider, Fault::ResetBefore).await;
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(client.effects(), 0);
        let (client, answer) = meets(provider, Fault::ResetAfter).await;
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(client.effects(), one(provider));
    }
}

#[tokio::test]
async fn server_errors_come_before_or_after_the_effect_in_the_providers_shape() {
    for (provider, text) in [
        (Provider::Rebilly, "detail"),
        (Provider::Solidgate, "message"),
        (Provider::FunnelFox, "message"),
        (Provider::Revolv3, "message"),
        (Provider::Sequenzy, "error"),
    ] {
        let (client, answer) = meets(provider, Fault::ErrorBefore { status: 503 }).await;
        assert!(answer.unwrap().expect(503)[text].is_string());
        assert_eq!(client.effects(), 0);
        let (client, answer) = meets(provider, Fault::ErrorAfter { status: 500 }).await;
        assert!(answer.unwrap().expect(500)[text].is_string());
        assert_eq!(client.effects(), one(provider));
    }
}

#[tokio::test]
async fn a_throttle_carries_the_providers_own_signal() {
    let fault = Fault::Throttle {
        retry_after_ms: 30_000,
    };
    let client = at(Provider::Rebilly);
    client.control().script(Provider::Rebilly, fault.clone());
    let earliest = client.control().now().as_second() + 30;
    let answer = cancel(&client).await.unwrap();
    let latest = client.control().now().as_second() + 31;
    assert_eq!(answer.expect(429)["title"], "Rate Limit Exceeded");
    let said: i64 = answer
        .header("x-ratelimit-retry-after")
        .unwrap()
        .parse()
        .unwrap();
    assert!((earliest..=latest).contains(&said), "{said}");

    let (_, answer) = meets(Provider::Solidgate, fault.clone()).await;
    let body = answer.unwrap().expect(429);
    assert_eq!(body["code"], "RATE_LIMIT");
    assert!(
        body["context"]["next_try_at"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );

    let (_, answer) = meets(Provider::Sequenzy, fault.clone()).await;
    let answer = answer.unwrap();
    assert_eq!(answer.expect(429)["error"], "API key rate limit exceeded");
    assert_eq!(answer.header("retry-after"), None);

    for provider in [Provider::FunnelFox, Provider::Revolv3] {
        let (client, answer) = meets(provider, fault.clone()).await;
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (429, ""));
        assert_eq!(client.effects(), 0);
    }
}

#[tokio::test]
async fn throttle_signals_can_differ() {
    let throttle = Fault::Throttle {
        retry_after_ms: 1_500,
    };
    let rebilly = |throttle| Variants {
        rebilly: RebillyVariants {
            throttle,
            ..Default::default()
        },
        ..Default::default()
    };
    let client = reading(
        Provider::Rebilly,
        rebilly(RebillyThrottle::RetryAfterSeconds),
    );
    client.control().script(Provider::Rebilly, throttle.clone());
    assert_eq!(
        cancel(&client).await.unwrap().header("retry-after"),
        Some("2")
    );
    let client = reading(Provider::Rebilly, rebilly(RebillyThrottle::Bare));
    client.control().script(Provider::Rebilly, throttle.clone());
    assert_eq!(
        cancel(&client)
            .await
            .unwrap()
            .header("x-ratelimit-retry-after"),
        None
    );

    let next_try_at = SolidgateNextTryAt::Absent;
    let solidgate = SolidgateVariants {
        next_try_at,
        ..Default::default()
    };
    let client = reading(
        Provider::Solidgate,
        Variants {
            solidgate,
            ..Default::default()
        },
    );
    client
        .control()
        .script(Provider::Solidgate, throttle.clone());
    assert_eq!(
        cancel(&client).await.unwrap().expect(429)["context"],
        Value::Null
    );

    let retry_after = SequenzyRetryAfter::Present;
    let sequenzy = SequenzyVariants {
        retry_after,
        ..Default::default()
    };
    let client = reading(
        Provider::Sequenzy,
        Variants {
            sequenzy,
            ..Default::default()
        },
    );
    client.control().script(Provider::Sequenzy, throttle);
    assert_eq!(
        cancel(&client).await.unwrap().header("retry-after"),
        Some("2")
    );
}

#[tokio::test]
async fn bodies_can_be_truncated_garbage_huge_or_anything() {
    let (client, answer) = meets(Provider::Solidgate, Fault::TruncatedBody).await;
    let answer = answer.unwrap();
    let announced: usize = answer.header("content-length").unwrap().parse().unwrap();
    assert!(!answer.body.is_empty() && answer.body.len() < announced);
    assert_eq!((answer.status, client.effects()), (200, 1));

    let (client, answer) = meets(Provider::Solidgate, Fault::GarbageBody).await;
    let answer = answer.unwrap();
    assert!(answer.status == 200 && answer.body.starts_with("<!DOCTYPE html>"));
    assert_eq!(client.effects(), 1);

    let (client, answer) = meets(
        Provider::Rebilly,
        Fault::HugeBody {
            body_bytes: 1 << 20,
        },
    )
    .await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, answer.body.len(), client.effects()),
        (201, 1 << 20, 1)
    );

    let reply = Fault::Reply {
        status: 524,
        headers: vec![("cf-ray".to_owned(), "1".to_owned())],
        body: "error code: 524".to_owned(),
    };
    let (client, answer) = meets(Provider::FunnelFox, reply).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.header("cf-ray")), (524, Some("1")));
    assert_eq!(
        (answer.body.as_str(), client.effects()),
        ("error code: 524", 0)
    );
}

#[tokio::test]
async fn late_and_slow_replies_follow_their_effect() {
    let (delay_ms, least) = (40, Duration::from_millis(30));
    for fault in [
        Fault::LateReply { delay_ms },
        Fault::SlowBody { over_ms: delay_ms },
        Fault::Latency {
            latency_ms: delay_ms,
        },
    ] {
        let began = Instant::now();
        let (client, answer) = meets(Provider::Revolv3, fault.clone()).await;
        assert_eq!(
            answer.unwrap().expect(200)["subscriptionStatus"],
            "Cancelled"
        );
        assert!(began.elapsed() >= least, "{fault:?}");
        assert_eq!(client.effects(), 1);
    }
}

#[tokio::test]
async fn a_client_that_leaves_finds_a_late_effect_done_and_a_latent_one_not() {
    for (fault, effects) in [(Fault::HoldBefore, 0), (Fault::HoldAfter, 1)] {
        let client = at(Provider::FunnelFox);
        let control = client.control();
        control.script(client.provider, fault);
        tokio::select! {
            answer = cancel(&client) => panic!("held requests do not answer: {answer:?}"),
            () = control.held_reached(client.provider, 1) => {}
        }
        control.none_held(client.provider).await;
        assert_eq!(client.effects(), effects);
    }
}

#[tokio::test]
async fn held_requests_go_on_when_released() {
    for fault in [Fault::HoldBefore, Fault::HoldAfter] {
        let client = at(Provider::Solidgate);
        let control = client.control();
        control.script(client.provider, fault);
        let (answer, ()) = tokio::join!(cancel(&client), async {
            control.requests_reached(client.provider, 1).await;
            control.held_reached(client.provider, 1).await;
            control.release(client.provider);
        });
        answer.unwrap().expect(200);
        assert_eq!(client.effects(), 1);
    }
}

#[tokio::test]
async fn a_script_is_used_up_in_order_by_the_requests_it_matches() {
    let client = at(Provider::FunnelFox);
    let control = client.control();
    let on = RequestMatch {
        method: Some("POST".to_owned()),
        path_contains: Some("/cancel".to_owned()),
    };
    let error = Fault::ErrorBefore { status: 502 };
    control.script(
        client.provider,
        Scripted {
            fault: error,
            on,
            times: 2,
        },
    );
    control.script(client.provider, Fault::ErrorBefore { status: 500 });

    client.get("/subscriptions/a").await.expect(500);
    client.get("/subscriptions/a").await.expect(200);
    cancel(&client).await.unwrap().expect(502);
    cancel(&client).await.unwrap().expect(502);
    assert_eq!(control.scripted(client.provider), []);
    cancel(&client).await.unwrap().expect(200);
}

#[tokio::test]
async fn rates_hit_their_share_of_requests_the_same_way_for_a_seed() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let client = at(Provider::FunnelFox);
        let rates = FaultRates {
            error_before: 0.3,
            throttle: 0.3,
            ..FaultRates::default()
        };
        client.control().set_fault_rates(client.provider, rates);
        let mut statuses = Vec::new();
        for _ in 0..200 {
            statuses.push(client.get("/subscriptions/a").await.status);
        }
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
    let share = |status| runs[0].iter().filter(|s| **s == status).count();
    for status in [200, 429, 503] {
        assert!(
            (30..=110).contains(&share(status)),
            "{status}: {}",
            share(status)
        );
    }
}

#[tokio::test]
async fn latency_is_drawn_from_its_range_for_the_requests_it_is_for() {
    let client = at(Provider::Revolv3);
    let on = RequestMatch {
        method: Some("GET".to_owned()),
        path_contains: None,
    };
    let rates = FaultRates {
        latency_ms_min: 30,
        latency_ms_max: 40,
        on,
        ..FaultRates::default()
    };
    client.control().set_fault_rates(client.provider, rates);

    let began = Instant::now();
    client.get("/api/Subscriptions/1").await.expect(200);

    assert!(began.elapsed() >= Duration::from_millis(30));
    client.control().clear_faults(client.provider);
    assert_eq!(
        client.control().fault_rates(client.provider),
        FaultRates::default()
    );
}

#[tokio::test]
async fn a_limit_throttles_what_is_over_it_and_reports_the_rest() {
    let client = at(Provider::Rebilly);
    let limit = RateLimit {
        requests: 2,
        window_ms: 60_000,
    };
    client
        .control()
        .set_rate_limit(client.provider, Some(limit));

    let first = client.get("/subscriptions/a").await;
    client.get("/subscriptions/a").await.expect(200);
    client.get("/subscriptions/a").await.expect(429);

    assert_eq!(first.header("x-ratelimit-limit"), Some("2"));
    assert_eq!(first.header("x-ratelimit-remaining"), Some("1"));
    client.control().set_rate_limit(client.provider, None);
    client.get("/subscriptions/a").await.expect(200);
}

#[tokio::test]
async fn a_stopped_sandbox_refuses_connections_and_can_come_back_with_its_state() {
    let client = at(Provider::FunnelFox);
    cancel(&client).await.unwrap().expect(200);
    let (control, port) = (client.control(), client.sandbox.addr().port());
    let Client { sandbox, .. } = client;
    sandbox.stop().await;
    let refused = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );

    let back = cancelot_sandbox::Sandbox::start_with(control.clone(), port).unwrap();

    assert_eq!(back.addr().port(), port);
    let connected = timeout(
        Duration::from_secs(5),
        tokio::net::TcpStream::connect(back.addr()),
    );
    connected.await.unwrap().unwrap();
    assert_eq!(control.counts(Provider::FunnelFox).tally.effects, 1);
}
