//! Connections, frames, streams and messages: what clients do, and what attackers would.

pub(super) mod abuse;
pub(super) mod alive;
pub(super) mod connections;
pub(super) mod deadlines;
pub(super) mod discovery;
pub(super) mod floods;
pub(super) mod frames;
pub(super) mod protocol;
pub(super) mod readiness;
pub(super) mod robustness;
