//! A service at capacity rejects at once and says when to come back; admitted items are finished.

use std::time::Duration;

use cancelot::{
    limits,
    rpc::proto::{
        CancelSubscriptionRequest, LineItem, LineItemType, Outcome, SubscriptionCancellation,
    },
    sandbox::{Fault, Provider},
};
use tonic::{Code, Status, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    edge::frames::{CANCEL, DATA, INITIAL_WINDOW, Wire, grpc},
    support::{
        Gateway,
        asking::{Reader, always, outcomes, says_when},
        gateway, in_time, now, request,
        slow::Slow,
        subscription,
    },
};

/// A subscription with some 200 KB of line items.
pub(crate) fn heavy(id: impl ToString) -> SubscriptionCancellation {
    let line_item = LineItem {
        r#type: LineItemType::Credit.into(),
        description: "\u{1f980}".repeat(1_000),
        unit_price_amount: "1".to_owned(),
        unit_price_currency: "EUR".to_owned(),
        quantity: 1,
        ..Default::default()
    };
    SubscriptionCancellation {
        line_items: vec![line_item; 50],
        ..subscription(Provider::Rebilly, id, now())
    }
}

async fn check_serving(gateway: &Gateway) {
    let endpoint = Endpoint::from_shared(gateway.url()).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let service = "cancelot.v1.CancellationService".to_owned();
    let answer = health.check(HealthCheckRequest { service }).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
}

#[track_caller]
fn check_refused(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(says_when(status), "{status:?}");
}

/// Sends a request until it is taken on, as its refusal asks for.
async fn insist(gateway: &Gateway, request: CancelSubscriptionRequest) -> Reader {
    let attempts = async {
        loop {
            let mut client = gateway.client.clone();
            let sent = client.cancel_subscription(request.clone());
            match sent.await {
                Ok(stream) => return Reader::new(stream.into_inner()),
                Err(status) => check_refused(&status),
            }
        }
    };
    in_time(attempts).await
}

#[tokio::test]
async fn what_open_items_may_take_is_bounded_in_bytes() {
    let mut gateway = gateway().engine("open_bytes_max = 1048576").start().await;
    gateway
        .control
        .script(Provider::Rebilly, always(Fault::HoldBefore));

    let mut open = Vec::new();
    let refused = loop {
        let i = open.len();
        let batch = request(&format!("K{i}"), [heavy(i)]);
        match gateway.client.cancel_subscription(batch.clone()).await {
            Ok(stream) => open.push(Reader::new(stream.into_inner())),
            Err(status) => {
                check_refused(&status);
                break batch;
            }
        }
    };

    assert!((4..6).contains(&open.len()), "{} are open", open.len());
    check_serving(&gateway).await;
    // Who asks again for what is open is no further burden.
    let again = gateway.open(request("K0", [heavy(0)])).await;
    gateway.recover(Provider::Rebilly);
    for mut reader in open.into_iter().chain([again]) {
        let results = in_time(reader.rest()).await.unwrap();
        assert_eq!(outcomes(&results), [Outcome::Canceled]);
    }
    let results = insist(&gateway, refused).await.rest().await.unwrap();
    assert_eq!(outcomes(&results), [Outcome::Canceled]);
}

#[tokio::test]
async fn what_is_open_after_a_restart_counts_too() {
    let mut gateway = gateway()
        .config("[server]\ndrain_ms = 0")
        .engine("open_bytes_max = 1048576")
        .start()
        .await;
    gateway
        .control
        .script(Provider::Rebilly, always(Fault::HoldBefore));
    let batch = request("K", (0..4).map(heavy));
    drop(gateway.open(batch.clone()).await);
    gateway.restart().await;

    check_refused(
        &gateway
            .refused(request("L", [heavy("a"), heavy("b")]))
            .await,
    );

    gateway.recover(Provider::Rebilly);
    let results = in_time(gateway.cancel(batch)).await.unwrap();
    assert_eq!(outcomes(&results), [Outcome::Canceled; 4]);
    let late = request("L", [heavy("a"), heavy("b")]);
    let results = insist(&gateway, late).await.rest().await.unwrap();
    assert_eq!(outcomes(&results), [Outcome::Canceled; 2]);
}

#[tokio::test]
async fn a_request_that_never_fits_is_not_asked_to_come_back() {
    let gateway = gateway().engine("open_bytes_max = 1048576").start().await;

    let status = gateway.refused(request("K", (0..10).map(heavy))).await;

    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert!(!says_when(&status) && status.message().contains("several requests"));
    assert_eq!(gateway.requests(Provider::Rebilly), 0);
}

#[tokio::test]
async fn a_request_that_never_fits_while_it_is_read_is_not_asked_to_come_back() {
    let gateway = gateway()
        .config("[server]\nrequest_bytes_max = 2097152")
        .start()
        .await;

    let status = gateway.refused(request("K", (0..5).map(heavy))).await;

    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert!(!says_when(&status) && status.message().contains("several requests"));
    check_serving(&gateway).await;
    let smaller = request("K", (0..2).map(heavy));
    let results = insist(&gateway, smaller).await.rest().await.unwrap();
    assert_eq!(outcomes(&results), [Outcome::Canceled; 2]);
}

