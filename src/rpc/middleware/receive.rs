//! Requests on their way in: the memory of all that are being received and read is bounded, and
//! so is the time that each may take to arrive. Without it, two hundred streams of 32 MiB on one
//! connection would be six gigabytes, and one that never ends would be held for ever.
//!
//! Callers share that memory, and questions have some of their own: whoever fills it with requests
//! that never end keeps nobody else from anything, and nobody from stopping a batch.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, body::Body};

use super::{
    Grpc, Handler, answer_of, deadline,
    decoded_size::{self, MessageShape, weigh},
    protocol::{PREFIX_BYTES, one_message},
};
use crate::{
    domain::ids::CallerId,
    identity::Caller,
    limits,
    observe::{Refusal, RejectionMetrics},
    rpc::status,
    shared_budget::{Reservation, SharedBudget},
};

/// Receives whole requests for a service whose RPCs all take one message.
#[derive(Debug, Clone)]
pub struct RequestReceiver {
    /// For requests to cancel.
    bytes: SharedBudget,
    /// For all others.
    questions: SharedBudget,
    refusals: Arc<RejectionMetrics>,
}

impl RequestReceiver {
    /// With so many bytes for all requests to cancel, and for all questions, which callers share.
    /// Those that find no room are counted.
    #[must_use]
    pub fn new(
        bytes: SharedBudget,
        questions: SharedBudget,
        refusals: Arc<RejectionMetrics>,
    ) -> Self {
        Self {
            bytes,
            questions,
            refusals,
        }
    }

    /// What is in a method's request, how long that may be, and where its room is.
    fn bounds(&self, path: &str, caller: &Caller) -> (&'static MessageShape, usize, &SharedBudget) {
        let shape = match path.rsplit('/').next() {
            Some("CancelSubscription") => &decoded_size::SUBSCRIPTIONS,
            Some("CancelEnrollments") => &decoded_size::ENROLLMENTS,
            _ => {
                return (
                    &decoded_size::PLAIN,
                    limits::QUESTION_BYTES_MAX,
                    &self.questions,
                );
            }
        };
        let items = caller.policy.batch_items_max;
        let bytes = items.saturating_mul(limits::REQUEST_BYTES_FOR_EACH);
        let bytes = bytes.saturating_add(limits::ITEM_BYTES_MAX);
        (shape, bytes.min(limits::REQUEST_BYTES_MAX), &self.bytes)
    }
}

impl Handler for RequestReceiver {
    async fn answer(self, request: Request<Body>, service: impl Grpc) -> Response<Body> {
        let (head, body) = request.into_parts();
        let known = head.extensions.get::<Arc<Caller>>().cloned();
        // Without callers everybody is the same one.
        let caller = known.unwrap_or_else(|| Arc::new(Caller::anonymous()));
        let bounds = self.bounds(head.uri.path(), &caller);
        let receiving = receive(body, &caller.id, bounds);
        let received = match until(&head) {
            // A timer would only notice in the next millisecond, when the request may be in.
            Ok(until) if until <= Instant::now() => Err(status::not_received()),
            Ok(until) => timeout_at(until, receiving)
                .await
                .unwrap_or_else(|_| Err(status::not_received())),
            Err(status) => Err(status),
        };
        match received {
            Ok((message, share)) => {
                let body = Body::new(Full::new(message));
                let answer = answer_of(service, Request::from_parts(head, body)).await;
                // By now it is admitted, and counted there, or gone.
                drop(share);
                answer
            }
            Err(status) => {
                refusal(status.code()).inspect(|why| self.refusals.inc(*why));
                status.into_http()
            }
        }
    }
}

/// What a status means that a request got on its way in, if it is about room.
fn refusal(code: Code) -> Option<Refusal> {
    match code {
        Code::ResourceExhausted => Some(Refusal::Receiving),
        Code::OutOfRange => Some(Refusal::Oversized),
        _ => None,
    }
}

/// When the request has to be here.
fn until(head: &http::request::Parts) -> Result<Instant, Status> {
    let longest = Duration::from_millis(limits::RECEIVE_MS_MAX);
    let deadline = deadline::of_head(&head.headers, &head.extensions)?;
    let latest = Instant::now() + longest;
    Ok(deadline.map_or(latest, |deadline| deadline.min(latest)))
}

