//! A dry run changes nothing and uses up no key; targets that match many are a dry run by default.

use cancelot::{
    rpc::proto::{
        CancelEnrollmentsRequest, CancelSubscriptionRequest, CancellationKind,
        EnrollmentCancellation, ListCancellationsRequest, Outcome, SubscriptionCancellation,
    },
    sandbox::Provider,
};

use crate::support::{
    asking::{enrollment, enrollments, everyone, field, live, outcomes, subscriber, subscribers},
    gateway, now, period_end, provider_default, request, subscription,
};

fn everywhere(id: &str) -> [SubscriptionCancellation; 4] {
    [
        subscription(Provider::Rebilly, id, now()),
        subscription(Provider::Solidgate, id, period_end()),
        subscription(Provider::FunnelFox, id, provider_default()),
        subscription(Provider::Revolv3, 7, provider_default()),
    ]
}

fn dry(request: CancelSubscriptionRequest) -> CancelSubscriptionRequest {
    CancelSubscriptionRequest {
        dry_run: true,
        ..request
    }
}

#[tokio::test]
async fn a_dry_run_of_subscriptions_changes_nothing_anywhere() {
    let gateway = gateway().start().await;

    let mut reader = gateway.open(dry(request("K", everywhere("a")))).await;
    let results = reader.rest().await.unwrap();

    assert_eq!(outcomes(&results), [Outcome::Previewed; 4]);
    assert_eq!(reader.progress.batch_id, "");
    for result in results {
        assert!(!result.preview.is_empty() && !result.replayed, "{result:?}");
        assert_eq!(result.settled_time, None);
        assert!(!result.state.unwrap().provider_status.is_empty());
    }
    for provider in Provider::ALL {
        let tally = gateway.control.counts(provider).tally;
        assert_eq!((tally.effects, tally.changes, tally.drafts_open), (0, 0, 0));
    }
    assert_eq!(gateway.control.counts(Provider::Rebilly).tally.drafts, 1);
}

#[tokio::test]
async fn a_dry_run_uses_up_no_key() {
    let mut gateway = gateway().start().await;
    gateway
        .cancel(dry(request("K", everywhere("a"))))
        .await
        .unwrap();
    gateway
        .cancel(dry(request("K", everywhere("a"))))
        .await
        .unwrap();
    assert!(gateway.get("K/0").await.is_err());

    let other = gateway.cancel(request("K", everywhere("b"))).await.unwrap();

    let expected = [
        Outcome::Canceled,
        Outcome::Scheduled,
        Outcome::Scheduled,
        Outcome::Canceled,
    ];
    assert_eq!(outcomes(&other), expected);
    assert!(other.iter().all(|result| !result.replayed));
    let (records, _) = gateway
        .list(ListCancellationsRequest::default())
        .await
        .unwrap();
    assert_eq!(records.len(), 4);
}

#[tokio::test]
async fn a_dry_run_under_a_used_key_tells_what_is_so_now() {
    let mut gateway = gateway().start().await;
    let item = subscription(Provider::Solidgate, "a", now());
    gateway.cancel_one("K", item.clone()).await.unwrap();

    let plan = gateway.cancel(dry(request("K", [item]))).await.unwrap();
    let other = subscription(Provider::Solidgate, "b", now());
    let other = gateway.cancel(dry(request("K", [other]))).await.unwrap();

    assert!(!plan[0].replayed);
    assert_eq!(outcomes(&other), [Outcome::Previewed], "no conflict");
    assert_eq!(gateway.control.counts(Provider::Solidgate).tally.effects, 1);
}

#[tokio::test]
async fn what_a_dry_run_finds_missing_is_not_recorded_either() {
    let mut gateway = gateway().start().await;
    let item = subscription(Provider::Rebilly, "missing", now());

    let plan = gateway.cancel(dry(request("K", [item]))).await.unwrap();

    assert_eq!(outcomes(&plan), [Outcome::NotFound]);
    assert_eq!(plan[0].settled_time, None);
    assert!(gateway.get("K/0").await.is_err());
}

