//! The content of results: ignored fields, how the outcome was learned, the provider's response,
//! and what to do.

use cancelot::{
    rpc::proto::{
        CancelEnrollmentsRequest, CancelSubscriptionRequest, CancellationKind, Failure,
        GetCancellationRequest, Initiator, Outcome, ProviderReached, Reason,
        SubscriptionCancellation, cancellation::Result as Recorded,
    },
    sandbox::{Fault, Provider},
};
use prost_types::{Struct, value::Kind};

use crate::support::{
    asking::{enrollment, enrollments, on, subscriber},
    gateway, now, period_end, provider_default, request, subscription,
};

fn noted(item: SubscriptionCancellation) -> SubscriptionCancellation {
    SubscriptionCancellation {
        reason: Reason::Other.into(),
        comment: "as agreed".to_owned(),
        initiated_by: Initiator::Customer.into(),
        ..item
    }
}

#[tokio::test]
async fn notes_that_a_provider_has_no_place_for_are_named() {
    let mut gateway = gateway().start().await;
    let batch = || {
        request(
            "K",
            [
                noted(subscription(Provider::Rebilly, "a", now())),
                noted(subscription(Provider::Solidgate, "a", now())),
                noted(subscription(Provider::FunnelFox, "a", provider_default())),
                noted(subscription(Provider::Revolv3, 7, provider_default())),
                subscription(Provider::Revolv3, 8, provider_default()),
            ],
        )
    };

    for replayed in [false, true] {
        let results = gateway.cancel(batch()).await.unwrap();
        let ignored: Vec<_> = results
            .iter()
            .map(|result| {
                assert_eq!(result.replayed, replayed);
                let mut ignored = result.ignored_fields.clone();
                ignored.sort_unstable();
                ignored
            })
            .collect();
        let expected: [&[&str]; 5] = [
            &[],
            &["initiated_by", "reason"],
            &["initiated_by", "reason"],
            &["comment", "initiated_by", "reason"],
            &[],
        ];
        assert_eq!(ignored, expected);
    }
}

#[tokio::test]
async fn an_outcome_that_a_look_had_to_tell_says_so() {
    let mut gateway = gateway().start().await;
    for (provider, id, when, outcome) in [
        (Provider::Rebilly, "1", now(), Outcome::Canceled),
        (Provider::Rebilly, "2", period_end(), Outcome::Scheduled),
        (Provider::Solidgate, "1", now(), Outcome::Canceled),
        (
            Provider::FunnelFox,
            "1",
            provider_default(),
            Outcome::Scheduled,
        ),
        (
            Provider::Revolv3,
            "1",
            provider_default(),
            Outcome::Canceled,
        ),
    ] {
        let before = gateway.requests(provider);
        let method = if provider == Provider::Rebilly {
            "PUT"
        } else {
            "POST"
        };
        gateway
            .control
            .script(provider, on(method, Fault::ResetAfter, 1));

        let item = subscription(provider, id, when);
        let key = format!("{}-{id}", provider.name());
        let result = gateway.cancel_one(&key, item.clone()).await.unwrap();

        assert_eq!(result.outcome(), outcome, "{result:?}");
        assert!(result.confirmed_by_lookup, "{result:?}");
        assert_eq!(
            u64::from(result.attempts),
            gateway.requests(provider) - before
        );
        assert_eq!(gateway.control.effects(provider)[id], 1);
        let replay = gateway.cancel_one(&key, item).await.unwrap();
        assert!(replay.confirmed_by_lookup && replay.attempts == result.attempts);
    }
}

#[tokio::test]
async fn attempts_count_the_requests_that_the_provider_had() {
    let mut gateway = gateway().start().await;
    let wait = Fault::Throttle { retry_after_ms: 0 };
    for fault in [wait.clone(), wait, Fault::ErrorBefore { status: 503 }] {
        gateway.control.script(Provider::Sequenzy, fault);
    }

    let batch = enrollments("K", [enrollment("seq", subscriber("s"))]);
    let results = gateway.cancel_enrollments(batch).await.unwrap();

    assert_eq!(results[0].outcome(), Outcome::Canceled);
    assert_eq!(results[0].attempts, 4);
    assert_eq!(gateway.requests(Provider::Sequenzy), 4);
}

