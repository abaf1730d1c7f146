//! Client of the two cancelling RPCs: sends a request, and resumes it by sending the same request
//! again when the connection breaks.

pub(super) mod connection;
pub(super) mod endpoint;
pub(super) mod reach;
pub(super) mod status;

use std::time::Duration;

use prost::Message;
use tokio::time::Instant;
use tonic::{
    Request, Status, Streaming, service::interceptor::InterceptedService, transport::Channel,
};

pub(super) use self::connection::Service;
use self::{connection::Credentials, reach::Problem};
use crate::rpc::proto::{
    self, CancelEnrollmentsRequest, CancelEnrollmentsResponse, CancelSubscriptionRequest,
    CancelSubscriptionResponse, EnrollmentResult, Progress, SubscriptionResult,
    cancellation_service_client::CancellationServiceClient,
};

/// A connection to a service.
pub(super) type Client = CancellationServiceClient<InterceptedService<Channel, Credentials>>;

/// A client of a service that answers.
///
/// # Errors
/// What is wrong with the options, or why the service cannot be reached.
pub(super) async fn connect(service: &Service) -> Result<Client, Problem> {
    let credentials = service.credentials().map_err(Problem::Usage)?;
    let channel = service.channel().await?;
    let client = CancellationServiceClient::with_interceptor(channel, credentials);
    Ok(client.max_decoding_message_size(2 * crate::limits::RESPONSE_BYTES_MAX))
}

/// A request of one of the two cancelling RPCs, and its stream.
pub(super) trait Cancelling: Message + Clone + 'static {
    /// A message of the stream.
    type Response;
    /// A result.
    type Result: Outcome;

    /// Sends the request.
    fn send(
        self,
        client: &mut Client,
        until: Option<Instant>,
    ) -> impl Future<Output = Result<Streaming<Self::Response>, Status>> + Send;

    /// Splits a message into progress and results.
    fn parts(response: Self::Response) -> (Progress, Vec<Self::Result>);

    /// The number of items.
    fn total(&self) -> usize;
}

/// What all results have in common.
pub(super) trait Outcome {
    /// The index in the request.
    fn index(&self) -> u32;
    /// The outcome; unspecified while the item runs.
    fn outcome(&self) -> proto::Outcome;
}

fn request<T>(message: T, until: Option<Instant>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(until) = until {
        request.set_timeout(until.saturating_duration_since(Instant::now()));
    }
    request
}

/// The two cancelling RPCs: their messages differ, and what is asked of them here does not.
macro_rules! cancelling {
    ($method:ident: $request:ty, $response:ty, $result:ty) => {
        impl Outcome for $result {
            fn index(&self) -> u32 {
                self.index
            }

            fn outcome(&self) -> proto::Outcome {
                self.outcome()
            }
        }

        impl Cancelling for $request {
            type Response = $response;
            type Result = $result;

            async fn send(
                self,
                client: &mut Client,
                until: Option<Instant>,
            ) -> Result<Streaming<Self::Response>, Status> {
                Ok(client.$method(request(self, until)).await?.into_inner())
            }

            fn parts(response: Self::Response) -> (Progress, Vec<Self::Result>) {
                (response.progress.unwrap_or_default(), response.results)
            }

            fn total(&self) -> usize {
                self.cancellations.len()
            }
        }
    };
}

cancelling!(cancel_subscription: CancelSubscriptionRequest, CancelSubscriptionResponse, SubscriptionResult);
cancelling!(cancel_enrollments: CancelEnrollmentsRequest, CancelEnrollmentsResponse, EnrollmentResult);

/// An event of a request that is followed.
pub(super) enum News<'a, T> {
    /// A message arrived.
    Progress(&'a Progress),
    /// A result; each settled one once, unsettled ones as they progress.
    Result(T),
    /// The request is repeated after a wait, because the stream ended early.
    Again {
        /// Why it ended.
        why: String,
        /// The wait.
        wait: Duration,
    },
    /// The stream continues after that.
    Back,
}

/// Follows a request to its last result. Resumes it as long as there is progress in between.
///
/// # Errors
/// The final status: an error in the request, the end of the wait, or a service that stayed
/// unreachable.
pub(super) async fn follow<R: Cancelling>(
    client: &mut Client,
    request: R,
    until: Option<Instant>,
    mut each: impl FnMut(News<'_, R::Result>),
) -> Result<(), Status> {
    let following = resume(client, request, until, &mut each);
    match until {
        None => following.await,
        Some(until) => tokio::time::timeout_at(until, following)
            .await
            .unwrap_or_else(|_| {
                Err(Status::deadline_exceeded(
                    "the time is over; what was admitted goes on",
                ))
            }),
    }
}

async fn resume<R: Cancelling>(
    client: &mut Client,
    request: R,
    until: Option<Instant>,
    each: &mut impl FnMut(News<'_, R::Result>),
) -> Result<(), Status> {
    let mut told = vec![false; request.total()];
    let mut tries_without_news = 0;
    loop {
        let is_resumed = tries_without_news > 0;
        let mut following = Following {
            told: &mut told,
            news: false,
            is_resumed,
        };
        let status = match following
            .attempt(client, request.clone(), until, each)
            .await
        {
            Ok(()) => return Ok(()),
            Err(status) => status,
        };
        tries_without_news = if following.news {
            1
        } else {
            tries_without_news + 1
        };
        let Some(wait) = status::again(&status, tries_without_news) else {
            return Err(status);
        };
        let why = if reach::is_lost(&status) {
            format!("the connection was lost ({})", reach::lost_by(&status))
        } else {
            status::told(&status)
        };
        each(News::Again { why, wait });
        tokio::time::sleep(wait).await;
    }
}

/// One stream of a request that is followed.
struct Following<'a> {
    /// Which results have been reported.
    told: &'a mut [bool],
    /// Whether the stream brought more than its first message.
    news: bool,
    /// Whether it resumes an earlier stream.
    is_resumed: bool,
}

impl Following<'_> {
    async fn attempt<R: Cancelling>(
        &mut self,
        client: &mut Client,
        request: R,
        until: Option<Instant>,
        each: &mut impl FnMut(News<'_, R::Result>),
    ) -> Result<(), Status> {
        let mut stream = request.send(client, until).await?;
        let mut is_first = true;
        loop {
            let Some(message) = stream.message().await? else {
                return Ok(());
            };
            if std::mem::take(&mut self.is_resumed) {
                each(News::Back);
            }
            // A stream that continues after its first message works, whether or not anything
            // settles on it: being cut off now and then is no reason to give up.
            self.news |= !std::mem::take(&mut is_first);
            let (progress, results) = R::parts(message);
            each(News::Progress(&progress));
            for result in results {
                let at = usize::try_from(result.index()).unwrap_or(usize::MAX);
                let Some(told) = self.told.get_mut(at) else {
                    continue;
                };
                let settled = result.outcome() != proto::Outcome::Unspecified;
                if *told {
                    continue;
                }
                *told = settled;
                self.news |= settled;
                each(News::Result(result));
            }
        }
    }
}
