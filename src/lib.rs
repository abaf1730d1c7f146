//! Cancelot ends subscriptions and marketing-sequence enrollments at other companies' APIs:
//! durably, once per idempotency key, and with every doubt settled.
//!
//! The service is one binary; this library is its inside. ARCHITECTURE.md is the map.

pub mod app;
pub mod audit;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod egress;
pub mod identity;
pub mod journal;
pub mod limits;
pub mod observe;
pub mod providers;
pub mod rpc;
pub mod sandbox;
#[cfg(test)]
mod simulation;
