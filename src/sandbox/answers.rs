//! What each provider answers, from a whole request to a whole reply: no sockets, no faults, no
//! waiting. The server is one way to it, [`Control::carry_out`] the other.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::{
    Control, Provider,
    faults::Quota,
    funnelfox, revolv3, solidgate,
    wire::{Received, Reply},
    world::{World, locked},
};

impl Control {
    /// Carries out a request as if it had come in over the network. Its path begins with
    /// [`Provider::base_path`]. It meets no fault and is not recorded.
    #[must_use]
    pub fn carry_out(&self, provider: Provider, request: Request<Bytes>) -> Response<Bytes> {
        let (parts, body) = request.into_parts();
        let received = Received {
            method: parts.method,
            uri: parts.uri,
            headers: parts.headers,
            body,
            base_len: provider.base_path().len(),
        };
        whole(carry_out(self.world(), provider, &received, None))
    }

    /// What the provider answers instead of carrying a request out while it throttles.
    #[must_use]
    pub fn throttled(&self, provider: Provider, retry_after: Duration) -> Response<Bytes> {
        whole(throttled(self.world(), provider, retry_after))
    }

    /// A server error in the provider's own envelope.
    #[must_use]
    pub fn error(&self, provider: Provider, status: u16) -> Response<Bytes> {
        whole(error(self.world(), provider, status))
    }
}

fn whole(reply: Reply) -> Response<Bytes> {
    let mut response = Response::new(reply.body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    if let Some(media) = reply.content_type {
        let media = http::HeaderValue::from_static(media);
        headers.insert(http::header::CONTENT_TYPE, media);
    }
    for (name, value) in reply.headers {
        headers.append(name, value);
    }
    response
}

/// Carries out a request.
pub(super) fn carry_out(
    world: &World,
    to: Provider,
    received: &Received,
    quota: Option<Quota>,
) -> Reply {
    let now = world.now();
    match to {
        Provider::Rebilly => locked(&world.rebilly).handle(received, quota, now),
        Provider::Solidgate => locked(&world.solidgate).handle(received, now),
        Provider::FunnelFox => locked(&world.funnelfox).handle(received, now),
        Provider::Revolv3 => locked(&world.revolv3).handle(received, now),
        Provider::Sequenzy => locked(&world.sequenzy).handle(received, now),
    }
}

/// A 429 with the provider's own signal.
pub(super) fn throttled(world: &World, provider: Provider, retry_after: Duration) -> Reply {
    let now = world.now();
    match provider {
        Provider::Rebilly => locked(&world.rebilly).throttled(retry_after, now),
        Provider::Solidgate => locked(&world.solidgate).throttled(retry_after, now),
        // Neither documents any signal.
        Provider::FunnelFox | Provider::Revolv3 => Reply::empty(StatusCode::TOO_MANY_REQUESTS),
        Provider::Sequenzy => locked(&world.sequenzy).throttled(retry_after),
    }
}

/// A server error in the provider's own envelope.
pub(super) fn error(world: &World, provider: Provider, status: u16) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = status.canonical_reason().unwrap_or("Server Error");
    match provider {
        Provider::Rebilly => locked(&world.rebilly).problem(status, text),
        Provider::Solidgate => solidgate::error(status, "INTERNAL", text),
        Provider::FunnelFox => funnelfox::error(status, text),
        Provider::Revolv3 => revolv3::error(status, text),
        Provider::Sequenzy => locked(&world.sequenzy).error(status, "INTERNAL", text),
    }
}
