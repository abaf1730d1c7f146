//! Who is let in: so many connections, each with a first frame within its time. Nothing in
//! hyper bounds the one or the other, so sockets that say nothing would be held for ever.
//!
//! When all places are taken, the connection that has been without a call the longest makes room
//! for the new one; only if all have calls open, the new one is closed at once. So idle
//! connections, however many and however polite, keep nobody out.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use http::{Extensions, Request, Response};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, transport::server::Connected};
use tower::{Layer, Service};

use super::tls::{CertificateStatus, PeerCertificate};
use crate::{
    engine::Hangup,
    observe::LogRateLimiter,
    rpc::{RejectionLog, SideRooms, Visitor, middleware::protocol},
};

/// The client's preface, and the head of the SETTINGS frame that has to follow it.
const HANDSHAKE_BYTES: usize = 24 + 9;
/// What the paths of calls begin with that are why there is a service.
const WORK: &str = "/cancelot.";
/// Rest after an accept failed, such as for want of file descriptors: trying again at once
/// would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The places that there are, and who has them.
#[derive(Debug)]
pub(in crate::app) struct ConnectionLimiter {
    places: usize,
    handshake_timeout: Duration,
    rooms: Arc<SideRooms>,
    guests: Mutex<BTreeMap<u64, Arc<ConnectionSlot>>>,
    next: AtomicU64,
    /// So that a siege is a line in the log and not one for each connection.
    full: AtomicBool,
    /// Nor one for each time that it is lifted.
    told: Mutex<LogRateLimiter<AcceptError>>,
}

/// What strangers can bring about as often as they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AcceptError {
    NotAccepted,
    Full,
}

/// One connection.
#[derive(Debug)]
struct ConnectionSlot {
    calls: Mutex<Calls>,
    greeted: AtomicBool,
    leave: CancellationToken,
    /// The same connection, as its calls beside the service see it.
    visitor: Arc<Visitor>,
}

#[derive(Debug)]
struct Calls {
    open: usize,
    none_since: Instant,
}

impl ConnectionSlot {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when it has had no call open; `None` if it has one.
    fn idle_since(&self) -> Option<Instant> {
        let calls = self.calls();
        (calls.open == 0).then_some(calls.none_since)
    }

    /// Resolves when the connection has to end.
    async fn end(self: Arc<Self>, handshake_timeout: Duration) -> &'static str {
        let early = timeout(handshake_timeout, self.leave.cancelled()).await;
        if early.is_err() {
            if !self.greeted.load(Ordering::Acquire) {
                return "no HTTP/2 handshake in time";
            }
            self.leave.cancelled().await;
        }
        "its place was needed"
    }
}

impl ConnectionLimiter {
    pub(in crate::app) fn new(
        places: usize,
        handshake_timeout: Duration,
        rooms: Arc<SideRooms>,
    ) -> Arc<Self> {
        Arc::new(Self {
            places,
            handshake_timeout,
            rooms,
            guests: Mutex::default(),
            next: AtomicU64::new(0),
            full: AtomicBool::new(false),
            told: Mutex::default(),
        })
    }

    fn guests(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<ConnectionSlot>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// If a trouble has a line, how many of its kind had none since the last one.
    fn tells(&self, trouble: AcceptError) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.passes_for(trouble, Instant::now().into_std())
    }

    /// The connections that are let in. It ends with what it accepts from, and never with an
    /// error.
    pub(in crate::app) fn let_in<
        IO: AsyncRead + AsyncWrite + Connected<ConnectInfo = Extensions> + Unpin + Send + 'static,
    >(
        self: Arc<Self>,
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
    ) -> impl Stream<Item = io::Result<Connection<IO>>> + Send {
        incoming.filter_map(move |accepted| {
            let door = Arc::clone(&self);
            async move {
                match accepted {
                    Ok(io) => door.place(io).map(Ok),
                    Err(error) => {
                        if let Some(suppressed) = door.tells(AcceptError::NotAccepted) {
                            let suppressed = Some(suppressed).filter(|count| *count > 0);
                            tracing::warn!(%error, suppressed, "a connection cannot be accepted");
                        }
                        sleep(ACCEPT_PAUSE).await;
                        None
                    }
                }
            }
        })
    }