/// Receives one message with its prefix, in room that is taken as the bytes arrive, and room for
/// what it will be when it has been read.
async fn receive(
    mut body: Body,
    caller: &CallerId,
    (shape, bytes_max, budget): (&MessageShape, usize, &SharedBudget),
) -> Result<(Bytes, Reservation), Status> {
    let begun = Instant::now();
    let mut share = budget.force(caller, 0);
    let mut chunks = VecDeque::new();
    let mut length = 0_usize;
    // Whoever holds room has to go on filling it.
    while let Some(frame) = timeout_at(begun + patience(length), body.frame())
        .await
        .map_err(|_| status::too_slow())?
    {
        let Ok(chunk) = frame?.into_data() else {
            continue;
        };
        length = length.saturating_add(chunk.len());
        if length > bytes_max + PREFIX_BYTES {
            return Err(status::oversized(&format!(
                "the request is longer than {bytes_max} bytes"
            )));
        }
        grow(&mut share, chunk.len())?;
        chunks.push_back(chunk);
    }
    let message = whole(chunks, length);
    one_message(&message)?;
    let weight = weigh(shape, message.get(PREFIX_BYTES..).unwrap_or_default());
    // What it is read into, whose lists may be up to twice as long as they need to be.
    let read = weight.saturating_mul(2);
    if length.saturating_add(read) > budget.most(caller) {
        let why = format!("the request would take {read} bytes of memory");
        return Err(status::oversized(&why));
    }
    grow(&mut share, read)?;
    Ok((message, share))
}

/// By when so many bytes and at least one more have to be here.
fn patience(length: usize) -> Duration {
    let seconds = length / limits::RECEIVE_BYTES_PER_SECOND_MIN;
    let slowly = Duration::from_millis(limits::RECEIVE_SLOWLY_MS_MAX);
    slowly + Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
}

fn grow(share: &mut Reservation, by: usize) -> Result<(), Status> {
    share
        .grow(by)
        .map_err(|_| status::full("too many requests of this caller are being received"))
}

