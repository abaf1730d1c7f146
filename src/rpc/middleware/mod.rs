//! Middleware of the gRPC services: layers that see a call first and may answer it.

pub(super) mod authentication;
pub(super) mod deadline;
pub(super) mod decoded_size;
pub(super) mod observe;
pub mod protocol;
pub(super) mod receive;
pub(super) mod rejection_log;
pub(super) mod side_room;
pub(super) mod small_request;
pub(super) mod startup_gate;
pub(super) mod visit;

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{body::Body, server::NamedService};
use tower::Service;

/// A gRPC service as tonic's router takes it.
pub trait Grpc:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> Grpc for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// A middleware.
pub trait Handler: Clone + Send + 'static {
    /// Answers a call, with the service or instead of it.
    fn answer(
        self,
        request: Request<Body>,
        service: impl Grpc,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Calls the service, which cannot fail.
pub(super) async fn answer_of(mut service: impl Grpc, request: Request<Body>) -> Response<Body> {
    let Ok(answer) = service.call(request).await;
    answer
}

/// A service behind a middleware.
#[derive(Debug, Clone)]
pub struct Layered<B, S> {
    before: B,
    service: S,
}

impl<B, S> Layered<B, S> {
    /// Puts a service behind a middleware.
    #[must_use]
    pub fn new(before: B, service: S) -> Self {
        Self { before, service }
    }
}

impl<B, S: NamedService> NamedService for Layered<B, S> {
    const NAME: &'static str = S::NAME;
}

impl<B: Handler, S: Grpc> Service<Request<Body>> for Layered<B, S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (before, service) = (self.before.clone(), self.service.clone());
        Box::pin(async move { Ok(before.answer(request, service).await) })
    }
}