    /// Gives a connection a place, or closes it.
    fn place<IO>(self: &Arc<Self>, io: IO) -> Option<Connection<IO>> {
        let leave = CancellationToken::new();
        let guest = Arc::new(ConnectionSlot {
            calls: Mutex::new(Calls {
                open: 0,
                none_since: Instant::now(),
            }),
            greeted: AtomicBool::new(false),
            visitor: self.rooms.arrive(leave.clone()),
            leave,
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut guests = self.guests();
        let is_full = guests.len() >= self.places;
        let was_full = self.full.swap(is_full, Ordering::AcqRel);
        if is_full
            && !was_full
            && let Some(suppressed) = self.tells(AcceptError::Full)
        {
            let suppressed = Some(suppressed).filter(|count| *count > 0);
            tracing::warn!(
                connections = guests.len(),
                suppressed,
                "all places are taken"
            );
        }
        if is_full {
            let idle = guests.iter().filter_map(|(id, guest)| {
                let since = guest.idle_since()?;
                Some((since, *id))
            });
            let (_, longest) = idle.min()?;
            // It is gone from here at once, and from the network when its task has been woken.
            if let Some(guest) = guests.remove(&longest) {
                guest.leave.cancel();
            }
        }
        guests.insert(id, Arc::clone(&guest));
        drop(guests);
        Some(Connection {
            io,
            received: 0,
            is_stuck: false,
            reader: None,
            end: Box::pin(Arc::clone(&guest).end(self.handshake_timeout)),
            place: ConnectionPermit {
                door: Arc::clone(self),
                id,
                guest,
            },
        })
    }
}

/// A connection's place, free again when the connection is gone.
#[derive(Debug)]
struct ConnectionPermit {
    door: Arc<ConnectionLimiter>,
    id: u64,
    guest: Arc<ConnectionSlot>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.door.guests().remove(&self.id);
    }
}

/// A connection that has a place. It ends, reading or writing, when it has to leave.
pub(in crate::app) struct Connection<IO> {
    io: IO,
    received: usize,
    /// Whether the other end does not take what is written.
    is_stuck: bool,
    /// Who reads no further until it does.
    reader: Option<Waker>,
    end: Pin<Box<dyn Future<Output = &'static str> + Send>>,
    place: ConnectionPermit,
}

impl<IO> Connection<IO> {
    fn stays(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(why) => {
                tracing::debug!(why, "connection closed");
                // Asked again, it stays closed.
                self.end = Box::pin(std::future::ready(why));
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }
        }
    }
}

impl<IO> Connection<IO> {
    /// Whether more is read. A stranger who does not read is not read: answers to whatever else it
    /// asks would pile up.
    fn poll_reads(&mut self, cx: &Context<'_>) -> Poll<()> {
        let visitor = &self.place.guest.visitor;
        if self.is_stuck && self.received >= HANDSHAKE_BYTES && !visitor.is_known() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        visitor.poll_reads(cx)
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.is_stuck = written.is_pending();
        if !self.is_stuck
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        written
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.stays(cx)?;
        ready!(this.poll_reads(cx));
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let read = buf.filled().len().saturating_sub(before);
        this.place.guest.visitor.has_read(read);
        if this.received < HANDSHAKE_BYTES {
            this.received += read;
            let greeted = this.received >= HANDSHAKE_BYTES;
            this.place.guest.greeted.store(greeted, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stays(cx)?;
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stays(cx)?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What a call is told of its connection: what the connection itself would tell, and whose call
/// it is.
#[derive(Debug, Clone)]
pub(in crate::app) struct ConnectionContext {
    told: Extensions,
    guest: Arc<ConnectionSlot>,
}

impl<IO: Connected<ConnectInfo = Extensions>> Connected for Connection<IO> {
    type ConnectInfo = ConnectionContext;

    fn connect_info(&self) -> ConnectionContext {
        let told = self.io.connect_info();
        let guest = Arc::clone(&self.place.guest);
        ConnectionContext { told, guest }
    }
}

/// An open call, until its response has been handed over or is not wanted any more.
struct OpenCall(Arc<ConnectionSlot>);

impl OpenCall {
    fn new(guest: Arc<ConnectionSlot>) -> Self {
        guest.calls().open += 1;
        Self(guest)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let mut calls = self.0.calls();
        calls.open = calls.open.saturating_sub(1);
        calls.none_since = Instant::now();
    }
}

/// Counts the open calls of each connection, and refuses those of connections that are to end, and
/// what is no call.
#[derive(Debug, Clone)]
pub(in crate::app) struct CallsLayer(pub(in crate::app) RejectionLog);

impl<S> Layer<S> for CallsLayer {
    type Service = CountsCalls<S>;

    fn layer(&self, inner: S) -> CountsCalls<S> {
        CountsCalls {
            inner,
            refusals: self.0.clone(),
        }
    }
}

/// See [`CallsLayer`].
#[derive(Debug, Clone)]
pub(in crate::app) struct CountsCalls<S> {
    inner: S,
    refusals: RejectionLog,
}

impl<S> Service<Request<Body>> for CountsCalls<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(answer) = protocol::refuse(&request, &self.refusals) {
            return Box::pin(async move { Ok(answer) });
        }
        let Some(from) = request.extensions_mut().remove::<ConnectionContext>() else {
            return Box::pin(self.inner.call(request));
        };
        request.extensions_mut().extend(from.told);
        if let Some(shown) = request.extensions_mut().remove::<PeerCertificate>() {
            match shown.now() {
                CertificateStatus::None => {}
                CertificateStatus::Good(certificate) => {
                    request.extensions_mut().insert(certificate);
                }
                CertificateStatus::Stale(why) => {
                    // The connection is what is worth nothing any more.
                    from.guest.leave.cancel();
                    let answer = self.refusals.stale(&request, &why);
                    return Box::pin(async move { Ok(answer) });
                }
            }
        }
        request
            .extensions_mut()
            .insert::<Hangup>(from.guest.leave.clone());
        request
            .extensions_mut()
            .insert(Arc::clone(&from.guest.visitor));
        // Whoever only watches the service's health, and anybody may, keeps no place by that.
        let is_work = request.uri().path().starts_with(WORK);
        let call = is_work.then(|| OpenCall::new(from.guest));
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await?;
            Ok(response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    let _open = &call;
                    frame
                }))
            }))
        })
    }
}
