//! Tests across the system's boundary: a service as in production, real gRPC, real HTTP to the
//! sandbox, a real journal.

#![allow(
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::type_complexity,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a test may fail; clippy's own switch knows only functions marked as tests"
)]

mod auth;
mod cli;
mod contract;
mod doubt;
mod durability;
mod edge;
mod engine;
mod observability;
mod privacy;
mod providers;
mod reads;
mod support;
