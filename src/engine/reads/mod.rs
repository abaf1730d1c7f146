//! Journal reads of RPCs, on threads of their own that callers share fairly.

pub(super) mod fair_threads;
pub(super) mod questions;
