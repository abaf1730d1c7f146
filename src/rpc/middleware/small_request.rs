//! Bounds requests to services that need no authentication: they are short, complete and soon
//! there, so that unauthenticated clients can make the service hold next to nothing.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::timeout;
use tonic::{Status, body::Body};

use super::{Grpc, Handler, answer_of, protocol::one_message};
use crate::limits;

/// Receives a request completely before the service is called.
#[derive(Debug, Clone, Copy)]
pub struct Brief;

/// The complete body. The rest of its stream is dropped.
async fn received(body: Body) -> Result<Body, Status> {
    let most = limits::BRIEF_BYTES_MAX;
    let patience = Duration::from_millis(limits::BRIEF_MS_MAX);
    match timeout(patience, Limited::new(body, most).collect()).await {
        Ok(Ok(whole)) => {
            let whole = whole.to_bytes();
            one_message(&whole)?;
            Ok(Body::new(Full::new(whole)))
        }
        Ok(Err(_)) => Err(Status::resource_exhausted(format!(
            "the request was cut off, or has more than {most} bytes"
        ))),
        Err(_) => Err(Status::deadline_exceeded("the request came too slowly")),
    }
}

impl Handler for Brief {
    async fn answer(self, request: Request<Body>, service: impl Grpc) -> Response<Body> {
        let (head, body) = request.into_parts();
        match received(body).await {
            Ok(body) => answer_of(service, Request::from_parts(head, body)).await,
            Err(status) => status.into_http(),
        }
    }
}
