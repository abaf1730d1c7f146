//! The words of the business as types that cannot be wrong: parsed once at the edge, pure, and
//! the same for every provider. Nothing here knows gRPC, HTTP clients, disks, clocks or tasks.
//!
//! The types that end up in the journal derive serde. Their field names are part of the stored
//! format: a field may be added with a default, never renamed (see `journal::record`).

pub mod access;
pub mod account;
pub mod command;
pub mod doubt;
pub mod http_exchange;
pub mod ids;
pub mod money;
pub mod opaque;
pub mod outcome;
pub mod personal;
pub mod provider_response;
pub mod reckoning;
