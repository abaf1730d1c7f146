//! The bounds of every field: the last accepted value, and the first rejected one.

use cancelot::{
    rpc::proto::{
        CancelEnrollmentsRequest, CancelSubscriptionRequest, CancellationKind,
        EnrollmentCancellation, GetCancellationRequest, LineItem, LineItemType,
        ListCancellationsRequest, SolidgateOptions, SubscriptionCancellation,
        subscription_cancellation::ProviderOptions, when::When as Choice,
    },
    sandbox::Provider,
};
use prost_types::{Duration, Timestamp};

use crate::support::{
    asking::{enrollment, enrollments, everyone, field, subscriber, subscribers, violations},
    gateway, now, request, subscription,
};

/// A text, whether it is taken, and why it is there.
fn texts(chars_max: usize, may_be_empty: bool) -> [(String, bool); 5] {
    [
        (String::new(), may_be_empty),
        ("x".to_owned(), true),
        ("x".repeat(chars_max), true),
        ("ü".repeat(chars_max), true),
        ("x".repeat(chars_max + 1), false),
    ]
}

/// The same for ids, which are ASCII.
fn ids_of(chars_max: usize, may_be_empty: bool) -> [(String, bool); 5] {
    texts(chars_max, may_be_empty).map(|(text, taken)| {
        let taken = taken && text.is_ascii();
        (text, taken)
    })
}

fn keys(may_be_empty: bool) -> [(String, bool); 8] {
    [
        (String::new(), may_be_empty),
        ("!".to_owned(), true),
        ("k".repeat(255), true),
        ("k".repeat(256), false),
        ("a b".to_owned(), false),
        ("a\n".to_owned(), false),
        ("\u{7f}".to_owned(), false),
        ("schlüssel".to_owned(), false),
    ]
}

#[tokio::test]
async fn fields_of_a_subscription_are_bounded() {
    let gateway = gateway().start().await;
    let mut cases: Vec<(&str, bool, SubscriptionCancellation)> = Vec::new();
    let item = || subscription(Provider::Solidgate, "a", now());
    for (text, taken) in ids_of(255, false) {
        let case = subscription(Provider::Solidgate, text, now());
        cases.push(("subscription_id", taken, case));
    }
    for bad in [".", "..", "a\tb"] {
        let case = subscription(Provider::Solidgate, bad, now());
        cases.push(("subscription_id", false, case));
    }
    for (comment, taken) in texts(1_000, true) {
        cases.push((
            "comment",
            taken,
            SubscriptionCancellation { comment, ..item() },
        ));
    }
    for (comment, taken) in texts(255, true) {
        let case = SubscriptionCancellation {
            comment,
            ..subscription(Provider::Rebilly, "a", now())
        };
        cases.push(("comment", taken, case));
    }
    for (idempotency_key, taken) in keys(true) {
        let case = SubscriptionCancellation {
            idempotency_key,
            ..item()
        };
        cases.push(("idempotency_key", taken, case));
    }
    for (channel_id, taken) in ids_of(255, true) {
        let options = SolidgateOptions { channel_id };
        let case = SubscriptionCancellation {
            provider_options: Some(ProviderOptions::Solidgate(options)),
            ..item()
        };
        cases.push(("solidgate.channel_id", taken, case));
    }
    for (reason, taken) in [(0, true), (10, true), (11, false), (-1, false)] {
        cases.push((
            "reason",
            taken,
            SubscriptionCancellation { reason, ..item() },
        ));
    }
    for (initiated_by, taken) in [(0, true), (3, true), (4, false), (i32::MIN, false)] {
        let case = SubscriptionCancellation {
            initiated_by,
            ..item()
        };
        cases.push(("initiated_by", taken, case));
    }
    for (seconds, nanos, taken) in [
        (4_102_444_800, 999_999_999, true),
        (4_102_444_800, 1_000_000_000, false),
        (4_102_444_800, -1, false),
        (253_402_300_800, 0, false),
        (i64::MAX, i32::MAX, false),
        (i64::MIN, 0, false),
        (-62_135_596_801, 0, false),
        (-62_135_596_800, 0, false),
        (0, 0, false),
    ] {
        let when = Choice::At(Timestamp { seconds, nanos });
        cases.push(("when", taken, subscription(Provider::Rebilly, "a", when)));
    }

    for (field, taken, item) in cases {
        let plan = CancelSubscriptionRequest {
            dry_run: true,
            ..request("K", [item.clone()])
        };
        let sent = gateway.client.clone().cancel_subscription(plan).await;
        match (sent, taken) {
            (Ok(_), true) => {}
            (Err(status), false) => {
                assert_eq!(violations(&status), [format!("cancellations[0].{field}")]);
            }
            (sent, _) => panic!("{field}: {:?} of {item:?}", sent.err()),
        }
    }
}

