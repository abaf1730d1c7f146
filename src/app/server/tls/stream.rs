//! The stream of a connection, with TLS or without. With it, whoever reads or writes first makes
//! the handshake.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Extensions;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{Accept, server::TlsStream};
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::{Tls, peer_certificate::PeerCertificate, vouching::told};
use crate::{
    audit::RejectionWord,
    rpc::{HANDSHAKE, LoggedRejection, RejectionLog},
};

/// A connection, with TLS or without.
pub(in crate::app) struct MaybeTlsStream {
    stream: Stream,
    told: Extensions,
    shown: Option<PeerCertificate>,
    refusals: RejectionLog,
}

enum Stream {
    Plain(TcpStream),
    Handshake(Box<Accept<TcpStream>>),
    Open(Box<TlsStream<TcpStream>>),
    Failed,
}

impl MaybeTlsStream {
    /// A connection that was accepted, whose handshake is still to come.
    pub(in crate::app) fn new(io: TcpStream, tls: Option<&Tls>, refusals: RejectionLog) -> Self {
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
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
        let why = tls.map_or_else(|| error.to_string(), told);
        self.refusals.tell(&LoggedRejection {
            why: RejectionWord::Handshake,
            code: None,
            method: HANDSHAKE,
            caller: None,
            peer: info.and_then(TcpConnectInfo::remote_addr),
            reason: RejectionWord::Handshake.word(),
            message: &why,
            proofs: &[],
            request_id: None,
            asked: None,
        });
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the TLS handshake failed")
}

impl AsyncRead for MaybeTlsStream {
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

impl AsyncWrite for MaybeTlsStream {
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

impl Connected for MaybeTlsStream {
    type ConnectInfo = Extensions;

    fn connect_info(&self) -> Extensions {
        self.told.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_goes_away_in_the_handshake_is_no_refusal_and_who_speaks_wrongly_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let io = TcpStream::connect(listener.local_addr().unwrap());
        let told = Arc::new(AtomicUsize::new(0));
        let refusals = RejectionLog::new({
            let told = Arc::clone(&told);
            move |_| {
                told.fetch_add(1, Ordering::SeqCst);
            }
        });
        let secured = MaybeTlsStream::new(io.await.unwrap(), None, refusals);
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
