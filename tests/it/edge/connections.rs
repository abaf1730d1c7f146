//! Limits of connections: which are accepted, for how long, and which are closed to make room.

use cancelot::{
    rpc::proto::{CancelSubscriptionResponse, Outcome},
    sandbox::{Fault, Provider},
};
use prost::Message as _;
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use super::frames::{CANCEL, DATA, END_STREAM, GOAWAY, HEADERS, PREFACE, Wire, frame, grpc};
use crate::{
    observability::metrics::Scrape,
    support::{connect, gateway, in_time, now, request, subscription},
};

#[tokio::test]
async fn a_connection_without_a_first_frame_is_closed() {
    let mut gateway = gateway()
        .config("[server]\nhandshake_timeout_ms = 100")
        .start()
        .await;
    let whole = frame(4, 0, 0, &[]);
    let mut polite = Wire::silent(&gateway.url(), &[PREFACE, &whole].concat()).await;

    for sent in [
        &b""[..],
        &PREFACE[..7],
        PREFACE,
        &[PREFACE, &whole[..8]].concat(),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let silent = Wire::silent(&gateway.url(), sent).await;
        in_time(silent.closed()).await;
    }

    assert!(in_time(polite.answers()).await, "it had done all it has to");
    let item = subscription(Provider::Rebilly, "a", now());
    let result = gateway.cancel_one("K", item).await.unwrap();
    assert_eq!(result.outcome(), Outcome::Canceled);
}

#[tokio::test]
async fn the_connection_that_was_idle_the_longest_makes_room() {
    let gateway = gateway()
        .config("[server]\nconnections_max = 3")
        .start()
        .await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let held = request("held", [subscription(Provider::Rebilly, "a", now())]);
    let mut at_work = gateway.open(held).await;
    gateway.control.held_reached(Provider::Rebilly, 1).await;

    let mut idle = Vec::new();
    for _ in 0..10 {
        let mut wire = Wire::connect(&gateway.url(), &[]).await;
        assert!(in_time(wire.answers()).await);
        idle.push(wire);
    }
    let mut other = connect(&gateway.url()).await;
    let single = request("K", [subscription(Provider::Solidgate, "b", now())]);
    in_time(other.cancel_subscription(single)).await.unwrap();

    let mut last = idle.pop().unwrap();
    for wire in idle {
        in_time(wire.closed()).await;
    }
    assert!(in_time(last.answers()).await);
    gateway.control.release(Provider::Rebilly);
    let results = at_work.rest().await.unwrap();
    assert_eq!(results[0].outcome(), Outcome::Canceled);
}

#[tokio::test]
async fn who_only_watches_health_makes_room_too() {
    let gateway = gateway()
        .config("[server]\nconnections_max = 3")
        .start()
        .await;
    let mut watching = Vec::new();
    for _ in 0..3 {
        let endpoint = Endpoint::from_shared(gateway.url()).unwrap();
        let mut health = HealthClient::new(endpoint.connect().await.unwrap());
        let asked = HealthCheckRequest::default();
        let mut watch = health.watch(asked).await.unwrap().into_inner();
        assert!(in_time(watch.message()).await.unwrap().is_some());
        watching.push(watch);
    }

    let mut other = connect(&gateway.url()).await;
    let single = request("K", [subscription(Provider::Solidgate, "b", now())]);
    in_time(other.cancel_subscription(single)).await.unwrap();

    let first = watching.first_mut().unwrap();
    assert!(in_time(first.message()).await.is_err(), "it made room");
}

#[tokio::test]
async fn nobody_at_work_makes_room() {
    let gateway = gateway()
        .config("[server]\nconnections_max = 1")
        .start()
        .await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let held = request("held", [subscription(Provider::Rebilly, "a", now())]);
    let mut at_work = gateway.open(held).await;

    for _ in 0..10 {
        let refused = Wire::connect(&gateway.url(), &[]).await;
        in_time(refused.closed()).await;
    }

    gateway.control.held_reached(Provider::Rebilly, 1).await;
    gateway.control.release(Provider::Rebilly);
    let results = at_work.rest().await.unwrap();
    assert_eq!(results[0].outcome(), Outcome::Canceled);
}

