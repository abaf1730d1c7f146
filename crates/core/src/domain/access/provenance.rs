//! Where a request came from, and which credentials it had.

// An address is a plain value; `core` has no sockets.
use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The recorded origin of a request. Without secrets: credentials are recorded by fingerprint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The peer address of the call.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// The credentials of the call, a kind and a fingerprint each, such as `token:3b7d77f1`.
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<String>,
    /// The request's id, as in the log.
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
