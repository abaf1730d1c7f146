//! The same key with other content is rejected, naming the differences; the same content written
//! differently is the same.

use cancelot::{
    rpc::proto::{
        EnrollmentCancellation, Initiator, LineItem, LineItemType, Outcome, Reason,
        SolidgateOptions, SubscriptionCancellation, subscription_cancellation::ProviderOptions,
    },
    sandbox::Provider,
};

use crate::support::{
    Gateway,
    asking::{
        conflicts, enrollment, enrollments, everyone, field, header_bytes, live, subscriber,
        subscribers,
    },
    gateway, now, period_end, request, subscription,
};

type Change<T> = (&'static str, fn(&mut T));

fn full() -> SubscriptionCancellation {
    SubscriptionCancellation {
        reason: Reason::TooExpensive.into(),
        comment: "as agreed".to_owned(),
        initiated_by: Initiator::Customer.into(),
        prorate: Some(true),
        line_items: vec![line_item("49.95")],
        ..subscription(Provider::Rebilly, "sub", period_end())
    }
}

fn line_item(amount: &str) -> LineItem {
    LineItem {
        r#type: LineItemType::Debit.into(),
        unit_price_amount: amount.to_owned(),
        unit_price_currency: "EUR".to_owned(),
        quantity: 1,
        ..Default::default()
    }
}

fn channel(id: &str) -> Option<ProviderOptions> {
    let channel_id = id.to_owned();
    Some(ProviderOptions::Solidgate(SolidgateOptions { channel_id }))
}

/// Two accounts at each provider that a test moves an item between.
async fn two_accounts() -> Gateway {
    let other = |name: &str| {
        format!(
            "[accounts.{name}-two]\nprovider = {name:?}\nbase_url = \"{{{name}}}\"\n\
             credential_env = \"CREDENTIAL\""
        )
    };
    let gateway = gateway()
        .config(&other("rebilly"))
        .config(&other("sequenzy"));
    gateway.start().await
}

#[tokio::test]
async fn a_conflict_names_each_field_of_a_subscription_that_differs() {
    let mut gateway = two_accounts().await;
    gateway.cancel_one("K", full()).await.unwrap();
    let asked = gateway.requests(Provider::Rebilly);
    let changes: [Change<SubscriptionCancellation>; 9] = [
        ("account", |item| item.account = "rebilly-two".to_owned()),
        ("subscription_id", |item| item.subscription_id.push('2')),
        ("when", |item| {
            item.when = subscription(Provider::Rebilly, "", now()).when
        }),
        ("reason", |item| item.reason = Reason::Other.into()),
        ("comment", |item| item.comment.clear()),
        ("initiated_by", |item| item.initiated_by = 0),
        ("prorate", |item| item.prorate = Some(false)),
        ("line_items", |item| item.line_items[0].quantity = 2),
        ("line_items", |item| item.line_items.clear()),
    ];

    for (name, change) in changes {
        let mut item = full();
        change(&mut item);
        let status = gateway.refused(request("K", [item])).await;
        assert_eq!(
            conflicts(&status)["K/0"],
            [format!("cancellations[0].{name}")]
        );
    }
    let mut item = full();
    for (_, change) in &changes[..8] {
        change(&mut item);
    }
    let status = gateway.refused(request("K", [item])).await;

    let all = changes[..8]
        .iter()
        .map(|(name, _)| format!("cancellations[0].{name}"));
    assert_eq!(conflicts(&status)["K/0"], all.collect::<Vec<_>>());
    assert_eq!(gateway.requests(Provider::Rebilly), asked);
}

#[tokio::test]
async fn a_conflict_names_the_options_of_a_provider() {
    let mut gateway = gateway().start().await;
    let item = SubscriptionCancellation {
        provider_options: channel("web"),
        ..subscription(Provider::Solidgate, "sub", now())
    };
    gateway.cancel_one("K", item.clone()).await.unwrap();

    let other = SubscriptionCancellation {
        provider_options: channel("app"),
        ..item
    };
    let status = gateway.refused(request("K", [other])).await;

    let named = &conflicts(&status)["K/0"];
    assert_eq!(*named, ["cancellations[0].provider_options"]);
}

#[tokio::test]
async fn a_conflict_names_each_field_of_enrollments_that_differs() {
    let mut gateway = two_accounts().await;
    let full = || EnrollmentCancellation {
        reason: "left".to_owned(),
        max_matches: Some(10),
        ..enrollment("seq", subscriber("s"))
    };
    gateway
        .cancel_enrollments(enrollments("K", [full()]))
        .await
        .unwrap();
    let asked = gateway.requests(Provider::Sequenzy);
    let changes: [Change<EnrollmentCancellation>; 7] = [
        ("account", |item| item.account = "sequenzy-two".to_owned()),
        ("sequence_id", |item| item.sequence_id.push('2')),
        ("target", |item| item.target = Some(subscriber("t"))),
        ("reason", |item| item.reason.clear()),
        ("max_matches", |item| item.max_matches = None),
        ("max_matches", |item| item.max_matches = Some(11)),
        ("target", |item| {
            item.target = Some(everyone());
            item.dry_run = Some(false);
        }),
    ];

    for (name, change) in changes {
        let mut item = full();
        change(&mut item);
        let status = gateway.refused_enrollments(enrollments("K", [item])).await;
        assert_eq!(
            conflicts(&status)["K/0"],
            [format!("cancellations[0].{name}")]
        );
    }

    assert_eq!(gateway.requests(Provider::Sequenzy), asked);
}

#[tokio::test]
async fn a_request_with_one_conflict_admits_none_of_its_items() {
    let mut gateway = gateway().start().await;
    let used = SubscriptionCancellation {
        idempotency_key: "used".to_owned(),
        ..subscription(Provider::Rebilly, "a", now())
    };
    gateway.cancel_one("J", used.clone()).await.unwrap();

    let other = SubscriptionCancellation {
        comment: "other".to_owned(),
        ..used
    };
    let fresh = subscription(Provider::Solidgate, "b", now());
    let status = gateway.refused(request("K", [fresh, other])).await;

    assert_eq!(conflicts(&status)["used"], ["cancellations[1].comment"]);
    assert_eq!(gateway.requests(Provider::Solidgate), 0);
    let missing = gateway.get("K/0").await.unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn how_a_request_is_carried_out_is_no_part_of_its_content() {
    let mut gateway = gateway().start().await;
    gateway.cancel_one("K", full()).await.unwrap();

    let mut again = request("K", [full()]);
    again.retry_window = Some(prost_types::Duration {
        seconds: 7,
        nanos: 0,
    });
    again.include_provider_response = true;
    let results = gateway.cancel(again).await.unwrap();

    assert!(results[0].replayed);
}

#[tokio::test]
async fn a_price_is_the_same_however_it_is_written() {
    let mut gateway = gateway().start().await;
    gateway.cancel_one("K", full()).await.unwrap();

    for amount in ["49.950", "049.95", "49.950000"] {
        let item = SubscriptionCancellation {
            line_items: vec![line_item(amount)],
            ..full()
        };
        let result = gateway.cancel_one("K", item).await.unwrap();
        assert!(result.replayed, "{amount}");
    }

    let item = SubscriptionCancellation {
        line_items: vec![line_item("49.96")],
        ..full()
    };
    let status = gateway.refused(request("K", [item])).await;
    assert_eq!(conflicts(&status)["K/0"], ["cancellations[0].line_items"]);
}

#[tokio::test]
async fn sets_are_the_same_in_any_order() {
    let mut gateway = gateway().start().await;
    let both = |ids: [&str; 2]| {
        [
            live(enrollment("seq", subscribers(ids))),
            live(enrollment("seq", field("order.id", ids))),
        ]
    };
    let first = enrollments("K", both(["a", "b"]));
    let first = gateway.cancel_enrollments(first).await.unwrap();

    let second = enrollments("K", both(["b", "a"]));
    let second = gateway.cancel_enrollments(second).await.unwrap();

    assert!(
        first.iter().all(|r| r.outcome() == Outcome::Canceled),
        "{first:?}"
    );
    assert!(second.iter().all(|result| result.replayed));
    let status = enrollments("K", both(["b", "c"]));
    let status = gateway.refused_enrollments(status).await;
    assert_eq!(conflicts(&status)["K/0"], ["cancellations[0].target"]);
    assert_eq!(conflicts(&status)["K/1"], ["cancellations[1].target"]);
}

#[tokio::test]
async fn the_longest_list_of_conflicts_fits_into_the_headers_of_any_client() {
    let mut gateway = gateway().start().await;
    let batch = |reason: Reason| {
        let item = |i| SubscriptionCancellation {
            idempotency_key: format!("{}{i:03}", "{".repeat(252)),
            reason: reason.into(),
            ..subscription(Provider::Rebilly, format!("s{i}"), now())
        };
        request("K", (0..300).map(item))
    };
    gateway.cancel(batch(Reason::Other)).await.unwrap();

    let status = gateway.refused(batch(Reason::DidNotUse)).await;

    assert!(
        header_bytes(&status) < 8 * 1024,
        "{}",
        header_bytes(&status)
    );
    assert!(!conflicts(&status).is_empty());
    assert!(status.message().contains("300 keys"), "{status:?}");
}
