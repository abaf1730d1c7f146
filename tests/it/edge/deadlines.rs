//! A deadline ends the caller's wait, not the work.

use std::time::Duration;

use cancelot::{
    rpc::proto::{
        CancelEnrollmentsRequest, GetCancellationRequest, ListCancellationsRequest, Outcome,
        StopBatchRequest,
    },
    sandbox::{Fault, Provider},
};
use tonic::{Code, Request};

use super::frames::grpc;
use crate::support::{
    asking::{Reader, outcomes},
    gateway, in_time, now, request,
    slow::Slow,
    subscription,
};

#[tokio::test]
async fn a_deadline_ends_the_stream_and_not_the_work() {
    let mut gateway = gateway().start().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let item = subscription(Provider::Rebilly, "a", now());
    let mut hurried = Request::new(request("K", [item.clone()]));
    hurried.set_timeout(Duration::from_millis(300));

    let sent = gateway.client.cancel_subscription(hurried).await.unwrap();
    let status = Reader::new(sent.into_inner()).rest().await.unwrap_err();
    gateway.control.held_reached(Provider::Rebilly, 1).await;
    gateway.control.release(Provider::Rebilly);
    let result = gateway.cancel_one("K", item).await.unwrap();

    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(result.outcome(), Outcome::Canceled);
    assert_eq!(gateway.control.effects(Provider::Rebilly)["a"], 1);
    assert_eq!(gateway.requests(Provider::Rebilly), 1);
}

#[tokio::test]
async fn a_deadline_that_is_not_reached_changes_nothing() {
    let mut gateway = gateway().start().await;
    let item = subscription(Provider::Rebilly, "a", now());
    let mut patient = Request::new(request("K", [item]));
    patient.set_timeout(Duration::from_secs(60));

    let sent = gateway.client.cancel_subscription(patient).await.unwrap();
    let results = Reader::new(sent.into_inner()).rest().await.unwrap();

    assert_eq!(results[0].outcome(), Outcome::Canceled);
}

#[tokio::test]
async fn a_timeout_that_the_protocol_does_not_know_is_refused() {
    fn with<T>(timeout: &'static str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let value = timeout.parse().unwrap();
        request.metadata_mut().insert("grpc-timeout", value);
        request
    }
    let gateway = gateway().start().await;
    let mut c = gateway.client.clone();
    let item = subscription(Provider::Rebilly, "a", now());

    for timeout in ["5x", "S", "1.5S", "-1S", "123456789m"] {
        let batch = request("K", [item.clone()]);
        let refused = [
            c.cancel_subscription(with(timeout, batch)).await.err(),
            c.cancel_enrollments(with(timeout, CancelEnrollmentsRequest::default()))
                .await
                .err(),
            c.get_cancellation(with(timeout, GetCancellationRequest::default()))
                .await
                .err(),
            c.list_cancellations(with(timeout, ListCancellationsRequest::default()))
                .await
                .err(),
            c.stop_batch(with(timeout, StopBatchRequest::default()))
                .await
                .err(),
        ];
        for status in refused {
            let status = status.unwrap();
            assert_eq!(status.code(), Code::InvalidArgument, "{timeout}");
            assert!(status.message().contains("grpc-timeout"), "{status:?}");
        }
    }

    assert_eq!(gateway.requests(Provider::Rebilly), 0);
}

#[tokio::test]
async fn a_deadline_ends_the_wait_for_a_turn_and_the_item_still_gets_it() {
    let mut gateway = gateway()
        .account(Provider::Rebilly, "concurrency_max = 1")
        .start()
        .await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let first = request("first", [subscription(Provider::Rebilly, "a", now())]);
    let mut first = gateway.open(first).await;
    gateway.control.held_reached(Provider::Rebilly, 1).await;
    let item = subscription(Provider::Rebilly, "b", now());
    let mut hurried = Request::new(request("K", [item.clone()]));
    hurried.set_timeout(Duration::from_millis(300));

    let sent = gateway.client.cancel_subscription(hurried).await.unwrap();
    let status = Reader::new(sent.into_inner()).rest().await.unwrap_err();
    assert_eq!(gateway.requests(Provider::Rebilly), 1, "it had no turn");
    gateway.control.release(Provider::Rebilly);

    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    let result = in_time(gateway.cancel_one("K", item)).await.unwrap();
    assert_eq!(result.outcome(), Outcome::Canceled);
    assert_eq!(outcomes(&first.rest().await.unwrap()), [Outcome::Canceled]);
}

#[tokio::test]
async fn a_deadline_ends_the_wait_for_a_provider_that_is_away() {
    let mut gateway = gateway().start().await;
    let port = gateway.stop_sandbox().await;
    let item = subscription(Provider::Rebilly, "a", now());
    let mut hurried = Request::new(request("K", [item.clone()]));
    hurried.set_timeout(Duration::from_millis(300));

    let sent = gateway.client.cancel_subscription(hurried).await.unwrap();
    let status = Reader::new(sent.into_inner()).rest().await.unwrap_err();
    gateway.start_sandbox(port);

    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    let result = in_time(gateway.cancel_one("K", item)).await.unwrap();
    assert_eq!(result.outcome(), Outcome::Canceled);
    assert_eq!(gateway.control.effects(Provider::Rebilly)["a"], 1);
}

/// Without a gRPC client: its own timer would hide the service's reply.
#[tokio::test]
async fn a_deadline_that_has_passed_on_arrival_is_exceeded_and_not_cancelled() {
    let gateway = gateway().start().await;
    for timeout in ["0n", "1n", "0S", "1m", "4m"] {
        let batch = request(timeout, [subscription(Provider::Rebilly, timeout, now())]);
        let mut call = Slow::open(&gateway, Some(timeout)).await;
        // It may have been answered by now, which closes it.
        let _ = call.body.send_data(grpc(&batch).into(), true);
        let status = call.status().await;
        assert_eq!(
            status.code(),
            Code::DeadlineExceeded,
            "{timeout}: {status:?}"
        );
    }
}
