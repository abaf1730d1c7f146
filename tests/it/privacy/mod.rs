//! What is kept from others: secrets, addresses, files.

pub(super) mod erasure;
pub(super) mod files;
pub(super) mod retention;
pub(super) mod secrets;
