//! Clients that misbehave: they delay neither the end of the process nor each other.

use std::time::{Duration, Instant};

use cancelot::{
    limits,
    rpc::proto::CancelSubscriptionResponse,
    sandbox::{Provider, Sandbox},
};
use tonic::{Streaming, transport::Endpoint};

use super::frames::{PREFACE, SETTINGS, Wire, frame};
use crate::support::{
    Client, in_time, now,
    process::{Place, try_connect},
    request, subscription,
};

/// More than the drain and what is left for connections to end.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_do_not_hold_the_end_up() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let place = Place::new(&sandbox, "[server]\ndrain_ms = 500");
    let (process, url) = place.serve().await;
    let whole = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let mut held = Vec::new();
    for sent in [
        &b""[..],
        &PREFACE[..7],
        PREFACE,
        &whole,
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
    ] {
        held.push(Wire::silent(&url, sent).await);
    }
    // Answered, so it is certain that the server has taken all of them on.
    let mut last = Wire::connect(&url, &[]).await;
    assert!(in_time(last.answers()).await);

    let begun = Instant::now();
    process.terminate();
    let status = process.ended().await;

    assert!(status.success(), "{status:?}\n{}", place.stderr());
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_just_started_ends_in_order_too() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let place = Place::new(&sandbox, "");
    for _ in 0..5 {
        let (process, _) = place.serve().await;
        process.terminate();
        let status = process.ended().await;
        assert!(status.success(), "{status:?}\n{}", place.stderr());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_results_reach_a_client_that_does_not_read_for_a_while() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let place = Place::new(&sandbox, "");
    let (process, url) = place.serve().await;
    // The smallest windows that HTTP/2 clients have by default.
    let endpoint = Endpoint::from_shared(url.clone()).unwrap();
    let endpoint = endpoint
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535);
    let mut lazy = Client::new(endpoint.connect().await.unwrap());
    let items = (0..limits::BATCH_ITEMS_MAX).map(|i| subscription(Provider::Solidgate, i, now()));
    let asked = request("key", items);
    let stream = lazy.cancel_subscription(asked.clone()).await;
    let mut unread = stream.unwrap().into_inner();
    // All is settled by the time that another stream of the same request has ended.
    let mut other = try_connect(&url).await.unwrap();
    let mut read = other.cancel_subscription(asked).await.unwrap().into_inner();
    check_all(&mut read).await;
    check_all(&mut unread).await;
    process.terminate();
    assert!(process.ended().await.success());
}

/// Reads a stream to its end: every index comes once.
async fn check_all(stream: &mut Streaming<CancelSubscriptionResponse>) {
    let mut indexes = Vec::new();
    while let Some(message) = in_time(stream.message()).await.unwrap() {
        indexes.extend(message.results.iter().map(|result| result.index));
    }
    indexes.sort_unstable();
    let all = (0..limits::BATCH_ITEMS_MAX).map(|i| u32::try_from(i).unwrap());
    assert!(indexes.iter().copied().eq(all), "{} results", indexes.len());
}
