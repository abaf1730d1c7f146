//! A provider that fails during a batch: it is probed and not flooded, nothing is lost, and other
//! accounts are not affected.

use cancelot::{
    rpc::proto::{CancelSubscriptionRequest, Outcome, SubscriptionCancellation},
    sandbox::{Control, Fault, Provider, Scripted},
};

use crate::support::{
    Gateway,
    asking::{always, on, outcomes},
    gateway, in_time, now, period_end, request, subscription,
};

fn items(provider: Provider, count: usize) -> Vec<SubscriptionCancellation> {
    (0..count)
        .map(|id| subscription(provider, id, now()))
        .collect()
}

fn within_a_minute(items: Vec<SubscriptionCancellation>) -> CancelSubscriptionRequest {
    let mut request = request("K", items);
    request.retry_window = Some(prost_types::Duration {
        seconds: 60,
        nanos: 0,
    });
    request
}

/// Another account serves so many cancellations, one after the other.
async fn others_are_served(gateway: &mut Gateway, count: usize) {
    for i in 0..count {
        let other = subscription(Provider::FunnelFox, i, period_end());
        let key = format!("other-{i}");
        let result = in_time(gateway.cancel_one(&key, other)).await.unwrap();
        assert!(matches!(result.outcome(), Outcome::Scheduled), "{result:?}");
    }
}

#[tokio::test]
async fn a_provider_that_is_away_gets_one_probe_at_a_time_and_the_whole_batch_when_it_is_back() {
    const BATCH: usize = 300;
    // Enough to open the breaker with all that may be in flight, and for some probes.
    const ERRORS: u64 = 40;
    let mut gateway = gateway().start().await;
    let control = gateway.control.clone();
    let away = Fault::ErrorBefore { status: 503 };
    let away = Scripted {
        times: ERRORS as u32,
        ..away.into()
    };
    control.script(Provider::Rebilly, away);
    control.script(Provider::Rebilly, always(Fault::HoldBefore));

    let mut batch = gateway
        .open(request("K", items(Provider::Rebilly, BATCH)))
        .await;
    batch.next().await.unwrap();
    in_time(control.held_reached(Provider::Rebilly, 1)).await;
    others_are_served(&mut gateway, 20).await;

    assert_eq!(gateway.requests(Provider::Rebilly), ERRORS + 1);
    let sent = |control: &Control| {
        let requests = control.requests(Provider::Rebilly);
        requests.iter().filter(|r| r.method == "PUT").count()
    };
    let failed = sent(&control);
    gateway.recover(Provider::Rebilly);
    let results = in_time(batch.rest()).await.unwrap();
    assert_eq!(outcomes(&results), [Outcome::Canceled; BATCH]);
    let effects = control.effects(Provider::Rebilly);
    assert_eq!(effects.len(), BATCH);
    assert!(effects.values().all(|count| *count == 1));
    // What was sent beyond one request each is what failed. The one that was held, and is
    // answered now, may be one of either kind.
    let beyond = sent(&control) - BATCH;
    assert!((failed - 1..=failed).contains(&beyond), "{beyond} {failed}");
}

#[tokio::test]
async fn when_the_window_ends_with_the_provider_away_all_of_a_batch_settles_as_it_is_known() {
    const LOST: usize = 30;
    const BATCH: usize = 200;
    let mut gateway = gateway().start().await;
    let control = gateway.control.clone();
    control.script(
        Provider::Solidgate,
        on("POST", Fault::ResetAfter, LOST as u32),
    );
    control.script(
        Provider::Solidgate,
        always(Fault::ErrorBefore { status: 503 }),
    );

    let sent = within_a_minute(items(Provider::Solidgate, BATCH));
    let mut batch = gateway.open(sent.clone()).await;
    in_time(control.requests_reached(Provider::Solidgate, LOST as u64 + 5)).await;
    gateway.advance(120);
    let results = in_time(batch.rest()).await.unwrap();

    let canceled = control.effects(Provider::Solidgate);
    assert_eq!(results.len(), BATCH);
    for result in &results {
        let failure = result.failure.as_ref().unwrap();
        assert!(failure.same_key_retryable, "{result:?}");
        match result.outcome() {
            Outcome::Unavailable => {
                assert!(
                    !canceled.contains_key(&result.subscription_id),
                    "{result:?}"
                );
            }
            Outcome::InDoubt => assert!(result.attempts > 0, "{result:?}"),
            _ => panic!("{result:?}"),
        }
    }
    let untouched = results.iter().filter(|result| result.attempts == 0);
    let said = untouched.filter(|result| {
        let failure = result.failure.as_ref().unwrap();
        failure
            .message
            .contains("the provider was away: it answered 503")
    });
    assert!(said.count() > BATCH / 2);

    gateway.recover(Provider::Solidgate);
    let again = in_time(gateway.cancel(sent)).await.unwrap();
    assert_eq!(outcomes(&again), [Outcome::Canceled; BATCH]);
    let effects = control.effects(Provider::Solidgate);
    assert!(effects.len() == BATCH && effects.values().all(|count| *count == 1));
}

