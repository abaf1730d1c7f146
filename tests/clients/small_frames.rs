//! A client that does not read for a while, on one version of h2. Versions 0.4.16 to 0.4.18 end a
//! connection with GOAWAY, and with it every call, when some hundred tiny DATA frames wait to be
//! read.
//!
//! `small-frames hazard` shows that on a server that sends each tiny result in its own frame, and
//! prints `fatal` or `harmless`. `small-frames URL` asks a served sandbox for 10,000 cancellations,
//! reads nothing until all have settled, and then has to get them all.

use std::{error::Error, process::ExitCode};

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{RecvStream, client::SendRequest};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

type Failure = Box<dyn Error + Send + Sync>;

const ITEMS: usize = 10_000;
const PATH: &str = "/cancelot.v1.CancellationService/CancelSubscription";
/// hyper's windows for clients, and so those of tonic.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 5 * 1024 * 1024;
/// Fails rather than hangs.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let work = async {
        match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["hazard"] => hazard().await,
            [url] => ten_thousand(url).await,
            _ => Err("give `hazard`, or the URL of a served sandbox".into()),
        }
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(said)) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Ok(Err(failure)) => {
            eprintln!("small-frames: {failure}");
            ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!("small-frames: not finished within {PATIENCE:?}");
            ExitCode::FAILURE
        }
    }
}

/// A connection, and its end.
struct Client {
    send: SendRequest<Bytes>,
    pings: h2::PingPong,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(addr: &str) -> Result<Self, Failure> {
        let tcp = TcpStream::connect(addr).await?;
        let handshake = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(tcp);
        let (send, mut connection) = handshake.await?;
        let pings = connection.ping_pong().ok_or("no pings")?;
        Ok(Self {
            send,
            pings,
            connection: tokio::spawn(connection),
        })
    }

    async fn call(&mut self, body: Bytes) -> Result<RecvStream, Failure> {
        let head = http::Request::post(format!("http://cancelot{PATH}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let mut send = self.send.clone().ready().await?;
        let (response, mut stream) = send.send_request(head.body(())?, false)?;
        stream.send_data(body, true)?;
        let response = response.await?;
        if let Some(status) = response.headers().get("grpc-status") {
            return Err(format!("refused: {status:?} {:?}", response.headers()).into());
        }
        Ok(response.into_body())
    }

    /// Waits until all that the server has sent before has come in.
    async fn caught_up(&mut self) -> Result<(), h2::Error> {
        self.pings.ping(h2::Ping::opaque()).await.map(drop)
    }
}

/// Reads a stream to its end: its bytes and its frames.
async fn read(mut stream: RecvStream) -> Result<(BytesMut, usize), Failure> {
    let (mut all, mut frames) = (BytesMut::new(), 0);
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        all.put(chunk);
        frames += 1;
    }
    match stream.trailers().await? {
        Some(trailers) if trailers.get("grpc-status").is_some_and(|s| s != "0") => {
            Err(format!("it ended with {trailers:?}").into())
        }
        _ => Ok((all, frames)),
    }
}

async fn ten_thousand(url: &str) -> Result<String, Failure> {
    let addr = url.strip_prefix("http://").unwrap_or(url);
    let key = format!("small-frames-{}", std::process::id());
    let body = request(&key);
    let mut sleeper = Client::connect(addr).await?;
    let unread = sleeper.call(body.clone()).await?;
    // Everything has settled once another client has read all results.
    let mut other = Client::connect(addr).await?;
    read(other.call(body).await?).await?;
    sleeper
        .caught_up()
        .await
        .map_err(|error| format!("the connection ended while nobody read: {error}"))?;
    let (bytes, frames) = read(unread).await?;
    let results = results(&bytes)?;
    if results != ITEMS {
        return Err(format!("{results} of {ITEMS} results").into());
    }
    Ok(format!("{results} results in {frames} frames, no GOAWAY"))
}

async fn hazard() -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await?;
        let mut connection = h2::server::handshake(tcp).await?;
        while let Some(call) = connection.accept().await {
            let (_, mut respond) = call?;
            let mut stream = respond.send_response(http::Response::new(()), false)?;
            for _ in 0..ITEMS {
                stream.send_data(Bytes::from_static(&[0; 32]), false)?;
            }
            stream.send_data(Bytes::new(), true)?;
        }
        Ok::<_, Failure>(())
    });
    let mut sleeper = Client::connect(&addr.to_string()).await?;
    let unread = sleeper.call(Bytes::new()).await?;
    let caught_up = sleeper.caught_up().await;
    let outcome = match caught_up {
        Ok(()) => read(unread).await.map(drop),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => Ok("harmless".to_owned()),
        Err(error) => {
            let ended = sleeper.connection.await?;
            Ok(format!("fatal: {error}; the connection ended with {ended:?}"))
        }
    }
}

/// A CancelSubscriptionRequest in protobuf, by hand: the crate has to stay without the service's
/// own lock file.
fn request(key: &str) -> Bytes {
    let mut message = BytesMut::new();
    text(&mut message, 1, key.as_bytes());
    for item in 0..ITEMS {
        let mut one = BytesMut::new();
        text(&mut one, 1, b"solidgate");
        text(&mut one, 2, format!("{key}-{item}").as_bytes());
        // when.now
        text(&mut one, 4, &[0x0a, 0]);
        text(&mut message, 2, &one);
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    framed.freeze()
}

fn text(to: &mut BytesMut, field: u8, content: &[u8]) {
    to.put_u8(field << 3 | 2);
    let mut length = content.len();
    while length >= 0x80 {
        to.put_u8(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    to.put_u8(u8::try_from(length).unwrap_or_default());
    to.put_slice(content);
}

/// How many results are in these messages.
fn results(mut bytes: &[u8]) -> Result<usize, Failure> {
    let mut count = 0;
    while !bytes.is_empty() {
        let length = bytes.get(1..5).ok_or("a torn prefix")?;
        let length = usize::try_from(u32::from_be_bytes(length.try_into()?))?;
        let mut message = bytes.get(5..5 + length).ok_or("a torn message")?;
        bytes = &bytes[5 + length..];
        while let [key, rest @ ..] = message {
            let (mut length, mut shift, mut at) = (0_usize, 0, 0);
            loop {
                let byte = *rest.get(at).ok_or("a torn field")?;
                length |= usize::from(byte & 0x7f) << shift;
                (at, shift) = (at + 1, shift + 7);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            // Both fields, progress and results, have a length.
            count += usize::from(*key == 2 << 3 | 2);
            message = rest.get(at + length..).ok_or("a torn field")?;
        }
    }
    Ok(count)
}
