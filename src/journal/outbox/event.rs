//! The events that an outbox consumer gets.

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

/// What the audit needs of a journal.
pub trait OutboxReader: std::fmt::Debug + Send + Sync {
    /// The journal's unique name.
    fn journal(&self) -> String;

    /// How batches are named.
    fn names(&self) -> Arc<Names>;

    /// The last entry that is durable. Entries are numbered without gaps, for good.
    fn end(&self) -> u64;

    /// What the audit has acknowledged; `None` if the journal never had an audit.
    fn audited(&self) -> Result<Option<Audited>, Unavailable>;

    /// Up to `entries_max` entries after this one. Reads the disk.
    fn read(&self, after: u64, entries_max: usize) -> Result<Vec<Event>, Unavailable>;

    /// Acknowledges entries that the audit has durably. Recorded with a later write, which also
    /// removes the entries.
    fn note(&self, audited: Audited);

    /// Whether the last acknowledgement is still to be recorded.
    fn is_noted(&self) -> bool;

    /// Like [`Self::note`], and resolves once it is recorded.
    fn record(&self, audited: Audited) -> Pending<Result<(), Unavailable>>;
}

/// An outbox entry, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number.
    pub number: u64,
    /// Its events in order: the same at every read.
    pub happened: Vec<ItemEvent>,
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemEvent {
    /// Events of items of a batch.
    ToItems {
        /// The caller and RPC.
        scope: Scope,
        /// The batch.
        batch: BatchId,
        /// How the request came that admitted them or took them up again, if that is recorded.
        from: Option<Provenance>,
        /// The items with their events.
        items: Vec<(ItemRef, EventContent)>,
    },
    /// A batch was stopped.
    Stopped {
        /// The caller and RPC.
        scope: Scope,
        /// The batch.
        batch: BatchId,
        /// When.
        at: Timestamp,
        /// Who stopped it, if recorded.
        by: Option<CallerId>,
        /// How that was asked for, if that is recorded.
        from: Option<Provenance>,
        /// What was open of it, if that is recorded.
        indexes: Option<Ranges>,
    },
    /// The records of a batch cannot be read.
    Unreadable {
        /// The batch.
        batch: BatchId,
        /// Why.
        why: String,
    },
    /// Events after this commit are missing: the audit was switched off.
    Off {
        /// The commit number.
        commits: u64,
    },
}

/// An item of an event.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemRef {
    /// Its index in the batch.
    pub index: u32,
    /// Its own key, or the one derived from the request's.
    pub key: Key,
    /// Its command.
    pub command: Arc<Command>,
}

/// What happened to an item.
#[derive(Debug, Clone, PartialEq)]
pub enum EventContent {
    /// It was admitted.
    Admitted(Timestamp),
    /// It was reopened.
    Opened(Timestamp),
    /// It settled.
    Settled(Arc<AuditedOutcome>),
}
