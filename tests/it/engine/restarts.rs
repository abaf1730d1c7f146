//! The work outlives the process: draining, recovering open items, replaying settled ones.

use cancelot::{
    app::App,
    rpc::proto::{
        CancelEnrollmentsRequest, CancelSubscriptionRequest, Outcome, SubscriptionCancellation,
    },
    sandbox::{Fault, Provider},
};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    Gateway,
    asking::{always, enrollment, enrollments, everyone, on, outcomes, says_when},
    gateway, in_time, now, request, subscription,
};

fn rebilly(id: impl ToString) -> SubscriptionCancellation {
    subscription(Provider::Rebilly, id, now())
}

/// Stops the service beside the test, and waits until it says that it does not serve.
async fn stopping(gateway: &mut Gateway) -> tokio::task::JoinHandle<()> {
    let channel = Endpoint::from_shared(gateway.url())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let watching = HealthClient::new(channel)
        .watch(HealthCheckRequest::default())
        .await;
    let mut watching = watching.unwrap().into_inner();
    let first = watching.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let app: App = gateway.take_app();
    let stopping = tokio::spawn(app.stop());
    let next = in_time(watching.message()).await.unwrap().unwrap();
    assert_eq!(next.status(), ServingStatus::NotServing);
    stopping
}

#[tokio::test]
async fn a_draining_service_finishes_what_is_at_work_and_takes_nothing_on() {
    let mut gateway = gateway()
        .account(Provider::Rebilly, "concurrency_max = 1")
        .start()
        .await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let mut reader = gateway.open(request("K", (0..3).map(rebilly))).await;
    reader.next().await.unwrap();
    gateway.control.held_reached(Provider::Rebilly, 1).await;

    let stopping = stopping(&mut gateway).await;
    let refused = gateway.refused(request("J", [rebilly("b")])).await;
    let still_read = gateway.get("K/0").await.unwrap();
    gateway.control.release(Provider::Rebilly);
    let told = reader.until_settled(1).await;
    let ended = reader.rest().await.unwrap_err();
    in_time(stopping).await.unwrap();

    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(says_when(&refused) && still_read.open);
    assert_eq!(outcomes(&told), [Outcome::Canceled]);
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    assert!(says_when(&ended), "{ended:?}");
    assert_eq!(gateway.requests(Provider::Rebilly), 1);
    gateway.start_again().await;
    let results = gateway
        .cancel(request("K", (0..3).map(rebilly)))
        .await
        .unwrap();
    assert_eq!(outcomes(&results), [Outcome::Canceled; 3]);
    assert!(results[0].replayed);
    let effects = gateway.control.effects(Provider::Rebilly);
    assert!(effects.len() == 3 && effects.values().all(|count| *count == 1));
}

#[tokio::test]
async fn a_dry_run_is_told_when_the_service_stops() {
    let mut gateway = gateway().config("[server]\ndrain_ms = 0").start().await;
    for provider in [Provider::Rebilly, Provider::Sequenzy] {
        gateway.control.script(provider, always(Fault::HoldBefore));
    }
    let plan = CancelSubscriptionRequest {
        dry_run: true,
        ..request("K", [rebilly("a")])
    };
    let mut reader = gateway.open(plan).await;
    let plan = CancelEnrollmentsRequest {
        dry_run: true,
        ..enrollments("K", [enrollment("seq", everyone())])
    };
    let mut stream = gateway.open_enrollments(plan).await;
    for provider in [Provider::Rebilly, Provider::Sequenzy] {
        gateway.control.held_reached(provider, 1).await;
    }

    let stopping = tokio::spawn(gateway.take_app().stop());
    let status = reader.rest().await.unwrap_err();
    let other = loop {
        match in_time(stream.message()).await {
            Ok(message) => assert!(message.is_some(), "it ends without an outcome"),
            Err(status) => break status,
        }
    };

    in_time(stopping).await.unwrap();
    for status in [status, other] {
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(says_when(&status), "{status:?}");
    }
}

