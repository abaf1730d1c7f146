//! Fetches JWKS, the public keys of token issuers. It is in this folder because egress owns the
//! HTTP client.

use std::time::Duration;

use reqwest::{Certificate, Client, header::AUTHORIZATION};
use secrecy::{ExposeSecret as _, SecretString};

use crate::limits;

/// Where a JWKS is, and how to get it.
#[derive(Debug, Clone)]
pub struct JwksRequest {
    /// Its URL.
    pub url: String,
    /// Authorities for its TLS certificate, in PEM; `None` for the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Bearer token for the request.
    pub token: Option<SecretString>,
}

/// Fetches the JWKS once. Follows no redirect and uses no proxy: a reply from elsewhere could be
/// someone else's keys.
///
/// # Errors
/// Why there is no JWKS.
pub async fn fetch(question: &JwksRequest) -> Result<String, String> {
    let mut client = Client::builder()
        .user_agent(concat!("cancelot/", env!("CARGO_PKG_VERSION")))
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .timeout(Duration::from_millis(limits::JWKS_FETCH_MS_MAX));
    if let Some(pem) = &question.ca_pem {
        client = client.tls_certs_only(read(pem)?);
    }
    let client = client.build().map_err(|error| chain(&error))?;
    let mut request = client.get(&question.url);
    if let Some(token) = &question.token {
        let value = format!("Bearer {}", token.expose_secret());
        let mut value = reqwest::header::HeaderValue::from_str(&value)
            .map_err(|_| "the token holds characters that no HTTP header can carry")?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let mut response = request.send().await.map_err(|error| chain(&error))?;
    if !response.status().is_success() {
        return Err(format!("it answers HTTP {}", response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
        if body.len() + chunk.len() > limits::JWKS_BYTES_MAX {
            return Err(format!(
                "its answer is longer than {} bytes",
                limits::JWKS_BYTES_MAX
            ));
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|_| "its answer is not UTF-8".to_owned())
}

/// Checks that a PEM file has certificates.
///
/// # Errors
/// If it has none.
pub fn authorities(pem: &[u8]) -> Result<(), String> {
    read(pem).map(drop)
}

fn read(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    match Certificate::from_pem_bundle(pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("the authorities' file holds no certificates in PEM".to_owned()),
    }
}

fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
