//! HTTP/2 floods against the real process: its memory stays small, and it serves others.

use cancelot::{
    rpc::proto::{CancelSubscriptionRequest, ListAccountsRequest, Outcome},
    sandbox::{Provider, Sandbox},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW, PING, RST_STREAM,
    Wire, field, frame, grpc, headers,
};
use crate::support::{
    in_time, now,
    process::{Place, Process, try_connect},
    request, subscription, subscription_results,
};

/// What a flood may add to the memory of the process.
const GROWTH_MAX: u64 = 64 * 1024 * 1024;

const LIST: &str = "/cancelot.v1.CancellationService/ListAccounts";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

struct Target {
    process: Process,
    url: String,
    place: Place,
    before: u64,
    _sandbox: Sandbox,
}

impl Target {
    /// A process that has served a call.
    async fn start(settings: &str) -> Self {
        let sandbox = Sandbox::start(Default::default()).unwrap();
        let place = Place::new(&sandbox, settings);
        let (process, url) = place.serve().await;
        let mut target = Self {
            process,
            url,
            place,
            before: 0,
            _sandbox: sandbox,
        };
        target.serves("warm").await;
        target.before = target.process.resident_bytes();
        target
    }

    /// Another client is served.
    async fn serves(&self, key: &str) {
        let mut client = in_time(try_connect(&self.url)).await.unwrap();
        let item = subscription(Provider::Solidgate, key, now());
        let sent = in_time(client.cancel_subscription(request(key, [item]))).await;
        let (_, results) = in_time(subscription_results(sent.unwrap().into_inner()))
            .await
            .unwrap();
        assert_eq!(results[0].outcome(), Outcome::Canceled);
    }

    /// It serves, has stayed small, and ends in order.
    async fn check(self, growth_max: u64) {
        self.serves("after").await;
        let growth = self.process.resident_bytes().saturating_sub(self.before);
        assert!(
            growth < growth_max,
            "it grew by {} MiB",
            growth / 1024 / 1024
        );
        self.process.terminate();
        let status = self.process.ended().await;
        assert!(status.success(), "{status:?}\n{}", self.place.stderr());
    }
}

/// Sends one piece after the other until the server hangs up; whether it did.
async fn hangs_up(wire: Wire, pieces: impl Iterator<Item = Vec<u8>>) -> bool {
    let (mut read, mut write) = wire.into_split();
    // Reading along, so that it is not our own silence that stops the flood.
    let reading = tokio::spawn(async move {
        let mut some = vec![0; 64 * 1024];
        while read.read(&mut some).await.is_ok_and(|count| count > 0) {}
    });
    for piece in pieces {
        if write.write_all(&piece).await.is_err() || reading.is_finished() {
            return true;
        }
    }
    write.shutdown().await.is_err() || reading.await.is_err()
}

