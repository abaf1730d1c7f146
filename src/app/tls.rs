//! TLS of the listener. It lies under the door of [`super::accept`], so that a connection without a
//! handshake is one that has not said anything yet: it has a place for so long and no longer. The
//! handshake is made by the connection's own task as it reads, and holds nobody up.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::Extensions;
use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::{Accept, TlsAcceptor, server::TlsStream};
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::{
    audit::Why,
    identity::{Certificate, Validity},
    limits,
    rpc::{HANDSHAKE, Refusal, Refusals},
};

/// What the listener shows, and whom it believes. Clones are of the same.
#[derive(Debug, Clone)]
pub struct Tls {
    current: Arc<ArcSwap<Current>>,
    clients_required: bool,
}

/// As of the last reload.
#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    own_validity: Option<Validity>,
    clients_validity: Option<Validity>,
}

impl Current {
    fn ended(&self) -> Option<String> {
        let end = self.own_validity?.not_after;
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        let at = Timestamp::from_second(end).ok().filter(|_| end < now)?;
        Some(format!(
            "server.tls_cert_file has a certificate that ended at {at}, so that clients refuse to \
             connect; renew it"
        ))
    }

    /// Work that was admitted goes on without callers, so this is no reason not to start.
    fn tell(&self) {
        if let Some(warning) = self.ended() {
            tracing::error!(%warning, "the listener's certificate has ended");
        }
    }
}

/// The content of the files, in PEM.
#[derive(Debug, Clone, Copy)]
pub struct Pem<'a> {
    /// The certificate, with those between it and its authority.
    pub cert: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// The authorities that vouch for clients' certificates; `None` to ask for none.
    pub client_ca: Option<&'a [u8]>,
}

impl Tls {
    /// TLS with these certificates.
    ///
    /// # Errors
    /// What is wrong with them, in the words of the configuration.
    pub fn new(pem: Pem<'_>, clients_required: bool) -> Result<Self, String> {
        let current = current(pem, clients_required)?;
        current.tell();
        Ok(Self {
            current: Arc::new(ArcSwap::from_pointee(current)),
            clients_required,
        })
    }

    /// Takes others in their place, for new connections; certificates of clients that are
    /// connected have to hold before the new authorities.
    ///
    /// # Errors
    /// What is wrong with them; then the old ones stay.
    pub fn replace(&self, pem: Pem<'_>) -> Result<(), String> {
        let current = current(pem, self.clients_required)?;
        current.tell();
        self.current.store(Arc::new(current));
        Ok(())
    }

