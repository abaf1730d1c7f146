//! What a failure of the HTTP client says about the request: not sent, or in doubt.

use std::error::Error as _;

use h2::Reason;

use super::{SendError, reply_body::Unread};
use crate::{
    domain::http_exchange::{Fault, FaultKind},
    limits,
};

/// Classifies a failure before there is a reply. Only two kinds rule out an effect: there was no
/// connection, or the provider says that it did not process the request.
pub(super) fn sending(error: &reqwest::Error) -> SendError {
    let message = chain(error);
    if error.is_connect() || error.is_builder() || is_unprocessed(error) {
        return SendError::NotSent(Fault {
            kind: FaultKind::Connect,
            message,
        });
    }
    let kind = if error.is_timeout() {
        FaultKind::Timeout
    } else {
        FaultKind::Broken
    };
    SendError::InDoubt(Fault { kind, message })
}

/// Whether the provider says that it did not process the request. HTTP/2 has two such signals (RFC
/// 9113, section 8.7): the stream is refused, or GOAWAY names an earlier stream as the last one.
///
/// A GOAWAY counts only with NO_ERROR. The client reports that error for later streams only; a
/// stream that may have been processed ends with a broken connection. Any other code means that the
/// server is in trouble, and then its last stream id cannot be trusted.
fn is_unprocessed(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
            let left_out = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
            return error.is_remote() && (refused || left_out);
        }
        cause = error.source();
    }
    false
}

/// Classifies a failure while the body was read.
pub(super) fn reading(status: u16, error: &reqwest::Error) -> SendError {
    let message = format!("the answer (HTTP {status}) was cut off: {}", chain(error));
    SendError::InDoubt(Fault {
        kind: FaultKind::Broken,
        message,
    })
}

/// Classifies a complete body that cannot be decoded.
pub(super) fn unread(status: u16, unread: Unread) -> SendError {
    let fault = match unread {
        Unread::TooLong => Fault {
            kind: FaultKind::TooLong,
            message: format!(
                "the answer (HTTP {status}) is longer than {} bytes",
                limits::REPLY_BYTES_MAX
            ),
        },
        Unread::Damaged(why) => Fault {
            kind: FaultKind::Broken,
            message: format!("the answer (HTTP {status}) cannot be unpacked: {why}"),
        },
    };
    SendError::InDoubt(fault)
}

/// An error and its causes, without the URL, because ids in it may be personal data.
fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "cannot connect".to_owned()
    } else if error.is_timeout() {
        "timed out".to_owned()
    } else if is_unprocessed(error) {
        "the provider refused it unprocessed".to_owned()
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
