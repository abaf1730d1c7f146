//! Counts every exchange, gives it a span, and logs it in one debug event without bodies, ids or
//! secrets.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use reqwest::Url;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{Outgoing, SendError};
use crate::{
    domain::{
        account::Account,
        http_exchange::{Request, Response},
    },
    observe::{AccountMeters, ClientCall, ResultClass as Met, Tracer},
};

/// The header of trace context (W3C).
const TRACEPARENT: &str = "traceparent";

#[derive(Debug, Clone)]
pub(super) struct ObserveLayer(Arc<Whom>);

/// The account of the exchanges, and where they are counted and traced.
#[derive(Debug)]
struct Whom {
    account: Account,
    host: String,
    port: u16,
    meters: Arc<AccountMeters>,
    tracer: Tracer,
}

impl ObserveLayer {
    pub(super) fn new(account: &Account, meters: Arc<AccountMeters>, tracer: Tracer) -> Self {
        let url = Url::parse(&account.base_url).ok();
        let host = url.as_ref().and_then(Url::host_str);
        Self(Arc::new(Whom {
            account: account.clone(),
            host: host.unwrap_or_default().to_owned(),
            port: url
                .as_ref()
                .and_then(Url::port_or_known_default)
                .unwrap_or(0),
            meters,
            tracer,
        }))
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe {
            inner,
            whom: Arc::clone(&self.0),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Observe<S> {
    inner: S,
    whom: Arc<Whom>,
}

impl<S> Service<Outgoing> for Observe<S>
where
    S: Service<Request, Response = Response, Error = SendError>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = SendError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, SendError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, outgoing: Outgoing) -> Self::Future {
        let whom = Arc::clone(&self.whom);
        let Outgoing { mut request, from } = outgoing;
        let operation = request.operation.0;
        let span = whom.tracer.client(
            &from,
            &ClientCall {
                method: request.method.name(),
                operation,
                account: whom.account.name.as_str(),
                provider: whom.account.provider().name(),
                host: &whom.host,
                port: whom.port,
            },
        );
        request
            .headers
            .extend(span.traceparent().map(|value| (TRACEPARENT, value)));
        let begun = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let elapsed = begun.elapsed();
            let (met, status, fault) = match &answer {
                Ok(response) => (Met::of_status(response.status), Some(response.status), ""),
                Err(SendError::NotSent(fault)) => (Met::NotSent, None, fault.message.as_str()),
                Err(SendError::InDoubt(fault)) => (Met::InDoubt, None, fault.message.as_str()),
            };
            whom.meters.requests.inc(met);
            whom.meters.request_time.time(elapsed);
            span.end(met, status);
            tracing::debug!(
                account = %whom.account.name,
                provider = whom.account.provider().name(),
                operation,
                request_id = from.id().map(tracing::field::display),
                result = met.name(),
                http_status = status,
                fault,
                elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
                "exchange finished"
            );
            answer
        })
    }
}