    /// When what is in use is good: the listener's chain, and the authorities for clients. Of
    /// each, the certificate that ends first.
    pub(super) fn validities(&self) -> [(&'static str, Option<Validity>); 2] {
        let current = self.current.load();
        [
            ("server", current.own_validity),
            ("client_ca", current.clients_validity),
        ]
    }

    /// What is wrong with the listener's certificate at this time, although it can be used.
    pub(super) fn warning(&self) -> Option<String> {
        self.current.load().ended()
    }

    fn accept(&self, io: TcpStream) -> (Accept<TcpStream>, Shown) {
        let current = self.current.load_full();
        let acceptor = TlsAcceptor::from(Arc::clone(&current.config));
        let shown = Shown(Arc::new(ShownOnce {
            tls: Arc::clone(&self.current),
            accepted_by: current,
            seen: OnceLock::new(),
        }));
        (acceptor.accept(io), shown)
    }
}

const CLIENT_CA: &str = "server.tls_client_ca_file";

fn current(pem: Pem<'_>, clients_required: bool) -> Result<Current, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates(pem.cert, "server.tls_cert_file")?;
    let key = PrivateKeyDer::from_pem_slice(pem.key)
        .map_err(|_| "server.tls_key_file holds no private key in PEM")?;
    let own_validity = ends_first(&chain);
    let authorities = pem
        .client_ca
        .map(|ca| certificates(ca, CLIENT_CA))
        .transpose()?;
    let clients_validity = authorities.as_deref().and_then(ends_first);
    let clients = authorities
        .map(|authorities| verifier(authorities, clients_required, &provider))
        .transpose()?;
    // 1.2 too: rustls has none of its weak parts, and old runtimes know nothing newer.
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &clients {
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        format!("server.tls_cert_file and server.tls_key_file do not fit together: {error}")
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would bring the certificate of an earlier connection along unchecked.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Current {
        config: Arc::new(config),
        clients,
        own_validity,
        clients_validity,
    })
}

fn ends_first(certificates: &[CertificateDer<'_>]) -> Option<Validity> {
    Validity::ends_first(certificates.iter().map(|certificate| &**certificate))
}

fn certificates(pem: &[u8], setting: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{setting} holds no certificate in PEM")),
    }
}

fn verifier(
    authorities: Vec<CertificateDer<'static>>,
    required: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots
            .add(certificate)
            .map_err(|error| format!("{CLIENT_CA} holds what is no authority: {error}"))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder
        .build()
        .map_err(|error| format!("{CLIENT_CA} cannot be used: {error}"))
}

/// What a connection showed of itself in its handshake.
#[derive(Debug, Clone)]
pub(super) struct Shown(Arc<ShownOnce>);

#[derive(Debug)]
struct ShownOnce {
    tls: Arc<ArcSwap<Current>>,
    /// Whom the handshake believes, which may be replaced while it is made.
    accepted_by: Arc<Current>,
    seen: OnceLock<Seen>,
}

#[derive(Debug)]
struct Seen {
    chain: Vec<CertificateDer<'static>>,
    certificate: Arc<Certificate>,
    checked: Mutex<Checked>,
}

/// When the certificate was good last, and before which authorities.
#[derive(Debug)]
struct Checked {
    at: Instant,
    before: Arc<Current>,
}

/// A connection's certificate at the time of a call.
#[derive(Debug)]
pub(super) enum Now {
    /// There is none.
    None,
    /// It is good.
    Good(Arc<Certificate>),
    /// It was good when the connection began; why it is not any more.
    Stale(String),
}

impl Shown {
    /// A connection may be older than a certificate's end or the removal of its authority, so it
    /// is checked again: at once when the authorities have changed, and each minute.
    pub(super) fn now(&self) -> Now {
        let Some(seen) = self.0.seen.get() else {
            return Now::None;
        };
        let current = self.0.tls.load_full();
        let mut checked = seen.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = checked.at.elapsed() < Duration::from_millis(limits::CERTIFICATE_CHECK_MS);
        if is_recent && Arc::ptr_eq(&checked.before, &current) {
            return Now::Good(Arc::clone(&seen.certificate));
        }
        let (Some((first, others)), Some(clients)) = (seen.chain.split_first(), &current.clients)
        else {
            return Now::Stale("no certificates of clients are believed".to_owned());
        };
        match clients.verify_client_cert(first, others, UnixTime::now()) {
            Ok(_) => {
                *checked = Checked {
                    at: Instant::now(),
                    before: current,
                };
                Now::Good(Arc::clone(&seen.certificate))
            }
            Err(error) => Now::Stale(error.to_string()),
        }
    }

    /// Keeps what the handshake brought.
    fn keep(&self, chain: Option<&[CertificateDer<'_>]>) -> io::Result<()> {
        let Some((first, _)) = chain.and_then(<[_]>::split_first) else {
            return Ok(());
        };
        let certificate = Certificate::read(first).map_err(|malformed| {
            io::Error::new(io::ErrorKind::InvalidData, malformed.to_string())
        })?;
        let chain = chain.unwrap_or_default().iter();
        let seen = Seen {
            chain: chain.map(|c| c.clone().into_owned()).collect(),
            certificate: Arc::new(certificate),
            checked: Mutex::new(Checked {
                at: Instant::now(),
                before: Arc::clone(&self.0.accepted_by),
            }),
        };
        // There is one handshake.
        let _ = self.0.seen.set(seen);
        Ok(())
    }
}

/// A connection, with TLS or without.
pub(super) struct Secured {
    stream: Stream,
    told: Extensions,
    shown: Option<Shown>,
    refusals: Refusals,
}

enum Stream {
    Plain(TcpStream),
    Handshake(Box<Accept<TcpStream>>),
    Open(Box<TlsStream<TcpStream>>),
    Failed,
}

impl Secured {
    /// A connection that was accepted, whose handshake is still to come.
    pub(super) fn new(io: TcpStream, tls: Option<&Tls>, refusals: Refusals) -> Self {
        let mut told = Extensions::new();
        told.insert(io.connect_info());
        let Some(tls) = tls else {
            return Self {
                stream: Stream::Plain(io),
                told,
                shown: None,
                refusals,
            };
        };
        let (accept, shown) = tls.accept(io);
        told.insert(shown.clone());
        Self {
            stream: Stream::Handshake(Box::new(accept)),
            told,
            shown: Some(shown),
            refusals,
        }
    }

