//! Deterministic simulation: the whole engine, egress and providers, against simulated providers
//! over a network that loses, delays and duplicates, and on a journal whose process can crash. A
//! seed goes in; a trace and a list of broken promises come out.
//!
//! The seed decides everything that is random. One thread runs everything in paused time; each life
//! of the service is a runtime of its own, which is dropped to simulate a crash. The oracle never
//! uses the service's own word: effects are counted by the providers of `sandbox`, requests by the
//! network, writes by the journal's wrapper.

mod clients;
mod model;
mod oracle;
mod plan;
mod runner;
mod tests;
mod world;
