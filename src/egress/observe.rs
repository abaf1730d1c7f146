//! Tells of every exchange: one debug event each, without bodies, ids or secrets.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::Instant;
use tower::{Layer, Service};

use super::Unanswered;
use crate::domain::{
    account::Account,
    exchange::{Request, Response},
};

#[derive(Debug, Clone)]
pub(super) struct ObserveLayer {
    account: Arc<str>,
    provider: &'static str,
}

impl ObserveLayer {
    pub(super) fn new(account: &Account) -> Self {
        Self {
            account: account.name.as_str().into(),
            provider: account.provider().name(),
        }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe {
            inner,
            whom: self.clone(),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Observe<S> {
    inner: S,
    whom: ObserveLayer,
}

impl<S> Service<Request> for Observe<S>
where
    S: Service<Request, Response = Response, Error = Unanswered>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Unanswered;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Unanswered>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unanswered>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Box::pin(self.inner.call(request));
        }
        let whom = self.whom.clone();
        let operation = request.operation.0;
        let begun = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let (reply, status, fault) = match &answer {
                Ok(response) => ("answered", response.status, ""),
                Err(Unanswered::NotSent(fault)) => ("not_sent", 0, fault.message.as_str()),
                Err(Unanswered::InDoubt(fault)) => ("in_doubt", 0, fault.message.as_str()),
            };
            tracing::debug!(
                account = &*whom.account,
                provider = whom.provider,
                operation,
                reply,
                http_status = status,
                fault,
                elapsed_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
                "exchange finished"
            );
            answer
        })
    }
}
