//! From values to the sections of the configuration.

pub(super) mod account;
pub(super) mod caller;
pub(super) mod identity;
pub(super) mod issuer;
pub(super) mod log;
pub(super) mod secret;
pub(super) mod telemetry;
pub(super) mod tls;
