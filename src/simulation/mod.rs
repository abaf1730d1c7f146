//! The whole of the engine, egress and providers, run against simulated providers over a network
//! that loses, delays and doubles, on a journal whose process can die: a seed goes in, a trace
//! and a list of broken promises come out.
//!
//! Nothing in a run is left to chance but what its seed says. One thread runs everything on
//! paused time; each life of the service is a runtime of its own, which is dropped where a crash
//! is to be. What is held against the service is never its own word: effects are counted by the
//! providers of `sandbox`, requests by the network, writes by the journal's wrapper.

mod clients;
mod model;
mod oracle;
mod plan;
mod runner;
mod tests;
mod world;
