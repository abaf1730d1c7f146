//! The provider: cancels whatever it is asked to, at once or after a fixed time, and costs as
//! little as it can, since it shares the cores with what is measured. One that loses answers also
//! remembers what it has cancelled, for the looks that follow.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    Failure, child,
    memory::{Fate, Memory},
};

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

/// What of it changes with the truth: whether it is cancelled, and when.
const CANCELLED: &str = r#""status":"cancelled""#;
const ACTIVE: &str = r#""status":"active""#;
const ENDS: &str = r#""renews":false"#;
const RENEWS: &str = r#""renews":true"#;
const CANCELLED_AT: &str =
    r#""cancelled_at":"2026-02-10T08:00:00Z","cancellation_reason":"did not use""#;
const NOT_CANCELLED: &str = r#""cancelled_at":null,"cancellation_reason":null"#;
const TIME: &str = "2026-02-10T08:00:00Z";

/// How it answers.
struct Stub {
    delay: Duration,
    /// Without one, whatever is asked is a cancel and is carried out.
    memory: Option<Memory>,
}

/// The role: the delay in milliseconds, and for one with a memory which cancels it hangs up on,
/// such as "20 33" for every 33rd and "20 0" for none.
pub(crate) fn main(how: &str) -> Result<(), Failure> {
    let mut words = how.split_whitespace();
    let delay_ms = words.next().ok_or("no delay")?;
    let lost_every = words.next().map(str::parse).transpose()?;
    let stub = Arc::new(Stub {
        delay: Duration::from_millis(delay_ms.parse()?),
        memory: lost_every.map(Memory::new),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        child::ready(listener.local_addr()?)?;
        tokio::select! {
            ended = serve(listener, stub) => ended,
            () = child::told_to_end() => Ok(()),
        }
    })
}

async fn serve(listener: TcpListener, stub: Arc<Stub>) -> Result<(), Failure> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, Arc::clone(&stub)));
    }
}

async fn connection(stream: TcpStream, stub: Arc<Stub>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&stub)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A client that hangs up is a client that is done; it is the stub itself if an answer is lost.
    let _ = connection.await;
}

/// An error hangs up.
async fn answer(
    request: Request<Incoming>,
    stub: Arc<Stub>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let (parts, body) = request.into_parts();
    // A body that is left unread would cost the connection.
    let _ = body.collect().await;
    if !stub.delay.is_zero() {
        tokio::time::sleep(stub.delay).await;
    }
    // /subscriptions/{id}, and for a cancel /cancel
    let id = parts.uri.path().split('/').nth(2).unwrap_or_default();
    let [before, after] = ANSWER;
    let body = match &stub.memory {
        None => [before, id, after].concat(),
        Some(memory) => {
            if parts.method != Method::GET && memory.cancel(id) != Fate::Answered {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            [before, id, &truth(memory, id)].concat()
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// The answer behind the id, as things are.
fn truth(memory: &Memory, id: &str) -> String {
    let [_, after] = ANSWER;
    match memory.cancelled(id) {
        Some(at) => after.replace(TIME, &at.to_string()),
        None => after
            .replace(CANCELLED, ACTIVE)
            .replace(ENDS, RENEWS)
            .replace(CANCELLED_AT, NOT_CANCELLED),
    }
}
