//! One key has one effect, whoever repeats it and however requests are grouped.

use cancelot::{
    rpc::proto::{CancellationKind, Outcome, SubscriptionCancellation},
    sandbox::Provider,
};

use crate::support::{
    asking::{conflicts, enrollment, enrollments, outcomes, subscriber},
    gateway, now, period_end, provider_default, request, subscription,
};

fn rebilly(id: &str) -> SubscriptionCancellation {
    subscription(Provider::Rebilly, id, now())
}

fn with_key(key: &str, item: SubscriptionCancellation) -> SubscriptionCancellation {
    SubscriptionCancellation {
        idempotency_key: key.to_owned(),
        ..item
    }
}

#[tokio::test]
async fn an_item_without_a_key_gets_that_of_its_request_and_its_index() {
    let mut gateway = gateway().start().await;
    let items = [rebilly("a"), with_key("mine", rebilly("b")), rebilly("c")];

    let results = gateway.cancel(request("K", items)).await.unwrap();

    let keys: Vec<_> = results.iter().map(|r| r.idempotency_key.as_str()).collect();
    assert_eq!(keys, ["K/0", "mine", "K/2"]);
    for (key, id) in [("K/0", "a"), ("mine", "b"), ("K/2", "c")] {
        let record = gateway.get(key).await.unwrap();
        assert_eq!(record.idempotency_key, key);
        assert_eq!(gateway.control.effects(Provider::Rebilly)[id], 1);
    }
}

#[tokio::test]
async fn a_replay_is_the_first_answer_and_asks_no_provider() {
    let mut gateway = gateway().start().await;
    let batch = request(
        "K",
        [
            rebilly("a"),
            subscription(Provider::Solidgate, "b", period_end()),
            subscription(Provider::FunnelFox, "c", provider_default()),
            subscription(Provider::Revolv3, 7, provider_default()),
            subscription(Provider::Solidgate, "missing", now()),
            subscription(Provider::Rebilly, "churned", now()),
        ],
    );
    let first = gateway.cancel(batch.clone()).await.unwrap();
    let asked = Provider::ALL.map(|provider| gateway.requests(provider));

    let second = gateway.cancel(batch).await.unwrap();

    let expected = [
        Outcome::Canceled,
        Outcome::Scheduled,
        Outcome::Scheduled,
        Outcome::Canceled,
        Outcome::NotFound,
        Outcome::AlreadyCanceled,
    ];
    assert_eq!(outcomes(&first), expected);
    assert!(first.iter().all(|result| result.settled_time.is_some()));
    let marked = first.into_iter().map(|mut result| {
        assert!(!std::mem::replace(&mut result.replayed, true));
        result
    });
    assert_eq!(second, marked.collect::<Vec<_>>());
    assert_eq!(Provider::ALL.map(|p| gateway.requests(p)), asked);
}

#[tokio::test]
async fn a_replay_of_enrollments_is_the_first_answer_too() {
    let mut gateway = gateway().start().await;
    let batch = enrollments("K", [enrollment("seq", subscriber("s"))]);
    let first = gateway.cancel_enrollments(batch.clone()).await.unwrap();

    let mut second = gateway.cancel_enrollments(batch).await.unwrap();

    assert!(std::mem::take(&mut second[0].replayed));
    assert_eq!(second, first);
    assert_eq!(second[0].canceled_count, 3);
    assert_eq!(gateway.requests(Provider::Sequenzy), 1);
}

#[tokio::test]
async fn an_item_with_a_key_of_its_own_is_the_same_in_every_request() {
    let mut gateway = gateway().start().await;
    let first = [rebilly("a"), with_key("mine", rebilly("b"))];
    gateway.cancel(request("first", first)).await.unwrap();

    let second = [with_key("mine", rebilly("b")), rebilly("c")];
    let results = gateway.cancel(request("second", second)).await.unwrap();

    assert_eq!(results[0].idempotency_key, "mine");
    assert!(results[0].replayed && !results[1].replayed);
    assert!(
        gateway
            .control
            .effects(Provider::Rebilly)
            .values()
            .all(|n| *n == 1)
    );
    let third = with_key("mine", rebilly("other"));
    let status = gateway.refused(request("third", [third])).await;
    assert_eq!(
        conflicts(&status)["mine"],
        ["cancellations[0].subscription_id"]
    );
}

