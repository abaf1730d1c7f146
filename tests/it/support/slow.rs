//! Handmade calls on h2, below any client: with bodies that a test sends when it wants, and without
//! a client's own timers.

use tokio::net::TcpStream;
use tonic::Status;

use super::{Gateway, in_time};
use crate::edge::frames::CANCEL;

/// A call whose body comes piece by piece.
pub(crate) struct Slow {
    pub(crate) body: h2::SendStream<bytes::Bytes>,
    response: h2::client::ResponseFuture,
    _connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Slow {
    /// A call that has sent its headers.
    pub(crate) async fn open(gateway: &Gateway, timeout: Option<&str>) -> Self {
        let headers = timeout.map(|timeout| ("grpc-timeout", timeout));
        Self::open_at(gateway, CANCEL, headers.as_slice()).await
    }

    /// The same, of any RPC, with any headers.
    pub(crate) async fn open_at(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Self {
        let url = gateway.url();
        let tcp = TcpStream::connect(url.strip_prefix("http://").unwrap());
        let (send, connection) = h2::client::handshake(tcp.await.unwrap()).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut head = http::Request::post(format!("{url}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            head = head.header(*name, *value);
        }
        let mut send = send.ready().await.unwrap();
        let (response, body) = send.send_request(head.body(()).unwrap(), false).unwrap();
        Self {
            body,
            response,
            _connection: connection,
        }
    }

    /// The response's status, which came without any message.
    pub(crate) async fn status(self) -> Status {
        let response = in_time(self.response).await.unwrap();
        Status::from_header_map(response.headers()).unwrap()
    }
}
