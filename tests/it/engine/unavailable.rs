//! Outcomes that are not final: the window ends, the last error is reported, and the same key
//! reopens the item.

use cancelot::{
    rpc::proto::{
        CancelEnrollmentsRequest, CancelSubscriptionRequest, Outcome, ProviderReached,
        SubscriptionCancellation, SubscriptionResult,
    },
    sandbox::{Fault, Provider, Variants, variants::SequenzyRetryAfter},
};
use jiff::Timestamp;

use crate::support::{
    asking::{always, enrollment, enrollments, on, outcomes, subscriber},
    gateway, in_time, now, provider_default, request, subscription,
};

/// The window is a minute by the service's clock, which the tests move.
fn within_a_minute(item: SubscriptionCancellation) -> CancelSubscriptionRequest {
    let mut request = request("K", [item]);
    request.retry_window = Some(prost_types::Duration {
        seconds: 60,
        nanos: 0,
    });
    request
}

fn reason(result: &SubscriptionResult) -> &str {
    result
        .failure
        .as_ref()
        .map_or("", |failure| failure.reason.as_str())
}

#[tokio::test]
async fn a_provider_that_is_away_is_tried_until_the_window_ends_and_again_later() {
    let mut gateway = gateway().start().await;
    let item = subscription(Provider::Rebilly, "a", now());
    let port = gateway.stop_sandbox().await;

    let mut first = gateway.open(within_a_minute(item.clone())).await;
    first.next().await.unwrap();
    gateway.advance(120);
    let first = first.rest().await.unwrap();
    gateway.start_sandbox(port);
    let second = in_time(gateway.cancel_one("K", item.clone()))
        .await
        .unwrap();
    let third = gateway.cancel_one("K", item).await.unwrap();

    assert_eq!(first[0].outcome(), Outcome::Unavailable);
    assert_eq!(
        (reason(&first[0]), first[0].attempts),
        ("PROVIDER_UNREACHABLE", 0)
    );
    let failure = first[0].failure.clone().unwrap();
    assert_eq!(failure.provider_reached(), ProviderReached::No);
    assert!(failure.same_key_retryable && !failure.message.is_empty());
    assert_eq!(
        (second.outcome(), second.replayed),
        (Outcome::Canceled, false)
    );
    assert!(second.settled_time != first[0].settled_time);
    assert_eq!((third.outcome(), third.replayed), (Outcome::Canceled, true));
    assert_eq!(gateway.control.effects(Provider::Rebilly)["a"], 1);
}

#[tokio::test]
async fn a_doubt_that_no_look_settles_is_taken_up_with_a_look() {
    let mut gateway = gateway().start().await;
    gateway
        .control
        .script(Provider::Solidgate, on("POST", Fault::ResetAfter, 1));
    gateway.control.script(
        Provider::Solidgate,
        always(Fault::ErrorBefore { status: 503 }),
    );
    let item = subscription(Provider::Solidgate, "a", now());

    let mut first = gateway.open(within_a_minute(item.clone())).await;
    in_time(gateway.control.requests_reached(Provider::Solidgate, 3)).await;
    gateway.advance(120);
    let first = first.rest().await.unwrap();
    gateway.recover(Provider::Solidgate);
    let asked = gateway.control.requests(Provider::Solidgate).len();
    let second = gateway.cancel_one("K", item).await.unwrap();

    assert_eq!(first[0].outcome(), Outcome::InDoubt);
    let failure = first[0].failure.clone().unwrap();
    assert_eq!(failure.provider_reached(), ProviderReached::Unknown);
    assert!(failure.same_key_retryable);
    assert_eq!(second.outcome(), Outcome::Canceled);
    assert!(second.confirmed_by_lookup && !second.replayed);
    let since = gateway
        .control
        .requests(Provider::Solidgate)
        .split_off(asked);
    assert_eq!(since.len(), 1);
    assert!(
        since[0].path.ends_with("/v2/subscriptions/get"),
        "{since:?}"
    );
    assert!(second.attempts > first[0].attempts, "counted over all runs");
    assert_eq!(gateway.control.effects(Provider::Solidgate)["a"], 1);
}

/// In how many seconds the key may be sent again, by the service's clock that is so far ahead.
fn seconds_to_retry(result: &SubscriptionResult, ahead: i64) -> i64 {
    let failure = result.failure.clone().unwrap();
    assert!(failure.same_key_retryable, "{failure:?}");
    let at = failure.retry_time.unwrap_or_else(|| panic!("{failure:?}"));
    at.seconds - Timestamp::now().as_second() - ahead
}

