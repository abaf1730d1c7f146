//! The HTTP server: accepts connections, routes by base path, and applies faults, down to resetting
//! the connection. The meaning of requests is in the provider modules.

use std::{
    error::Error,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::{Sleep, sleep},
};

use super::{
    Provider,
    answers::{another, busy, carry_out, dated, error, throttled},
    control::Control,
    control_http,
    faults::{Fate, Fault, Meanwhile},
    meanwhile::accepted,
    wire::{Received, Reply},
};

/// More than any documented request needs.
const REQUEST_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
const BACKLOG: u32 = 4_096;
const SLOW_BODY_PIECES: u32 = 8;

pub(super) fn bind(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

/// Serves until it is dropped, which also drops every connection.
pub(super) async fn serve(listener: TcpListener, control: Control) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, control.clone()));
                while connections.try_join_next().is_some() {}
            }
            // Most likely out of file descriptors: some will be free again in a moment.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, control: Control) {
    // If Nagle's algorithm cannot be switched off, the simulator is only slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let control = control.clone();
        async move { answer(&control, request).await }
    });
    let mut connection = http1::Builder::new()
        // The providers have their own clocks.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    let Err(error) = Pin::new(&mut connection).await else {
        return;
    };
    if error.source().is_some_and(|source| source.is::<Reset>()) {
        // Closing with a linger time of zero sends RST instead of FIN.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

/// Ends the connection without a reply.
#[derive(Debug)]
struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sandbox resets this connection")
    }
}

impl Error for Reset {}

async fn answer(control: &Control, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, REQUEST_BODY_BYTES_MAX).collect().await else {
        return Err(Reset);
    };
    let (method, uri, headers) = (parts.method, parts.uri, parts.headers);
    let provider = route(uri.path());
    let base_len = provider.map_or(0, |provider| provider.base_path().len());
    let received = Received {
        method,
        uri,
        headers,
        body: body.to_bytes(),
        base_len,
    };
    let Some(provider) = provider else {
        return Ok(plain(control_http::handle(control, &received)));
    };
    let world = control.world();
    let line = world.line(provider);
    let received = Arc::new(received);
    line.record(&received);
    let fate = line
        .faults
        .fate(received.method.as_str(), received.target());
    play(control, provider, &received, fate).await
}

/// The provider of a base path.
fn route(path: &str) -> Option<Provider> {
    let name = path.strip_prefix('/')?.split('/').next()?;
    let provider = Provider::named(name)?;
    let rest = path.strip_prefix(provider.base_path())?;
    (rest.is_empty() || rest.starts_with('/')).then_some(provider)
}

