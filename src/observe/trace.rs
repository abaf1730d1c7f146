//! Spans, by OpenTelemetry's conventions for RPC and HTTP. Switched off, a tracer is nothing, and
//! asking it costs a comparison.

use std::{borrow::Cow, sync::Arc};

use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, Span},
};

use super::{account::Result, origin::Origin};

/// Begins spans.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    tracer: SdkTracer,
    tells_providers: bool,
}

/// A request to a provider, as spans tell it: without ids, so without its URL.
#[derive(Debug, Clone)]
pub struct ClientCall<'a> {
    /// The HTTP method.
    pub method: &'static str,
    /// What it does, such as `cancel`.
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

/// The names of gRPC's status codes in spans, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Those that are a server's fault by the conventions.
const FAULTS: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

impl Tracer {
    /// One that begins no spans.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// One that does. `tells_providers` adds the trace's id to requests to providers.
    #[must_use]
    pub fn on(tracer: SdkTracer, tells_providers: bool) -> Self {
        Self(Some(Arc::new(On {
            tracer,
            tells_providers,
        })))
    }

    /// Begins the span of a gRPC call, below the caller's span if its headers name one.
    pub fn server<'a>(&self, method: &str, header: &dyn Fn(&str) -> Option<&'a str>) -> ServerSpan {
        let Some(on) = &self.0 else {
            return ServerSpan::none();
        };
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(header));
        let method = if method.starts_with('_') {
            "_OTHER"
        } else {
            method
        }
        .to_owned();
        let attributes = [
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("rpc.method", method.clone()),
        ];
        let span = on
            .tracer
            .span_builder(method)
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        ServerSpan(Some(span.start_with_context(&on.tracer, &parent)))
    }

    /// Begins the span of a request to a provider, below the request that admitted its item.
    #[must_use]
    pub fn client(&self, from: &Origin, call: &ClientCall<'_>) -> ClientSpan {
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

/// A caller's headers, as the propagator asks for them.
struct Headers<'a, 'b>(&'b dyn Fn(&str) -> Option<&'a str>);

impl Extractor for Headers<'_, '_> {
    fn get(&self, key: &str) -> Option<&str> {
        (self.0)(key)
    }

    fn keys(&self) -> Vec<&str> {
        Vec::new()
    }
}

/// The span of a gRPC call.
#[derive(Debug)]
pub struct ServerSpan(Option<Span>);

impl ServerSpan {
    /// None.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Where others belong that come of this call.
    #[must_use]
    pub fn context(&self) -> Option<SpanContext> {
        self.0.as_ref().map(|span| span.span_context().clone())
    }

    /// The trace's id, if it is recorded.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        let context = self.0.as_ref()?.span_context();
        context.is_sampled().then(|| context.trace_id().to_string())
    }

    /// The call ended with a status of this number.
    pub fn end(&mut self, code: i32) {
        let Some(mut span) = self.0.take() else {
            return;
        };
        let known = usize::try_from(code).ok().and_then(|code| CODES.get(code));
        let name = known.copied().unwrap_or("UNKNOWN");
        span.set_attribute(KeyValue::new("rpc.response.status_code", name));
        if FAULTS.contains(&name) {
            span.set_attribute(KeyValue::new("error.type", name));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

impl Drop for ServerSpan {
    /// The caller gave up.
    fn drop(&mut self) {
        self.end(1);
    }
}

/// The span of a request to a provider. Dropped without an end, the service stopped first.
#[derive(Debug, Default)]
pub struct ClientSpan {
    span: Option<Span>,
    tells_provider: bool,
}

impl ClientSpan {
    /// What the provider is told, if it is: the trace and this span, and nothing of the caller's.
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

    /// It ended with this HTTP status, or without one.
    pub fn end(mut self, result: Result, status: Option<u16>) {
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
            (Result::Ok | Result::Redirect, _) => None,
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
