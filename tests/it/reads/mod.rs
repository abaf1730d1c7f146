//! Records and lists: what may be read, and that reading takes nothing from others.

pub(super) mod reading;
pub(super) mod records;
