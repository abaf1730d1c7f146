//! What callers may do, and where a request came from.

pub mod hourly_quota;
pub mod pattern;
pub mod provenance;