fn odd_streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|i| 2 * i + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_end_their_connection() {
    let target = Target::start("").await;
    for _ in 0..10 {
        let wire = Wire::connect(&target.url, &[]).await;
        let pairs = odd_streams(100_000).map(|stream| {
            let open = frame(HEADERS, END_HEADERS, stream, &headers(CANCEL));
            let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [open, reset].concat()
        });
        assert!(in_time(hangs_up(wire, pairs)).await);
    }
    target.check(GROWTH_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_without_end_end_their_connection() {
    let target = Target::start("").await;
    for _ in 0..10 {
        let wire = Wire::connect(&target.url, &[]).await;
        let more: Vec<u8> = (0..100)
            .flat_map(|_| field("x-more", &"x".repeat(100)))
            .collect();
        let first = frame(HEADERS, 0, 1, &headers(CANCEL));
        let flood = std::iter::repeat_with(|| frame(CONTINUATION, 0, 1, &more)).take(10_000);
        assert!(in_time(hangs_up(wire, std::iter::once(first).chain(flood))).await);
    }
    target.check(GROWTH_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_frames_without_end_end_their_connection() {
    let target = Target::start("").await;
    for _ in 0..10 {
        let wire = Wire::connect(&target.url, &[]).await;
        let first = frame(HEADERS, END_HEADERS, 1, &headers(CANCEL));
        let flood = std::iter::repeat_with(|| frame(DATA, 0, 1, &[])).take(100_000);
        assert!(in_time(hangs_up(wire, std::iter::once(first).chain(flood))).await);
    }
    target.check(GROWTH_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_beyond_their_bound_are_refused_and_the_connection_goes_on() {
    let target = Target::start("").await;
    let mut wire = Wire::connect(&target.url, &[]).await;
    let many: Vec<u8> = (0..100)
        .flat_map(|_| field("x-more", &"x".repeat(100)))
        .collect();
    for stream in odd_streams(100) {
        let mut bytes = frame(HEADERS, END_STREAM, stream, &headers(CANCEL));
        bytes.extend(frame(CONTINUATION, END_HEADERS, stream, &many));
        let first = in_time(async {
            assert!(wire.send(&bytes).await);
            loop {
                let answer = wire.next().await.unwrap();
                if answer.stream == stream {
                    return answer;
                }
            }
        });
        // 431, or the stream is reset: it comes to no handler.
        assert!([HEADERS, RST_STREAM].contains(&first.await.kind));
    }
    assert!(in_time(wire.answers()).await);
    target.check(GROWTH_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_takes_no_memory() {
    let target = Target::start("").await;
    let wire = Wire::connect(&target.url, &[]).await;
    let flood = std::iter::repeat_with(|| frame(PING, 0, 0, b"00000000")).take(200_000);
    in_time(hangs_up(wire, flood)).await;
    target.check(GROWTH_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_silent_connections_keep_nobody_out() {
    let target = Target::start("").await;
    let whole = [crate::edge::frames::PREFACE, &frame(4, 0, 0, &[])].concat();
    let mut silent = Vec::new();
    for i in 0..3_000 {
        let sent = match i % 3 {
            0 => &b""[..],
            1 => &whole[..24],
            _ => &whole,
        };
        silent.push(Wire::silent(&target.url, sent).await);
        if i % 500 == 499 {
            target.serves(&format!("between-{i}")).await;
        }
    }
    target.check(GROWTH_MAX).await;
}

/// The most streams that a connection may have, each of a reader that never reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_take_one_byte_hold_what_they_asked_for_and_no_more() {
    let target = Target::start("").await;
    let items = (0..500).map(|i| subscription(Provider::Solidgate, i, now()));
    let batch: CancelSubscriptionRequest = request("batch", items);
    let mut client = try_connect(&target.url).await.unwrap();
    let sent = client.cancel_subscription(batch.clone()).await.unwrap();
    in_time(subscription_results(sent.into_inner()))
        .await
        .unwrap();

    let mut wires = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::connect(&target.url, &[(INITIAL_WINDOW, 1)]).await;
        for stream in odd_streams(200) {
            assert!(wire.call(stream, CANCEL, &grpc(&batch)).await);
            // Each stream in turn: reads its first byte, and then stops reading.
            in_time(wire.until(DATA, 0)).await.unwrap();
        }
        wires.push(wire);
    }

    target.serves("beside").await;
    target.check(5 * GROWTH_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_too_large_or_too_deep_are_refused() {
    let target = Target::start("").await;
    let mut client = try_connect(&target.url).await.unwrap();
    for _ in 0..5 {
        let long = request(&"k".repeat(40 * 1024 * 1024), []);
        let status = in_time(client.cancel_subscription(long)).await.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    }
    // An unknown field that is a group in a group in a group, and so on.
    for depth in [50, 101, 10_000] {
        let mut wire = Wire::connect(&target.url, &[]).await;
        let (start, end) = ([0xa3, 0x06], [0xa4, 0x06]);
        let bytes = [start.repeat(depth), end.repeat(depth)].concat();
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let body = [&[0], &length[..], &bytes].concat();
        assert!(wire.call(1, CANCEL, &body).await);
        let answer = in_time(wire.until(HEADERS, END_STREAM)).await;
        assert!(answer.is_some(), "depth {depth}");
        assert!(in_time(wire.answers()).await);
    }
    // Compressed: no compression is taken, so nothing can blow up.
    let mut wire = Wire::connect(&target.url, &[]).await;
    assert!(wire.call(1, CANCEL, &[1, 0, 0, 0, 1, 0]).await);
    assert!(in_time(wire.until(HEADERS, END_STREAM)).await.is_some());
    target.check(2 * GROWTH_MAX).await;
}

/// The health of the process, as a kubelet asks for it: on a connection of its own.
async fn probe(target: &Target) {
    let channel = Endpoint::from_shared(target.url.clone()).unwrap();
    let mut health = HealthClient::new(in_time(channel.connect()).await.unwrap());
    let answer = in_time(health.check(HealthCheckRequest::default())).await;
    assert_eq!(
        answer.unwrap().into_inner().status(),
        ServingStatus::Serving
    );
}

/// A flood of streams that are never ended, over several connections, without credentials.
async fn open_for_ever(path: &str, body: &[u8], flags: u8) {
    let target = Target::start("").await;
    let mut wires = Vec::new();
    let mut most = 0;
    for round in 0..150 {
        let mut wire = Wire::connect(&target.url, &[]).await;
        let streams: Vec<u8> = odd_streams(200)
            .flat_map(|stream| {
                let open = frame(HEADERS, END_HEADERS, stream, &headers(path));
                [open, frame(DATA, flags, stream, body)].concat()
            })
            .collect();
        wire.send(&streams).await;
        // Read by now, unless the connection had to make room.
        in_time(wire.answers()).await;
        wires.push(wire);
        if round % 50 == 25 {
            probe(&target).await;
            target.serves(&format!("meanwhile-{round}")).await;
        }
        most = most.max(target.process.resident_bytes());
    }
    probe(&target).await;
    let growth = most.saturating_sub(target.before) / 1024 / 1024;
    assert!(growth < GROWTH_MAX / 1024 / 1024, "it grew by {growth} MiB");
    target.check(GROWTH_MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_of_strangers_take_little_and_keep_nobody_out() {
    let whole = grpc(&HealthCheckRequest::default());
    open_for_ever("/grpc.health.v1.Health/Watch", &whole, END_STREAM).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_questions_of_strangers_take_little_and_keep_nobody_out() {
    open_for_ever("/grpc.health.v1.Health/Check", &[0, 0, 0], 0).await;
}

/// Where no callers are configured, a connection counts as authenticated after one call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_and_watches_of_callers_are_bounded_too() {
    let target = Target::start("").await;
    let list = grpc(&ListAccountsRequest {});
    let mut wires = Vec::new();
    for _ in 0..100 {
        let mut wire = Wire::connect(&target.url, &[]).await;
        assert!(wire.call(1, LIST, &list).await);
        in_time(wire.until(HEADERS, END_STREAM)).await.unwrap();
        let watch = grpc(&HealthCheckRequest::default());
        let streams: Vec<u8> = odd_streams(200)
            .skip(1)
            .flat_map(|stream| {
                let (path, flags, body) = match stream % 4 {
                    1 => ("/grpc.health.v1.Health/Watch", END_STREAM, &watch[..]),
                    _ => (REFLECTION, 0, &[0, 0, 0][..]),
                };
                let open = frame(HEADERS, END_HEADERS, stream, &headers(path));
                [open, frame(DATA, flags, stream, body)].concat()
            })
            .collect();
        assert!(wire.send(&streams).await);
        assert!(in_time(wire.answers()).await, "its own calls go on");
        wires.push(wire);
    }
    probe(&target).await;
    target.check(GROWTH_MAX).await;
}
