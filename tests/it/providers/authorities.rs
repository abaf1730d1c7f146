//! A provider with a certificate of a private authority.

use std::net::SocketAddr;

use cancelot::{
    rpc::proto::{Outcome, SubscriptionResult},
    sandbox::{Provider, Sandbox},
};
use prost_types::Duration;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use crate::support::{
    connect, now,
    pki::{Authority, Files, Pair},
    process::{Place, Process},
    request, subscription, subscription_results,
};

/// Speaks TLS in front of a server; says where.
async fn over_tls(pair: &Pair, server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let acceptor = pair.acceptor();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Those who do not believe the certificate hang up.
                let Ok(mut outside) = acceptor.accept(socket).await else {
                    return;
                };
                let mut inside = TcpStream::connect(server).await.unwrap();
                let _ = copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    addr
}

async fn cancel(mut process: Process, key: &str) -> SubscriptionResult {
    let url = process.url().await.unwrap();
    let mut client = connect(&url).await;
    let mut request = request(key, [subscription(Provider::Solidgate, key, now())]);
    request.cancellations[0].account = "private".to_owned();
    request.retry_window = Some(Duration {
        seconds: 1,
        nanos: 0,
    });
    let stream = client.cancel_subscription(request).await.unwrap();
    let (_, mut results) = subscription_results(stream.into_inner()).await.unwrap();
    results.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_of_ones_own_is_believed_by_way_of_ssl_cert_file() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let authority = Authority::new("our own");
    let addr = over_tls(&authority.for_host("127.0.0.1"), sandbox.addr()).await;
    let account = format!(
        "[accounts.private]\nprovider = \"solidgate\"\nbase_url = \"https://{addr}/solidgate\"\n\
         credential_env = \"CREDENTIAL\"\n"
    );
    let place = Place::new(&sandbox, &account);
    let files = Files::new();
    files.write("authorities.pem", &authority.pem);

    let believing = place.start_believing(&files.path("authorities.pem"));
    let result = cancel(believing, "a").await;
    assert_eq!(result.outcome(), Outcome::Canceled, "{result:?}");

    let result = cancel(place.start_with(&["--set", "log.filter=debug"]), "b").await;
    assert_eq!(result.outcome(), Outcome::Unavailable, "{result:?}");
    place.says("invalid peer certificate: UnknownIssuer").await;
}
