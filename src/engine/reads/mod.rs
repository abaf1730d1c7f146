//! Reads of the journal on threads of their own, shared fairly between callers.

pub(super) mod fair_threads;
pub(super) mod questions;
