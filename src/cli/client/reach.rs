//! Checks at once whether a service can be reached, and explains why not and what to do.

use std::{error::Error, fmt, io, time::Duration};

use tokio::time::timeout;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::cli::{Exit, terminal::say};

/// The explanation of a connection that was closed without a reason.
const CLOSED: &str = "it closed the connection; check that https:// or http:// is right, and give \
                      --tls-cert-file and --tls-key-file if it asks for a certificate";

/// The explanation of a TLS alert about a certificate.
const FORBIDDEN: &str = "it does not take the caller's certificate, or that there is none";

/// Why a command could not talk to a service.
#[derive(Debug)]
pub(in crate::cli) enum Problem {
    /// The options are wrong.
    Usage(String),
    /// The service is unreachable.
    Away(String),
    /// The service does not accept this caller.
    Forbidden(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(what) | Self::Away(what) | Self::Forbidden(what)) = self;
        f.write_str(what)
    }
}

impl Problem {
    /// Prints the problem; returns the exit code.
    pub(in crate::cli) fn tell(&self) -> Exit {
        say(format!("cancelot: {self}"));
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Away(_) => Exit::Unavailable,
            Self::Forbidden(_) => Exit::Forbidden,
        }
    }
}

/// Connects and asks for the service's health, which any gRPC server answers somehow: this also
/// detects one that accepts connections and stays silent.
pub(in crate::cli) async fn reach(
    endpoint: &Endpoint,
    patience: Duration,
) -> Result<Channel, Problem> {
    let asked = timeout(patience, async {
        let channel = endpoint.connect().await.map_err(|error| cause(&error))?;
        let request = Request::new(HealthCheckRequest::default());
        match HealthClient::new(channel.clone()).check(request).await {
            Err(status) if is_lost(&status) => Err(with_remedy(&status)),
            _ => Ok(channel),
        }
    });
    let cause = match asked.await {
        Ok(Ok(channel)) => return Ok(channel),
        Ok(Err(cause)) => cause,
        Err(_) => format!(
            "it does not answer within {} s; check the host, the port and what is between, or give \
             a longer --connect-timeout",
            patience.as_secs_f64()
        ),
    };
    let shown = endpoint.uri().to_string();
    let shown = shown.trim_end_matches('/');
    if cause.contains(FORBIDDEN) {
        return Err(Problem::Forbidden(format!("{shown}: {cause}")));
    }
    Err(Problem::Away(format!("{shown} cannot be reached: {cause}")))
}

/// Whether a status is tonic's own for a connection that broke or never existed.
pub(in crate::cli) fn is_lost(status: &Status) -> bool {
    status.source().is_some()
}

/// Why the connection was lost, without the remedy for one that never worked.
pub(in crate::cli) fn lost_by(status: &Status) -> String {
    let told = with_remedy(status);
    let cause = told.split("; ").next().unwrap_or_default();
    cause.to_owned()
}

fn with_remedy(status: &Status) -> String {
    status
        .source()
        .map_or_else(|| status.message().to_owned(), cause)
}

/// The cause of an error, with a remedy if there is one.
fn cause(error: &(dyn Error + 'static)) -> String {
    let chain: Vec<&(dyn Error + 'static)> =
        std::iter::successors(Some(error), |error| (*error).source()).collect();
    let texts: Vec<String> = chain.iter().map(|error| error.to_string()).collect();
    let whole = texts.join(": ");
    let has = |words: &[&str]| words.iter().any(|word| whole.contains(word));
    let kind = chain
        .iter()
        .rev()
        .find_map(|error| error.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    let told = match kind {
        _ if has(&["lookup address", "dns error"]) => {
            "its name cannot be resolved; check the host of --endpoint"
        }
        _ if has(&["UnknownIssuer", "unknown issuer"]) => {
            "nothing known vouches for its certificate; give its authority as --tls-ca-file"
        }
        _ if has(&["NotValidForName", "not valid for name"]) => {
            "its certificate is for another name; give that as --tls-server-name"
        }
        _ if has(&["InvalidContentType", "corrupt message"]) => {
            "it does not speak TLS; begin the endpoint with http://"
        }
        _ if has(&["Expired", "expired"]) => "its certificate has ended; have it renewed",
        _ if has(&[
            "fatal alert: CertificateRequired",
            "fatal alert: BadCertificate",
            "fatal alert: UnknownCA",
            "fatal alert: CertificateUnknown",
            "fatal alert: CertificateExpired",
            "fatal alert: AccessDenied",
        ]) =>
        {
            return format!("{FORBIDDEN}; give a good one as --tls-cert-file and --tls-key-file");
        }
        Some(io::ErrorKind::ConnectionRefused) => {
            "the connection was refused; start the service (cancelot serve), or say where it is \
             with --endpoint"
        }
        Some(io::ErrorKind::TimedOut) => {
            "it does not answer; check the host and the port of --endpoint"
        }
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => {
            "there is no way to it; check the host of --endpoint and the network"
        }
        _ if has(&[
            "frame with invalid size",
            "FRAME_SIZE_ERROR",
            "PROTOCOL_ERROR",
        ]) =>
        {
            "it does not speak gRPC in the clear; begin the endpoint with https:// if it has TLS, \
             and check the port"
        }
        Some(
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof,
        ) => CLOSED,
        // A request that was waiting when the connection ended has no other cause.
        _ if has(&[
            "connection closed",
            "close_notify",
            "operation was canceled",
            "channel closed",
        ]) =>
        {
            CLOSED
        }
        _ => return short(&texts),
    };
    told.to_owned()
}

/// The texts of an error without repetitions.
fn short(texts: &[String]) -> String {
    let mut told: Vec<&str> = Vec::new();
    for text in texts {
        if !told.iter().any(|other| other.contains(text.as_str())) {
            told.push(text);
        }
    }
    told.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ended_before_the_request_went_out_has_a_remedy() {
        for text in [
            "transport error: operation was canceled: connection was not ready",
            "transport error: operation was canceled: connection closed",
            "transport error: channel closed",
            "transport error: peer closed connection without sending TLS close_notify",
        ] {
            assert_eq!(cause(&io::Error::other(text)), CLOSED, "{text}");
        }
    }
}
