//! The client side of the two cancelling RPCs: sends a request, and sends the very same one
//! again when the connection breaks, which resumes it.

use std::time::Duration;

use prost::Message;
use tonic::{
    Code, Request, Status, Streaming, service::interceptor::InterceptedService, transport::Channel,
};
use tonic_types::StatusExt as _;

use super::connection::Credentials;
pub(super) use super::connection::Service;
use crate::rpc::proto::{
    self, CancelEnrollmentsRequest, CancelEnrollmentsResponse, CancelSubscriptionRequest,
    CancelSubscriptionResponse, EnrollmentResult, Progress, SubscriptionResult,
    cancellation_service_client::CancellationServiceClient,
};

/// A connection to a service.
pub(super) type Client = CancellationServiceClient<InterceptedService<Channel, Credentials>>;

/// How often a request is resumed without any news in between before the client gives up.
const RESUMES_MAX: u32 = 20;
/// A service that says to come back later than this is not waited for.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);
/// The longest wait before resuming.
const RESUME_WAIT_MAX: Duration = Duration::from_secs(5);

/// A client that connects when it is first used.
///
/// # Errors
/// If the endpoint is no URL such as `http://127.0.0.1:50051`, or what is to be shown cannot be.
pub(super) fn connect(service: &Service) -> Result<Client, String> {
    let channel = service.channel()?;
    let client = CancellationServiceClient::with_interceptor(channel, service.credentials()?);
    Ok(client.max_decoding_message_size(2 * crate::limits::RESPONSE_BYTES_MAX))
}

/// A status as a line: its code's name and its message.
pub(super) fn told(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// A request of one of the two cancelling RPCs, and what its stream brings.
pub(super) trait Cancelling: Message + Clone + 'static {
    /// One message of the stream.
    type Response;
    /// One result.
    type Result: Outcome;

    /// Sends it.
    fn send(
        self,
        client: &mut Client,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Result<Streaming<Self::Response>, Status>> + Send;

    /// Takes a message apart.
    fn parts(response: Self::Response) -> (Progress, Vec<Self::Result>);

    /// Items it has.
    fn total(&self) -> usize;
}

/// What all results have.
pub(super) trait Outcome {
    /// Position in the request.
    fn index(&self) -> u32;
    /// How it ended; unspecified while it runs.
    fn outcome(&self) -> proto::Outcome;
}

impl Outcome for SubscriptionResult {
    fn index(&self) -> u32 {
        self.index
    }

    fn outcome(&self) -> proto::Outcome {
        self.outcome()
    }
}

impl Outcome for EnrollmentResult {
    fn index(&self) -> u32 {
        self.index
    }

    fn outcome(&self) -> proto::Outcome {
        self.outcome()
    }
}

fn request<T>(message: T, deadline: Option<Duration>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    request
}

impl Cancelling for CancelSubscriptionRequest {
    type Response = CancelSubscriptionResponse;
    type Result = SubscriptionResult;

    async fn send(
        self,
        client: &mut Client,
        deadline: Option<Duration>,
    ) -> Result<Streaming<Self::Response>, Status> {
        Ok(client
            .cancel_subscription(request(self, deadline))
            .await?
            .into_inner())
    }

    fn parts(response: Self::Response) -> (Progress, Vec<Self::Result>) {
        (response.progress.unwrap_or_default(), response.results)
    }

    fn total(&self) -> usize {
        self.cancellations.len()
    }
}

impl Cancelling for CancelEnrollmentsRequest {
    type Response = CancelEnrollmentsResponse;
    type Result = EnrollmentResult;

    async fn send(
        self,
        client: &mut Client,
        deadline: Option<Duration>,
    ) -> Result<Streaming<Self::Response>, Status> {
        Ok(client
            .cancel_enrollments(request(self, deadline))
            .await?
            .into_inner())
    }

    fn parts(response: Self::Response) -> (Progress, Vec<Self::Result>) {
        (response.progress.unwrap_or_default(), response.results)
    }

    fn total(&self) -> usize {
        self.cancellations.len()
    }
}

/// Follows a request to its last result, resuming it as often as there is news in between.
/// `each` hears of every result once, and of unsettled ones as they move.
///
/// # Errors
/// The status that ended it for good: a mistake in the request, a deadline, or a service that
/// stayed away.
pub(super) async fn follow<R: Cancelling>(
    client: &mut Client,
    request: R,
    deadline: Option<Duration>,
    mut each: impl FnMut(&Progress, R::Result),
) -> Result<(), Status> {
    let total = request.total();
    let mut told = vec![false; total];
    let mut tries_without_news = 0;
    loop {
        let outcome = attempt(client, request.clone(), deadline, &mut told, &mut each).await;
        let (news, status) = match outcome {
            Ok(()) => return Ok(()),
            Err(broken) => broken,
        };
        tries_without_news = if news { 0 } else { tries_without_news + 1 };
        // What says nothing about the request can be sent again; the key makes it safe.
        let transient = matches!(
            status.code(),
            Code::Unavailable | Code::ResourceExhausted | Code::Unknown
        );
        let is_later = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
            .is_some_and(|delay| delay > RETRY_DELAY_MAX);
        if !transient || is_later || tries_without_news > RESUMES_MAX {
            return Err(status);
        }
        tracing::debug!(%status, "resuming");
        let wait = Duration::from_millis(100 << tries_without_news.min(6)).min(RESUME_WAIT_MAX);
        tokio::time::sleep(wait).await;
    }
}

async fn attempt<R: Cancelling>(
    client: &mut Client,
    request: R,
    deadline: Option<Duration>,
    told: &mut [bool],
    each: &mut impl FnMut(&Progress, R::Result),
) -> Result<(), (bool, Status)> {
    let mut news = false;
    let mut stream = request
        .send(client, deadline)
        .await
        .map_err(|status| (news, status))?;
    loop {
        let message = stream.message().await.map_err(|status| (news, status))?;
        let Some(message) = message else {
            return Ok(());
        };
        let (progress, results) = R::parts(message);
        for result in results {
            let at = usize::try_from(result.index()).unwrap_or(usize::MAX);
            let Some(told) = told.get_mut(at) else {
                continue;
            };
            let settled = result.outcome() != proto::Outcome::Unspecified;
            if *told {
                continue;
            }
            *told = settled;
            news |= settled;
            each(&progress, result);
        }
    }
}
