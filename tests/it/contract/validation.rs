//! Requests are validated as a whole: all violations at once, each with its path, and nothing is
//! admitted.

use cancelot::{
    rpc::proto::{
        CancelSubscriptionRequest, EnrollmentCancellation, LineItem, LineItemType,
        ListCancellationsRequest, SolidgateOptions, SubscriptionCancellation, When,
        subscription_cancellation::ProviderOptions, when::When as Choice,
    },
    sandbox::{Fault, Provider},
};
use prost_types::Timestamp;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    Gateway,
    asking::{
        enrollment, enrollments, everyone, header_bytes, outcomes, subscriber, subscribers,
        violations,
    },
    gateway, now, period_end, provider_default, request, subscription,
};

fn rebilly(id: impl ToString) -> SubscriptionCancellation {
    subscription(Provider::Rebilly, id, now())
}

fn at(seconds: i64) -> Choice {
    Choice::At(Timestamp { seconds, nanos: 0 })
}

/// 2100-01-01.
const FUTURE: i64 = 4_102_444_800;

fn debit() -> LineItem {
    LineItem {
        r#type: LineItemType::Debit.into(),
        unit_price_amount: "1".to_owned(),
        unit_price_currency: "EUR".to_owned(),
        quantity: 1,
        ..Default::default()
    }
}

fn sorted(mut fields: Vec<String>) -> Vec<String> {
    fields.sort_unstable();
    fields
}

#[tokio::test]
async fn every_violation_of_a_request_is_told_at_once_and_nothing_is_admitted() {
    let gateway = gateway().start().await;
    let mut batch = request(
        "not a key",
        [
            rebilly("good"),
            SubscriptionCancellation {
                account: "Nobody".to_owned(),
                subscription_id: String::new(),
                idempotency_key: "ü".to_owned(),
                when: None,
                reason: 99,
                comment: "x".repeat(1_001),
                initiated_by: 99,
                ..Default::default()
            },
            SubscriptionCancellation {
                line_items: vec![
                    debit(),
                    LineItem {
                        r#type: 0,
                        description: "x".repeat(1_001),
                        unit_price_amount: "-1".to_owned(),
                        unit_price_currency: "euro".to_owned(),
                        quantity: 0,
                        period_start_time: Some(Timestamp {
                            seconds: i64::MAX,
                            nanos: 0,
                        }),
                        period_end_time: Some(Timestamp {
                            seconds: 0,
                            nanos: -1,
                        }),
                    },
                ],
                ..rebilly("items")
            },
        ],
    );
    batch.retry_window = Some(prost_types::Duration::default());

    let status = gateway.refused(batch).await;

    let expected = [
        "cancellations[1].account",
        "cancellations[1].comment",
        "cancellations[1].idempotency_key",
        "cancellations[1].initiated_by",
        "cancellations[1].reason",
        "cancellations[1].subscription_id",
        "cancellations[1].when",
        "cancellations[2].line_items[1].description",
        "cancellations[2].line_items[1].period_end_time",
        "cancellations[2].line_items[1].period_start_time",
        "cancellations[2].line_items[1].quantity",
        "cancellations[2].line_items[1].type",
        "cancellations[2].line_items[1].unit_price_amount",
        "cancellations[2].line_items[1].unit_price_currency",
        "idempotency_key",
        "retry_window",
    ];
    assert_eq!(sorted(violations(&status)), expected);
    assert_eq!(gateway.requests(Provider::Rebilly), 0);
    let (records, _) = gateway
        .list(ListCancellationsRequest::default())
        .await
        .unwrap();
    assert_eq!(records, [] as [String; 0]);
}

#[tokio::test]
async fn one_violation_of_an_item_hides_no_other() {
    let gateway = gateway().start().await;
    let batch = request(
        "K",
        [
            SubscriptionCancellation {
                account: "nobody".to_owned(),
                when: None,
                ..rebilly("a")
            },
            SubscriptionCancellation {
                when: None,
                prorate: Some(true),
                line_items: vec![debit()],
                ..subscription(Provider::Solidgate, "b", now())
            },
            SubscriptionCancellation {
                comment: "x".repeat(1_001),
                ..subscription(Provider::FunnelFox, "c", now())
            },
            SubscriptionCancellation {
                when: None,
                ..rebilly("x".repeat(51))
            },
            subscription(Provider::Solidgate, "b", now()),
        ],
    );

    let status = gateway.refused(batch).await;

    let expected = [
        "cancellations[0].account",
        "cancellations[0].when",
        "cancellations[1].line_items",
        "cancellations[1].prorate",
        "cancellations[1].when",
        "cancellations[2].comment",
        "cancellations[2].when",
        "cancellations[3].subscription_id",
        "cancellations[3].when",
        "cancellations[4].subscription_id",
    ];
    assert_eq!(sorted(violations(&status)), expected);
}

