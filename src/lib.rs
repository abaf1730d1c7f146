//! Cancelot ends subscriptions and marketing-sequence enrollments at other companies' APIs:
//! durably, once per idempotency key, and with every doubt settled.
//!
//! The service is one binary; this library is its inside. ARCHITECTURE.md is the map.

pub mod app;
pub mod audit;
pub mod cli;
pub(crate) mod clock;
pub mod config;
pub mod egress;
pub mod engine;
pub mod identity;
pub mod journal;
pub mod observe;
pub mod rpc;
pub mod shared_budget;
#[cfg(test)]
mod simulation;

pub use cancelot_core::{domain, limits, providers};
#[cfg(any(feature = "sandbox", test))]
pub use cancelot_sandbox as sandbox;

// The fuzz targets as a module, so that the corpus is played by `cargo test`, without libFuzzer.
// They name this crate as the fuzzer's package does.
#[cfg(test)]
extern crate self as cancelot;
#[cfg(test)]
#[path = "../fuzz/src/lib.rs"]
#[allow(
    missing_docs,
    unreachable_pub,
    reason = "what another package calls is public, and nobody calls it here"
)]
mod fuzz;
