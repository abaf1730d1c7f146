//! Handmade HTTP/2 frames that no client would send.

use prost::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// What every HTTP/2 connection begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The path of the RPC that most tests call.
pub(crate) const CANCEL: &str = "/cancelot.v1.CancellationService/CancelSubscription";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// SETTINGS_INITIAL_WINDOW_SIZE.
pub(crate) const INITIAL_WINDOW: u16 = 4;

/// A frame.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// The headers of a gRPC call, none of them compressed.
pub(crate) fn headers(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "cancelot"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields
        .into_iter()
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

/// One header, neither compressed nor remembered.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        assert!(text.len() < 127, "needs a longer length");
        [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    };
    [vec![0], text(name), text(value)].concat()
}

/// A message as gRPC has it in a body.
pub(crate) fn grpc(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &bytes].concat()
}

/// One end of a connection.
pub(crate) struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// A connection that has sent this, and nothing more.
    pub(crate) async fn silent(url: &str, sent: &[u8]) -> Self {
        let addr = url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(addr).await.unwrap();
        // It may have been closed by now, which is for the test to find out.
        let _ = stream.write_all(sent).await;
        Self { stream }
    }

    /// A connection with its handshake done, and these settings.
    pub(crate) async fn connect(url: &str, settings: &[(u16, u32)]) -> Self {
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let sent = [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat();
        Self::silent(url, &sent).await
    }

    /// Sends bytes as they are; `false` if the other end does not take them any more.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Calls an RPC with a whole body.
    pub(crate) async fn call(&mut self, stream: u32, path: &str, body: &[u8]) -> bool {
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &headers(path));
        let mut chunks = body.chunks(16 * 1024).peekable();
        while let Some(chunk) = chunks.next() {
            let flags = if chunks.peek().is_none() {
                END_STREAM
            } else {
                0
            };
            bytes.extend(frame(DATA, flags, stream, chunk));
        }
        self.send(&bytes).await
    }

    /// The next frame; `None` if the other end has closed.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
            payload,
        })
    }

    /// Waits for a frame of this kind; `None` if the other end closes before.
    pub(crate) async fn until(&mut self, kind: u8, flags: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind && frame.flags & flags == flags {
                return Some(frame);
            }
        }
    }

    /// Reads until the other end has closed.
    pub(crate) async fn closed(mut self) {
        while self.next().await.is_some() {}
    }

    /// The port at this end.
    pub(crate) fn local_port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }

    /// Whether the other end is there, and has read everything up to now.
    pub(crate) async fn answers(&mut self) -> bool {
        self.send(&frame(PING, 0, 0, b"sentinel")).await && self.until(PING, ACK).await.is_some()
    }

    /// The two directions, to write while reading.
    pub(crate) fn into_split(
        self,
    ) -> (
        tokio::net::tcp::OwnedReadHalf,
        tokio::net::tcp::OwnedWriteHalf,
    ) {
        self.stream.into_split()
    }
}
