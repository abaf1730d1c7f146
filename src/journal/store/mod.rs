//! An ordered store of bytes, and sled as one.

pub(super) mod sled;
pub(super) mod swap;
pub(super) mod table;
pub(super) mod write_buffer;
