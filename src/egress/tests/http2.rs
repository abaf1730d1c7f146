//! HTTP/2 connections that die silently, and signals that a request was not processed.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};

use super::{
    answered, call, in_doubt, options,
    stub::{Http2, Served, answer},
};
use crate::{
    domain::http_exchange::{FaultKind, Reply},
    egress::Egress,
    limits,
};

/// A client of a provider over TLS.
fn way(provider: &Http2) -> Egress {
    let options = options(format!("https://{}", provider.addr()));
    let trusted = std::slice::from_ref(&provider.authority);
    Egress::trusting(&options, trusted).unwrap()
}

/// The next connection, served correctly.
async fn served(provider: &Http2) -> Served {
    h2::server::handshake(provider.accept().await)
        .await
        .unwrap()
}

/// Serves the next connection correctly until the future ends.
async fn serving<T>(provider: &Http2, until: impl Future<Output = T>) -> T {
    let serve = async {
        let mut connection = served(provider).await;
        loop {
            answer(&mut connection).await;
        }
    };
    tokio::select! {
        biased;
        done = until => done,
        () = serve => panic!("the connection ended"),
    }
}

/// The time in which a dead connection is detected.
const FOUND: Duration = Duration::from_millis(limits::PING_AFTER_MS + limits::PING_TIMEOUT_MS);

#[tokio::test]
async fn a_connection_that_dies_under_a_request_is_found_and_the_next_takes_another() {
    let provider = Http2::listen().await;
    let way = way(&provider);
    // Reads all and answers nothing, like a proxy whose other side is gone.
    let silent = async {
        let mut connection = provider.accept().await;
        let mut preface = [0; 24];
        connection.read_exact(&mut preface).await.unwrap();
        // No more input comes from outside, so paused time can advance.
        tokio::time::pause();
        tokio::io::copy(&mut connection, &mut tokio::io::sink()).await
    };
    let begun = Instant::now();
    let (reply, _) = tokio::join!(call(&way), silent);
    in_doubt(&reply, FaultKind::Timeout);
    assert!(
        begun.elapsed() < FOUND + Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    tokio::time::resume();
    answered(serving(&provider, call(&way)).await);
}

#[tokio::test]
async fn a_connection_that_dies_while_it_is_idle_is_not_used_again() {
    let provider = Http2::listen().await;
    let way = way(&provider);
    let mut first = None;
    let dies = async {
        let mut connection = served(&provider).await;
        answer(&mut connection).await;
        // Pending output is written when the next frame is read.
        first = Some(connection);
        let connection = first.as_mut().unwrap();
        std::future::poll_fn(|cx| connection.poll_closed(cx)).await
    };
    tokio::select! {
        biased;
        reply = call(&way) => drop(answered(reply)),
        _ = dies => panic!("the connection ended"),
    }
    // The connection stays open and silent.
    tokio::time::pause();
    tokio::time::sleep(FOUND + Duration::from_secs(1)).await;
    tokio::time::resume();
    answered(serving(&provider, call(&way)).await);
    drop(first);
}

#[tokio::test]
async fn an_answer_with_long_headers_is_read() {
    let provider = Http2::listen().await;
    let way = way(&provider);
    let long = "x".repeat(64 * 1024);
    let serve = async {
        let mut connection = served(&provider).await;
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        let head = http::Response::builder().header("x-long", &long).body(());
        respond.send_response(head.unwrap(), true).unwrap();
        std::future::poll_fn(|cx| connection.poll_closed(cx)).await
    };
    tokio::select! {
        biased;
        reply = call(&way) => assert_eq!(answered(reply).header("x-long"), Some(long.as_str())),
        _ = serve => panic!("the connection ended"),
    }
}

/// The reply to a request that the provider treats like this.
async fn reply_to(provider_does: impl AsyncFnOnce(&Http2)) -> Reply {
    let provider = Http2::listen().await;
    let way = way(&provider);
    let (reply, ()) = tokio::join!(call(&way), provider_does(&provider));
    reply
}

/// The provider resets the stream.
async fn reset(reason: h2::Reason) -> Reply {
    reply_to(async |provider| {
        let mut connection = served(provider).await;
        let (_, mut respond) = connection.accept().await.unwrap().unwrap();
        respond.send_reset(reason);
        connection.graceful_shutdown();
        while connection
            .accept()
            .await
            .is_some_and(|request| request.is_ok())
        {}
    })
    .await
}

#[tokio::test]
async fn a_refused_stream_was_not_sent_and_any_other_reset_is_doubt() {
    let reply = reset(h2::Reason::REFUSED_STREAM).await;
    match &reply {
        Reply::NotSent(fault) => assert!(fault.message.contains("unprocessed"), "{fault:?}"),
        other => panic!("{other:?}"),
    }
    for reason in [
        h2::Reason::INTERNAL_ERROR,
        h2::Reason::ENHANCE_YOUR_CALM,
        h2::Reason::CANCEL,
        h2::Reason::HTTP_1_1_REQUIRED,
        h2::Reason::NO_ERROR,
    ] {
        in_doubt(&reset(reason).await, FaultKind::Broken);
    }
}

/// A frame without flags on stream 0.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let head = [0, 0, length, kind, 0, 0, 0, 0, 0];
    [&head, payload].concat()
}

const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// After the request on stream 1 the provider sends GOAWAY with this last stream, and closes.
async fn gone(last_stream: u32, reason: h2::Reason) -> Reply {
    reply_to(async |provider| {
        let mut connection = provider.accept().await;
        connection.write_all(&frame(SETTINGS, &[])).await.unwrap();
        let mut preface = [0; 24];
        connection.read_exact(&mut preface).await.unwrap();
        // Skips frames up to the request's HEADERS, type 1.
        loop {
            let mut head = [0; 9];
            connection.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            connection.read_exact(&mut payload).await.unwrap();
            if head[3] == 1 {
                break;
            }
        }
        let said = [last_stream.to_be_bytes(), u32::from(reason).to_be_bytes()].concat();
        connection.write_all(&frame(GOAWAY, &said)).await.unwrap();
        connection.shutdown().await.unwrap();
        // Until the client has closed too.
        let _ = tokio::io::copy(&mut connection, &mut tokio::io::sink()).await;
    })
    .await
}

#[tokio::test]
async fn only_a_stream_above_the_last_of_a_graceful_end_was_not_sent() {
    let reply = gone(0, h2::Reason::NO_ERROR).await;
    assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
    for (last_stream, reason) in [
        (1, h2::Reason::NO_ERROR),
        (0x7fff_ffff, h2::Reason::NO_ERROR),
        (1, h2::Reason::INTERNAL_ERROR),
        (0, h2::Reason::INTERNAL_ERROR),
        (0, h2::Reason::ENHANCE_YOUR_CALM),
    ] {
        let reply = gone(last_stream, reason).await;
        in_doubt(&reply, FaultKind::Broken);
    }
}
