//! Receives requests within bounds: of memory for all requests that are being received and decoded,
//! and of time for each to arrive. Without bounds, 200 streams of 32 MiB on one connection would
//! take six gigabytes, and one that never ends would be held for ever.
//!
//! Callers share the memory fairly, and read-only requests have a budget of their own: a caller
//! that fills its share with unfinished requests delays no one else, and cannot prevent a
//! StopBatch.

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

/// Receives the one message of a call completely, before the service is called.
#[derive(Debug, Clone)]
pub struct RequestReceiver {
    /// Budget of cancel requests.
    bytes: SharedBudget,
    /// Budget of all other requests.
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

    /// The shape and maximum length of a method's request, and its budget.
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
        // Without configured callers everyone is the same caller.
        let caller = known.unwrap_or_else(|| Arc::new(Caller::anonymous()));
        let bounds = self.bounds(head.uri.path(), &caller);
        let receiving = receive(body, &caller.id, bounds);
        let received = match until(&head) {
            // A timer has a resolution of 1 ms, and the request could arrive before it fires.
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
                // By now its items are admitted and counted by the engine, or it was rejected.
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

/// The label of the rejection metric, if a request was rejected for its size or for lack of room.
fn refusal(code: Code) -> Option<Refusal> {
    match code {
        Code::ResourceExhausted => Some(Refusal::Receiving),
        Code::OutOfRange => Some(Refusal::Oversized),
        _ => None,
    }
}

/// When the request must have arrived: the deadline, or `RECEIVE_MS_MAX`.
fn until(head: &http::request::Parts) -> Result<Instant, Status> {
    let longest = Duration::from_millis(limits::RECEIVE_MS_MAX);
    let deadline = deadline::of_head(&head.headers, &head.extensions)?;
    let latest = Instant::now() + longest;
    Ok(deadline.map_or(latest, |deadline| deadline.min(latest)))
}

/// Receives one message with its prefix. Reserves its bytes as they arrive, and its decoded size at
/// the end.
async fn receive(
    mut body: Body,
    caller: &CallerId,
    (shape, bytes_max, budget): (&MessageShape, usize, &SharedBudget),
) -> Result<(Bytes, Reservation), Status> {
    let begun = Instant::now();
    let mut share = budget.force(caller, 0);
    let mut chunks = VecDeque::new();
    let mut length = 0_usize;
    // A request that holds memory has to keep arriving.
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
    // The decoded size; the capacity of a list can be up to twice its length.
    let read = weight.saturating_mul(2);
    if length.saturating_add(read) > budget.most(caller) {
        let why = format!("the request would take {read} bytes of memory");
        return Err(status::oversized(&why));
    }
    grow(&mut share, read)?;
    Ok((message, share))
}

/// By when, after the start, more than `length` bytes must have arrived.
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

/// All chunks joined, without a copy if there is only one.
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

    /// A service that answers OK.
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

    /// A body of `bytes` bytes that never ends.
    fn unfinished(bytes: usize) -> Body {
        let first = http_body::Frame::data(Bytes::from(vec![0; bytes]));
        let rest = stream::pending::<Result<_, Status>>();
        Body::new(StreamBody::new(stream::iter([Ok(first)]).chain(rest)))
    }

    /// A complete request with `items` items.
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

    /// Sends a request that never ends, and waits until its bytes are reserved.
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
        // Unfinished read-only requests leave room for those of others too.
        for _ in 0..1_000 {
            hold(&intake, "ann", STOP, 60_000).await;
        }
        let answer = intake.clone().answer(call("ben", STOP, whole(0)), yes());
        assert_eq!(code(&answer.await), Code::Ok);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_request_is_read_into_has_to_fit_too() {
        let intake = intake(1_000_000);
        // A few bytes per item on the wire, hundreds in memory, counted twice.
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

    /// How many seconds a request is received at this rate before it is rejected.
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
        // Every second's worth of bytes extends the wait by a second.
        let half = limits::RECEIVE_BYTES_PER_SECOND_MIN / 2;
        assert!((18..=20).contains(&patience_with(half).await));
        let enough = limits::RECEIVE_BYTES_PER_SECOND_MIN;
        assert_eq!(patience_with(enough).await, limits::RECEIVE_MS_MAX / 1_000);
    }
}
