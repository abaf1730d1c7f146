//! What happened, counted in plain atomics, and how one event belongs to another: request ids and
//! trace contexts. The parts above add to what is here; `app` renders it. Adding costs one atomic
//! operation, and whoever adds holds what it adds to: nothing is looked up on the way of an item.

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
