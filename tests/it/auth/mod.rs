//! Authentication, authorization, and how access ends.

pub(super) mod callers;
pub(super) mod jwt;
pub(super) mod policy;
pub(super) mod refusals;
pub(super) mod reloading;
pub(super) mod revoked;
pub(super) mod strangers;
pub(super) mod tls;
pub(super) mod tokens;
pub(super) mod vouching;
