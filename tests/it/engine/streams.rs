//! Result streams: what they publish, when and to whom, and that slow or leaving readers do not
//! disturb the work.

use cancelot::{
    rpc::proto::{CancelSubscriptionRequest, Outcome, SubscriptionCancellation},
    sandbox::{Fault, Provider},
};

use crate::support::{
    asking::{
        Reader, always, counts, enrollment, enrollment_messages, enrollments, everyone, live,
        outcomes,
    },
    connect, gateway, in_time, now, period_end, request, subscription,
};

fn rebilly(id: impl ToString) -> SubscriptionCancellation {
    subscription(Provider::Rebilly, id, now())
}

fn many(count: u32) -> CancelSubscriptionRequest {
    let providers = [Provider::Rebilly, Provider::Solidgate];
    let items = (0..count).map(|i| {
        let provider = providers[usize::try_from(i).unwrap() % providers.len()];
        subscription(provider, format!("s{i}"), now())
    });
    request("many", items)
}

#[tokio::test]
async fn the_first_message_names_the_batch_before_anything_has_settled() {
    let gateway = gateway().start().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);

    let mut reader = gateway.open(request("K", [rebilly("a")])).await;
    let first = reader.next().await.unwrap().unwrap();

    assert_eq!(first, []);
    assert!(!reader.progress.batch_id.is_empty());
    assert_eq!((reader.progress.total, reader.progress.settled), (1, 0));
    gateway.control.held_reached(Provider::Rebilly, 1).await;
    gateway.control.release(Provider::Rebilly);
    assert_eq!(outcomes(&reader.rest().await.unwrap()), [Outcome::Canceled]);
}

#[tokio::test]
async fn progress_counts_every_outcome() {
    let gateway = gateway().start().await;
    let batch = request(
        "K",
        [
            rebilly("a"),
            subscription(Provider::Rebilly, "b", period_end()),
            rebilly("churned"),
            subscription(Provider::Rebilly, "scheduled", period_end()),
            rebilly("missing"),
            subscription(Provider::Solidgate, "missing", now()),
            subscription(Provider::Solidgate, "c", now()),
        ],
    );

    let mut first = gateway.open(batch.clone()).await;
    first.rest().await.unwrap();
    let mut second = gateway.open(batch).await;
    second.rest().await.unwrap();

    let expected = [
        ("OUTCOME_ALREADY_CANCELED", 1),
        ("OUTCOME_ALREADY_SCHEDULED", 1),
        ("OUTCOME_CANCELED", 2),
        ("OUTCOME_NOT_FOUND", 2),
        ("OUTCOME_SCHEDULED", 1),
    ];
    assert_eq!(counts(&first.progress), expected.into());
    assert_eq!((first.progress.total, first.progress.settled), (7, 7));
    assert_eq!(second.progress, first.progress);
}

#[tokio::test]
async fn a_request_sent_twice_has_one_effect_and_both_streams_hear_of_it() {
    let gateway = gateway().start().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let batch = request(
        "K",
        [rebilly("a"), subscription(Provider::Solidgate, "b", now())],
    );

    let mut first = gateway.open(batch.clone()).await;
    first.until_settled(1).await;
    gateway.control.held_reached(Provider::Rebilly, 1).await;
    let mut second = gateway.open(batch).await;
    second.until_settled(1).await;
    gateway.control.release(Provider::Rebilly);
    let (first, second) = (first.rest().await.unwrap(), second.rest().await.unwrap());

    assert_eq!(first, second, "neither is a replay");
    assert_eq!(outcomes(&first), [Outcome::Canceled]);
    assert!(!first[0].replayed);
    assert_eq!(gateway.control.effects(Provider::Rebilly)["a"], 1);
    assert_eq!(gateway.requests(Provider::Rebilly), 1);
}

#[tokio::test]
async fn an_item_that_runs_for_another_request_is_joined() {
    let gateway = gateway().start().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let shared = SubscriptionCancellation {
        idempotency_key: "mine".to_owned(),
        ..rebilly("a")
    };

    let mut first = gateway.open(request("J", [shared.clone()])).await;
    gateway.control.held_reached(Provider::Rebilly, 1).await;
    let other = subscription(Provider::Solidgate, "b", now());
    let mut second = gateway.open(request("K", [other, shared])).await;
    second.until_settled(1).await;
    gateway.control.release(Provider::Rebilly);

    let second = second.rest().await.unwrap();
    assert_eq!(
        (second[0].index, second[0].outcome()),
        (1, Outcome::Canceled)
    );
    let first = first.rest().await.unwrap();
    assert_eq!((first[0].index, first[0].outcome()), (0, Outcome::Canceled));
    assert_eq!(gateway.requests(Provider::Rebilly), 1);
}

