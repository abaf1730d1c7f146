//! Protection of secrets, addresses and files.

pub(super) mod erasure;
pub(super) mod files;
pub(super) mod retention;
pub(super) mod secrets;
