//! The ordered key-value store: its interface, and its implementation with sled.

pub(super) mod sled_store;
pub(super) mod swap;
pub(super) mod table;
pub(super) mod write_buffer;
