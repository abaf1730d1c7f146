//! Observes every call of every service: counts it, gives it a request id, which every log line and
//! the response have, and a span.

mod body;
mod message_counter;
mod methods;
mod traceparent;

pub use self::methods::methods;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, request::Parts};
use tonic::{Status, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use self::body::{Received, Sent};
use super::deadline::Arrived;
use crate::observe::{Call, CallMeters, CallSpan, RequestContext, RequestId, ServerSpan, Tracer};

/// The request id header, in requests and responses.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Prefix of the services with spans. Spans of probes and reflection would only be noise.
const TRACED: &str = "/cancelot.";

/// The layer that observes calls.
#[derive(Debug, Clone)]
pub struct ObserveCallsLayer {
    meters: Arc<CallMeters>,
    tracer: Tracer,
}

impl ObserveCallsLayer {
    /// Counts calls in `meters`, and creates spans with `tracer`.
    #[must_use]
    pub fn new(meters: Arc<CallMeters>, tracer: Tracer) -> Self {
        Self { meters, tracer }
    }
}

impl<S> Layer<S> for ObserveCallsLayer {
    type Service = ObserveCalls<S>;

    fn layer(&self, inner: S) -> ObserveCalls<S> {
        ObserveCalls {
            inner,
            with: self.clone(),
        }
    }
}

/// A service with observed calls.
#[derive(Debug, Clone)]
pub struct ObserveCalls<S> {
    inner: S,
    with: ObserveCallsLayer,
}

/// An open call and what observes it.
#[derive(Debug)]
struct SeenCall {
    call: Call,
    span: ServerSpan,
    log: Span,
}

impl SeenCall {
    /// Ends the call with the status in these headers or trailers, if they have one.
    fn status(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.end(i32::from(status.code()));
        }
    }

    fn end(&mut self, code: i32) {
        self.call.end(code);
        self.span.end(code);
    }
}

impl Drop for SeenCall {
    fn drop(&mut self) {
        let _in = self.log.enter();
        tracing::debug!(code = self.call.code(), "call ended");
    }
}

impl<S> Service<Request<Body>> for ObserveCalls<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Before tonic's own timer starts: deadlines count from here.
        request.extensions_mut().insert(Arrived::now());
        let ObserveCallsLayer { meters, tracer } = &self.with;
        let path = request.uri().path();
        let call = meters.begin(path);
        let id = request_id(request.headers());
        let span = if path.starts_with(TRACED) {
            tracer.server(&call.meters().full_name)
        } else {
            ServerSpan::none()
        };
        // At the highest level, so that no filter removes the request id from the lines that pass
        // it.
        let log = tracing::error_span!(
            "call",
            request_id = %id,
            method = call.meters().method.name,
            trace_id = tracing::field::Empty,
        );
        request
            .extensions_mut()
            .insert(RequestContext::new(id.clone()));
        if let Some(span) = span.call() {
            request.extensions_mut().insert(span);
        }
        let meters = Arc::clone(call.meters());
        let request = request.map(|body| Body::new(Received::new(body, meters)));
        let mut seen = SeenCall {
            call,
            span,
            log: log.clone(),
        };
        let response = {
            let _in = log.enter();
            self.inner.call(request)
        };
        let answered = async move {
            let mut response = response.await?;
            // A valid id is a valid header value.
            if let Ok(id) = HeaderValue::from_str(id.as_str()) {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            seen.status(response.headers());
            Ok(response.map(|body| Body::new(Sent::new(body, seen))))
        };
        Box::pin(answered.instrument(log))
    }
}

/// Starts a call's span once it is known whether the caller is authenticated. An unauthenticated
/// caller's trace context is ignored: it could have every call recorded, or attach its calls to
/// others' traces.
pub(in crate::rpc) fn begin_span(head: &mut Parts, is_known: bool) {
    let Some(span) = head.extensions.remove::<Arc<CallSpan>>() else {
        return;
    };
    let parent = is_known.then(|| traceparent::of(&head.headers)).flatten();
    let context = span.begin(parent.as_ref());
    if context.is_sampled() {
        Span::current().record("trace_id", tracing::field::display(context.trace_id()));
    }
    if let Some(origin) = head.extensions.remove::<RequestContext>() {
        head.extensions.insert(origin.traced(context));
    }
}

/// The caller's own request id if it is valid, or a new one.
fn request_id(headers: &HeaderMap) -> RequestId {
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .and_then(RequestId::given)
        .unwrap_or_else(RequestId::fresh)
}
