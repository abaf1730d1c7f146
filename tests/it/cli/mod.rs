//! The command line, as people and shells use it.

pub(super) mod client;
pub(super) mod command;
pub(super) mod words;
