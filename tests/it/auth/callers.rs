//! Authentication of callers, and that each sees and changes only its own records.

use cancelot::{
    rpc::proto::{
        CancelEnrollmentsRequest, CancelSubscriptionRequest, CancellationKind,
        GetCancellationRequest, ListAccountsRequest, ListCancellationsRequest, Outcome,
        StopBatchRequest,
    },
    sandbox::Provider,
};
use tonic::{Code, Request, Status, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::support::{
    BILLING_TOKEN, Gateway, SUPPORT_TOKEN, asking::Reader, gateway, now, request, subscription,
};

async fn two_callers() -> Gateway {
    gateway()
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"")
        .config("[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
        .start()
        .await
}

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn one(id: &str) -> CancelSubscriptionRequest {
    request("K", [subscription(Provider::Rebilly, id, now())])
}

fn key() -> GetCancellationRequest {
    GetCancellationRequest {
        kind: CancellationKind::Subscription.into(),
        idempotency_key: "K/0".to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn one_key_of_two_callers_is_two_keys() {
    let gateway = two_callers().await;
    let mut client = gateway.client.clone();

    for (token, id) in [(BILLING_TOKEN, "a"), (SUPPORT_TOKEN, "b")] {
        let stream = client.cancel_subscription(by(token, one(id))).await;
        let results = Reader::new(stream.unwrap().into_inner())
            .rest()
            .await
            .unwrap();
        assert_eq!(results[0].outcome(), Outcome::Canceled);
        assert!(!results[0].replayed);
    }

    let effects = gateway.control.effects(Provider::Rebilly);
    assert_eq!((effects["a"], effects["b"]), (1, 1));
    for (token, name, id) in [
        (BILLING_TOKEN, "billing", "a"),
        (SUPPORT_TOKEN, "support", "b"),
    ] {
        let got = client.get_cancellation(by(token, key())).await.unwrap();
        let record = got.into_inner().cancellation.unwrap();
        assert_eq!(record.caller, name);
        assert!(format!("{:?}", record.command).contains(id));
    }
}

#[tokio::test]
async fn a_caller_neither_sees_nor_stops_what_is_anothers() {
    let gateway = two_callers().await;
    let mut client = gateway.client.clone();
    let sent = client
        .cancel_subscription(by(BILLING_TOKEN, one("a")))
        .await;
    let mut reader = Reader::new(sent.unwrap().into_inner());
    reader.rest().await.unwrap();
    let batch_id = reader.progress.batch_id;

    let got = client.get_cancellation(by(SUPPORT_TOKEN, key())).await;
    let stop = StopBatchRequest {
        batch_id: batch_id.clone(),
    };
    let stopped = client.stop_batch(by(SUPPORT_TOKEN, stop)).await;
    let filters = [
        ListCancellationsRequest::default(),
        ListCancellationsRequest {
            batch_id,
            ..Default::default()
        },
        ListCancellationsRequest {
            target_id: "a".to_owned(),
            ..Default::default()
        },
    ];

    assert_eq!(got.unwrap_err().code(), Code::NotFound);
    assert_eq!(stopped.unwrap_err().code(), Code::NotFound);
    for (token, seen) in [(SUPPORT_TOKEN, 0), (BILLING_TOKEN, 1)] {
        for filter in filters.clone() {
            let page = client.list_cancellations(by(token, filter)).await.unwrap();
            assert_eq!(page.into_inner().cancellations.len(), seen);
        }
    }
}

#[tokio::test]
async fn without_a_callers_token_nothing_answers_but_health() {
    let gateway = two_callers().await;
    let mut c = gateway.client.clone();
    let wrong = "not-the-token-of-anyone";

    let refused: [Option<Status>; 7] = [
        c.cancel_subscription(one("a")).await.err(),
        c.cancel_subscription(by(wrong, one("a"))).await.err(),
        c.cancel_enrollments(CancelEnrollmentsRequest::default())
            .await
            .err(),
        c.get_cancellation(key()).await.err(),
        c.list_cancellations(ListCancellationsRequest::default())
            .await
            .err(),
        c.stop_batch(StopBatchRequest::default()).await.err(),
        c.list_accounts(ListAccountsRequest {}).await.err(),
    ];

    for status in refused {
        assert_eq!(status.unwrap().code(), Code::Unauthenticated);
    }
    assert_eq!(gateway.requests(Provider::Rebilly), 0);
    let channel = Endpoint::from_shared(gateway.url())
        .unwrap()
        .connect()
        .await
        .unwrap();
    let health = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await;
    assert_eq!(
        health.unwrap().into_inner().status(),
        ServingStatus::Serving
    );
}
