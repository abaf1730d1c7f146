//! The only place that touches the HTTP client. It never resends, follows no redirect, uses no
//! proxy but a configured one, and reads no more than it has to.

use std::{
    error::Error as _,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use reqwest::{
    Client, Url,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use tower::{Layer, Service};

use super::{
    Options, Unanswered,
    credential::{Credential, Shown},
};
use crate::{
    domain::exchange::{Fault, FaultKind, Method, Request, Response},
    limits,
};

type Answer = Pin<Box<dyn Future<Output = Result<Response, Unanswered>> + Send>>;

/// Turns requests into HTTP.
#[derive(Clone)]
pub(super) struct Http {
    client: Client,
    base_url: Url,
    credential: Credential,
}

impl Http {
    pub(super) fn build(options: &Options, credential: Credential) -> Result<Self, String> {
        let mut client = Client::builder()
            .user_agent(concat!("cancelot/", env!("CARGO_PKG_VERSION")))
            // A client that resends by itself would break the promise about doubt.
            .retry(reqwest::retry::never())
            // A redirect could carry a cancellation, and its credential, anywhere.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(options.concurrency_max)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(30));
        if let Some(url) = &options.proxy_url {
            let proxy = reqwest::Proxy::all(url)
                .map_err(|error| format!("proxy {url:?} cannot be used: {error}"))?;
            client = client.proxy(proxy);
        }
        let client = client.build().map_err(|error| error.to_string())?;
        let base_url = Url::parse(&options.account.base_url).map_err(|error| {
            format!(
                "base URL {:?} cannot be used: {error}",
                options.account.base_url
            )
        })?;
        Ok(Self {
            client,
            base_url,
            credential,
        })
    }

    fn request(&self, request: Request, shown: &Shown) -> Result<reqwest::Request, String> {
        let mut url = self.base_url.clone();
        let base = url.path().trim_end_matches('/');
        let path = format!("{base}{}", request.path.as_str());
        url.set_path(&path);
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(request.query);
        }
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        let bodiless = matches!(request.method, Method::Get | Method::Delete);
        let mut out = reqwest::Request::new(method, url);
        let headers: &mut HeaderMap = out.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in request.headers {
            let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let (name, value) = self.credential.header(shown);
        headers.insert(name, value);
        match request.body {
            Some(body) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
                *out.body_mut() = Some(body.text.into());
            }
            None if !bodiless => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
            None => {}
        }
        Ok(out)
    }

    async fn send(self, request: Request) -> Result<Response, Unanswered> {
        let shown = self.credential.shown();
        let request = self.request(request, &shown).map_err(|message| {
            Unanswered::NotSent(Fault {
                kind: FaultKind::Connect,
                message,
            })
        })?;
        let mut response = self
            .client
            .execute(request)
            .await
            .map_err(|error| sending(&error))?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .filter_map(|(name, value)| {
                let value = shown.scrub.clean(value.to_str().ok()?.to_owned());
                Some((name.as_str().to_owned(), value))
            })
            .collect();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) if body.len() + chunk.len() <= limits::REPLY_BYTES_MAX => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => {
                    let message = format!(
                        "the answer (HTTP {status}) is longer than {} bytes",
                        limits::REPLY_BYTES_MAX
                    );
                    return Err(Unanswered::InDoubt(Fault {
                        kind: FaultKind::TooLong,
                        message,
                    }));
                }
                Err(error) => {
                    let message =
                        format!("the answer (HTTP {status}) was cut off: {}", chain(&error));
                    return Err(Unanswered::InDoubt(Fault {
                        kind: FaultKind::Broken,
                        message,
                    }));
                }
            }
        }
        Ok(Response::new(
            status,
            headers,
            shown.scrub.clean(text(body)),
        ))
    }
}

/// A body as text; what is no UTF-8 is replaced.
fn text(body: Vec<u8>) -> String {
    String::from_utf8(body)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Only a failure to connect is certain to have sent nothing.
fn sending(error: &reqwest::Error) -> Unanswered {
    let message = chain(error);
    if error.is_connect() || error.is_builder() {
        return Unanswered::NotSent(Fault {
            kind: FaultKind::Connect,
            message,
        });
    }
    let kind = if error.is_timeout() {
        FaultKind::Timeout
    } else {
        FaultKind::Broken
    };
    Unanswered::InDoubt(Fault { kind, message })
}

/// An error and its causes, without the URL: ids in it may be personal.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "cannot connect".to_owned()
    } else if error.is_timeout() {
        "timed out".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl Service<Request> for Http {
    type Response = Response;
    type Error = Unanswered;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unanswered>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Answer {
        Box::pin(self.clone().send(request))
    }
}

/// Cuts an exchange off after its time.
#[derive(Debug, Clone)]
pub(super) struct DeadlineLayer {
    timeout: Duration,
}

impl DeadlineLayer {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline {
            inner,
            timeout: self.timeout,
        }
    }
}

/// See [`DeadlineLayer`].
#[derive(Debug, Clone)]
pub(super) struct Deadline<S> {
    inner: S,
    timeout: Duration,
}

impl<S> Service<Request> for Deadline<S>
where
    S: Service<Request, Response = Response, Error = Unanswered>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Unanswered;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unanswered>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Answer {
        let timeout = self.timeout;
        let answer = self.inner.call(request);
        Box::pin(async move {
            tokio::time::timeout(timeout, answer)
                .await
                .unwrap_or_else(|_| {
                    let message = format!("no whole answer within {} ms", timeout.as_millis());
                    Err(Unanswered::InDoubt(Fault {
                        kind: FaultKind::Timeout,
                        message,
                    }))
                })
        })
    }
}
