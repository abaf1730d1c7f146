//! The provider: cancels whatever it is asked to, at once or after a fixed time, and costs as
//! little as it can, since it shares the cores with what is measured.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::{Failure, child};

/// What FunnelFox answers to a cancel, around the subscription's id.
const ANSWER: [&str; 2] = [
    r#"{"id":""#,
    concat!(
        r#"","psp_id":"sub_1PqXyZ2eZvKYlo2C","status":"cancelled","profile":{"id":"pro_01J8Z3","#,
        r#""email":"customer@example.com","created_at":"2026-01-01T00:00:00Z","preview":false},"#,
        r#""funnel":{"id":"fun_01J8Z4","title":"Main","alias":"main","type":"default"},"#,
        r#""funnel_version":1,"session":{"id":"ses_01J8Z5","created_at":"2026-01-01T00:00:00Z"},"#,
        r#""price":1999,"currency":"USD","price_usd":1999,"billing_interval":"month","#,
        r#""billing_interval_count":1,"payment_provider":"stripe","renews":false,"#,
        r#""sandbox":false,"created_at":"2026-01-01T00:00:00Z","#,
        r#""updated_at":"2026-02-10T08:00:00Z","cancelled_at":"2026-02-10T08:00:00Z","#,
        r#""cancellation_reason":"did not use","period_starts_at":"2099-02-01T00:00:00Z","#,
        r#""period_ends_at":"2099-03-01T00:00:00Z"}"#
    ),
];

/// The role.
pub(crate) fn main(delay_ms: &str) -> Result<(), Failure> {
    let delay = Duration::from_millis(delay_ms.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        child::ready(listener.local_addr()?)?;
        tokio::select! {
            ended = serve(listener, delay) => ended,
            () = child::told_to_end() => Ok(()),
        }
    })
}

async fn serve(listener: TcpListener, delay: Duration) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, delay));
    }
}

async fn connection(stream: TcpStream, delay: Duration) {
    let service = service_fn(move |request| answer(request, delay));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A client that hangs up is a client that is done.
    let _ = connection.await;
}

async fn answer(
    request: Request<Incoming>,
    delay: Duration,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    // A body that is left unread would cost the connection.
    let _ = body.collect().await;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    // /subscriptions/{id}/cancel
    let id = parts.uri.path().split('/').nth(2).unwrap_or_default();
    let [before, after] = ANSWER;
    let body = Bytes::from([before, id, after].concat());
    let mut response = Response::new(Full::new(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}