#[tokio::test]
async fn a_request_that_does_not_arrive_by_its_deadline_is_refused() {
    let gateway = gateway().start().await;
    let mut slow = Slow::open(&gateway, Some("200m")).await;
    let body = grpc(&request("K", [heavy("a")]));
    slow.body
        .send_data(body[..body.len() - 1].to_vec().into(), false)
        .unwrap();

    let status = slow.status().await;

    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(gateway.get("K").await.is_err(), "nothing was admitted");
}

/// Two bytes on the wire, hundreds in memory.
#[tokio::test]
async fn a_message_that_would_grow_in_memory_is_refused_before_it_is_read() {
    /// A field of the kind that has a length.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        prost::encode_length_delimiter(content.len(), &mut bytes).unwrap();
        [bytes, content.to_vec()].concat()
    }
    const ENROLLMENTS: &str = "/cancelot.v1.CancellationService/CancelEnrollments";
    let gateway = gateway().start().await;
    let items = field(2, &[]).repeat(6_000_000);
    let line_items = field(2, &field(9, &[]).repeat(6_000_000));
    let ids = field(2, &field(5, &field(1, &[]).repeat(6_000_000)));
    let values = field(2, &field(6, &field(2, &[]).repeat(6_000_000)));
    for (path, message) in [
        (CANCEL, items),
        (CANCEL, line_items),
        (ENROLLMENTS, ids),
        (ENROLLMENTS, values),
    ] {
        assert!(message.len() < limits::REQUEST_BYTES_MAX);
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let mut call = Slow::open_at(&gateway, path, &[]).await;
        let body = [&[0], &length[..], &message].concat();
        call.body.send_data(body.into(), true).unwrap();
        let status = call.status().await;
        assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
        assert!(status.message().contains("memory"), "{status:?}");
    }
}

#[tokio::test]
async fn a_question_is_short() {
    let gateway = gateway().start().await;
    let long = "k".repeat(limits::QUESTION_BYTES_MAX + 1);
    let status = gateway.get(&long).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
}

#[tokio::test]
async fn a_full_service_says_when_to_come_back_within_a_minute() {
    let gateway = gateway().engine("open_items_max = 10000").start().await;
    gateway
        .control
        .script(Provider::Rebilly, always(Fault::HoldBefore));
    let items =
        |from: u32| (from..from + 10_000).map(|i| subscription(Provider::Rebilly, i, now()));
    let open = gateway.open(request("K", items(0))).await;

    let status = gateway.refused(request("L", items(10_000))).await;

    check_refused(&status);
    use tonic_types::StatusExt as _;
    let delay = status
        .get_details_retry_info()
        .unwrap()
        .retry_delay
        .unwrap();
    assert!((Duration::from_millis(1)..Duration::from_secs(60)).contains(&delay));
    check_serving(&gateway).await;
    drop(open);
}

#[tokio::test]
async fn a_full_service_lets_nothing_new_in_beside_what_it_knows() {
    let gateway = gateway().engine("open_items_max = 10000").start().await;
    gateway
        .control
        .script(Provider::Rebilly, always(Fault::HoldBefore));
    let item = |i: u32| subscription(Provider::Rebilly, i, now());
    let known = |i: u32| SubscriptionCancellation {
        idempotency_key: format!("K/{i}"),
        ..item(i)
    };
    let _open = gateway.open(request("K", (0..10_000).map(item))).await;

    for items in [[known(0), item(10_000)], [item(10_000), known(0)]] {
        check_refused(&gateway.refused(request("L", items)).await);
        assert!(gateway.get("L/0").await.is_err(), "nothing was admitted");
    }
    drop(gateway.open(request("M", [known(7), known(8)])).await);
}

#[tokio::test]
async fn a_reader_that_does_not_read_makes_room_for_others_when_there_is_none() {
    // More than fits into what is written ahead of the reader.
    const MANY: usize = 2_000;
    let gateway = gateway().results_held_max(MANY).start().await;
    let many = (0..MANY).map(|i| subscription(Provider::Solidgate, i, now()));
    let many = request("many", many);
    let mut asleep = Wire::connect(&gateway.url(), &[(INITIAL_WINDOW, 1)]).await;
    assert!(asleep.call(1, CANCEL, &grpc(&many)).await);
    in_time(asleep.until(DATA, 0)).await.unwrap();

    let other = request("other", [subscription(Provider::Rebilly, "a", now())]);
    let refused = gateway.refused(other.clone()).await;
    let mut served = insist(&gateway, other).await;

    check_refused(&refused);
    assert_eq!(outcomes(&served.rest().await.unwrap()), [Outcome::Canceled]);
    in_time(asleep.closed()).await;
    // The requested work was done all the same, and a later call gets its results.
    let mut again = insist(&gateway, many).await;
    let results = in_time(again.rest()).await.unwrap();
    assert_eq!(outcomes(&results), [Outcome::Canceled; MANY]);
}
