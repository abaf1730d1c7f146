//! Handmade providers that answer exactly the bytes that a test is about.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};

/// A provider over HTTP/1.1 that gives one reply after the other, each on the connection of its
/// request, and keeps connections open. The receiver gets what it was sent.
pub(super) async fn answering(answers: Vec<Vec<u8>>) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (heard, hearing) = mpsc::channel(16);
    tokio::spawn(async move {
        let answers = Arc::new(std::sync::Mutex::new(answers.into_iter()));
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (answers, heard) = (Arc::clone(&answers), heard.clone());
            tokio::spawn(async move {
                while let Some(request) = head(&mut stream).await {
                    // The test may have ended.
                    let _ = heard.send(request).await;
                    let Some(answer) = answers.lock().unwrap().next() else {
                        return;
                    };
                    let _ = stream.write_all(&answer).await;
                }
            });
        }
    });
    (addr, hearing)
}

/// Reads a request without a body; `None` at the end of the connection.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// A local TLS listener that speaks HTTP/2.
pub(super) struct Http2 {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    /// The authority to trust.
    pub(super) authority: reqwest::Certificate,
}

impl Http2 {
    pub(super) async fn listen() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::from(key))
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority: reqwest::Certificate::from_der(made.cert.der()).unwrap(),
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> TlsStream<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        self.acceptor.accept(stream).await.unwrap()
    }
}

/// A connection that is served correctly.
pub(super) type Served = h2::server::Connection<TlsStream<TcpStream>, bytes::Bytes>;

/// Answers the next request of a connection with `{}`.
pub(super) async fn answer(connection: &mut Served) {
    let (_, mut respond) = connection.accept().await.unwrap().unwrap();
    let head = http::Response::new(());
    let mut body = respond.send_response(head, false).unwrap();
    body.send_data(bytes::Bytes::from_static(b"{}"), true)
        .unwrap();
}