#[tokio::test]
async fn a_failure_says_what_to_do_and_what_the_provider_said() {
    let mut gateway = gateway()
        .account(
            Provider::FunnelFox,
            "credential_env = \"INVALID_CREDENTIAL\"",
        )
        .start()
        .await;
    gateway.control.script(
        Provider::Rebilly,
        on(
            "PUT",
            Fault::Reply {
                status: 422,
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: r#"{"status":422,"title":"Nope","detail":"Not like this",
                    "invalidFields":[{"field":"reason","message":"Unknown"}]}"#
                    .to_owned(),
            },
            1,
        ),
    );
    let batch = request(
        "K",
        [
            subscription(Provider::Solidgate, "missing", now()),
            subscription(Provider::FunnelFox, "a", provider_default()),
            subscription(Provider::Rebilly, "a", now()),
        ],
    );

    let results = gateway.cancel(batch).await.unwrap();

    let failures: Vec<Failure> = results.iter().map(|r| r.failure.clone().unwrap()).collect();
    let summary: Vec<_> = results
        .iter()
        .zip(&failures)
        .map(|(result, failure)| {
            assert!(!failure.message.is_empty());
            assert_eq!(failure.provider_reached(), ProviderReached::Yes);
            let retryable = failure.same_key_retryable;
            let status = failure.provider_http_status;
            (result.outcome(), failure.reason.as_str(), retryable, status)
        })
        .collect();
    assert_eq!(
        summary[0],
        (Outcome::NotFound, "TARGET_NOT_FOUND", false, 404)
    );
    assert_eq!(failures[0].provider_code, "NOT_FOUND");
    assert_eq!(
        summary[1],
        (Outcome::Unavailable, "CREDENTIALS_REFUSED", true, 401)
    );
    assert_eq!(
        summary[2],
        (Outcome::Rejected, "PROVIDER_REFUSED", false, 422)
    );
    assert!(
        failures[2].message.contains("Not like this"),
        "{:?}",
        failures[2]
    );
    assert_eq!(failures[2].provider_fields[0].field, "reason");
}

#[tokio::test]
async fn the_providers_answer_comes_only_if_it_is_asked_for() {
    let mut gateway = gateway().start().await;
    let with = |answer: bool| CancelSubscriptionRequest {
        include_provider_response: answer,
        ..request("K", [subscription(Provider::Rebilly, "a", now())])
    };

    let mut seen = Vec::new();
    for answer in [false, true, false] {
        let results = gateway.cancel(with(answer)).await.unwrap();
        seen.push(results[0].provider_response.clone());
    }
    let mut recorded = Vec::new();
    for include_provider_response in [false, true] {
        let get = GetCancellationRequest {
            kind: CancellationKind::Subscription.into(),
            idempotency_key: "K/0".to_owned(),
            include_provider_response,
            ..Default::default()
        };
        let got = gateway
            .client
            .get_cancellation(get)
            .await
            .unwrap()
            .into_inner();
        match got.cancellation.unwrap().result.unwrap() {
            Recorded::SubscriptionResult(result) => recorded.push(result.provider_response),
            Recorded::EnrollmentResult(result) => panic!("{result:?}"),
        }
    }

    assert!(seen[0].is_none() && seen[2].is_none() && recorded[0].is_none());
    let answer = seen[1].clone().unwrap();
    assert_eq!(recorded[1].as_ref(), Some(&answer));
    let text = |name: &str| answer.fields[name].kind.clone().unwrap();
    assert_eq!(text("subscriptionId"), Kind::StringValue("a".to_owned()));
}

