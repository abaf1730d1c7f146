//! Services that everybody may ask, without saying who asks: their questions are short, come whole,
//! and come soon, so that strangers can make the service hold next to nothing.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::timeout;
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use crate::limits;

/// Lets questions through to a service once they are there.
#[derive(Debug, Clone)]
pub struct Brief<S>(S);

impl<S> Brief<S> {
    /// A service behind this.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S: NamedService> NamedService for Brief<S> {
    const NAME: &'static str = S::NAME;
}

/// The whole of a question. What is left of its stream is not held any more.
async fn received(body: Body) -> Result<Body, Status> {
    let most = limits::BRIEF_BYTES_MAX;
    let patience = Duration::from_millis(limits::BRIEF_MS_MAX);
    match timeout(patience, Limited::new(body, most).collect()).await {
        Ok(Ok(whole)) => Ok(Body::new(Full::new(whole.to_bytes()))),
        Ok(Err(_)) => Err(Status::resource_exhausted(format!(
            "the request was cut off, or has more than {most} bytes"
        ))),
        Err(_) => Err(Status::deadline_exceeded("the request came too slowly")),
    }
}

impl<S> Service<Request<Body>> for Brief<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut inner = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            match received(body).await {
                Ok(body) => inner.call(Request::from_parts(head, body)).await,
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