#[tokio::test]
async fn what_fails_over_and_over_is_sent_again_until_the_provider_takes_it() {
    const FAILURES: u32 = 20;
    for (provider, when, method, outcome) in [
        (Provider::Rebilly, now(), "PUT", Outcome::Canceled),
        (
            Provider::FunnelFox,
            period_end(),
            "POST",
            Outcome::Scheduled,
        ),
    ] {
        let mut gateway = gateway().start().await;
        let control = gateway.control.clone();
        let fails = Fault::ErrorBefore { status: 503 };
        control.script(provider, on(method, fails, FAILURES));

        let item = subscription(provider, 1, when);
        let result = in_time(gateway.cancel_one("K", item)).await.unwrap();

        assert_eq!(result.outcome(), outcome, "{result:?}");
        let requests = control.requests(provider);
        let sent = requests.iter().filter(|request| request.method == method);
        assert_eq!(sent.count(), FAILURES as usize + 1);
        // A look after each failure that can be believed, and before it one that is news.
        let looks = requests.len() - (FAILURES as usize + 1);
        let fewest = FAILURES as usize;
        assert!((fewest..=2 * fewest).contains(&looks), "{looks}");
        assert!(control.effects(provider).values().all(|count| *count == 1));
    }
}

#[tokio::test]
async fn what_fails_until_its_window_ends_says_what_the_provider_said_last() {
    let gateway = gateway().start().await;
    let control = gateway.control.clone();
    let fails = Fault::ErrorBefore { status: 503 };
    control.script(Provider::Rebilly, on("PUT", fails, u32::MAX));

    let item = subscription(Provider::Rebilly, 1, now());
    let mut batch = gateway.open(within_a_minute(vec![item])).await;
    in_time(control.requests_reached(Provider::Rebilly, 30)).await;
    gateway.advance(120);
    let results = in_time(batch.rest()).await.unwrap();

    assert_eq!(outcomes(&results), [Outcome::Unavailable]);
    let failure = results[0].failure.as_ref().unwrap();
    assert_eq!(failure.provider_http_status, 503, "{failure:?}");
    let said = "the provider answered 503, and a look found nothing done";
    assert!(failure.message.contains(said), "{failure:?}");
    assert!(failure.same_key_retryable);
}

#[tokio::test]
async fn a_window_ends_behind_another_cancellation_of_the_same_target_too() {
    let patient = "timeout_ms = 600000\n";
    let gateway = gateway().account(Provider::Rebilly, patient).start().await;
    let control = gateway.control.clone();
    control.script(Provider::Rebilly, Fault::HoldBefore);
    let item = || subscription(Provider::Rebilly, 1, now());
    let mut first = gateway.open(request("first", [item()])).await;
    in_time(control.held_reached(Provider::Rebilly, 1)).await;

    let mut second = within_a_minute(vec![item()]);
    second.idempotency_key = "second".to_owned();
    let mut second = gateway.open(second).await;
    gateway.advance(120);
    let results = in_time(second.rest()).await.unwrap();

    assert_eq!(outcomes(&results), [Outcome::Unavailable]);
    assert_eq!(results[0].attempts, 0);
    control.release(Provider::Rebilly);
    let results = in_time(first.rest()).await.unwrap();
    assert_eq!(outcomes(&results), [Outcome::Canceled]);
}

#[tokio::test]
async fn stopping_a_batch_of_an_absent_provider_ends_it_at_once() {
    const BATCH: usize = 100;
    let mut gateway = gateway().start().await;
    gateway.stop_sandbox().await;
    let mut batch = gateway
        .open(request("K", items(Provider::Rebilly, BATCH)))
        .await;
    batch.next().await.unwrap();

    gateway.stop_batch(&batch.progress.batch_id).await.unwrap();
    let results = in_time(batch.rest()).await.unwrap();

    assert_eq!(outcomes(&results), [Outcome::Stopped; BATCH]);
}

#[tokio::test]
async fn a_proxy_is_used_where_the_configuration_names_one() {
    // The name resolves to nothing: only a proxy can know where it is. The sandbox is one.
    let gateway = gateway().config(
        "[accounts.behind]\nprovider = \"rebilly\"\norganization = \"org\"\nbase_url = \
         \"http://provider.invalid/rebilly\"\nallow_http = true\nproxy_url = \
         \"{rebilly}\"\ncredential_env = \"CREDENTIAL\"",
    );
    let mut gateway = gateway.start().await;
    let mut item = subscription(Provider::Rebilly, "a", now());
    item.account = "behind".to_owned();

    let result = in_time(gateway.cancel_one("K", item)).await.unwrap();

    assert_eq!(result.outcome(), Outcome::Canceled, "{result:?}");
    assert_eq!(gateway.control.effects(Provider::Rebilly)["a"], 1);
}
