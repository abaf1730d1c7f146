//! The write path: one thread, one ledger, group commits.

pub(super) mod admission_plan;
pub(super) mod batch_slots;
pub(super) mod durability_barrier;
pub(super) mod encoded;
pub(super) mod erasure;
pub(super) mod ledger;
pub(super) mod open_batch;
pub(super) mod queue;
pub(super) mod redaction;
pub(super) mod writer_thread;
