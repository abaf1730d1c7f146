//! Bounds calls to health and reflection: each reserves room while it lasts, and ends when its
//! connection has reached its maximum age, because nothing else ends a Watch.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};
use tonic::{Status, body::Body};

use super::{
    Grpc, Handler, answer_of,
    side_room::{Need, Stay, Visitor},
};
use crate::rpc::status;

/// The services with such calls.
#[derive(Debug, Clone, Copy)]
pub enum Visit {
    /// Health.
    Health,
    /// Reflection.
    Reflection,
}

impl Visit {
    fn need(self, path: &str) -> Need {
        match self {
            Self::Health if path.ends_with("/Watch") => Need::Watch,
            Self::Health => Need::Check,
            Self::Reflection => Need::Reflection,
        }
    }
}

impl Handler for Visit {
    async fn answer(self, request: Request<Body>, service: impl Grpc) -> Response<Body> {
        let Some(visitor) = request.extensions().get::<Arc<Visitor>>().map(Arc::clone) else {
            return answer_of(service, request).await;
        };
        let Some(stay) = visitor.enter(self.need(request.uri().path())) else {
            // The body is dropped unread.
            return status::crowded().into_http();
        };
        let ends = visitor.ends();
        let request = request.map(|body| {
            Body::new(Ending {
                body,
                end: Box::pin(sleep_until(ends)),
                last: Last::Asked,
            })
        });
        let answer = answer_of(service, request).await;
        answer.map(|body| {
            Body::new(Ending {
                body,
                end: Box::pin(sleep_until(ends)),
                last: Last::Answered(stay),
            })
        })
    }
}

/// A body that ends at a given time.
struct Ending {
    body: Body,
    end: Pin<Box<Sleep>>,
    last: Last,
}

/// How a body ends.
enum Last {
    /// A request's body just ends.
    Asked,
    /// A response's body ends with a status, and releases its room.
    Answered(#[expect(dead_code, reason = "it is dropped with the response")] Stay),
    /// It has ended.
    Gone,
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if matches!(self.last, Last::Gone) {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(self.end.as_mut().poll(cx));
        match std::mem::replace(&mut self.last, Last::Gone) {
            Last::Asked | Last::Gone => Poll::Ready(None),
            Last::Answered(_) => {
                let mut trailers = HeaderMap::new();
                status::aged().add_header(&mut trailers)?;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.last, Last::Gone) || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Unknown: it may end before the length that the service announced.
        SizeHint::default()
    }
}