#[tokio::test]
async fn targets_that_match_many_are_a_dry_run_unless_told_not_to() {
    let mut gateway = gateway().start().await;
    let targets = || {
        [
            subscriber("s"),
            subscribers(["t", "u"]),
            field("order.id", ["v"]),
            everyone(),
        ]
    };
    let batch = |key: &str, change: fn(EnrollmentCancellation) -> EnrollmentCancellation| {
        let items = targets().map(|target| change(enrollment("seq", target)));
        enrollments(key, items)
    };
    let ends = |results: Vec<cancelot::rpc::proto::EnrollmentResult>| {
        results.iter().map(|r| r.outcome()).collect::<Vec<_>>()
    };

    let unsaid = gateway
        .cancel_enrollments(batch("J", |item| item))
        .await
        .unwrap();
    let effects = gateway.control.effects(Provider::Sequenzy);
    let whole = CancelEnrollmentsRequest {
        dry_run: true,
        ..batch("K", live)
    };
    let whole = gateway.cancel_enrollments(whole).await.unwrap();
    let untouched = gateway.control.effects(Provider::Sequenzy) == effects;
    let said = gateway.cancel_enrollments(batch("K", live)).await.unwrap();

    assert_eq!(effects.len(), 3, "the one subscriber's enrollments");
    assert!(unsaid[1].matched_count > 0 && unsaid[3].matched_count > 0);
    assert!(
        unsaid[1..]
            .iter()
            .all(|r| r.canceled_count == 0 && r.settled_time.is_none())
    );
    let [canceled, previewed] = [Outcome::Canceled, Outcome::Previewed];
    assert_eq!(ends(unsaid), [canceled, previewed, previewed, previewed]);
    assert!(untouched);
    assert_eq!(ends(whole), [previewed; 4]);
    assert_eq!(said[0].outcome(), Outcome::AlreadyCanceled);
    assert!(
        said[1..]
            .iter()
            .all(|r| r.remaining_count == 0 && !r.replayed)
    );
    let open = gateway.control.sequence("seq").unwrap();
    assert!(open.iter().all(|enrollment| !enrollment.status.is_open()));
    assert!(
        gateway
            .control
            .effects(Provider::Sequenzy)
            .values()
            .all(|count| *count == 1)
    );
}

#[tokio::test]
async fn items_that_were_a_dry_run_go_live_under_the_same_keys() {
    let mut gateway = gateway().start().await;
    let one = || enrollment("seq", subscriber("s"));
    let all = || enrollment("seq", everyone());
    let first = enrollments("K", [one(), all()]);
    let first = gateway.cancel_enrollments(first).await.unwrap();
    let kind = CancellationKind::Enrollments;
    assert!(gateway.get_of(kind, "K/1").await.is_err());

    let second = enrollments("K", [one(), live(all())]);
    let second = gateway.cancel_enrollments(second).await.unwrap();
    let third = enrollments("K", [one(), live(all())]);
    let third = gateway.cancel_enrollments(third).await.unwrap();
    let dry_again = enrollments("K", [one(), all()]);
    let dry_again = gateway.cancel_enrollments(dry_again).await.unwrap();

    assert_eq!(first[0].outcome(), Outcome::Canceled);
    assert_eq!(first[1].outcome(), Outcome::Previewed);
    assert!(second[0].replayed && !second[1].replayed);
    assert_eq!(second[1].outcome(), Outcome::Canceled);
    assert_eq!(second[1].canceled_count, first[1].matched_count);
    assert!(third[0].replayed && third[1].replayed);
    assert!(dry_again[0].replayed);
    assert_eq!(dry_again[1].outcome(), Outcome::Previewed);
    assert_eq!(dry_again[1].matched_count, 0);
    assert_eq!(gateway.get_of(kind, "K/1").await.unwrap().batch_id, {
        gateway.get_of(kind, "K/0").await.unwrap().batch_id
    });
}

#[tokio::test]
async fn more_matches_than_allowed_and_nothing_is_cancelled() {
    let mut gateway = gateway().start().await;
    let at_most = |max: u32| EnrollmentCancellation {
        max_matches: Some(max),
        ..live(enrollment("seq", everyone()))
    };

    let too_many = enrollments("J", [at_most(2)]);
    let too_many = gateway.cancel_enrollments(too_many).await.unwrap();
    let untouched = gateway.control.effects(Provider::Sequenzy).is_empty();
    let enough = enrollments("K", [at_most(3)]);
    let enough = gateway.cancel_enrollments(enough).await.unwrap();

    assert_eq!(too_many[0].outcome(), Outcome::Rejected);
    let failure = too_many[0].failure.clone().unwrap();
    assert_eq!(failure.reason, "TOO_MANY_MATCHES");
    assert!(!failure.same_key_retryable);
    assert_eq!(
        (too_many[0].matched_count, too_many[0].canceled_count),
        (3, 0)
    );
    assert!(untouched);
    assert_eq!(enough[0].outcome(), Outcome::Canceled);
    assert_eq!(enough[0].canceled_count, 3);
}