#[tokio::test]
async fn every_violation_of_enrollments_is_told_at_once() {
    let gateway = gateway().start().await;
    let batch = enrollments(
        "",
        [
            EnrollmentCancellation {
                account: String::new(),
                idempotency_key: "a b".to_owned(),
                reason: "x".repeat(1_001),
                max_matches: Some(0),
                ..Default::default()
            },
            EnrollmentCancellation {
                account: "nobody".to_owned(),
                max_matches: Some(0),
                ..enrollment("seq", subscribers(["a", "", "\u{7}"]))
            },
        ],
    );

    let status = gateway.refused_enrollments(batch).await;

    let expected = [
        "cancellations[0].account",
        "cancellations[0].idempotency_key",
        "cancellations[0].max_matches",
        "cancellations[0].reason",
        "cancellations[0].sequence_id",
        "cancellations[0].target",
        "cancellations[1].account",
        "cancellations[1].max_matches",
        "cancellations[1].subscriber_ids.ids[1]",
        "cancellations[1].subscriber_ids.ids[2]",
        "idempotency_key",
    ];
    assert_eq!(sorted(violations(&status)), expected);
}

#[tokio::test]
async fn what_an_account_cannot_do_is_refused_with_the_fields_name() {
    type Change = fn(&mut SubscriptionCancellation);
    use Provider::{FunnelFox, Rebilly, Revolv3, Solidgate};
    let gateway = gateway().start().await;
    let prorate: Change = |item| item.prorate = Some(true);
    let line_items: Change = |item| item.line_items = vec![debit()];
    let options: Change = |item| {
        item.provider_options = Some(ProviderOptions::Solidgate(SolidgateOptions::default()));
    };
    let good = |provider| match provider {
        Rebilly | Solidgate => subscription(provider, "1", now()),
        FunnelFox | Revolv3 | Provider::Sequenzy => subscription(provider, "1", provider_default()),
    };
    let choices = [now(), period_end(), at(FUTURE), provider_default()];
    let takes = |provider: Provider| match provider {
        Rebilly => [true, true, true, false],
        Solidgate => [true, true, false, false],
        FunnelFox => [false, true, false, true],
        Revolv3 => [false, false, false, true],
        Provider::Sequenzy => [false; 4],
    };

    let mut cases: Vec<(&str, bool, SubscriptionCancellation)> = Vec::new();
    for provider in [Rebilly, Solidgate, FunnelFox, Revolv3] {
        for (choice, taken) in choices.iter().zip(takes(provider)) {
            cases.push(("when", taken, subscription(provider, "1", *choice)));
        }
        let changes = [
            ("prorate", provider == Rebilly, prorate),
            ("line_items", provider == Rebilly, line_items),
            ("solidgate", provider == Solidgate, options),
        ];
        for (field, taken, change) in changes {
            let mut item = good(provider);
            change(&mut item);
            cases.push((field, taken, item));
        }
    }
    for id in ["0", "01", "+1", "1000000001", "abc", "1.0"] {
        let item = subscription(Revolv3, id, provider_default());
        cases.push(("subscription_id", false, item));
    }
    cases.push((
        "",
        true,
        subscription(Revolv3, 1_000_000_000, provider_default()),
    ));
    cases.push(("", true, rebilly("x".repeat(50))));
    cases.push(("subscription_id", false, rebilly("x".repeat(51))));
    cases.push((
        "account",
        false,
        subscription(Provider::Sequenzy, "1", now()),
    ));

    for (field, taken, item) in cases {
        check(&gateway, item, (!taken).then_some(field)).await;
    }
    let item = EnrollmentCancellation {
        account: "rebilly".to_owned(),
        ..enrollment("seq", subscriber("s"))
    };
    let status = gateway.refused_enrollments(enrollments("K", [item])).await;
    assert_eq!(violations(&status), ["cancellations[0].account"]);
}

/// Plans one item: it is taken, or this field of it is refused and nothing else.
async fn check(gateway: &Gateway, item: SubscriptionCancellation, refused: Option<&str>) {
    let plan = CancelSubscriptionRequest {
        dry_run: true,
        ..request("K", [item.clone()])
    };
    let sent = gateway.client.clone().cancel_subscription(plan).await;
    match (sent, refused) {
        (Ok(_), None) => {}
        (Err(status), Some(field)) => {
            let expected = [format!("cancellations[0].{field}")];
            assert_eq!(violations(&status), expected, "{item:?}: {status:?}");
        }
        (Ok(_), Some(field)) => panic!("{field} is not refused: {item:?}"),
        (Err(status), None) => panic!("{status:?}: {item:?}"),
    }
}

