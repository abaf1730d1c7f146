//! Placeholder for a service during start-up: answers UNAVAILABLE, so that the listener can serve
//! health while a large journal loads.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{body::Body, server::NamedService};
use tower::Service;

use crate::rpc::status;

/// A service that may not be there yet. Clones share it.
#[derive(Debug)]
pub struct StartupGate<S>(Arc<OnceLock<S>>);

impl<S> StartupGate<S> {
    /// A gate without a service.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Serves from now on. Only the first service counts.
    pub fn open(&self, service: S) {
        self.0.get_or_init(|| service);
    }
}

impl<S> Default for StartupGate<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Clone for StartupGate<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: NamedService> NamedService for StartupGate<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for StartupGate<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The receiver and all below it are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.0.get().cloned() {
            Some(mut service) => Box::pin(service.call(request)),
            None => Box::pin(std::future::ready(Ok(status::starting().into_http()))),
        }
    }
}
