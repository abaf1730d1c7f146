//! Commands that need no running service.

pub(super) mod audit;
pub(super) mod config;
pub(super) mod journal;
pub(super) mod proto;
pub(super) mod shell;
