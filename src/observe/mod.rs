//! Observability: counters in plain atomics, and the request ids and trace contexts that connect
//! events. The parts above increment counters; `app` exports them. An increment costs one atomic
//! operation, and each part holds the counters that it increments, so nothing is looked up on the
//! hot path.

mod account_metrics;
mod counters;
mod grpc_code;
mod journal_metrics;
mod log_rate_limiter;
mod overseer;
mod rejection_metrics;
mod request_context;
mod rpc_metrics;
mod sources;
mod tracing;

pub use self::{
    account_metrics::{AccountMeters, ResultClass, WaitMeter},
    counters::{Counter, Flag, Histogram, Snapshot, Tally},
    grpc_code::code_name,
    journal_metrics::JournalMeters,
    log_rate_limiter::LogRateLimiter,
    overseer::{Panicked, TaskSupervisor},
    rejection_metrics::{Refusal, RejectionMetrics},
    request_context::{RequestContext, RequestId},
    rpc_metrics::{CODES, Call, CallMeters, MethodLabel, MethodMeters},
    sources::{BySource, Counted, Source},
    tracing::{CallSpan, ClientCall, ClientSpan, Parent, ServerSpan, Tracer},
};
