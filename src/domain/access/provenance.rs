//! From where, and by what proof, a request came.

// An address is a value: there are no sockets in `core`.
use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What is known of how a request came, as far as it is recorded. It holds no secret: proofs are
/// told by their fingerprints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The address that the call came from.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// What was shown of who calls, a kind with a fingerprint each, such as `token:3b7d77f1`.
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<String>,
    /// The request's id, as in the log.
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
