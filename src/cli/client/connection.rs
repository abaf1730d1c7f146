//! Connection options of a client: endpoint, trust and credentials.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::Uri;
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::Interceptor,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::{
    endpoint,
    reach::{self, Problem},
};
use crate::{
    cli::terminal::times,
    config::{SECRET_FILE_BYTES_MAX, read_text},
    limits,
};

/// Default endpoint.
const ENDPOINT: &str = "http://127.0.0.1:50051";
/// Default connect timeout.
#[cfg(feature = "sandbox")]
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum connect timeout.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Where the service is, and what to show it.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Service {
    /// Where the service is: host:port, or https://host:port for TLS.
    #[arg(long, env = "CANCELOT_ENDPOINT", default_value = ENDPOINT)]
    endpoint: String,
    /// Give up after so many seconds if the service does not answer at all.
    #[arg(
        long,
        env = "CANCELOT_CONNECT_TIMEOUT",
        value_name = "SECONDS",
        default_value = "5",
        value_parser = connect_timeout
    )]
    connect_timeout: Duration,
    /// The caller's token. Better given in the environment: arguments are seen by everyone.
    #[arg(
        long,
        env = "CANCELOT_TOKEN",
        hide_env_values = true,
        conflicts_with = "token_file"
    )]
    token: Option<String>,
    /// A file with the caller's token, read anew for each request, such as the one that Kubernetes
    /// puts into a pod.
    #[arg(long, env = "CANCELOT_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Show the token also where it travels in the clear: to an http:// endpoint that is not this
    /// machine. Everybody on the way can then read it, and call with it.
    #[arg(long, env = "CANCELOT_ALLOW_PLAINTEXT_TOKEN")]
    allow_plaintext_token: bool,
    /// The authorities (PEM) that vouch for the service, instead of the system's.
    #[arg(long, env = "CANCELOT_TLS_CA_FILE", value_name = "FILE")]
    tls_ca_file: Option<PathBuf>,
    /// The caller's certificate (PEM), followed by those between it and its authority.
    #[arg(
        long,
        env = "CANCELOT_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "tls_key_file"
    )]
    tls_cert_file: Option<PathBuf>,
    /// The private key (PEM) of that certificate.
    #[arg(
        long,
        env = "CANCELOT_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "tls_cert_file"
    )]
    tls_key_file: Option<PathBuf>,
    /// The name that the service's certificate has to have, if it is not the endpoint's host.
    #[arg(long, env = "CANCELOT_TLS_SERVER_NAME", value_name = "NAME")]
    tls_server_name: Option<String>,
}

/// Adds the token to every call.
#[derive(Clone)]
pub(in crate::cli) enum Credentials {
    /// None.
    None,
    /// A fixed token.
    Token(AsciiMetadataValue),
    /// The content of a file at the time of the call.
    File(PathBuf),
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let token = match self {
            Self::None => return Ok(request),
            Self::Token(token) => token.clone(),
            Self::File(file) => token_in(file).map_err(Status::unauthenticated)?,
        };
        request.metadata_mut().insert("authorization", token);
        Ok(request)
    }
}

impl Service {
    /// A service without authentication.
    #[cfg(feature = "sandbox")]
    pub(in crate::cli) fn at(endpoint: String) -> Self {
        Self {
            endpoint,
            connect_timeout: CONNECT_TIMEOUT,
            token: None,
            token_file: None,
            allow_plaintext_token: false,
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            tls_server_name: None,
        }
    }