#[tokio::test]
async fn a_caller_that_hangs_up_takes_nothing_with_it() {
    let mut gateway = gateway().start().await;
    gateway
        .control
        .script(Provider::Rebilly, always(Fault::HoldBefore));
    let batch = request("K", (0..20).map(rebilly));
    let stream = gateway.open(batch.clone()).await;
    gateway.control.held_reached(Provider::Rebilly, 16).await;

    drop(stream);
    gateway.recover(Provider::Rebilly);
    in_time(gateway.control.requests_reached(Provider::Rebilly, 20)).await;

    let results = gateway.cancel(batch).await.unwrap();
    assert_eq!(outcomes(&results), [Outcome::Canceled; 20]);
    let effects = gateway.control.effects(Provider::Rebilly);
    assert!(effects.len() == 20 && effects.values().all(|count| *count == 1));
    assert_eq!(gateway.requests(Provider::Rebilly), 20);
}

#[tokio::test]
async fn results_that_are_ready_together_come_in_few_messages() {
    let mut gateway = gateway().start().await;
    gateway.cancel(many(1_200)).await.unwrap();

    let mut reader = gateway.open(many(1_200)).await;
    let (mut messages, mut results) = (0, 0);
    while let Some(more) = reader.next().await.unwrap() {
        messages += 1;
        results += more.len();
        assert!(more.iter().all(|result| result.replayed));
    }

    assert_eq!(results, 1_200);
    assert!(messages <= 6, "{messages} messages for 1,200 results");
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_nobody() {
    let mut gateway = gateway().start().await;
    let mut slow = connect(&gateway.url()).await;
    let batch = CancelSubscriptionRequest {
        include_provider_response: true,
        ..many(600)
    };

    let stream = slow.cancel_subscription(batch).await.unwrap().into_inner();
    let other = in_time(gateway.cancel_one("K", rebilly("single"))).await;
    let done = many(600).cancellations.len();
    for provider in [Provider::Rebilly, Provider::Solidgate] {
        let wanted = u64::try_from(done / 2).unwrap();
        in_time(gateway.control.requests_reached(provider, wanted)).await;
    }

    assert_eq!(other.unwrap().outcome(), Outcome::Canceled);
    let results = Reader::new(stream).rest().await.unwrap();
    assert_eq!(results.len(), 600);
    assert!(
        results
            .iter()
            .all(|result| result.provider_response.is_some())
    );
}

#[tokio::test]
async fn a_drain_reports_after_each_call() {
    let gateway = gateway().start().await;
    let control = &gateway.control;
    control.script(Provider::Sequenzy, Fault::Latency { latency_ms: 0 });
    control.script(Provider::Sequenzy, Fault::HoldBefore);
    let batch = enrollments("K", [live(enrollment("drain_3522", everyone()))]);

    let mut stream = gateway.open_enrollments(batch).await;
    control.held_reached(Provider::Sequenzy, 1).await;
    let mut seen = Vec::new();
    while seen.is_empty() {
        seen = in_time(stream.message()).await.unwrap().unwrap().results;
    }
    control.release(Provider::Sequenzy);
    let rest = enrollment_messages(stream).await.unwrap();

    assert_eq!(seen[0].outcome(), Outcome::Unspecified);
    assert_eq!(
        (seen[0].matched_count, seen[0].canceled_count),
        (3_522, 1_000)
    );
    assert_eq!((seen[0].remaining_count, seen[0].attempts), (2_522, 1));
    let last = rest.last().unwrap();
    assert_eq!(last.outcome(), Outcome::Canceled);
    assert_eq!((last.matched_count, last.canceled_count), (3_522, 3_522));
    assert_eq!((last.remaining_count, last.attempts), (0, 4));
}

#[tokio::test]
async fn a_drain_counts_each_call_however_many_get_no_answer() {
    let gateway = gateway().start().await;
    let control = &gateway.control;
    for _ in 0..4 {
        control.script(Provider::Sequenzy, Fault::ErrorBefore { status: 503 });
        control.script(Provider::Sequenzy, Fault::Latency { latency_ms: 0 });
    }
    let batch = enrollments("K", [live(enrollment("drain_3522", everyone()))]);

    let stream = gateway.open_enrollments(batch).await;
    let told = enrollment_messages(stream).await.unwrap();

    let last = told.last().unwrap();
    assert_eq!(last.outcome(), Outcome::Canceled);
    assert_eq!(last.canceled_count, 3_522);
    let counts = told.iter().map(|result| result.canceled_count);
    assert!(counts.is_sorted());
}
