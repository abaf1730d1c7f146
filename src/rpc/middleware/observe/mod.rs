//! Sees every call, whatever service it is for: counts it, gives it its request id, which every
//! line of the log and the response carry, and its span.

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

/// The header that names a request, both ways.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Calls of these services have spans; probes and reflection would only be in the way.
const TRACED: &str = "/cancelot.";

/// Puts a service where its calls are seen.
#[derive(Debug, Clone)]
pub struct ObserveCallsLayer {
    meters: Arc<CallMeters>,
    tracer: Tracer,
}

impl ObserveCallsLayer {
    /// Counts calls here, and begins their spans with this.
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

/// A service whose calls are seen.
#[derive(Debug, Clone)]
pub struct ObserveCalls<S> {
    inner: S,
    with: ObserveCallsLayer,
}

/// An open call, with all that is told of it.
#[derive(Debug)]
struct SeenCall {
    call: Call,
    span: ServerSpan,
    log: Span,
}

impl SeenCall {
    /// Its status, if these headers or trailers have it.
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
        // First of all, and before tonic's own timer begins: a deadline counts from here.
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
        // Of the highest level, so that no filter takes the id from the lines that it lets through.
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
            // A well-formed id is a legal header.
            if let Ok(id) = HeaderValue::from_str(id.as_str()) {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            seen.status(response.headers());
            Ok(response.map(|body| Body::new(Sent::new(body, seen))))
        };
        Box::pin(answered.instrument(log))
    }
}

/// Begins a call's span, when it is known whether anybody knows who calls. A stranger's word on
/// traces counts for nothing: it could have every call recorded, or hang its own on others' traces.
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

/// The caller's own id, if it can be used.
fn request_id(headers: &HeaderMap) -> RequestId {
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .and_then(RequestId::given)
        .unwrap_or_else(RequestId::fresh)
}