#[tokio::test]
async fn what_was_open_goes_on_by_itself_and_never_twice() {
    for (fault, confirmed) in [(Fault::HoldBefore, false), (Fault::HoldAfter, true)] {
        let mut gateway = gateway().config("[server]\ndrain_ms = 0").start().await;
        gateway
            .control
            .script(Provider::Rebilly, on("PUT", fault.clone(), 1));
        gateway
            .control
            .script(Provider::Solidgate, on("POST", fault.clone(), 1));
        let batch = || {
            request(
                "K",
                [rebilly("a"), subscription(Provider::Solidgate, "b", now())],
            )
        };
        let mut reader = gateway.open(batch()).await;
        for provider in [Provider::Rebilly, Provider::Solidgate] {
            in_time(gateway.control.held_reached(provider, 1)).await;
        }

        gateway.stop().await;
        let ended = reader.rest().await.unwrap_err();
        gateway.start_again().await;
        for provider in [Provider::Rebilly, Provider::Solidgate] {
            in_time(gateway.control.requests_reached(provider, 2)).await;
        }
        let results = gateway.cancel(batch()).await.unwrap();

        assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
        assert_eq!(outcomes(&results), [Outcome::Canceled; 2], "{fault:?}");
        for (result, provider) in results.iter().zip([Provider::Rebilly, Provider::Solidgate]) {
            assert!(
                result.confirmed_by_lookup || !confirmed,
                "{fault:?}: {result:?}"
            );
            assert_eq!(
                gateway.control.counts(provider).tally.effects,
                1,
                "{fault:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_has_settled_is_replayed_after_a_restart() {
    let mut gateway = gateway().start().await;
    let batch = || {
        let own = SubscriptionCancellation {
            idempotency_key: "mine".to_owned(),
            ..rebilly("b")
        };
        request("K", [rebilly("a"), own, rebilly("missing")])
    };
    let first = gateway.cancel(batch()).await.unwrap();
    let asked = gateway.requests(Provider::Rebilly);

    gateway.restart().await;
    let second = gateway.cancel(batch()).await.unwrap();

    let marked = first.into_iter().map(|mut result| {
        result.replayed = true;
        result
    });
    assert_eq!(second, marked.collect::<Vec<_>>());
    assert_eq!(gateway.requests(Provider::Rebilly), asked);
}

#[tokio::test]
async fn a_stop_outlives_the_process() {
    let mut gateway = gateway()
        .config("[server]\ndrain_ms = 0")
        .account(Provider::Rebilly, "concurrency_max = 1")
        .start()
        .await;
    gateway
        .control
        .script(Provider::Rebilly, on("PUT", Fault::HoldBefore, 1));
    let mut reader = gateway.open(request("K", (0..3).map(rebilly))).await;
    reader.next().await.unwrap();
    gateway.control.held_reached(Provider::Rebilly, 1).await;
    let stopped = gateway.stop_batch(&reader.progress.batch_id).await.unwrap();
    assert_eq!((stopped.stopped, stopped.finishing), (2, 1));

    gateway.stop().await;
    gateway.start_again().await;
    // The look that settles whether the held request had come through.
    in_time(gateway.control.requests_reached(Provider::Rebilly, 2)).await;
    let mut open = true;
    while open {
        open = gateway.get("K/0").await.unwrap().open;
    }

    let (keys, _) = gateway
        .list(cancelot::rpc::proto::ListCancellationsRequest {
            outcomes: vec![Outcome::Stopped.into()],
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(keys, ["K/2", "K/1", "K/0"]);
    assert_eq!(gateway.control.counts(Provider::Rebilly).tally.effects, 0);
}

#[tokio::test]
async fn a_second_instance_on_a_journal_is_refused() {
    let gateway = gateway().start().await;

    let error = gateway.second_instance().to_string();

    let dir = gateway.journal_dir().display().to_string();
    assert!(error.contains(&dir), "{error}");
    assert!(error.contains("one journal has one process"), "{error}");
}
