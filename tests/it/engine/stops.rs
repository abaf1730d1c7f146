//! StopBatch: unsent items settle as stopped, sent ones are finished, and a stopped item can be
//! reopened.

use cancelot::{
    rpc::proto::{CancelSubscriptionRequest, Outcome, ProviderReached},
    sandbox::{Fault, FaultRates, Provider},
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    Gateway,
    asking::{always, counts, on, outcomes, violations},
    failing::Fails,
    gateway,
    identities::reason,
    in_time, now, request, subscription,
};

async fn one_at_a_time() -> Gateway {
    let gateway = gateway().account(Provider::Rebilly, "concurrency_max = 1");
    gateway.start().await
}

fn five() -> CancelSubscriptionRequest {
    let item = |i| subscription(Provider::Rebilly, format!("s{i}"), now());
    request("K", (0..5).map(item))
}

#[tokio::test]
async fn what_is_not_sent_stops_and_what_is_sent_finishes() {
    let gateway = one_at_a_time().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let mut reader = gateway.open(five()).await;
    reader.next().await.unwrap();
    gateway.control.held_reached(Provider::Rebilly, 1).await;

    let stopped = gateway.stop_batch(&reader.progress.batch_id).await.unwrap();

    assert_eq!((stopped.stopped, stopped.finishing), (4, 1));
    let progress = stopped.progress.unwrap();
    assert_eq!((progress.total, progress.settled), (5, 4));
    assert_eq!(counts(&progress), [("OUTCOME_STOPPED", 4)].into());
    let told = reader.until_settled(4).await;
    assert_eq!(outcomes(&told), [Outcome::Stopped; 4]);
    for result in told {
        let failure = result.failure.unwrap();
        assert_eq!(failure.reason, "STOPPED");
        assert!(failure.same_key_retryable);
    }
    gateway.control.release(Provider::Rebilly);
    let last = reader.rest().await.unwrap();
    assert_eq!((last[0].index, last[0].outcome()), (0, Outcome::Canceled));
    assert_eq!(
        gateway.control.effects(Provider::Rebilly),
        [("s0".to_owned(), 1)].into()
    );
}

#[tokio::test]
async fn what_the_provider_did_not_take_on_stops_and_says_that_it_was_reached() {
    let gateway = one_at_a_time().await;
    let throttle = Fault::Throttle {
        retry_after_ms: 60_000,
    };
    gateway.control.script(Provider::Rebilly, always(throttle));
    let mut reader = gateway.open(five()).await;
    reader.next().await.unwrap();
    in_time(gateway.control.requests_reached(Provider::Rebilly, 1)).await;

    gateway.stop_batch(&reader.progress.batch_id).await.unwrap();
    let results = in_time(reader.rest()).await.unwrap();

    assert_eq!(outcomes(&results), [Outcome::Stopped; 5]);
    for result in results {
        let reached = result.failure.unwrap().provider_reached();
        let expected = if result.attempts > 0 {
            ProviderReached::Yes
        } else {
            ProviderReached::No
        };
        assert_eq!(reached, expected);
    }
    assert_eq!(gateway.requests(Provider::Rebilly), 1);
}

#[tokio::test]
async fn stopping_again_changes_nothing() {
    let gateway = one_at_a_time().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let mut reader = gateway.open(five()).await;
    reader.next().await.unwrap();
    gateway.control.held_reached(Provider::Rebilly, 1).await;
    let batch_id = reader.progress.batch_id.clone();
    gateway.stop_batch(&batch_id).await.unwrap();

    let running = gateway.stop_batch(&batch_id).await.unwrap();
    gateway.control.release(Provider::Rebilly);
    reader.rest().await.unwrap();
    let over = gateway.stop_batch(&batch_id).await.unwrap();

    assert_eq!((running.stopped, running.finishing), (0, 1));
    assert_eq!((over.stopped, over.finishing), (0, 0));
    let expected = [("OUTCOME_CANCELED", 1), ("OUTCOME_STOPPED", 4)];
    assert_eq!(counts(&over.progress.unwrap()), expected.into());
}

#[tokio::test]
async fn a_stopped_item_is_taken_up_when_its_key_is_sent_again() {
    let mut gateway = one_at_a_time().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let mut reader = gateway.open(five()).await;
    reader.next().await.unwrap();
    gateway.control.held_reached(Provider::Rebilly, 1).await;
    gateway.stop_batch(&reader.progress.batch_id).await.unwrap();
    gateway.control.release(Provider::Rebilly);
    reader.rest().await.unwrap();

    let again = gateway.cancel(five()).await.unwrap();

    assert_eq!(outcomes(&again), [Outcome::Canceled; 5]);
    let replayed: Vec<_> = again.iter().map(|result| result.replayed).collect();
    assert_eq!(replayed, [true, false, false, false, false]);
    let effects = gateway.control.effects(Provider::Rebilly);
    assert!(effects.len() == 5 && effects.values().all(|count| *count == 1));
}

