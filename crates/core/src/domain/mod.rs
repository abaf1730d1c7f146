//! Domain types: parsed once at the edge so that invalid values cannot exist, pure, and the same
//! for every provider. Nothing here knows gRPC, HTTP clients, disks, clocks or tasks.
//!
//! Types that are stored in the journal derive serde. Their field names are part of the stored
//! format: a field may be added with a default, and never renamed (see `journal::format::record`).

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
