//! What a failure of the HTTP client says about the request: not sent, or in doubt.

use std::error::Error as _;

use super::{Unanswered, body::Unread};
use crate::{
    domain::exchange::{Fault, FaultKind},
    limits,
};

/// A failure before there is an answer. Only without a connection is it certain that nothing was
/// sent.
pub(super) fn sending(error: &reqwest::Error) -> Unanswered {
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

/// A failure while the body was read.
pub(super) fn reading(status: u16, error: &reqwest::Error) -> Unanswered {
    let message = format!("the answer (HTTP {status}) was cut off: {}", chain(error));
    Unanswered::InDoubt(Fault {
        kind: FaultKind::Broken,
        message,
    })
}

/// A body that arrived and has no text.
pub(super) fn unread(status: u16, unread: Unread) -> Unanswered {
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
    Unanswered::InDoubt(fault)
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
