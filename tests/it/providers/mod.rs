//! Requests to providers, and their possible replies.

pub(super) mod authorities;
pub(super) mod variants;
pub(super) mod wire;
