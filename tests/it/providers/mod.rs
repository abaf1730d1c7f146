//! What goes to providers, and what they may answer.

pub(super) mod authorities;
pub(super) mod variants;
pub(super) mod wire;
