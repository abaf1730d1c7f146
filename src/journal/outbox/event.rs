//! What an audit is told of a journal: what happened, entry by entry.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Audited, settlement::AuditedOutcome};
use crate::{
    domain::{
        access::provenance::Provenance,
        command::Command,
        ids::{BatchId, CallerId, Key, Scope},
        opaque::Names,
    },
    journal::{Pending, Unavailable, format::record::Ranges},
};

/// What an audit asks of a journal.
pub trait OutboxReader: std::fmt::Debug + Send + Sync {
    /// The journal's name, which no other one has.
    fn journal(&self) -> String;

    /// How batches are named.
    fn names(&self) -> Arc<Names>;

    /// The last entry that is durable. Entries are numbered without gaps, for good.
    fn end(&self) -> u64;

    /// How far the audit has got; `None` if the journal never had one.
    fn audited(&self) -> Result<Option<Audited>, Unavailable>;

    /// Entries after this one, at most so many. Reads the disk.
    fn read(&self, after: u64, entries_max: usize) -> Result<Vec<Event>, Unavailable>;

    /// Says that the audit has got so far, durably. It is recorded with a later write, and what
    /// the audit has is forgotten then.
    fn note(&self, audited: Audited);

    /// Whether what was noted last is not yet recorded.
    fn is_noted(&self) -> bool;

    /// As [`Self::note`], and is recorded when it resolves.
    fn record(&self, audited: Audited) -> Pending<Result<(), Unavailable>>;
}

/// An entry of the trail.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number.
    pub number: u64,
    /// What happened, in order. It is the same whenever it is read.
    pub happened: Vec<ItemEvent>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemEvent {
    /// To items of a batch.
    ToItems {
        /// Whose it is.
        scope: Scope,
        /// Which.
        batch: BatchId,
        /// How the request came that admitted them or took them up again, if that is recorded.
        from: Option<Provenance>,
        /// What, item by item.
        items: Vec<(ItemRef, EventContent)>,
    },
    /// A batch was stopped.
    Stopped {
        /// Whose it is.
        scope: Scope,
        /// Which.
        batch: BatchId,
        /// When.
        at: Timestamp,
        /// By whom, if that is recorded.
        by: Option<CallerId>,
        /// How that was asked for, if that is recorded.
        from: Option<Provenance>,
        /// What was open of it, if that is recorded.
        indexes: Option<Ranges>,
    },
    /// The records of a batch cannot be read.
    Unreadable {
        /// Which.
        batch: BatchId,
        /// Why.
        why: String,
    },
    /// What came after so many commits is not in the trail: it was switched off.
    Off {
        /// So many.
        commits: u64,
    },
}

/// An item.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemRef {
    /// Its place in its batch.
    pub index: u32,
    /// Its key: its own or the derived one.
    pub key: Key,
    /// What is to be done.
    pub command: Arc<Command>,
}

/// What happened to an item.
#[derive(Debug, Clone, PartialEq)]
pub enum EventContent {
    /// It was admitted.
    Admitted(Timestamp),
    /// It was taken up again.
    Opened(Timestamp),
    /// It settled.
    Settled(Arc<AuditedOutcome>),
}