#[tokio::test]
async fn fields_of_a_line_item_are_bounded() {
    let gateway = gateway().start().await;
    let good = || LineItem {
        r#type: LineItemType::Credit.into(),
        unit_price_amount: "1".to_owned(),
        unit_price_currency: "EUR".to_owned(),
        quantity: 1,
        ..Default::default()
    };
    let mut cases: Vec<(&str, bool, LineItem)> = vec![("", true, good())];
    for (r#type, taken) in [(0, false), (1, true), (2, true), (3, false)] {
        cases.push(("type", taken, LineItem { r#type, ..good() }));
    }
    for (description, taken) in texts(1_000, true) {
        let case = LineItem {
            description,
            ..good()
        };
        cases.push(("description", taken, case));
    }
    for (amount, taken) in [
        ("0", true),
        ("999999999999.999999", true),
        ("", false),
        ("1000000000000", true),
        ("9999999999999", false),
        ("0.0000001", false),
        ("-1", false),
        ("1e3", false),
        (".5", false),
        ("5.", false),
        ("1,5", false),
        ("NaN", false),
    ] {
        let taken = taken && amount.split('.').next().unwrap().len() <= 12;
        let case = LineItem {
            unit_price_amount: amount.to_owned(),
            ..good()
        };
        cases.push(("unit_price_amount", taken, case));
    }
    for (currency, taken) in [("USD", true), ("", false), ("usd", false), ("EURO", false)] {
        let case = LineItem {
            unit_price_currency: currency.to_owned(),
            ..good()
        };
        cases.push(("unit_price_currency", taken, case));
    }
    for (quantity, taken) in [
        (1, true),
        (1_000_000, true),
        (0, false),
        (-1, false),
        (1_000_001, false),
        (i32::MAX, false),
    ] {
        cases.push(("quantity", taken, LineItem { quantity, ..good() }));
    }
    let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
    for (start, end, taken) in [(5, 5, true), (5, 6, true), (6, 5, false)] {
        let case = LineItem {
            period_start_time: time(start),
            period_end_time: time(end),
            ..good()
        };
        cases.push(("period_end_time", taken, case));
    }

    for (field, taken, line_item) in cases {
        let item = SubscriptionCancellation {
            line_items: vec![good(), line_item.clone()],
            ..subscription(Provider::Rebilly, "a", now())
        };
        let plan = CancelSubscriptionRequest {
            dry_run: true,
            ..request("K", [item])
        };
        let sent = gateway.client.clone().cancel_subscription(plan).await;
        match (sent, taken) {
            (Ok(_), true) => {}
            (Err(status), false) => {
                let expected = format!("cancellations[0].line_items[1].{field}");
                assert_eq!(violations(&status), [expected]);
            }
            (sent, _) => panic!("{field}: {:?} of {line_item:?}", sent.err()),
        }
    }
    for (count, taken) in [(50, true), (51, false)] {
        let item = SubscriptionCancellation {
            line_items: vec![good(); count],
            ..subscription(Provider::Rebilly, "a", now())
        };
        let plan = CancelSubscriptionRequest {
            dry_run: true,
            ..request("K", [item])
        };
        let sent = gateway.client.clone().cancel_subscription(plan).await;
        assert_eq!(sent.is_ok(), taken, "{count} line items");
        if let Err(status) = sent {
            assert_eq!(violations(&status), ["cancellations[0].line_items"]);
        }
    }
}

#[tokio::test]
async fn fields_of_enrollments_are_bounded() {
    let gateway = gateway().start().await;
    let mut cases: Vec<(&str, bool, EnrollmentCancellation)> = Vec::new();
    for (text, taken) in ids_of(255, false) {
        cases.push(("sequence_id", taken, enrollment(&text, everyone())));
        cases.push(("subscriber_id", taken, enrollment("seq", subscriber(&text))));
        let ids = subscribers(["a", text.as_str()]);
        let field_name = "subscriber_ids.ids[1]";
        cases.push((field_name, taken, enrollment("seq", ids)));
    }
    for (text, taken) in texts(255, false) {
        let values = field("order.id", ["a", text.as_str()]);
        cases.push(("field.values[1]", taken, enrollment("seq", values)));
    }
    for (path, taken) in texts(255, true) {
        cases.push(("field.path", taken, enrollment("seq", field(&path, ["v"]))));
    }
    for (reason, taken) in texts(1_000, true) {
        let case = EnrollmentCancellation {
            reason,
            ..enrollment("seq", everyone())
        };
        cases.push(("reason", taken, case));
    }
    for (max_matches, taken) in [(0, false), (1, true), (u32::MAX, true)] {
        let case = EnrollmentCancellation {
            max_matches: Some(max_matches),
            ..enrollment("seq", everyone())
        };
        cases.push(("max_matches", taken, case));
    }
    for (count, taken) in [(0, false), (1, true), (500, true), (501, false)] {
        let ids: Vec<_> = (0..count).map(|i| format!("s{i}")).collect();
        let ids = || ids.iter().map(String::as_str);
        let case = enrollment("seq", subscribers(ids()));
        cases.push(("subscriber_ids.ids", taken, case));
        let case = enrollment("seq", field("order.id", ids()));
        cases.push(("field.values", taken, case));
    }
    let twice = enrollment("seq", subscribers(["a", "b", "a"]));
    cases.push(("subscriber_ids.ids", false, twice));
    let twice = enrollment("seq", field("order.id", ["a", "a"]));
    cases.push(("field.values", false, twice));

    for (field, taken, item) in cases {
        let plan = CancelEnrollmentsRequest {
            dry_run: true,
            ..enrollments("K", [item.clone()])
        };
        let sent = gateway.client.clone().cancel_enrollments(plan).await;
        match (sent, taken) {
            (Ok(_), true) => {}
            (Err(status), false) => {
                assert_eq!(violations(&status), [format!("cancellations[0].{field}")]);
            }
            (sent, _) => panic!("{field}: {:?} of {item:?}", sent.err()),
        }
    }
}

#[tokio::test]
async fn fields_of_a_request_are_bounded() {
    let gateway = gateway().start().await;
    let mut client = gateway.client.clone();
    let plan = |key: &str| CancelSubscriptionRequest {
        dry_run: true,
        ..request(key, [subscription(Provider::Solidgate, "a", now())])
    };

    for (key, taken) in keys(false) {
        let sent = client.cancel_subscription(plan(&key)).await;
        assert_eq!(sent.is_ok(), taken, "{key}");
        if let Err(status) = sent {
            assert_eq!(violations(&status), ["idempotency_key"]);
        }
    }
    for (seconds, nanos, taken) in [
        (0, 999_999_999, false),
        (1, 0, true),
        (86_400, 0, true),
        (86_400, 1, false),
        (-1, 0, false),
        (i64::MIN, i32::MIN, false),
        (i64::MAX, i32::MAX, false),
    ] {
        let mut plan = plan("K");
        plan.retry_window = Some(Duration { seconds, nanos });
        let sent = client.cancel_subscription(plan).await;
        assert_eq!(sent.is_ok(), taken, "{seconds} s {nanos} ns");
        if let Err(status) = sent {
            assert_eq!(violations(&status), ["retry_window"]);
        }
    }
}

#[tokio::test]
async fn fields_of_the_reading_calls_are_bounded() {
    type List = ListCancellationsRequest;
    type Change = fn(&mut List);
    let gateway = gateway().start().await;
    let changes: [(&str, Change); 9] = [
        ("page_size", |list| list.page_size = 1_001),
        ("page_token", |list| list.page_token = "x".to_owned()),
        ("account", |list| list.account = "Nobody!".to_owned()),
        ("target_id", |list| list.target_id = "x".repeat(256)),
        ("batch_id", |list| list.batch_id = "42".to_owned()),
        ("outcomes[1]", |list| list.outcomes = vec![0, 11]),
        ("admitted_after", |list| {
            list.admitted_after = Some(Timestamp {
                seconds: i64::MAX,
                nanos: 0,
            });
        }),
        ("admitted_before", |list| {
            list.admitted_before = Some(Timestamp {
                seconds: 0,
                nanos: -1,
            });
        }),
        ("kind", |list| list.kind = 3),
    ];

    let mut all = List::default();
    for (field, change) in changes {
        let mut list = List::default();
        change(&mut list);
        change(&mut all);
        let status = gateway.list(list).await.unwrap_err();
        assert_eq!(violations(&status), [field]);
    }
    let mut named = violations(&gateway.list(all).await.unwrap_err());
    let mut expected = changes.map(|(field, _)| field);
    named.sort_unstable();
    expected.sort_unstable();
    assert_eq!(named, expected);
    let full_page = List {
        page_size: 1_000,
        ..Default::default()
    };
    assert!(gateway.list(full_page).await.is_ok());

    for (kind, key, fields) in [
        (0, "K", vec!["kind"]),
        (9, "", vec!["kind", "idempotency_key"]),
        (
            CancellationKind::Subscription.into(),
            "a b",
            vec!["idempotency_key"],
        ),
    ] {
        let get = GetCancellationRequest {
            kind,
            idempotency_key: key.to_owned(),
            include_provider_response: false,
            ..Default::default()
        };
        let status = gateway
            .client
            .clone()
            .get_cancellation(get)
            .await
            .unwrap_err();
        assert_eq!(violations(&status), fields);
    }
}