#[tokio::test]
async fn an_item_in_doubt_is_settled_before_it_stops() {
    for (fault, outcome, effects) in [
        (Fault::ResetAfter, Outcome::Canceled, 1),
        (Fault::ResetBefore, Outcome::Stopped, 0),
    ] {
        let gateway = one_at_a_time().await;
        gateway
            .control
            .script(Provider::Rebilly, on("PUT", fault.clone(), 1));
        gateway
            .control
            .script(Provider::Rebilly, on("GET", Fault::HoldBefore, 1));
        let item = subscription(Provider::Rebilly, "a", now());
        let mut reader = gateway.open(request("K", [item])).await;
        reader.next().await.unwrap();
        in_time(gateway.control.held_reached(Provider::Rebilly, 1)).await;

        let stopped = gateway.stop_batch(&reader.progress.batch_id).await.unwrap();
        gateway.control.release(Provider::Rebilly);

        assert_eq!((stopped.stopped, stopped.finishing), (0, 1), "{fault:?}");
        let results = reader.rest().await.unwrap();
        assert_eq!(results[0].outcome(), outcome, "{fault:?}");
        assert_eq!(
            gateway.control.counts(Provider::Rebilly).tally.effects,
            effects
        );
    }
}

#[tokio::test]
async fn an_item_that_waits_for_its_provider_stops() {
    let gateway = gateway().start().await;
    let wait = Fault::Throttle {
        retry_after_ms: 600_000,
    };
    gateway.control.script(Provider::Rebilly, wait);
    let item = subscription(Provider::Rebilly, "a", now());
    let mut reader = gateway.open(request("K", [item])).await;
    reader.next().await.unwrap();
    gateway.control.requests_reached(Provider::Rebilly, 1).await;

    gateway.stop_batch(&reader.progress.batch_id).await.unwrap();

    assert_eq!(outcomes(&reader.rest().await.unwrap()), [Outcome::Stopped]);
    assert_eq!(gateway.requests(Provider::Rebilly), 1);
}

#[tokio::test]
async fn an_item_that_comes_back_unsent_after_the_stop_stops() {
    let gateway = gateway().start().await;
    let slow = FaultRates {
        latency_ms_min: 300,
        ..Default::default()
    };
    let wait = Fault::Throttle {
        retry_after_ms: 600_000,
    };
    gateway.control.set_fault_rates(Provider::Rebilly, slow);
    gateway.control.script(Provider::Rebilly, wait);
    let item = subscription(Provider::Rebilly, "a", now());
    let mut reader = gateway.open(request("K", [item])).await;
    reader.next().await.unwrap();
    gateway.control.requests_reached(Provider::Rebilly, 1).await;

    gateway.stop_batch(&reader.progress.batch_id).await.unwrap();

    let results = in_time(reader.rest()).await.unwrap();
    assert_eq!(outcomes(&results), [Outcome::Stopped]);
    assert_eq!(gateway.requests(Provider::Rebilly), 1);
}

/// A stop during which the journal fails is reported as in doubt, whatever part of it is on the
/// disk. After a restart it can be sent again.
async fn check_doubted(fails: Fails, stops_written: usize) {
    let gateway = gateway().config("[server]\ndrain_ms = 0");
    let gateway = gateway.account(Provider::Rebilly, "concurrency_max = 1");
    let mut gateway = gateway.journal_fails(fails).start().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let mut reader = gateway.open(five()).await;
    reader.next().await.unwrap();
    gateway.control.held_reached(Provider::Rebilly, 1).await;
    let batch_id = reader.progress.batch_id.clone();

    let doubted = gateway.stop_batch(&batch_id).await.unwrap_err();

    assert_eq!(doubted.code(), Code::Unavailable, "{doubted:?}");
    assert_eq!(reason(&doubted), "STOP_IN_DOUBT");
    let advice = "may have been stopped or not; send StopBatch again";
    assert!(doubted.message().contains(advice), "{doubted:?}");
    assert!(doubted.get_details_retry_info().is_some(), "{doubted:?}");
    let ended = in_time(reader.rest()).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");

    let port = gateway.stop_sandbox().await;
    in_time(gateway.stop()).await;
    assert_eq!(gateway.events("stopped").len(), stops_written);
    let refused = gateway.events("refused");
    assert_eq!(refused[0]["reason"], "JOURNAL_UNAVAILABLE", "{refused:?}");

    gateway.start_again().await;
    let mut reader = gateway.open(five()).await;
    reader.next().await.unwrap();
    let stopped = gateway.stop_batch(&batch_id).await.unwrap();
    assert_eq!((stopped.stopped, stopped.finishing), (0, 5));
    gateway.start_sandbox(port);
    let results = in_time(reader.rest()).await.unwrap();
    assert_eq!(outcomes(&results), [Outcome::Stopped; 5]);
    assert_eq!(gateway.control.effects(Provider::Rebilly), [].into());
}

#[tokio::test]
async fn a_stop_that_was_not_written_when_the_journal_failed_is_told_as_in_doubt() {
    check_doubted(Fails::BeforeTheStop, 0).await;
}

#[tokio::test]
async fn a_stop_that_was_written_when_the_journal_failed_is_told_as_in_doubt() {
    check_doubted(Fails::AfterTheStop, 1).await;
}

#[tokio::test]
async fn a_stop_whose_outcomes_cannot_be_written_is_told_as_in_doubt() {
    check_doubted(Fails::WhenItSettles, 1).await;
}

#[tokio::test]
async fn a_batch_that_is_not_there_is_not_found() {
    let gateway = gateway().start().await;

    let unknown = gateway.stop_batch("b000000999999").await.unwrap_err();
    let malformed = gateway.stop_batch("42").await.unwrap_err();
    let empty = gateway.stop_batch("").await.unwrap_err();

    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!(violations(&malformed), ["batch_id"]);
    assert_eq!(violations(&empty), ["batch_id"]);
}
