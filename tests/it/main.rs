//! Everything that is checked through the system's boundary: a gateway as in production, real
//! gRPC, real HTTP to the sandbox, a real journal.

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

mod abuse;
mod alive;
mod asking;
mod audit;
mod authorities;
mod belief;
mod bounds;
mod callers;
mod client;
mod clocks;
mod command;
mod conflicts;
mod connections;
mod damage;
mod deadlines;
mod discovery;
mod disk;
mod doubt;
mod dry_runs;
mod erasure;
mod failing;
mod files;
mod floods;
mod frames;
mod identities;
mod jwt;
mod keys;
mod kill;
mod logs;
mod metrics;
mod outages;
mod overload;
mod panics;
mod pki;
mod policy;
mod privacy;
mod process;
mod proofs;
mod protocol;
mod published;
mod readiness;
mod reading;
mod records;
mod refusals;
mod reloading;
mod restarts;
mod results;
mod revoked;
mod robustness;
mod scripted;
mod secrets;
mod settling;
mod shape;
mod signals;
mod slow;
mod smoke;
mod stops;
mod strangers;
mod streams;
mod support;
mod tls;
mod tokens;
mod traces;
mod truth;
mod turns;
mod unavailable;
mod validation;
mod variants;
mod vouching;
mod wire;
mod words;
