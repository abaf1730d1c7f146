//! Ways to call every RPC, and the responses to unauthorized callers.

use cancelot::rpc::proto::{
    CancelEnrollmentsRequest, CancelSubscriptionRequest, CancellationKind, GetCancellationRequest,
    ListAccountsRequest, ListCancellationsRequest, StopBatchRequest,
};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::{Client, asking::Reader, now, request, subscription};
use cancelot::{rpc::proto::Outcome, sandbox::Provider};

/// A message with a token.
pub(crate) fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// A message with a token, if there is one.
pub(crate) fn shown<T>(token: Option<&str>, message: T) -> Request<T> {
    match token {
        Some(token) => by(token, message),
        None => Request::new(message),
    }
}

/// A request for one subscription.
pub(crate) fn one(key: &str, id: &str) -> CancelSubscriptionRequest {
    request(key, [subscription(Provider::Rebilly, id, now())])
}

/// The request for the record of a request's first item.
pub(crate) fn first_of(key: &str) -> GetCancellationRequest {
    GetCancellationRequest {
        kind: CancellationKind::Subscription.into(),
        idempotency_key: format!("{key}/0"),
        ..Default::default()
    }
}

/// Who the service says has called: it cancels something, and reads whose record that is.
pub(crate) async fn called_as(
    client: &Client,
    token: Option<&str>,
    key: &str,
) -> Result<String, Status> {
    let mut client = client.clone();
    let message = request(key, [subscription(Provider::Rebilly, key, now())]);
    let stream = client.cancel_subscription(shown(token, message)).await?;
    let results = Reader::new(stream.into_inner()).rest().await?;
    assert_eq!(results[0].outcome(), Outcome::Canceled);
    let got = client.get_cancellation(shown(token, first_of(key))).await?;
    Ok(got.into_inner().cancellation.unwrap().caller)
}

/// Why the caller is unknown, as a stable word.
pub(crate) async fn refused_as(client: &Client, token: Option<&str>) -> String {
    let mut client = client.clone();
    let status = client
        .list_accounts(shown(token, ListAccountsRequest {}))
        .await
        .expect_err("the call is refused");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    reason(&status)
}

/// The reason in a status's ErrorInfo.
pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("{status:?} has no ErrorInfo"));
    assert_eq!(info.domain, "cancelot");
    info.reason
}

/// What each RPC answers, by its name.
pub(crate) async fn every_rpc(
    client: &Client,
    token: Option<&str>,
) -> [(&'static str, Result<(), Status>); 6] {
    let mut c = client.clone();
    [
        (
            "CancelSubscription",
            c.cancel_subscription(shown(token, one("every", "every")))
                .await
                .map(drop),
        ),
        (
            "CancelEnrollments",
            c.cancel_enrollments(shown(token, CancelEnrollmentsRequest::default()))
                .await
                .map(drop),
        ),
        (
            "GetCancellation",
            c.get_cancellation(shown(token, first_of("every")))
                .await
                .map(drop),
        ),
        (
            "ListCancellations",
            c.list_cancellations(shown(token, ListCancellationsRequest::default()))
                .await
                .map(drop),
        ),
        (
            "StopBatch",
            c.stop_batch(shown(token, StopBatchRequest::default()))
                .await
                .map(drop),
        ),
        (
            "ListAccounts",
            c.list_accounts(shown(token, ListAccountsRequest {}))
                .await
                .map(drop),
        ),
    ]
}