#[tokio::test]
async fn a_place_is_free_again_when_its_connection_is_gone() {
    let gateway = gateway()
        .config("[server]\nconnections_max = 1")
        .start()
        .await;
    for i in 0..5 {
        // Each takes the only place over from the one before.
        let mut client = connect(&gateway.url()).await;
        let item = subscription(Provider::Solidgate, i, now());
        let stream = client.cancel_subscription(request(&format!("K{i}"), [item]));
        let mut stream = in_time(stream).await.unwrap().into_inner();
        while in_time(stream.message()).await.unwrap().is_some() {}
    }
}

#[tokio::test]
async fn a_connection_is_told_to_end_at_its_age_and_its_calls_go_on() {
    let gateway = gateway()
        .config("[server]\nconnection_age_ms = 200")
        .start()
        .await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let mut wire = Wire::connect(&gateway.url(), &[]).await;
    let batch = request("K", [subscription(Provider::Rebilly, "a", now())]);

    assert!(wire.call(1, CANCEL, &grpc(&batch)).await);
    in_time(gateway.control.held_reached(Provider::Rebilly, 1)).await;
    let mut bytes = Vec::new();
    let mut told = None;
    while told.is_none() {
        let frame = in_time(wire.next()).await.unwrap();
        match frame.kind {
            DATA => bytes.extend(frame.payload),
            GOAWAY => told = Some(frame.payload),
            _ => {}
        }
    }
    gateway.control.release(Provider::Rebilly);
    loop {
        let frame = in_time(wire.next()).await.unwrap();
        match frame.kind {
            DATA => bytes.extend(frame.payload),
            HEADERS if frame.flags & END_STREAM != 0 => break,
            _ => {}
        }
    }

    assert_eq!(told.unwrap()[4..8], [0; 4], "no error");
    let mut results = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
        let end = 5 + usize::try_from(length).unwrap();
        let message = CancelSubscriptionResponse::decode(&bytes[5..end]).unwrap();
        results.extend(message.results);
        bytes.drain(..end);
    }
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].outcome(), Outcome::Canceled);
}

#[tokio::test]
async fn a_watch_of_health_ends_at_the_age_of_its_connection() {
    let gateway = gateway()
        .config("[server]\nconnection_age_ms = 200")
        .start()
        .await;
    let endpoint = Endpoint::from_shared(gateway.url()).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let asked = HealthCheckRequest::default();
    let mut watch = health.watch(asked).await.unwrap().into_inner();
    assert!(in_time(watch.message()).await.unwrap().is_some());

    let ended = in_time(watch.message()).await.unwrap_err();

    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
}

#[tokio::test]
async fn a_connection_has_a_few_watches_of_health_and_they_are_counted() {
    let gateway = gateway()
        .config("[server]\nadmin_listen = \"127.0.0.1:0\"\n")
        .start()
        .await;
    let endpoint = Endpoint::from_shared(gateway.url()).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let mut watching = Vec::new();
    let refused = loop {
        match in_time(health.watch(HealthCheckRequest::default())).await {
            Ok(watch) => watching.push(watch.into_inner()),
            Err(status) => break status,
        }
    };

    assert_eq!(watching.len(), 8);
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert!(details.retry_info().is_some());
    let scrape = Scrape::of(&gateway).await;
    scrape.check(
        "cancelot_side_calls_bytes{room=\"strangers\"}",
        f64::from(8 * 8 * 1024),
    );
    scrape.check("cancelot_side_calls_refused_total{room=\"strangers\"}", 1.0);
    // A question is another thing, and there is room for it.
    health.check(HealthCheckRequest::default()).await.unwrap();
    watching.pop();
    in_time(async { while health.watch(HealthCheckRequest::default()).await.is_err() {} }).await;
}
