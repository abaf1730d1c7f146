//! Requests on their way in: the memory of all that are being received and read is bounded, and
//! so is the time that each may take to arrive. Without it, two hundred streams of 32 MiB on one
//! connection would be six gigabytes, and one that never ends would be held for ever.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::time::Instant;
use tonic::{Code, Status, body::Body};

use super::{
    behind::{Before, Grpc, answer_of},
    deadline,
    protocol::{PREFIX_BYTES, one_message},
    status,
    weigh::{self, Shape, weigh},
};
use crate::{
    dispatch::budget::{Budget, Share},
    limits,
    observe::{Refusal, Refusals},
};

/// Receives whole requests for a service whose RPCs all take one message.
#[derive(Debug, Clone)]
pub struct Intake {
    bytes: Budget,
    refusals: Arc<Refusals>,
}

impl Intake {
    /// With so many bytes for all requests. Those that find no room are counted.
    #[must_use]
    pub fn new(bytes: Budget, refusals: Arc<Refusals>) -> Self {
        Self { bytes, refusals }
    }
}

impl Before for Intake {
    async fn answer(self, request: Request<Body>, service: impl Grpc) -> Response<Body> {
        let (head, body) = request.into_parts();
        let (shape, bytes_max) = bounds(head.uri.path());
        let receiving = receive(body, shape, bytes_max, &self.bytes);
        let received = match until(&head) {
            // A timer would only notice in the next millisecond, when the request may be in.
            Ok(until) if until <= Instant::now() => Err(status::not_received()),
            Ok(until) => tokio::time::timeout_at(until, receiving)
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

/// What is in a method's request, and how long that may be.
fn bounds(path: &str) -> (&'static Shape, usize) {
    match path.rsplit('/').next() {
        Some("CancelSubscription") => (&weigh::SUBSCRIPTIONS, limits::REQUEST_BYTES_MAX),
        Some("CancelEnrollments") => (&weigh::ENROLLMENTS, limits::REQUEST_BYTES_MAX),
        _ => (&weigh::PLAIN, limits::QUESTION_BYTES_MAX),
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
    shape: &Shape,
    bytes_max: usize,
    budget: &Budget,
) -> Result<(Bytes, Share), Status> {
    let mut share = budget.force(0);
    let mut chunks = VecDeque::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else {
            continue;
        };
        length = length.saturating_add(chunk.len());
        if length > bytes_max + PREFIX_BYTES {
            return Err(status::oversized(&format!(
                "the request is longer than {bytes_max} bytes"
            )));
        }
        grow(&mut share, chunk.len(), budget)?;
        chunks.push_back(chunk);
    }
    let message = whole(chunks, length);
    one_message(&message)?;
    let weight = weigh(shape, message.get(PREFIX_BYTES..).unwrap_or_default());
    // What it is read into, whose lists may be up to twice as long as they need to be.
    grow(&mut share, weight.saturating_mul(2), budget)?;
    Ok((message, share))
}

fn grow(share: &mut Share, by: usize, budget: &Budget) -> Result<(), Status> {
    if share.grow(by) {
        return Ok(());
    }
    if by > budget.max() {
        let why = format!("the request would take {by} bytes of memory");
        return Err(status::oversized(&why));
    }
    Err(status::full("too many requests are being received"))
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
    use http_body_util::StreamBody;

    use super::*;

    /// Says OK to whatever arrives.
    fn yes() -> impl Grpc {
        tower::service_fn(async |_: Request<Body>| Ok(Status::ok("").into_http()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_is_given_up_and_its_room_is_free() {
        let budget = Budget::new(10_000);
        let intake = Intake::new(budget.clone(), Arc::default());
        let first = http_body::Frame::data(Bytes::from_static(&[0; 1_000]));
        let rest = futures_util::stream::pending::<Result<_, Status>>();
        let body = futures_util::StreamExt::chain(futures_util::stream::iter([Ok(first)]), rest);
        let body = Body::new(StreamBody::new(body));

        let begun = Instant::now();
        let call = tokio::spawn(intake.answer(Request::new(body), yes()));
        tokio::task::yield_now().await;
        let held = budget.taken();
        let response = call.await.unwrap();

        assert_eq!(held, 1_000);
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(budget.taken(), 0);
        assert!(begun.elapsed() >= Duration::from_millis(limits::RECEIVE_MS_MAX));
    }
}
