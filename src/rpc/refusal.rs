//! What is told of calls that were refused because of who called, or what for. One place, so that
//! the log, and whoever else has to hear of it, hears of all of them.

use std::{fmt, net::SocketAddr, sync::Arc};

use http::Extensions;
use tonic::transport::server::TcpConnectInfo;

use super::status;
use crate::{
    audit::Why,
    domain::ids::CallerId,
    identity::{Caller, KEYS_UNAVAILABLE},
};

/// A call that was refused because of who called, or what for; or a connection, because of what it
/// showed in its handshake. Nothing was admitted.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// The RPC's published name, `unknown` for one that there is not, or [`HANDSHAKE`].
    pub method: &'static str,
    /// Who called, if that is known.
    pub caller: Option<&'a CallerId>,
    /// Where from, if that is known.
    pub peer: Option<SocketAddr>,
    /// Why: a stable word in `SCREAMING_SNAKE_CASE`, as in the status's ErrorInfo.
    pub reason: &'a str,
    /// The status's message.
    pub message: &'a str,
}

impl Refusal<'_> {
    /// What the audit calls it.
    #[must_use]
    pub fn why(&self) -> Why {
        match self.caller {
            None if self.method == HANDSHAKE => Why::Handshake,
            None if self.reason == KEYS_UNAVAILABLE => Why::KeysUnavailable,
            None => Why::Unauthenticated,
            Some(_) if self.reason == status::HOURLY_ITEMS_EXHAUSTED => Why::OverQuota,
            Some(_) => Why::NotPermitted,
        }
    }
}

/// Stands for a method where a connection did not come about.
pub const HANDSHAKE: &str = "handshake";

/// Told of each refusal, before the caller is. Must not block.
#[derive(Clone)]
pub struct Refusals(Arc<dyn Fn(&Refusal<'_>) + Send + Sync>);

impl Refusals {
    /// Tells this function, and the log.
    pub fn new(tell: impl Fn(&Refusal<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Tells of a refusal.
    pub fn tell(&self, refusal: &Refusal<'_>) {
        tracing::warn!(
            method = refusal.method,
            caller = refusal.caller.map(tracing::field::display),
            peer = refusal.peer.map(tracing::field::display),
            reason = refusal.reason,
            why = refusal.message,
            "refused"
        );
        (self.0)(refusal);
    }
}

impl Default for Refusals {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refusals")
    }
}

/// Where a call comes from.
pub(super) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<TcpConnectInfo>()?.remote_addr()
}

/// A call whose caller is known, as refusals need it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) caller: Arc<Caller>,
    pub(super) method: &'static str,
    pub(super) peer: Option<SocketAddr>,
    pub(super) refusals: Refusals,
}

impl Known {
    /// Tells that the call is refused with this status, and gives it back.
    pub(super) fn refused(&self, reason: &str, status: tonic::Status) -> tonic::Status {
        self.refusals.tell(&Refusal {
            method: self.method,
            caller: Some(&self.caller.id),
            peer: self.peer,
            reason,
            message: status.message(),
        });
        status
    }
}
