//! Bodies that count their messages.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::{Code, Status, body::Body};

use super::{SeenCall, message_counter::Messages};
use crate::observe::MethodMeters;

/// The body of a request.
pub(super) struct Received {
    inner: Body,
    messages: Messages,
    meters: Arc<MethodMeters>,
}

impl Received {
    pub(super) fn new(inner: Body, meters: Arc<MethodMeters>) -> Self {
        Self {
            inner,
            messages: Messages::default(),
            meters,
        }
    }
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let ended = self.messages.ended_by(data);
            self.meters.received.add(ended);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of a response. The call ends with it.
pub(super) struct Sent {
    inner: Body,
    messages: Messages,
    seen: SeenCall,
}

impl Sent {
    pub(super) fn new(inner: Body, seen: SeenCall) -> Self {
        Self {
            inner,
            messages: Messages::default(),
            seen,
        }
    }
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let polled = {
            let _in = this.seen.log.enter();
            Pin::new(&mut this.inner).poll_frame(cx)
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    let ended = this.messages.ended_by(data);
                    this.seen.call.meters().sent.add(ended);
                } else if let Some(trailers) = frame.trailers_ref() {
                    this.seen.status(trailers);
                }
            }
            Poll::Ready(Some(Err(status))) => this.seen.end(i32::from(status.code())),
            // A status would have come before the end.
            Poll::Ready(None) => this.seen.end(i32::from(Code::Unknown)),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
