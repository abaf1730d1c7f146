//! HTTP/2 when the other end is dead, or says what it did not begin with.

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
    domain::exchange::{FaultKind, Reply},
    egress::Egress,
    limits,
};

/// The way to a provider over TLS.
fn way(provider: &Http2) -> Egress {
    let options = options(format!("https://{}", provider.addr()));
    let trusted = std::slice::from_ref(&provider.authority);
    Egress::trusting(&options, trusted).unwrap()
}

/// The next connection, served as it should be.
async fn served(provider: &Http2) -> Served {
    h2::server::handshake(provider.accept().await)
        .await
        .unwrap()
}

/// Serves the next connection well until the future ends.
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

/// The time in which a dead connection is found.
const FOUND: Duration = Duration::from_millis(limits::PING_AFTER_MS + limits::PING_TIMEOUT_MS);

#[tokio::test]
async fn a_connection_that_dies_under_a_request_is_found_and_the_next_takes_another() {
    let provider = Http2::listen().await;
    let way = way(&provider);
    // Reads what it is sent and says nothing, as a proxy whose other side is gone.
    let silent = async {
        let mut connection = provider.accept().await;
        let mut preface = [0; 24];
        connection.read_exact(&mut preface).await.unwrap();
        // From here on nothing comes from outside, so that time can pass by itself.
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
        // What is left to write goes out with the next frame that is read.
        first = Some(connection);
        let connection = first.as_mut().unwrap();
        std::future::poll_fn(|cx| connection.poll_closed(cx)).await
    };
    tokio::select! {
        biased;
        reply = call(&way) => drop(answered(reply)),
        _ = dies => panic!("the connection ended"),
    }
    // It is held and says nothing more.
    tokio::time::pause();
    tokio::time::sleep(FOUND + Duration::from_secs(1)).await;
    tokio::time::resume();
    answered(serving(&provider, call(&way)).await);
    drop(first);
}
