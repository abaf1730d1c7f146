//! A client that sends exactly the given bytes, and returns exactly what comes back.

use std::io;

use cancelot_sandbox::{Control, Options, Provider, Sandbox, Variants};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A reply, read until the connection closed.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Checks the status and returns the body.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Self {
            status: status.parse().unwrap(),
            headers,
            body: body.to_owned(),
        })
    }
}

/// A sandbox and one account at one of its providers.
pub(crate) struct Client {
    pub(crate) sandbox: Sandbox,
    pub(crate) provider: Provider,
    credential: (&'static str, String),
    content_type: &'static str,
}

/// A client of a fresh sandbox with a good credential.
pub(crate) fn at(provider: Provider) -> Client {
    reading(provider, Variants::default())
}

/// The same where the provider reads open questions in a given way.
pub(crate) fn reading(provider: Provider, variants: Variants) -> Client {
    let options = Options {
        variants,
        ..Options::default()
    };
    let credential = match provider {
        Provider::Rebilly => ("REB-APIKEY", "sk_sandbox_1".to_owned()),
        Provider::Solidgate => ("Authorization", "Bearer asec_1".to_owned()),
        Provider::FunnelFox => ("Fox-Secret", "secret_1".to_owned()),
        Provider::Revolv3 => ("x-revolv3-token", "token-1".to_owned()),
        Provider::Sequenzy => ("Authorization", "Bearer seq_live_1".to_owned()),
    };
    let sandbox = Sandbox::start(options).unwrap();
    Client {
        sandbox,
        provider,
        credential,
        content_type: "application/json",
    }
}

impl Client {
    pub(crate) fn with(mut self, header: &'static str, credential: &str) -> Self {
        self.credential = (header, credential.to_owned());
        self
    }

    pub(crate) fn of_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    pub(crate) fn control(&self) -> Control {
        self.sandbox.control()
    }

    pub(crate) fn effects(&self) -> u64 {
        self.control().counts(self.provider).tally.effects
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, body).await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: &str) -> Answer {
        self.send("PUT", path, body).await.unwrap()
    }

    pub(crate) async fn patch(&self, path: &str, body: &str) -> Answer {
        self.send("PATCH", path, body).await.unwrap()
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        self.send_with(method, path, &[], body).await
    }

    /// Sends below the provider's base path, with more headers.
    pub(crate) async fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Answer> {
        let (name, value) = &self.credential;
        let mut all = vec![(*name, value.as_str())];
        if !self.content_type.is_empty() {
            all.push(("Content-Type", self.content_type));
        }
        all.extend(headers);
        let path = format!("{}{path}", self.provider.base_path());
        self.raw(method, &path, &all, body).await
    }

    /// Sends exactly this.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: sandbox\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!(
            "Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.sandbox.addr()).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        Answer::parse(&bytes)
    }
}