#[tokio::test]
async fn a_target_or_a_key_twice_in_a_request_is_refused() {
    let gateway = gateway().start().await;
    let with_key = |key: &str, id: &str| SubscriptionCancellation {
        idempotency_key: key.to_owned(),
        ..rebilly(id)
    };
    let batch = request(
        "K",
        [
            rebilly("a"),
            rebilly("a"),
            with_key("mine", "b"),
            with_key("mine", "c"),
            with_key("K/0", "d"),
            subscription(Provider::Solidgate, "a", now()),
        ],
    );

    let status = gateway.refused(batch).await;

    let expected = [
        "cancellations[1].subscription_id",
        "cancellations[3].idempotency_key",
        "cancellations[4].idempotency_key",
    ];
    assert_eq!(violations(&status), expected);
    let batch = enrollments(
        "K",
        [
            enrollment("seq", subscribers(["a", "b"])),
            enrollment("seq", subscribers(["b", "a"])),
            enrollment("seq", everyone()),
            enrollment("other", everyone()),
        ],
    );
    let status = gateway.refused_enrollments(batch).await;
    assert_eq!(violations(&status), ["cancellations[1].target"]);
}

#[tokio::test]
async fn a_time_that_has_passed_is_refused_unless_it_was_admitted_before() {
    let mut gateway = gateway().start().await;
    let soon = jiff::Timestamp::now().as_second() + 60;
    let item = subscription(Provider::Rebilly, "a", at(soon));
    let first = gateway.cancel_one("K", item.clone()).await.unwrap();
    gateway.advance(120);

    let again = gateway.cancel_one("K", item.clone()).await.unwrap();
    let status = gateway.refused(request("J", [item])).await;

    assert_eq!(
        outcomes(&[first]),
        [cancelot::rpc::proto::Outcome::Scheduled]
    );
    assert!(again.replayed);
    assert_eq!(violations(&status), ["cancellations[0].when"]);
}

#[tokio::test]
async fn a_when_that_says_nothing_is_refused() {
    let gateway = gateway().start().await;

    for when in [None, Some(When { when: None })] {
        let item = SubscriptionCancellation {
            when,
            ..rebilly("a")
        };
        let status = gateway.refused(request("K", [item])).await;
        assert_eq!(violations(&status), ["cancellations[0].when"]);
    }
}

#[tokio::test]
async fn a_request_has_one_to_ten_thousand_items() {
    let gateway = gateway().start().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);

    let none = gateway.refused(request("K", [])).await;
    let more = gateway
        .refused(request("K", (0..10_001).map(rebilly)))
        .await;

    assert_eq!(violations(&none), ["cancellations"]);
    assert_eq!(violations(&more), ["cancellations"]);
    assert_eq!(gateway.requests(Provider::Rebilly), 0);
}

#[tokio::test]
async fn the_longest_list_of_violations_fits_into_the_headers_of_any_client() {
    let gateway = gateway().start().await;
    let nobody = |i: usize| SubscriptionCancellation {
        account: "ü".repeat(200 + i % 2),
        ..Default::default()
    };
    let priceless = SubscriptionCancellation {
        line_items: vec![
            LineItem {
                unit_price_amount: "{".repeat(1_000),
                unit_price_currency: "ü".repeat(1_000),
                ..debit()
            };
            50
        ],
        ..rebilly("a")
    };
    let huge = SubscriptionCancellation {
        account: "ü".repeat(100_000),
        ..rebilly("a")
    };

    for (batch, count) in [
        (request("K", (0..10_000).map(nobody)), 30_000),
        (request("K", [priceless]), 100),
        (request("K", [huge]), 1),
    ] {
        let status = gateway.refused(batch).await;
        let bytes = header_bytes(&status);
        assert!(bytes < 8 * 1024, "{bytes} bytes");
        assert!(!violations(&status).is_empty());
        assert!(
            status.message().contains(&format!("{count} violation")),
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_message_or_too_large_for_one_is_refused() {
    let gateway = gateway().start().await;
    let item = SubscriptionCancellation {
        comment: "x".repeat(40 * 1024 * 1024),
        ..rebilly("a")
    };

    let status = gateway.refused(request("K", [item])).await;

    assert!(
        matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{status:?}"
    );
    assert!(status.get_details_bad_request().is_none());
}