#[tokio::test]
async fn a_doubt_whose_look_a_pause_holds_says_when_to_send_the_key_again() {
    let gateway = gateway().start().await;
    let provider = Provider::Solidgate;
    let wait = Fault::Throttle {
        retry_after_ms: 600_000,
    };
    for scripted in [on("POST", Fault::ResetAfter, 1), on("POST", wait, 1)] {
        gateway.control.script(provider, scripted);
    }
    gateway
        .control
        .script(provider, always(Fault::ErrorBefore { status: 503 }));
    let item = subscription(provider, "doubtful", now());
    let mut doubtful = gateway.open(within_a_minute(item)).await;
    in_time(gateway.control.requests_reached(provider, 1)).await;

    // Another key of the account is what the provider answers with its wish.
    let mut other = request("J", [subscription(provider, "other", now())]);
    other.retry_window = within_a_minute(subscription(provider, "s", now())).retry_window;
    let other = gateway.open(other).await.rest().await.unwrap();
    let asked = gateway.requests(provider);
    gateway.advance(120);
    let doubtful = doubtful.rest().await.unwrap();

    assert_eq!(outcomes(&other), [Outcome::Unavailable]);
    assert_eq!(outcomes(&doubtful), [Outcome::InDoubt]);
    let seconds = seconds_to_retry(&doubtful[0], 120);
    assert!((500..=610).contains(&seconds), "{seconds}");
    assert_eq!(gateway.requests(provider), asked, "a pause holds looks too");
}

#[tokio::test]
async fn what_the_breaker_holds_says_when_to_send_the_key_again() {
    let gateway = gateway().start().await;
    let provider = Provider::Solidgate;
    gateway
        .control
        .script(provider, on("POST", Fault::ResetAfter, 1));
    gateway
        .control
        .script(provider, always(Fault::ErrorBefore { status: 503 }));
    let item = subscription(provider, "doubtful", now());
    let mut doubtful = gateway.open(within_a_minute(item)).await;
    in_time(gateway.control.requests_reached(provider, 1)).await;

    let mut batch = request(
        "others",
        (0..64).map(|i| subscription(provider, format!("s{i}"), now())),
    );
    batch.retry_window = within_a_minute(subscription(provider, "s", now())).retry_window;
    let mut others = gateway.open(batch).await;
    // By so many failures the breaker has opened, whatever was in flight.
    in_time(gateway.control.requests_reached(provider, 40)).await;
    gateway.advance(120);
    let doubtful = doubtful.rest().await.unwrap();
    let others = others.rest().await.unwrap();

    assert_eq!(outcomes(&doubtful), [Outcome::InDoubt]);
    for result in doubtful.iter().chain(&others) {
        let settled = result.settled_time.unwrap();
        let retry = result.failure.as_ref().and_then(|f| f.retry_time).unwrap();
        let ahead = (retry.seconds - settled.seconds, retry.nanos - settled.nanos);
        assert!((0, 0) < ahead && ahead < (60, 0), "{ahead:?}: {result:?}");
    }
}

#[tokio::test]
async fn credentials_that_are_refused_burn_no_key() {
    let gateway = gateway().account(Provider::Rebilly, "credential_env = \"INVALID_CREDENTIAL\"");
    let mut gateway = gateway.start().await;
    let item = subscription(Provider::Rebilly, "a", now());

    let first = gateway.cancel_one("K", item.clone()).await.unwrap();
    let second = gateway.cancel_one("K", item).await.unwrap();

    for result in [&first, &second] {
        assert_eq!(result.outcome(), Outcome::Unavailable);
        assert_eq!(reason(result), "CREDENTIALS_REFUSED");
        assert!(!result.replayed);
    }
    assert!(second.settled_time != first.settled_time);
}