#[tokio::test]
async fn telling_headers_of_the_providers_answer_come_with_it_and_are_kept() {
    let mut gateway = gateway().start().await;
    let headers = [
        ("X-Request-Id", "req-1"),
        ("X-RateLimit-Remaining", "7"),
        ("Set-Cookie", "session=1"),
        ("X-Correlation-Id", "for good-credential"),
    ];
    let reply = Fault::Reply {
        status: 400,
        headers: headers.map(|(n, v)| (n.to_owned(), v.to_owned())).into(),
        body: r#"{"error": "No"}"#.to_owned(),
    };
    gateway.control.script(Provider::Sequenzy, reply);
    for answer in [true, false, true] {
        let batch = CancelEnrollmentsRequest {
            include_provider_response: answer,
            ..enrollments("K", [enrollment("seq", subscriber("s"))])
        };
        let results = gateway.cancel_enrollments(batch).await.unwrap();
        let told = &results[0].provider_response_headers;
        assert_eq!(told.is_empty(), !answer, "{told:?}");
        if answer {
            assert_eq!(told["x-request-id"], "req-1");
            assert_eq!(told["x-ratelimit-remaining"], "7");
            assert_eq!(told["x-correlation-id"], "for (credential removed)");
            assert!(!told.contains_key("set-cookie"), "{told:?}");
        }
    }
}

/// The answer in the result of a call that the provider refuses like this.
async fn refused(body: &str) -> Struct {
    answer(400, &[], body, Outcome::Rejected).await
}

/// The answer in the result of a call that something throttles like this, in whatever form, for
/// longer than it is tried.
async fn throttled(body: &str) -> Struct {
    answer(429, &[("retry-after", "600")], body, Outcome::Unavailable).await
}

async fn answer(status: u16, headers: &[(&str, &str)], body: &str, outcome: Outcome) -> Struct {
    let mut gateway = gateway().start().await;
    let headers = headers.iter();
    let reply = Fault::Reply {
        status,
        headers: headers
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect(),
        body: body.to_owned(),
    };
    gateway.control.script(Provider::Sequenzy, reply);
    let batch = CancelEnrollmentsRequest {
        include_provider_response: true,
        retry_window: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
        ..enrollments("K", [enrollment("seq", subscriber("s"))])
    };
    let results = gateway.cancel_enrollments(batch).await.unwrap();
    assert_eq!(results[0].outcome(), outcome, "{results:?}");
    results[0].provider_response.clone().unwrap()
}

/// Levels of structure below a Struct.
fn depth(of: &Struct) -> usize {
    fn below(kind: Option<&Kind>) -> usize {
        match kind {
            Some(Kind::StructValue(of)) => 1 + depth(of),
            Some(Kind::ListValue(of)) => {
                let values = of.values.iter().map(|value| below(value.kind.as_ref()));
                1 + values.max().unwrap_or_default()
            }
            _ => 0,
        }
    }
    let values = of.fields.values().map(|value| below(value.kind.as_ref()));
    values.max().unwrap_or_default()
}

#[tokio::test]
async fn any_answer_of_a_provider_can_be_shown() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!("{{\"error\":\"No\",\"a\":{open}1{close}}}")
    };
    let text = |of: &Struct, name: &str| match of.fields[name].kind.clone() {
        Some(Kind::StringValue(text)) => text,
        other => panic!("{name}: {other:?}"),
    };

    let plain = throttled("<html>no</html>").await;
    let list = throttled("[1, null, \"x\"]").await;
    let number = refused("{\"error\": \"No\", \"n\": 1e400, \"m\": 0.5}").await;
    let flat = refused(&nested(5)).await;
    let deep = refused(&nested(100)).await;
    let deeper = throttled(&nested(5_000)).await;
    let long = throttled(&"ü".repeat(100_000)).await;

    assert_eq!(text(&plain, "text"), "<html>no</html>");
    assert!(matches!(
        list.fields["value"].kind,
        Some(Kind::ListValue(_))
    ));
    assert_eq!(text(&number, "n"), "1e+400", "no double holds it");
    assert_eq!(number.fields["m"].kind, Some(Kind::NumberValue(0.5)));
    assert_eq!(depth(&flat), 5);
    assert!((10..=20).contains(&depth(&deep)), "{}", depth(&deep));
    assert!(text(&deeper, "text").starts_with("{\"error\":\"No\",\"a\":[[["));
    assert!(text(&long, "text").len() <= 64 * 1024);
}