/// All chunks in one piece, without a copy if there is only one.
fn whole(mut chunks: VecDeque<Bytes>, length: usize) -> Bytes {
    if chunks.len() == 1
        && let Some(only) = chunks.pop_front()
    {
        return only;
    }
    let mut all = BytesMut::with_capacity(length);
    for chunk in chunks {
        all.extend_from_slice(&chunk);
    }
    all.freeze()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::StreamBody;
    use prost::Message as _;

    use super::*;
    use crate::{
        rpc::proto::{CancelSubscriptionRequest, SubscriptionCancellation},
        shared_budget::Members,
    };

    const CANCEL: &str = "/cancelot.v1.CancellationService/CancelSubscription";
    const STOP: &str = "/cancelot.v1.CancellationService/StopBatch";

    /// Says OK to whatever arrives.
    fn yes() -> impl Grpc {
        tower::service_fn(async |_: Request<Body>| Ok(Status::ok("").into_http()))
    }

    fn intake(bytes_max: usize) -> RequestReceiver {
        let members = ["ann", "ben"].map(|name| (name.try_into().unwrap(), None));
        let members: Members = members.into_iter().collect();
        let questions = SharedBudget::shared(limits::QUESTIONS_BYTES_MAX, &members);
        RequestReceiver::new(
            SharedBudget::shared(bytes_max, &members),
            questions,
            Arc::default(),
        )
    }

    fn call(caller: &str, path: &str, body: Body) -> Request<Body> {
        let mut request = Request::post(path).body(body).unwrap();
        let caller = Arc::new(Caller::named(caller));
        request.extensions_mut().insert(caller);
        request
    }

    /// So many bytes, and nothing more for ever.
    fn unfinished(bytes: usize) -> Body {
        let first = http_body::Frame::data(Bytes::from(vec![0; bytes]));
        let rest = stream::pending::<Result<_, Status>>();
        Body::new(StreamBody::new(stream::iter([Ok(first)]).chain(rest)))
    }

    /// A whole request with so many items.
    fn whole(items: usize) -> Body {
        let request = CancelSubscriptionRequest {
            cancellations: vec![SubscriptionCancellation::default(); items],
            ..Default::default()
        };
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let mut bytes = vec![0];
        bytes.extend(length);
        bytes.extend(message);
        Body::new(Full::new(Bytes::from(bytes)))
    }

    fn code(response: &Response<Body>) -> Code {
        Status::from_header_map(response.headers()).unwrap().code()
    }

    /// Sends what does not end, and waits until it holds its room.
    async fn hold(intake: &RequestReceiver, caller: &str, path: &str, bytes: usize) {
        let request = call(caller, path, unfinished(bytes));
        tokio::spawn(intake.clone().answer(request, yes()));
        tokio::task::yield_now().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_does_not_finish_keeps_nobody_else_out_and_no_question_of_its_own() {
        let intake = intake(1_000_000);
        for _ in 0..10 {
            hold(&intake, "ann", CANCEL, 100_000).await;
        }
        // A quarter is kept for ben.
        assert_eq!(intake.bytes.taken(), 700_000);
        let refused = call("ann", CANCEL, unfinished(100_000));
        let refused = intake.clone().answer(refused, yes()).await;
        assert_eq!(code(&refused), Code::ResourceExhausted);

        for (caller, path) in [("ann", STOP), ("ben", STOP), ("ben", CANCEL)] {
            let answer = intake.clone().answer(call(caller, path, whole(0)), yes());
            assert_eq!(code(&answer.await), Code::Ok, "{caller} {path}");
        }
        // Questions that do not end leave room for those of others too.
        for _ in 0..1_000 {
            hold(&intake, "ann", STOP, 60_000).await;
        }
        let answer = intake.clone().answer(call("ben", STOP, whole(0)), yes());
        assert_eq!(code(&answer.await), Code::Ok);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_request_is_read_into_has_to_fit_too() {
        let intake = intake(1_000_000);
        // A few bytes on the way, and hundreds for each in memory, twice.
        let some = 200_000 / size_of::<SubscriptionCancellation>();
        let alone = intake
            .clone()
            .answer(call("ann", CANCEL, whole(some)), yes());
        assert_eq!(code(&alone.await), Code::Ok);
        hold(&intake, "ann", CANCEL, 500_000).await;
        let beside = intake
            .clone()
            .answer(call("ann", CANCEL, whole(some)), yes());
        assert_eq!(code(&beside.await), Code::ResourceExhausted);
        let never = intake
            .clone()
            .answer(call("ann", CANCEL, whole(2 * some)), yes());
        assert_eq!(code(&never.await), Code::OutOfRange);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_may_be_as_long_as_its_callers_items_need() {
        let intake = intake(limits::REQUEST_BYTES_MAX * 8);
        let mut caller = Caller::named("ann");
        caller.policy.batch_items_max = 10;
        let mut request = call("ann", CANCEL, unfinished(1_500_000));
        request.extensions_mut().insert(Arc::new(caller));
        assert_eq!(code(&intake.answer(request, yes()).await), Code::OutOfRange);
    }

    /// How long a request of so many bytes each second is received before it is refused, in
    /// seconds.
    async fn patience_with(bytes_a_second: usize) -> u64 {
        let intake = intake(limits::REQUEST_BYTES_MAX * 8);
        let parts = stream::unfold((), move |()| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let part = http_body::Frame::data(Bytes::from(vec![0; bytes_a_second]));
            Some((Ok::<_, Status>(part), ()))
        });
        let begun = Instant::now();
        let request = call("ann", CANCEL, Body::new(StreamBody::new(parts)));
        let answer = intake.clone().answer(request, yes()).await;
        assert_eq!(code(&answer), Code::DeadlineExceeded);
        assert_eq!(intake.bytes.taken(), 0);
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_to_arrive_in_time_and_not_too_slowly() {
        assert_eq!(patience_with(1).await, 10);
        // After n seconds a second longer is waited for each whole second's worth that came.
        let half = limits::RECEIVE_BYTES_PER_SECOND_MIN / 2;
        assert!((18..=20).contains(&patience_with(half).await));
        let enough = limits::RECEIVE_BYTES_PER_SECOND_MIN;
        assert_eq!(patience_with(enough).await, limits::RECEIVE_MS_MAX / 1_000);
    }
}