#[tokio::test]
async fn each_providers_own_throttling_signal_is_taken_at_its_word() {
    let wait = Fault::Throttle {
        retry_after_ms: 600_000,
    };
    let mut variants = Variants::default();
    variants.sequenzy.retry_after = SequenzyRetryAfter::Present;
    let mut gateway = gateway()
        .sandbox(|options| options.variants = variants)
        .start()
        .await;
    for provider in [Provider::Rebilly, Provider::Solidgate, Provider::Sequenzy] {
        gateway.control.script(provider, always(wait.clone()));
    }

    let batch = within_a_minute(subscription(Provider::Rebilly, "a", now()));
    let retry_window = batch.retry_window;
    let with_solidgate = CancelSubscriptionRequest {
        cancellations: vec![
            batch.cancellations[0].clone(),
            subscription(Provider::Solidgate, "a", now()),
        ],
        ..batch
    };
    let subscriptions = gateway.cancel(with_solidgate).await.unwrap();
    let batch = CancelEnrollmentsRequest {
        retry_window,
        ..enrollments("K", [enrollment("seq", subscriber("s"))])
    };
    let others = gateway.cancel_enrollments(batch).await.unwrap();

    let subscriptions = subscriptions.into_iter().map(|r| (r.outcome(), r.failure));
    let results = subscriptions.chain(others.into_iter().map(|r| (r.outcome(), r.failure)));
    for (outcome, failure) in results {
        let failure = failure.unwrap();
        assert_eq!(outcome, Outcome::Unavailable, "{failure:?}");
        assert_eq!(failure.reason, "PROVIDER_THROTTLED");
        let in_seconds = failure.retry_time.unwrap().seconds - Timestamp::now().as_second();
        assert!(
            (500..=610).contains(&in_seconds),
            "{in_seconds}: {failure:?}"
        );
    }
    for provider in [Provider::Rebilly, Provider::Solidgate, Provider::Sequenzy] {
        assert_eq!(gateway.requests(provider), 1, "{provider:?} is asked once");
    }
}

#[tokio::test]
async fn a_throttling_provider_that_does_not_say_for_how_long_is_asked_again() {
    let mut gateway = gateway().start().await;
    for provider in [Provider::FunnelFox, Provider::Revolv3] {
        gateway
            .control
            .script(provider, Fault::Throttle { retry_after_ms: 0 });
        let item = subscription(provider, "7", provider_default());

        let result = gateway.cancel_one(provider.name(), item).await.unwrap();

        assert!(
            result.failure.is_none() && !result.confirmed_by_lookup,
            "{result:?}"
        );
        assert_eq!((result.attempts, gateway.requests(provider)), (2, 2));
        assert_eq!(gateway.control.effects(provider)["7"], 1);
    }
}

#[tokio::test]
async fn a_throttled_account_waits_as_a_whole_and_no_other_does() {
    let gateway = gateway()
        .account(Provider::Rebilly, "concurrency_max = 1")
        .start()
        .await;
    let wait = Fault::Throttle {
        retry_after_ms: 600_000,
    };
    gateway.control.script(Provider::Rebilly, wait);
    let first = within_a_minute(subscription(Provider::Rebilly, "a", now()));

    let mut first = gateway.open(first).await;
    let first = first.rest().await.unwrap();
    let waiting = gateway.open(request(
        "J",
        (0..5).map(|i| subscription(Provider::Rebilly, format!("s{i}"), now())),
    ));
    let mut waiting = { waiting.await };
    waiting.next().await.unwrap();
    let other = subscription(Provider::Revolv3, 7, provider_default());
    let other = gateway
        .open(request("L", [other]))
        .await
        .rest()
        .await
        .unwrap();

    assert_eq!(outcomes(&first), [Outcome::Unavailable]);
    assert_eq!(outcomes(&other), [Outcome::Canceled]);
    assert_eq!(gateway.requests(Provider::Rebilly), 1);
    gateway
        .stop_batch(&waiting.progress.batch_id)
        .await
        .unwrap();
    assert_eq!(
        outcomes(&waiting.rest().await.unwrap()),
        [Outcome::Stopped; 5]
    );
    assert_eq!(gateway.requests(Provider::Rebilly), 1);
}

#[tokio::test]
async fn what_waits_behind_a_throttled_account_ends_with_its_own_window() {
    let gateway = gateway()
        .account(Provider::Rebilly, "concurrency_max = 1")
        .start()
        .await;
    let wait = Fault::Throttle {
        retry_after_ms: 600_000,
    };
    gateway.control.script(Provider::Rebilly, wait);
    let mut batch = within_a_minute(subscription(Provider::Rebilly, "a", now()));
    batch
        .cancellations
        .push(subscription(Provider::Rebilly, "b", now()));

    let mut reader = gateway.open(batch).await;
    let first = reader.until_settled(1).await;
    gateway.advance(120);
    let second = reader.rest().await.unwrap();

    assert_eq!(outcomes(&first), [Outcome::Unavailable]);
    assert_eq!(outcomes(&second), [Outcome::Unavailable]);
    let failure = second[0].failure.clone().unwrap();
    assert_eq!(failure.provider_reached(), ProviderReached::No);
    assert!(failure.same_key_retryable);
    assert_eq!(failure.reason, "PROVIDER_THROTTLED");
    let seconds = seconds_to_retry(&second[0], 120);
    assert!((500..=610).contains(&seconds), "{seconds}");
    assert_eq!(gateway.requests(Provider::Rebilly), 1);
}
