//! The words of the business as types that cannot be wrong: parsed once at the edge, pure, and
//! the same for every provider. Nothing here knows gRPC, HTTP clients, disks, clocks or tasks.
//!
//! The types that end up in the journal derive serde. Their field names are part of the stored
//! format: a field may be added with a default, never renamed (see `journal::record`).

pub mod account;
pub mod answer;
pub mod command;
pub mod digests;
pub mod doubt;
pub mod erasure;
pub mod exchange;
pub mod ids;
pub mod money;
pub mod opaque;
pub mod outcome;
pub mod pattern;
pub mod personal;
pub mod provenance;
pub mod quota;
pub mod reckoning;
pub mod written;
