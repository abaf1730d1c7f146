//! What happened, counted in plain atomics, and how one event belongs to another: request ids and
//! trace contexts. The parts above add to what is here; `app` renders it. Adding costs one atomic
//! operation, and whoever adds holds what it adds to: nothing is looked up on the way of an item.

mod account;
mod calls;
mod code;
mod journal;
mod meter;
mod origin;
mod overseer;
mod refusals;
mod sources;
mod thinning;
mod trace;

pub use self::{
    account::{AccountMeters, Result, Waiting},
    calls::{CODES, Call, CallMeters, Method, MethodMeters},
    code::code_name,
    journal::JournalMeters,
    meter::{Counter, Flag, Histogram, Snapshot, Tally},
    origin::{Origin, RequestId},
    overseer::{Overseer, Panicked},
    refusals::{Refusal, Refusals},
    sources::{BySource, Counted, Source},
    thinning::Thinning,
    trace::{CallSpan, ClientCall, ClientSpan, Parent, ServerSpan, Tracer},
};
