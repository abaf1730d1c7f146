//! What callers may do, and how a call came.

pub mod hourly_quota;
pub mod pattern;
pub mod provenance;
