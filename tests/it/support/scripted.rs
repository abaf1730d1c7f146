//! A provider that answers as a test says, byte for byte, and records its requests.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
};

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: String,
}

impl Asked {
    /// Whether it may have an effect, at a provider whose looks are GETs.
    pub(crate) fn is_effect(&self) -> bool {
        self.method != "GET"
    }
}

/// What the provider does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Answers with this status, media type and body.
    Answer(u16, &'static str, String),
    /// The same, with more header lines, each of which ends its line.
    AnswerWith(u16, &'static str, String, String),
    /// Closes the connection without a word.
    HangUp,
    /// Never answers.
    Silence,
}

/// An answer in JSON.
pub(crate) fn json(status: u16, body: serde_json::Value) -> Act {
    Act::Answer(status, "application/json", body.to_string())
}

/// A page as proxies and web servers make them.
pub(crate) fn page(status: u16, text: &str) -> Act {
    Act::Answer(
        status,
        "text/html",
        format!("<html><body>{text}</body></html>"),
    )
}

type Play = Box<dyn FnMut(&Asked) -> Act + Send>;

/// The provider.
#[derive(Clone)]
pub(crate) struct Scripted {
    url: String,
    play: Arc<Mutex<Play>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    /// Starts one that plays this. It ends with the test's runtime.
    pub(crate) async fn start(play: impl FnMut(&Asked) -> Act + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let scripted = Self {
            url,
            play: Arc::new(Mutex::new(Box::new(play))),
            asked: Arc::default(),
        };
        let served = scripted.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(served.clone().serve(stream));
            }
        });
        scripted
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Plays something else from now on.
    pub(crate) fn play(&self, play: impl FnMut(&Asked) -> Act + Send + 'static) {
        *self.play.lock().unwrap() = Box::new(play);
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many requests with an effect it got.
    pub(crate) fn effects(&self) -> usize {
        self.asked()
            .iter()
            .filter(|asked| asked.is_effect())
            .count()
    }

    async fn serve(self, stream: TcpStream) -> Option<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        loop {
            let mut first = String::new();
            read.read_line(&mut first).await.ok()?;
            let mut words = first.split_whitespace();
            let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
            let mut bytes = 0;
            loop {
                let mut line = String::new();
                read.read_line(&mut line).await.ok()?;
                if line.trim().is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':')?;
                if name.eq_ignore_ascii_case("content-length") {
                    bytes = value.trim().parse().ok()?;
                }
            }
            let mut body = vec![0; bytes];
            read.read_exact(&mut body).await.ok()?;
            let body = String::from_utf8(body).ok()?;
            let asked = Asked { method, path, body };
            self.asked.lock().unwrap().push(asked.clone());
            let act = (self.play.lock().unwrap())(&asked);
            match act {
                Act::HangUp => return None,
                Act::Silence => std::future::pending().await,
                Act::Answer(status, kind, body) => {
                    answer(&mut write, status, kind, &body, "").await?;
                }
                Act::AnswerWith(status, kind, body, more) => {
                    answer(&mut write, status, kind, &body, &more).await?;
                }
            }
        }
    }
}

async fn answer(
    write: &mut OwnedWriteHalf,
    status: u16,
    kind: &str,
    body: &str,
    more: &str,
) -> Option<()> {
    let answer = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n{more}\r\n{body}",
        body.len()
    );
    // In one piece: a second one would wait for the acknowledgement of the first.
    write.write_all(answer.as_bytes()).await.ok()
}
