//! One request over reqwest; no other file sends to providers. It never resends, follows no
//! redirect, uses only the configured proxy, and reads a bounded reply.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use reqwest::{
    Certificate, Client, Url,
    header::{
        ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
        HeaderMap, HeaderName, HeaderValue,
    },
};
use tower::{Layer, Service};

use super::{
    EgressOptions, SendError, client_options,
    credential::{Credential, Presented},
    reply_body::{self, Unread},
    send_error,
};
use crate::{
    domain::http_exchange::{Fault, FaultKind, HttpMethod, Request, Response, Safety},
    limits,
};

type Answer = Pin<Box<dyn Future<Output = Result<Response, SendError>> + Send>>;

/// Sends requests over HTTP.
#[derive(Clone)]
pub(super) struct Http {
    client: Client,
    base_url: Url,
    credential: Credential,
}

impl Http {
    pub(super) fn build(
        options: &EgressOptions,
        credential: Credential,
        trusted: &[Certificate],
    ) -> Result<Self, String> {
        let client = client_options::build(options, trusted)?;
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

    fn request(&self, request: Request, shown: &Presented) -> Result<reqwest::Request, String> {
        // The item has been rejected before. This check is the last line of defence: the credential
        // must not go to another path.
        if !request.path.stays() {
            return Err("its path would not stay the same on the way".to_owned());
        }
        let mut url = self.base_url.clone();
        let base = url.path().trim_end_matches('/');
        let path = format!("{base}{}", request.path.as_str());
        url.set_path(&path);
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(request.query);
        }
        let method = match request.method {
            HttpMethod::Get => reqwest::Method::GET,
            HttpMethod::Post => reqwest::Method::POST,
            HttpMethod::Put => reqwest::Method::PUT,
            HttpMethod::Patch => reqwest::Method::PATCH,
            HttpMethod::Delete => reqwest::Method::DELETE,
        };
        let bodiless = matches!(request.method, HttpMethod::Get | HttpMethod::Delete);
        let mut out = reqwest::Request::new(method, url);
        let headers: &mut HeaderMap = out.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // Compressed replies are read too; asking for none keeps them rare.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if request.safety == Safety::Look {
            // A cached reply from before the cancellation would not resolve a doubt.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
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

    async fn send(self, request: Request) -> Result<Response, SendError> {
        let shown = self.credential.shown();
        let sent = self.exchange(request, &shown).await;
        // What a provider says when it closes a connection stands in the error.
        sent.map_err(|error| error.map_message(|text| shown.scrub.clean(text)))
    }

    async fn exchange(self, request: Request, shown: &Presented) -> Result<Response, SendError> {
        let request = self.request(request, shown).map_err(|message| {
            SendError::NotSent(Fault {
                kind: FaultKind::Connect,
                message,
            })
        })?;
        let mut response = self
            .client
            .execute(request)
            .await
            .map_err(|error| send_error::sending(&error))?;
        let status = response.status().as_u16();
        let headers: Vec<_> = response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), shown.scrub.clean(value))
            })
            .collect();
        let body = whole(&mut response).await?;
        let encodings = headers
            .iter()
            .filter(|(name, _)| name == CONTENT_ENCODING.as_str())
            .map(|(_, value)| value.as_str());
        let text =
            reply_body::text(encodings, body).map_err(|why| send_error::unread(status, why))?;
        // After decompression, since the decompressed text is what is stored.
        Ok(Response::new(status, headers, shown.scrub.clean(text)))
    }
}

/// The bytes of a body, up to `REPLY_BYTES_MAX`.
async fn whole(response: &mut reqwest::Response) -> Result<Vec<u8>, SendError> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body),
            Ok(Some(chunk)) if body.len() + chunk.len() <= limits::REPLY_BYTES_MAX => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => return Err(send_error::unread(status, Unread::TooLong)),
            Err(error) => return Err(send_error::reading(status, &error)),
        }
    }
}

impl Service<Request> for Http {
    type Response = Response;
    type Error = SendError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Answer {
        Box::pin(self.clone().send(request))
    }
}

/// Ends an exchange at its timeout.
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
    S: Service<Request, Response = Response, Error = SendError>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = SendError;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
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
                    Err(SendError::InDoubt(Fault {
                        kind: FaultKind::Timeout,
                        message,
                    }))
                })
        })
    }
}