    /// The credentials for each call.
    pub(in crate::cli) fn credentials(&self) -> Result<Credentials, String> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => header(token).map(Credentials::Token),
            (None, Some(file)) => {
                // Checked now, to report mistakes in it before anything is sent.
                token_in(file)?;
                Ok(Credentials::File(file.clone()))
            }
            (None, None) => Ok(Credentials::None),
        }
    }

    /// A channel to a service that answers.
    ///
    /// # Errors
    /// What is wrong with the options, or why there is no answer.
    pub(in crate::cli) async fn channel(&self) -> Result<Channel, Problem> {
        let endpoint = self.endpoint().map_err(Problem::Usage)?;
        reach::reach(&endpoint, self.connect_timeout).await
    }

    fn endpoint(&self) -> Result<Endpoint, String> {
        let for_tls = self.tls_ca_file.is_some() || self.tls_cert_file.is_some();
        let url = endpoint::url(&self.endpoint, for_tls)?;
        let mut endpoint = Endpoint::from_shared(url.clone())
            .map_err(|error| format!("endpoint {url:?} is no URL: {error}"))?
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(Duration::from_secs(60))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(false)
            .tcp_nodelay(true);
        if endpoint.uri().scheme_str() == Some("https") {
            endpoint = endpoint
                .tls_config(self.tls()?)
                .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        } else if for_tls {
            return Err(format!(
                "endpoint {url:?} does not speak TLS, which the certificates given are for; begin \
                 it with https://"
            ));
        } else {
            self.check_plaintext_token(endpoint.uri())?;
        }
        Ok(endpoint)
    }

    /// Rejects a token that would cross a network in clear text.
    fn check_plaintext_token(&self, uri: &Uri) -> Result<(), String> {
        let has_token = self.token.is_some() || self.token_file.is_some();
        let host = uri.host().unwrap_or_default();
        if !has_token || self.allow_plaintext_token || endpoint::is_loopback(host) {
            return Ok(());
        }
        Err(format!(
            "endpoint {:?} is not this machine and does not speak TLS, so everybody on the way could \
             read the token; begin it with https://, or give --allow-plaintext-token if the network \
             in between is trusted",
            self.endpoint
        ))
    }

    /// The flags by which another command reaches the same service, each after a blank. Never the
    /// token.
    pub(in crate::cli) fn flags(&self) -> String {
        let mut flags = String::new();
        if self.endpoint != ENDPOINT {
            flags.push_str(&format!(" --endpoint {}", quoted(&self.endpoint)));
        }
        for (flag, file) in [
            ("--token-file", &self.token_file),
            ("--tls-ca-file", &self.tls_ca_file),
            ("--tls-cert-file", &self.tls_cert_file),
            ("--tls-key-file", &self.tls_key_file),
        ] {
            if let Some(file) = file {
                flags.push_str(&format!(" {flag} {}", quoted(&file.display().to_string())));
            }
        }
        if self.allow_plaintext_token {
            flags.push_str(" --allow-plaintext-token");
        }
        if let Some(name) = &self.tls_server_name {
            flags.push_str(&format!(" --tls-server-name {}", quoted(name)));
        }
        flags
    }

    fn tls(&self) -> Result<ClientTlsConfig, String> {
        let mut tls = match &self.tls_ca_file {
            Some(file) => {
                let pem = pem(file, "--tls-ca-file", "CERTIFICATE")?;
                ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
            }
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let (Some(cert), Some(key)) = (&self.tls_cert_file, &self.tls_key_file) {
            let cert = pem(cert, "--tls-cert-file", "CERTIFICATE")?;
            let key = pem(key, "--tls-key-file", "PRIVATE KEY")?;
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        if let Some(name) = &self.tls_server_name {
            tls = tls.domain_name(name);
        }
        Ok(tls)
    }
}

/// Parses a connect timeout.
fn connect_timeout(text: &str) -> Result<Duration, String> {
    let time = times::length(text)?;
    if time.is_zero() || time > CONNECT_TIMEOUT_MAX {
        let most = CONNECT_TIMEOUT_MAX.as_secs();
        return Err(format!(
            "write a time above 0 and up to {most} s, such as 5"
        ));
    }
    Ok(time)
}

/// A word quoted for a shell.
pub(in crate::cli) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,[]".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Reads a PEM file that has at least one of the expected entries.
fn pem(file: &Path, option: &str, what: &str) -> Result<String, String> {
    let max = u64::try_from(limits::PEM_BYTES_MAX).unwrap_or(u64::MAX);
    let shown = file.display();
    let text = read_text(file, max);
    let text = text.map_err(|why| format!("{option}: {shown} cannot be read ({why})"))?;
    if text.contains(&format!("{what}-----")) {
        Ok(text)
    } else {
        Err(format!("{option}: {shown} holds no {what} in PEM"))
    }
}

fn token_in(file: &Path) -> Result<AsciiMetadataValue, String> {
    let text = read_text(file, SECRET_FILE_BYTES_MAX);
    let text = text.map_err(|why| format!("the token's file cannot be read: {why}"))?;
    match text.trim() {
        "" => Err("the token's file is empty".to_owned()),
        token => header(token),
    }
}

fn header(token: &str) -> Result<AsciiMetadataValue, String> {
    let mut value = AsciiMetadataValue::try_from(format!("Bearer {token}"))
        .map_err(|_| "the token holds characters that no header can carry")?;
    value.set_sensitive(true);
    Ok(value)
}