/// Executes a request with its fault.
#[expect(
    clippy::too_many_lines,
    reason = "an arm of a few lines for each fault"
)]
async fn play(
    control: &Control,
    provider: Provider,
    received: &Arc<Received>,
    fate: Fate,
) -> Result<Response<Body>, Reset> {
    if !fate.latency.is_zero() {
        sleep(fate.latency).await;
    }
    let world = control.world();
    let quota = fate.quota;
    let carry_out = || carry_out(world, provider, received, quota);
    let dated = |reply| dated(world, provider, reply);
    let error = |status| plain(dated(error(world, provider, status)));
    let Some(fault) = fate.fault else {
        return Ok(plain(dated(carry_out())));
    };
    Ok(match fault {
        Fault::Latency { latency_ms } => {
            sleep(Duration::from_millis(latency_ms)).await;
            plain(dated(carry_out()))
        }
        Fault::Throttle { retry_after_ms } => {
            let wait = Duration::from_millis(retry_after_ms);
            plain(dated(throttled(world, provider, wait)))
        }
        Fault::ErrorBefore { status } => error(status),
        Fault::ErrorAfter { status } => {
            carry_out();
            error(status)
        }
        Fault::ResetBefore => return Err(Reset),
        Fault::ResetAfter => {
            carry_out();
            return Err(Reset);
        }
        Fault::HoldBefore => {
            world.line(provider).hold().await;
            plain(dated(carry_out()))
        }
        Fault::HoldAfter => {
            let reply = dated(carry_out());
            world.line(provider).hold().await;
            plain(reply)
        }
        Fault::LateReply { delay_ms } => {
            let reply = dated(carry_out());
            sleep(Duration::from_millis(delay_ms)).await;
            plain(reply)
        }
        Fault::SlowBody { over_ms } => slow(dated(carry_out()), Duration::from_millis(over_ms)),
        Fault::TruncatedBody => truncated(dated(carry_out())),
        Fault::GarbageBody => {
            carry_out();
            let page = "<!DOCTYPE html><html><head><title>Welcome</title></head>\
                        <body><h1>It works!</h1></body></html>";
            plain(dated(Reply::text(StatusCode::OK, "text/html", page)))
        }
        Fault::HugeBody { body_bytes } => {
            let status = carry_out().status;
            plain(dated(Reply::text(
                status,
                "application/json",
                vec![b' '; body_bytes],
            )))
        }
        Fault::LateEffect {
            effect_ms,
            meanwhile,
        } => {
            let answer = match meanwhile {
                Meanwhile::Error { status } => Ok(error(status)),
                Meanwhile::Reset => Err(Reset),
                Meanwhile::Accepted => match accepted(world, provider, received) {
                    Some(reply) => Ok(plain(dated(reply))),
                    // A rejection or a lookup: there is nothing to execute later.
                    None => return Ok(plain(dated(carry_out()))),
                },
            };
            let (control, received) = (control.clone(), Arc::clone(received));
            tokio::spawn(async move {
                sleep(Duration::from_millis(effect_ms)).await;
                super::answers::carry_out(control.world(), provider, &received, quota);
            });
            return answer;
        }
        Fault::ForeignBefore { answer } => plain(dated(answer.reply())),
        Fault::ForeignAfter { answer } => {
            carry_out();
            plain(dated(answer.reply()))
        }
        Fault::Busy { status } => plain(dated(busy(world, provider, status))),
        Fault::AboutAnother => {
            let mut reply = carry_out();
            if let Some(body) = another(&reply.body) {
                reply.body = body;
            }
            plain(dated(reply))
        }
        Fault::Reply {
            status,
            headers,
            body,
        } => given(status, &headers, body),
    })
}

fn plain(reply: Reply) -> Response<Body> {
    respond(reply, Body::Whole)
}

fn respond(reply: Reply, body: impl FnOnce(Bytes) -> Body) -> Response<Body> {
    let mut response = Response::new(body(reply.body));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    if let Some(media) = reply.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    }
    for (name, value) in reply.headers {
        headers.append(name, value);
    }
    response
}

fn given(status: u16, headers: &[(String, String)], body: String) -> Response<Body> {
    let mut response = Response::new(Body::Whole(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<header::HeaderName>(), value.parse()) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

fn slow(reply: Reply, over: Duration) -> Response<Body> {
    respond(reply, |body| {
        let piece = (body.len() / 8).max(1);
        let pause = over / SLOW_BODY_PIECES;
        Body::Slow {
            left: body,
            piece,
            pause,
            sleep: Box::pin(sleep(Duration::ZERO)),
        }
    })
}

fn truncated(reply: Reply) -> Response<Body> {
    let announced = reply.body.len().max(2);
    let mut response = respond(reply, |mut body| {
        body.truncate(announced / 2);
        Body::Cut(Cut::Send(body))
    });
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(announced));
    response
}

/// A response body, complete or broken.
enum Body {
    Whole(Bytes),
    Slow {
        left: Bytes,
        piece: usize,
        pause: Duration,
        sleep: Pin<Box<Sleep>>,
    },
    Cut(Cut),
}

/// Ends a body in the middle: the connection closes after what was sent.
#[derive(Debug)]
struct Severed;

impl fmt::Display for Severed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sandbox cuts this body")
    }
}

impl Error for Severed {}

enum Cut {
    Send(Bytes),
    /// Lets the connection write what it has.
    Flush,
    Break,
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Severed;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Severed>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Slow { left, .. } if left.is_empty() => Poll::Ready(None),
            Self::Slow {
                left,
                piece,
                pause,
                sleep: timer,
            } => {
                std::task::ready!(timer.as_mut().poll(context));
                let piece = left.split_to((*piece).min(left.len()));
                timer.set(sleep(*pause));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Self::Cut(cut) => match std::mem::replace(cut, Cut::Break) {
                Cut::Send(bytes) => {
                    *cut = Cut::Flush;
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Cut::Flush => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                Cut::Break => Poll::Ready(Some(Err(Severed))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) | Self::Slow { left: bytes, .. } if bytes.is_empty())
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(bytes) | Self::Slow { left: bytes, .. } => {
                http_body::SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Self::Cut(_) => http_body::SizeHint::default(),
        }
    }
}
