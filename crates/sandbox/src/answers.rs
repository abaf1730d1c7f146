//! The replies of each provider, from a complete request to a complete reply: no sockets, no
//! faults, no waiting. The server uses it, and so does [`Control::carry_out`].

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Map, Value, json};

use super::{
    Control, Foreign, Provider,
    faults::Quota,
    funnelfox,
    meanwhile::accepted,
    revolv3, solidgate,
    wire::{Received, Reply},
    world::{World, locked},
};

impl Control {
    /// Executes a request as if it had come over the network. Its path begins with
    /// [`Provider::base_path`]. It meets no fault and is not recorded.
    #[must_use]
    pub fn carry_out(&self, provider: Provider, request: Request<Bytes>) -> Response<Bytes> {
        let received = received(provider, request);
        self.told(provider, carry_out(self.world(), provider, &received, None))
    }

    /// The reply of a provider that accepts a request and executes it later: its 2xx, with the
    /// target unchanged. `None` if it has no such reply to this request.
    #[must_use]
    pub fn accepted(&self, provider: Provider, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let reply = accepted(self.world(), provider, &received(provider, request))?;
        Some(self.told(provider, reply))
    }

    /// The reply of a throttling provider, instead of executing a request.
    #[must_use]
    pub fn throttled(&self, provider: Provider, retry_after: Duration) -> Response<Bytes> {
        self.told(provider, throttled(self.world(), provider, retry_after))
    }

    /// A server error in the provider's own format.
    #[must_use]
    pub fn error(&self, provider: Provider, status: u16) -> Response<Bytes> {
        self.told(provider, error(self.world(), provider, status))
    }

    /// A rejection in the provider's own format: another request is in progress.
    #[must_use]
    pub fn busy(&self, provider: Provider, status: u16) -> Response<Bytes> {
        self.told(provider, busy(self.world(), provider, status))
    }

    /// A reply of an intermediary.
    #[must_use]
    pub fn foreign(&self, provider: Provider, answer: Foreign) -> Response<Bytes> {
        self.told(provider, answer.reply())
    }

    /// The same reply about another target: every id in it differs.
    #[must_use]
    pub fn about_another(mut answer: Response<Bytes>) -> Response<Bytes> {
        if let Some(body) = another(answer.body()) {
            *answer.body_mut() = body;
        }
        answer
    }

    fn told(&self, provider: Provider, reply: Reply) -> Response<Bytes> {
        whole(dated(self.world(), provider, reply))
    }
}

fn received(provider: Provider, request: Request<Bytes>) -> Received {
    let (parts, body) = request.into_parts();
    Received {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        body,
        base_len: provider.base_path().len(),
    }
}

/// The reply with a `Date` by the provider's clock, unless it sends none.
pub(super) fn dated(world: &World, provider: Provider, reply: Reply) -> Reply {
    if !world.line(provider).tells_date() {
        return reply;
    }
    let now = world.now_at(provider);
    match DateTimePrinter::new().timestamp_to_rfc9110_string(&now) {
        Ok(date) => reply.with("date", date),
        // HTTP dates cannot express this year.
        Err(_) => reply,
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

/// Executes a request.
pub(super) fn carry_out(
    world: &World,
    to: Provider,
    received: &Received,
    quota: Option<Quota>,
) -> Reply {
    let now = world.now_at(to);
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
    let now = world.now_at(provider);
    match provider {
        Provider::Rebilly => locked(&world.rebilly).throttled(retry_after, now),
        Provider::Solidgate => locked(&world.solidgate).throttled(retry_after, now),
        // Neither documents a signal.
        Provider::FunnelFox | Provider::Revolv3 => Reply::empty(StatusCode::TOO_MANY_REQUESTS),
        Provider::Sequenzy => locked(&world.sequenzy).throttled(retry_after),
    }
}

/// A server error in the provider's own format.
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

/// A rejection in the provider's own format: another request is in progress.
pub(super) fn busy(world: &World, provider: Provider, status: u16) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::CONFLICT);
    let text = "Another request for this resource is in progress";
    match provider {
        Provider::Rebilly => locked(&world.rebilly).problem(status, text),
        Provider::Solidgate => solidgate::error(status, "IN_PROGRESS", text),
        Provider::FunnelFox => funnelfox::error(status, text),
        Provider::Revolv3 => revolv3::error(status, text),
        Provider::Sequenzy => locked(&world.sequenzy).error(status, "IN_PROGRESS", text),
    }
}

/// A JSON body about another target: every id in it differs. `None` if it has no id.
pub(super) fn another(body: &[u8]) -> Option<Bytes> {
    let mut body: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let mut differs = false;
    for name in ["id", "subscriptionId", "sequenceId"] {
        let Some(id) = body.get_mut(name) else {
            continue;
        };
        *id = match &*id {
            Value::String(text) => json!(format!("{text}9")),
            Value::Number(number) => json!(number.as_i64().unwrap_or_default() + 1),
            _ => continue,
        };
        differs = true;
    }
    differs.then(|| serde_json::to_vec(&body).unwrap_or_default().into())
}
