//! The command line, for people and shells.

pub(super) mod client;
pub(super) mod command;
pub(super) mod words;