    /// Goes on with the handshake until it is done.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Stream::Handshake(accept) = &mut self.stream else {
            return Poll::Ready(Ok(()));
        };
        let opened = ready!(Pin::new(accept.as_mut()).poll(cx)).and_then(|stream| {
            let (_, connection) = stream.get_ref();
            if let Some(shown) = &self.shown {
                shown.keep(connection.peer_certificates())?;
            }
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                self.stream = Stream::Open(Box::new(stream));
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                self.tell_failed(&error);
                self.stream = Stream::Failed;
                Poll::Ready(Err(error))
            }
        }
    }

    /// Says why there is no connection. Who connects and goes away, as probes of ports do, is not
    /// worth a line.
    fn tell_failed(&self, error: &io::Error) {
        if let io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe = error.kind()
        {
            return;
        }
        let info = self.told.get::<TcpConnectInfo>();
        self.refusals.tell(&Refusal {
            why: Why::Handshake,
            method: HANDSHAKE,
            caller: None,
            peer: info.and_then(TcpConnectInfo::remote_addr),
            reason: Why::Handshake.word(),
            message: &error.to_string(),
            asked: None,
        });
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the TLS handshake failed")
}

impl AsyncRead for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_open(cx))?;
        match &mut this.stream {
            Stream::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Stream::Open(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
            Stream::Handshake(_) | Stream::Failed => Poll::Ready(Err(closed())),
        }
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_open(cx))?;
        match &mut this.stream {
            Stream::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Stream::Open(io) => Pin::new(io.as_mut()).poll_write(cx, bytes),
            Stream::Handshake(_) | Stream::Failed => Poll::Ready(Err(closed())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_open(cx))?;
        match &mut this.stream {
            Stream::Plain(io) => Pin::new(io).poll_write_vectored(cx, bytes),
            Stream::Open(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, bytes),
            Stream::Handshake(_) | Stream::Failed => Poll::Ready(Err(closed())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(io) => Pin::new(io).poll_flush(cx),
            Stream::Open(io) => Pin::new(io.as_mut()).poll_flush(cx),
            // Nothing was written yet.
            Stream::Handshake(_) | Stream::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Stream::Open(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
            Stream::Handshake(_) | Stream::Failed => Poll::Ready(Ok(())),
        }
    }
}

impl Connected for Secured {
    type ConnectInfo = Extensions;

    fn connect_info(&self) -> Extensions {
        self.told.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_goes_away_in_the_handshake_is_no_refusal_and_who_speaks_wrongly_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let io = TcpStream::connect(listener.local_addr().unwrap());
        let told = Arc::new(AtomicUsize::new(0));
        let refusals = Refusals::new({
            let told = Arc::clone(&told);
            move |_| {
                told.fetch_add(1, Ordering::SeqCst);
            }
        });
        let secured = Secured::new(io.await.unwrap(), None, refusals);
        for (kind, expected) in [
            (io::ErrorKind::UnexpectedEof, 0),
            (io::ErrorKind::ConnectionReset, 0),
            (io::ErrorKind::BrokenPipe, 0),
            (io::ErrorKind::InvalidData, 1),
        ] {
            secured.tell_failed(&kind.into());
            assert_eq!(told.load(Ordering::SeqCst), expected, "{kind}");
        }
    }
}
