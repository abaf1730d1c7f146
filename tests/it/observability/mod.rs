//! Metrics, logs, traces and the audit.

pub(super) mod audit;
pub(super) mod logs;
pub(super) mod metrics;
pub(super) mod traces;
