//! Spans by OpenTelemetry's conventions for RPC and HTTP. A tracer that is off costs one
//! comparison.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, Span},
};

use super::{account_metrics::ResultClass, grpc_code::code_name, request_context::RequestContext};

/// Creates spans.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    tracer: SdkTracer,
    tells_providers: bool,
}

/// A request to a provider as spans show it: without ids, so without its URL.
#[derive(Debug, Clone)]
pub struct ClientCall<'a> {
    /// The HTTP method.
    pub method: &'static str,
    /// The operation, such as `cancel`.
    pub operation: &'static str,
    /// The account.
    pub account: &'a str,
    /// Its provider.
    pub provider: &'static str,
    /// The host.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
}

/// Statuses that are a server's fault by the conventions.
const FAULTS: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

impl Tracer {
    /// A tracer that is off.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// A tracer that is on. `tells_providers` adds a `traceparent` to requests to providers.
    #[must_use]
    pub fn on(tracer: SdkTracer, tells_providers: bool) -> Self {
        Self(Some(Arc::new(On {
            tracer,
            tells_providers,
        })))
    }

    /// The span of an incoming gRPC call.
    #[must_use]
    pub fn server(&self, method: &str) -> ServerSpan {
        let call = self.0.as_ref().map(|on| {
            let method = if method.starts_with('_') {
                "_OTHER"
            } else {
                method
            };
            Arc::new(CallSpan {
                on: Arc::clone(on),
                method: method.to_owned(),
                since: SystemTime::now(),
                begun: Mutex::default(),
            })
        });
        ServerSpan(call)
    }

    /// Starts the span of a request to a provider, as a child of the request that admitted its
    /// item.
    #[must_use]
    pub fn client(&self, from: &RequestContext, call: &ClientCall<'_>) -> ClientSpan {
        let Some(on) = &self.0 else {
            return ClientSpan::default();
        };
        let parent = from.trace().map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(parent.clone())
        });
        let attributes = [
            KeyValue::new("http.request.method", call.method),
            KeyValue::new("server.address", call.host.to_owned()),
            KeyValue::new("server.port", i64::from(call.port)),
            KeyValue::new("cancelot.operation", call.operation),
            KeyValue::new("cancelot.account", call.account.to_owned()),
            KeyValue::new("cancelot.provider", call.provider),
        ];
        let span = on
            .tracer
            .span_builder(format!("{} {}", call.method, call.operation))
            .with_kind(SpanKind::Client)
            .with_attributes(attributes)
            .start_with_context(&on.tracer, &parent);
        ClientSpan {
            tells_provider: on.tells_providers,
            span: Some(span),
        }
    }
}

/// The caller's span, in W3C Trace Context.
#[derive(Debug)]
pub struct Parent<'a> {
    /// The `traceparent` header.
    pub traceparent: &'a str,
    /// The `tracestate` headers, joined.
    pub tracestate: Option<String>,
}

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.traceparent),
            "tracestate" => self.tracestate.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        Vec::new()
    }
}

/// The span of a gRPC call before its caller is authenticated. It is not started yet, because an
/// unauthenticated caller must not decide what is recorded.
#[derive(Debug)]
pub struct CallSpan {
    on: Arc<On>,
    method: String,
    since: SystemTime,
    begun: Mutex<Option<Span>>,
}

impl CallSpan {
    /// Starts the span as of the call's arrival: as a child of the caller's span, whose sampling
    /// decision wins, or in a trace of its own. Only the first call has an effect. Returns the
    /// context for children.
    pub fn begin(&self, parent: Option<&Parent<'_>>) -> SpanContext {
        let mut begun = self.lock();
        let span = begun.get_or_insert_with(|| self.build(parent));
        span.span_context().clone()
    }

    fn build(&self, parent: Option<&Parent<'_>>) -> Span {
        let root = Context::new();
        let parent = match parent {
            Some(parent) => TraceContextPropagator::new().extract_with_context(&root, parent),
            None => root,
        };
        let attributes = [
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("rpc.method", self.method.clone()),
        ];
        self.on
            .tracer
            .span_builder(self.method.clone())
            .with_kind(SpanKind::Server)
            .with_start_time(self.since)
            .with_attributes(attributes)
            .start_with_context(&self.on.tracer, &parent)
    }

    /// Takes the span to end it. If nothing has started it, it starts now, without a parent.
    fn take(&self) -> Span {
        let begun = self.lock().take();
        begun.unwrap_or_else(|| self.build(None))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Span>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The span of a gRPC call; ends with the call.
#[derive(Debug)]
pub struct ServerSpan(Option<Arc<CallSpan>>);

impl ServerSpan {
    /// No span.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// The span, to be started once the caller is authenticated.
    #[must_use]
    pub fn call(&self) -> Option<Arc<CallSpan>> {
        self.0.clone()
    }

    /// Ends the span with this status code.
    pub fn end(&mut self, code: i32) {
        let Some(mut span) = self.0.take().map(|call| call.take()) else {
            return;
        };
        let name = code_name(code);
        span.set_attribute(KeyValue::new("rpc.response.status_code", name));
        if FAULTS.contains(&name) {
            span.set_attribute(KeyValue::new("error.type", name));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

impl Drop for ServerSpan {
    /// The caller cancelled the call.
    fn drop(&mut self) {
        self.end(1);
    }
}

/// The span of a request to a provider. If it is dropped without an end, the service has stopped.
#[derive(Debug, Default)]
pub struct ClientSpan {
    span: Option<Span>,
    tells_provider: bool,
}

impl ClientSpan {
    /// The `traceparent` for the provider, if it gets one: our trace and span, and nothing of the
    /// caller's.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let span = self.span.as_ref().filter(|_| self.tells_provider)?;
        let context = span.span_context();
        context.is_valid().then(|| {
            format!(
                "00-{}-{}-{:02x}",
                context.trace_id(),
                context.span_id(),
                context.trace_flags()
            )
        })
    }

    /// Ends the span with this HTTP status, or without one.
    pub fn end(mut self, result: ResultClass, status: Option<u16>) {
        let Some(mut span) = self.span.take() else {
            return;
        };
        if let Some(status) = status {
            span.set_attribute(KeyValue::new(
                "http.response.status_code",
                i64::from(status),
            ));
        }
        let error: Option<Cow<'static, str>> = match (result, status) {
            (ResultClass::Ok | ResultClass::Redirect, _) => None,
            (_, Some(status)) => Some(status.to_string().into()),
            (result, None) => Some(result.name().into()),
        };
        if let Some(error) = error {
            span.set_attribute(KeyValue::new("error.type", error));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}
