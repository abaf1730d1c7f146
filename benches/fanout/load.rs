//! The one client of both services.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use cancelot::rpc::proto::{
    self, CancelSubscriptionRequest, Outcome, SubscriptionCancellation, When,
    cancellation_service_client::CancellationServiceClient, when::When as Choice,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::Failure;

/// A client of either service.
pub(crate) type Client = CancellationServiceClient<Channel>;

/// A client with a connection of its own.
pub(crate) async fn connect(addr: SocketAddr) -> Result<Client, Failure> {
    let channel = Endpoint::from_shared(format!("http://{addr}"))?
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .connect()
        .await?;
    Ok(Client::new(channel))
}

/// A request to cancel so many subscriptions, none of which any other key names.
pub(crate) fn request(account: &str, key: String, items: usize) -> CancelSubscriptionRequest {
    let cancellations = (0..items).map(|item| SubscriptionCancellation {
        account: account.to_owned(),
        subscription_id: format!("sub_{key}_{item:05}"),
        when: Some(When {
            when: Some(Choice::PeriodEnd(Default::default())),
        }),
        reason: proto::Reason::DidNotUse.into(),
        ..Default::default()
    });
    CancelSubscriptionRequest {
        cancellations: cancellations.collect(),
        idempotency_key: key,
        ..Default::default()
    }
}

/// Sends requests, so many at a time, until every item of each has settled.
pub(crate) async fn run(
    client: &Client,
    requests: Vec<CancelSubscriptionRequest>,
    streams: usize,
    replayed: bool,
) -> Result<Duration, Failure> {
    let begun = Instant::now();
    stream::iter(requests)
        .map(|request| settle(client.clone(), request, replayed))
        .buffer_unordered(streams)
        .try_collect::<()>()
        .await?;
    Ok(begun.elapsed())
}

/// Sends one request and reads its stream to the end: all items must have come out as they
/// should.
pub(crate) async fn settle(
    client: Client,
    request: CancelSubscriptionRequest,
    replayed: bool,
) -> Result<(), Failure> {
    settle_and_tell(client, request, replayed, &watch::Sender::new(false)).await
}

/// The same, and tells while it is at work: from its first result to its last.
pub(crate) async fn settle_and_tell(
    mut client: Client,
    request: CancelSubscriptionRequest,
    replayed: bool,
    at_work: &watch::Sender<bool>,
) -> Result<(), Failure> {
    let total = request.cancellations.len();
    let mut stream = client.cancel_subscription(request).await?.into_inner();
    let mut settled = 0;
    while let Some(message) = stream.message().await? {
        for result in &message.results {
            if result.outcome() != Outcome::Scheduled || result.replayed != replayed {
                return Err(format!("not what was measured before: {result:?}").into());
            }
        }
        settled += message.results.len();
        at_work.send_replace(0 < settled && settled < total);
    }
    if settled == total {
        Ok(())
    } else {
        Err(format!("{settled} of {total} items settled").into())
    }
}
