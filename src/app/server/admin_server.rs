//! What operators' tools ask, in the clear and on a port of its own: metrics, probes, and health
//! over gRPC for probes that cannot do TLS. Nothing that is here changes anything.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State as With,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ACCEPT, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::StreamExt as _;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{Status, service::Routes, transport::server::TcpIncoming};
use tonic_health::pb::health_server::{Health, HealthServer};

use super::{connection_limit::ConnectionLimiter, tls::MaybeTlsStream};
use crate::{
    app::{
        metrics::{Metrics, MetricsFormat},
        readiness::Readiness,
    },
    limits,
    rpc::{Brief, Layered, RejectionLog, SideRooms},
};

/// Time for the first bytes of a connection, and for the head of each request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// What is told.
#[derive(Debug, Clone)]
struct Told {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
}

/// What there is to ask.
pub(in crate::app) fn routes<H: Health>(
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    health: HealthServer<H>,
) -> Router {
    let told = Told { metrics, readiness };
    let ours = Router::new()
        .route("/metrics", get(scrape))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .with_state(told);
    Routes::new(Layered::new(Brief, health))
        .into_axum_router()
        .merge(ours)
        .fallback(nothing_else)
}

/// Tells each in its own words.
async fn nothing_else(headers: HeaderMap) -> Response {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        let status = Status::unimplemented("only grpc.health.v1.Health is served here");
        return status.into_http::<Body>();
    }
    let paths = "there is /metrics, /livez and /readyz\n";
    (StatusCode::NOT_FOUND, paths).into_response()
}

async fn scrape(With(told): With<Told>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let form = MetricsFormat::of(accept.unwrap_or_default());
    let rendered = tokio::task::spawn_blocking(move || told.metrics.render(form)).await;
    match rendered {
        Ok(Ok(page)) => ([(CONTENT_TYPE, form.content_type())], page).into_response(),
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn ready(With(told): With<Told>) -> Response {
    let state = told.readiness.state();
    let status = if told.readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, format!("{}\n", state.word())).into_response()
}

/// Serves on a listener for as long as it is polled. Connections end with it.
pub(in crate::app) async fn serve(listener: TcpListener, routes: Router) {
    // Nobody asks for room here: the bounds of connections are enough.
    let rooms = SideRooms::new(Duration::ZERO);
    let door = ConnectionLimiter::new(limits::ADMIN_CONNECTIONS_MAX, HEAD_TIMEOUT, rooms);
    let tcp = TcpIncoming::from(listener);
    // Without TLS there are no handshakes to tell of.
    let plain = |io| MaybeTlsStream::new(io, None, RejectionLog::default());
    let tcp = tcp.map(move |accepted| accepted.map(plain));
    let mut incoming = Box::pin(door.let_in(tcp));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(50)
        .max_buf_size(16 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(16)
        .max_header_list_size(8 * 1024)
        .max_frame_size(16 * 1024)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = incoming.next() => {
                let Some(Ok(io)) = accepted else { return };
                let (builder, routes) = (builder.clone(), TowerToHyperService::new(routes.clone()));
                connections.spawn(async move {
                    // How a connection ends is its client's affair.
                    let _ = builder.serve_connection(TokioIo::new(io), routes).await;
                });
            }
        }
    }
}
