//! The client side of the two cancelling RPCs: sends a request, and sends the very same one
//! again when the connection breaks, which resumes it.

use std::time::Duration;

use prost::Message;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::rpc::proto::{
    self, CancelEnrollmentsRequest, CancelEnrollmentsResponse, CancelSubscriptionRequest,
    CancelSubscriptionResponse, EnrollmentResult, Progress, SubscriptionResult,
    cancellation_service_client::CancellationServiceClient,
};

/// A connection to a service.
pub(super) type Client = CancellationServiceClient<InterceptedService<Channel, Credentials>>;

/// Where the service is, and what to show it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Service {
    /// Where the service is.
    #[arg(
        long,
        env = "CANCELOT_ENDPOINT",
        default_value = "http://127.0.0.1:50051"
    )]
    pub(super) endpoint: String,
    /// The caller's token. Better given in the environment: arguments are seen by everyone.
    #[arg(long, env = "CANCELOT_TOKEN", hide_env_values = true)]
    pub(super) token: Option<String>,
}

/// Shows a token with every call.
#[derive(Clone)]
pub(super) struct Credentials(Option<AsciiMetadataValue>);

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// How often a request is resumed without any news in between before the client gives up.
const RESUMES_MAX: u32 = 20;
/// The longest wait before resuming.
const RESUME_WAIT_MAX: Duration = Duration::from_secs(5);

/// A client that connects when it is first used.
///
/// # Errors
/// If the endpoint is no URL such as `http://127.0.0.1:50051`, or the token no header value.
pub(super) fn connect(service: &Service) -> Result<Client, String> {
    let endpoint = &service.endpoint;
    let channel = Endpoint::from_shared(endpoint.clone())
        .map_err(|error| format!("endpoint {endpoint:?} is no URL: {error}"))?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(false)
        .tcp_nodelay(true)
        .connect_lazy();
    let token = service.token.as_ref().map(|token| {
        let mut value = AsciiMetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| "the token holds characters that no header can carry")?;
        value.set_sensitive(true);
        Ok::<_, String>(value)
    });
    let credentials = Credentials(token.transpose()?);
    let client = CancellationServiceClient::with_interceptor(channel, credentials);
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
        if !transient || tries_without_news > RESUMES_MAX {
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