#[tokio::test]
async fn a_request_key_with_another_number_of_items_is_refused() {
    let mut gateway = gateway().start().await;
    let batch = request("K", [rebilly("a"), rebilly("b")]);
    gateway.cancel(batch).await.unwrap();

    let fewer = gateway.refused(request("K", [rebilly("a")])).await;
    let more = [rebilly("a"), rebilly("b"), rebilly("c")];
    let more = gateway.refused(request("K", more)).await;

    assert_eq!(conflicts(&fewer)["K"], ["cancellations"]);
    assert_eq!(conflicts(&more)["K"], ["cancellations"]);
    assert_eq!(gateway.requests(Provider::Rebilly), 2);
}

#[tokio::test]
async fn a_key_that_looks_derived_is_the_derived_key() {
    let mut gateway = gateway().start().await;
    gateway
        .cancel(request("J", [rebilly("a"), rebilly("b")]))
        .await
        .unwrap();
    gateway
        .cancel(request("X", [with_key("K/1", rebilly("d"))]))
        .await
        .unwrap();
    let asked = gateway.requests(Provider::Rebilly);

    let explicit = gateway
        .cancel_one("Y", with_key("J/1", rebilly("b")))
        .await
        .unwrap();
    let derived = gateway
        .cancel(request("K", [rebilly("c"), rebilly("d")]))
        .await
        .unwrap();

    assert!(explicit.replayed);
    assert_eq!([derived[0].replayed, derived[1].replayed], [false, true]);
    assert_eq!(gateway.requests(Provider::Rebilly), asked + 1);
}

#[tokio::test]
async fn a_key_that_looks_derived_conflicts_with_the_derived_key() {
    let mut gateway = gateway().start().await;
    gateway
        .cancel(request("J", [rebilly("a"), rebilly("b")]))
        .await
        .unwrap();
    gateway
        .cancel(request("X", [with_key("K/1", rebilly("d"))]))
        .await
        .unwrap();
    let asked = gateway.requests(Provider::Rebilly);

    let explicit = gateway
        .refused(request("Y", [with_key("J/1", rebilly("z"))]))
        .await;
    let derived = gateway
        .refused(request("K", [rebilly("c"), rebilly("z")]))
        .await;

    assert_eq!(
        conflicts(&explicit)["J/1"],
        ["cancellations[0].subscription_id"]
    );
    assert_eq!(
        conflicts(&derived)["K/1"],
        ["cancellations[1].subscription_id"]
    );
    assert_eq!(gateway.requests(Provider::Rebilly), asked);
    assert!(
        gateway.get("K/0").await.is_err(),
        "nothing of it was admitted"
    );
}

#[tokio::test]
async fn a_key_beyond_a_requests_items_or_in_another_form_is_a_key_of_its_own() {
    let mut gateway = gateway().start().await;
    gateway.cancel(request("K", [rebilly("a")])).await.unwrap();

    let items =
        ["K/1", "K/00", "K/", "K"].map(|key| with_key(key, rebilly(&key.replace('/', "-"))));
    let results = gateway.cancel(request("other", items)).await.unwrap();

    assert_eq!(outcomes(&results), [Outcome::Canceled; 4]);
    assert!(results.iter().all(|result| !result.replayed));
}

#[tokio::test]
async fn the_two_rpcs_have_keys_of_their_own() {
    let mut gateway = gateway().start().await;
    gateway.cancel_one("K", rebilly("a")).await.unwrap();

    let batch = enrollments("K", [enrollment("seq", subscriber("s"))]);
    let results = gateway.cancel_enrollments(batch).await.unwrap();

    assert_eq!(results[0].outcome(), Outcome::Canceled);
    assert!(!results[0].replayed);
    for kind in [
        CancellationKind::Subscription,
        CancellationKind::Enrollments,
    ] {
        let record = gateway.get_of(kind, "K/0").await.unwrap();
        assert_eq!(record.kind(), kind);
    }
}

#[tokio::test]
async fn items_in_another_order_are_other_content() {
    let mut gateway = gateway().start().await;
    gateway
        .cancel(request("K", [rebilly("a"), rebilly("b")]))
        .await
        .unwrap();

    let status = gateway
        .refused(request("K", [rebilly("b"), rebilly("a")]))
        .await;

    let named = conflicts(&status);
    assert_eq!(named["K/0"], ["cancellations[0].subscription_id"]);
    assert_eq!(named["K/1"], ["cancellations[1].subscription_id"]);
}
