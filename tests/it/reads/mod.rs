//! Records and lists: what may be read, and that reads delay nothing else.

pub(super) mod reading;
pub(super) mod records;
