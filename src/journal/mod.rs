//! The durable memory of the service: what was admitted and how it ended.
//!
//! A trait, so that the engine and rpc know promises and not stores. Whatever resolves without an
//! error here is on disk: it survives the process, the machine and its power supply.

pub mod directory;
mod error;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
pub(crate) mod memory_journal;
pub mod offline;
mod outbox;
mod read;
pub mod sled_journal;
mod store;
#[cfg(test)]
mod tests;
mod write;

pub use self::{
    directory::disk_space::{DiskFull, FreeSpace, Overfull},
    format::record::Ranges,
    outbox::{
        Audited, OutboxFull, Progress,
        event::{Event, EventContent, ItemEvent, ItemRef, OutboxReader},
        settlement::{
            AuditedAnswer, AuditedConclusion, AuditedDetail, AuditedFailure, AuditedOutcome,
            AuditedState,
        },
    },
    read::question::ReadLimits,
    write::{
        encoded::StoredFields,
        erasure::{Found, StillOpen},
        redaction::Removal,
    },
};

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        access::{
            hourly_quota::{Exhausted, HourlyQuota},
            pattern::AccountPattern,
            provenance::Provenance,
        },
        command::Command,
        doubt::{AccountState, Boot, Doubt, Moment},
        ids::{AccountName, BatchId, CallerId, ItemId, Key, Kind, Scope, TargetId},
        opaque::Names,
        outcome::{Outcome, Settled},
    },
    observe::JournalMeters,
};

/// A future that can be held without naming it.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the engine and rpc ask of a store.
pub trait Journal: std::fmt::Debug + Send + Sync + 'static {
    /// Admits a request in one atomic durable write, or finds out what its keys already mean.
    ///
    /// Slots of keys that are known are not written again. A known item whose outcome is not
    /// final is opened again by the same write. If any slot conflicts, nothing is written, and
    /// if nothing is new, there is no write, so that needs no room on the disk.
    ///
    /// An item that is told as [`AdmittedItem::Running`] may have settled by the time the answer
    /// is read, and one that is [`AdmittedItem::Opened`] for one caller may be `Running` for
    /// another before the first has read its answer.
    ///
    /// As with all futures here: nothing happens before it is polled, and once it was, dropping it
    /// does not say whether it happens. It has to be polled by tokio.
    fn admit(&self, admission: Admission) -> Pending<Result<Admitted, AdmitError>>;

    /// Records that a process begins to work on this journal, at this time. Nothing that an
    /// earlier process was allowed to send is sent after it. Comes before all that follow.
    fn begin(&self, at: Moment) -> Pending<Result<(), Unavailable>>;

    /// Records outcomes and what belongs to them durably, all or none. Items that are not open
    /// are an error of the caller's, which fails the store rather than changing a published
    /// outcome. What is recorded together, or comes while a write is under way, shares a write.
    fn settle(&self, group: Group) -> Pending<Result<(), Unavailable>>;

    /// Records that a batch was stopped, so that a restart knows it too. It applies to the items
    /// that the batch owns and that are open now; if there are none, or no such batch, it is
    /// nothing. Taking up one of its items again by [`Journal::admit`] clears that item's stop.
    fn stop(&self, batch: BatchId, by: Stopper, at: Timestamp) -> Pending<Result<(), Unavailable>>;

    /// Deletes batches all of whose items settled before `before`, at most `batches_max`, those
    /// that settled first before others; says how many it deleted. What the audit has not got yet
    /// stays. What is known of doubtful targets goes too, a few at a time, if nothing could act on
    /// them a day before that. Other writes wait meanwhile.
    fn purge(&self, before: Timestamp, batches_max: usize) -> Pending<Result<usize, Unavailable>>;

    /// Takes out of batches all of whose items settled before `before` what is kept for a shorter
    /// time than they are, of at most `batches_max` that it was not done for yet; says of how
    /// many. An e-mail address that an item would need to be taken up again stays. Other writes
    /// wait meanwhile.
    fn redact(
        &self,
        removal: Removal,
        before: Timestamp,
        batches_max: usize,
    ) -> Pending<Result<usize, Unavailable>>;

    /// Begins to make the files of the journal free of what was taken out of its records, if
    /// anything was. It goes on beside other work.
    fn vacate(&self) -> Pending<Result<(), Unavailable>>;

    /// What is open, oldest first: before anything is admitted, what the last run left. Reads
    /// the disk and waits for a write under way: call it off the async threads, as all that
    /// follow.
    fn open_items(&self) -> Result<Vec<OpenItem>, Unavailable>;

    /// What earlier processes learned of the accounts. Reads the disk.
    fn account_states(&self) -> Result<BTreeMap<AccountName, AccountState>, Unavailable>;

    /// Targets on which a request of a settled item may still act. Reads the disk.
    fn doubtful_targets(&self) -> Result<Vec<DoubtfulTarget>, Unavailable>;

    /// The item that a key names.
    fn find(
        &self,
        scope: &Scope,
        key: &Key,
        question: &ReadLimits,
    ) -> Result<Option<Record>, Unavailable>;

    /// Whether keys name items, in their order: those of a request with this key are read together.
    fn known(&self, scope: &Scope, _request: &Key, keys: &[Key]) -> Result<Vec<bool>, Unavailable> {
        let found = keys
            .iter()
            .map(|key| self.find(scope, key, &ReadLimits::default()));
        found.map(|found| Ok(found?.is_some())).collect()
    }

    /// Whose a batch is. Reads nothing else of it.
    fn whose(&self, batch: BatchId, question: &ReadLimits) -> Result<Option<Scope>, Unavailable> {
        let batch = self.batch(batch, question)?;
        Ok(batch.map(|batch| batch.scope))
    }

    /// A batch and all its items, in their order.
    fn batch(&self, batch: BatchId, question: &ReadLimits) -> Result<Option<Batch>, Unavailable>;

    /// Records that match, newest first, after `after`. A page ends before it is full when it has
    /// looked at [`crate::limits::PAGE_RECORDS_EXAMINED_MAX`], or has read as much of the store as
    /// the question may; then it says where to go on, also if it has nothing.
    fn list(
        &self,
        filter: &Filter,
        after: Option<ItemId>,
        records_max: usize,
        question: &ReadLimits,
    ) -> Result<Page, Unavailable>;

    /// The newest records that match, at most so many, on as many pages as it takes: for those who
    /// cannot do with a part of the answer.
    fn newest(&self, filter: &Filter, records_max: usize) -> Result<Vec<Record>, Unavailable> {
        let question = ReadLimits::default();
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let left = records_max.saturating_sub(found.len());
            let page = self.list(filter, after, left, &question)?;
            found.extend(page.records);
            after = page.next;
            if after.is_none() || found.len() >= records_max {
                return Ok(found);
            }
        }
    }

    /// How many people the requests of these callers concern that were first admitted at this time
    /// or later, newest first. An item that a request brought when it was sent again counts with
    /// the first time; one that has settled counts as what it came to.
    fn admitted_since(
        &self,
        from: Timestamp,
        callers: &BTreeSet<CallerId>,
    ) -> Result<Vec<Intake>, Unavailable>;

    /// How it is, for those who watch. It may ask the disk: call it off the async threads too. A
    /// store that has no disk says nothing.
    fn vitals(&self) -> Vitals {
        Vitals::default()
    }

    /// How its batches are named to those who are not to know how many there are.
    fn names(&self) -> Arc<Names>;

    /// What an audit follows.
    fn trail(&self) -> Arc<dyn OutboxReader>;

    /// Cancelled once nobody has the journal any more and all that it held is given back, so that
    /// another process may open it. One that holds nothing has nothing to give back.
    fn given_back(&self) -> CancellationToken {
        let given_back = CancellationToken::new();
        given_back.cancel();
        given_back
    }

    /// Why the store failed, if it did. It stays so until the service is started again: what is
    /// asked of it is answered with this.
    fn failure(&self) -> Option<Unavailable>;
}

/// How a store is.
#[derive(Debug, Default)]
pub struct Vitals {
    /// What was counted of it.
    pub meters: Arc<JournalMeters>,
    /// Bytes that are free on its disk; `None` if the disk does not say.
    pub free_bytes: Option<u64>,
    /// Bytes that have to be for anything new to be admitted.
    pub free_bytes_min: u64,
    /// Bytes of its files.
    pub file_bytes: Option<u64>,
    /// Whether it is giving disk space back.
    pub is_compacting: bool,
    /// How far its audit is.
    pub audit: Progress,
}

/// Who stops a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopper {
    /// Whoever it is.
    pub caller: CallerId,
    /// How that was asked for, for the audit.
    pub from: Option<Provenance>,
}

impl From<CallerId> for Stopper {
    fn from(caller: CallerId) -> Self {
        Self { caller, from: None }
    }
}

/// A request to admit.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Whose keys.
    pub scope: Scope,
    /// The request's key.
    pub key: Key,
    /// One slot per item of the request, in order, at least one of them not vacant.
    pub slots: Vec<Slot>,
    /// How the request came, for the audit.
    pub from: Option<Provenance>,
    /// When.
    pub at: Timestamp,
    /// The same by the clock of the boot, where there is one.
    pub boot: Option<Boot>,
    /// How many of the items that this opens may be sent from its own write on, for each account:
    /// the first ones. The others are cleared later, by [`Journal::settle`].
    pub clear: BTreeMap<AccountName, usize>,
    /// How long to keep trying what this opens.
    pub retry_until: Timestamp,
    /// Whether the outcomes that come back have the providers' answers: they are the most of
    /// them.
    pub with_answers: bool,
    /// What new items are counted against; `None` for no limit. Items that are known, and those
    /// that are opened again, are not new.
    pub quota: Option<Arc<HourlyQuota>>,
    /// The slots that it may open; `None` for all. For others there is no room: if it would open
    /// one, nothing is admitted.
    pub may_open: Option<BTreeSet<u32>>,
    /// Why nothing more of its caller may be written, if so: what is known is answered all the
    /// same.
    pub overfull: Option<Overfull>,
}

/// One item of a request to admit.
#[derive(Debug, Clone)]
pub enum Slot {
    /// A dry run: has a position and no record.
    Vacant,
    /// To be recorded.
    Item {
        /// Its own key; `None` for the derived one.
        key: Option<Key>,
        /// What to do.
        command: Arc<Command>,
    },
}

/// What became of a request.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The batch of the request key: a new one, or the one that had it before.
    pub batch: BatchId,
    /// One per slot, in order.
    pub items: Vec<AdmittedItem>,
}

/// What became of a slot.
#[derive(Debug, Clone)]
pub enum AdmittedItem {
    /// It was vacant.
    Vacant,
    /// Open from now on; the caller has to see to it that it is run.
    Opened {
        /// Its record.
        id: ItemId,
        /// How it had ended before, if it was taken up again.
        previous: Option<Arc<Settled>>,
        /// Whether it may be sent: it was among the first of its account.
        cleared: bool,
    },
    /// Open already.
    Running {
        /// Its record.
        id: ItemId,
    },
    /// Settled for good.
    Settled {
        /// Its record.
        id: ItemId,
        /// How.
        settled: Arc<Settled>,
    },
}

/// Why a request was not admitted. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// Keys were used before with other content.
    #[error("{} of the request's keys were used before with other content", .0.len())]
    Conflict(Vec<Conflict>),
    /// It would open these slots, and may not open all of them.
    #[error("it would open {} items, more than it may", .0.len())]
    Unreserved(BTreeSet<u32>),
    /// The disk is full, and the request needs a write. What is known already is still answered.
    #[error(transparent)]
    NoRoom(#[from] DiskFull),
    /// The caller has no room for so many new items in this hour.
    #[error(transparent)]
    OverQuota(#[from] Exhausted),
    /// The audit is too far behind, and the request needs a write.
    #[error(transparent)]
    Behind(#[from] OutboxFull),
    /// The audit has no room for more of its caller, and the request needs a write.
    #[error(transparent)]
    Overfull(#[from] Overfull),
    /// Records that its keys lead to cannot be read. Others are not affected, and sending it again
    /// does not help.
    #[error("{0}")]
    Damaged(Unavailable),
    /// The store cannot write.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What a request brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intake {
    /// Whose it was.
    pub caller: CallerId,
    /// When it was admitted first.
    pub at: Timestamp,
    /// Whom its items concern.
    pub people: u64,
}

/// A key that was used before with other content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The slot; `None` for the request as a whole.
    pub index: Option<u32>,
    /// The key.
    pub key: Key,
    /// The fields that differ, by their published names.
    pub fields: Vec<String>,
    /// The batch that used the key first.
    pub batch: BatchId,
}

/// The store cannot do what was asked; says why. It acknowledges nothing from here on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// An outcome to record.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// Whose.
    pub id: ItemId,
    /// Which.
    pub settled: Arc<Settled>,
}

/// What is written together.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// Outcomes.
    pub settlements: Vec<Settlement>,
    /// Items that may be sent from now on.
    pub clearances: Vec<Clearance>,
    /// Open items that are not sent any more unless they are cleared anew.
    pub notes: Vec<Note>,
    /// What was learned of accounts: each replaces what was known of its account.
    pub accounts: Vec<(AccountName, AccountState)>,
    /// Targets on which a request of these outcomes may still act.
    pub targets: Vec<DoubtfulTarget>,
}

impl From<Vec<Settlement>> for Group {
    fn from(settlements: Vec<Settlement>) -> Self {
        Self {
            settlements,
            ..Self::default()
        }
    }
}

/// Permission to send, for items of one lane. What was not cleared was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clearance {
    /// When it was asked for: before it is on the disk, so before anything is sent by it.
    pub at: Moment,
    /// The items, each of them open.
    pub items: Vec<ItemId>,
}

/// What an orderly stop knows of an open item that was cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whose.
    pub id: ItemId,
    /// What is not known of it; `None` if it was not sent, so that its clearance is withdrawn.
    pub doubt: Option<Doubt>,
}

/// A target on which a request of a settled item may still act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoubtfulTarget {
    /// The account.
    #[serde(rename = "a")]
    pub account: AccountName,
    /// The target.
    #[serde(rename = "t")]
    pub target: TargetId,
    /// When it cannot any more.
    #[serde(rename = "u")]
    pub until: Moment,
    /// The item whose request it is, which need not wait for itself; `None` in records of versions
    /// that did not write it.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<ItemId>,
}

/// An item that was open when the store was opened.
#[derive(Debug, Clone)]
pub struct OpenItem {
    /// Its record.
    pub id: ItemId,
    /// Whose it is.
    pub scope: Scope,
    /// Its key: its own or the derived one.
    pub key: Key,
    /// What to do.
    pub command: Arc<Command>,
    /// How long to keep trying.
    pub retry_until: Timestamp,
    /// How it had ended before it was taken up again, if it was.
    pub previous: Option<Arc<Settled>>,
    /// Its batch was stopped.
    pub stopped: bool,
    /// What may have been sent of it before; `None` if nothing was: it was not cleared.
    pub doubt: Option<Doubt>,
}

/// One recorded item.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it is.
    pub id: ItemId,
    /// Whose it is.
    pub scope: Scope,
    /// Its key: its own or the derived one.
    pub key: Key,
    /// The key of the request that admitted it.
    pub request_key: Key,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// What to do.
    pub command: Arc<Command>,
    /// How it ended; `None` while it is open.
    pub settled: Option<Arc<Settled>>,
}

/// One recorded batch.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Whose it is.
    pub scope: Scope,
    /// The request's key.
    pub key: Key,
    /// When it was admitted.
    pub admitted_at: Timestamp,
    /// Whether it was stopped and nothing of it was opened since.
    pub stopped: bool,
    /// One per slot: vacant ones, and items that other batches own and that have expired, are
    /// `None`. An item that another batch owns has that batch's id.
    pub items: Vec<Option<Record>>,
}

/// Which records to list: all that is set has to match.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this caller's; `None` for all, which only an operator's tool may ask for.
    pub caller: Option<CallerId>,
    /// Only this RPC's.
    pub kind: Option<Kind>,
    /// Only this account's.
    pub account: Option<AccountName>,
    /// Only of accounts that fit one of these; `None` for all.
    pub accounts: Option<Vec<AccountPattern>>,
    /// Only this subscription's, sequence's or subscriber's.
    pub target: Option<TargetId>,
    /// Only what this batch owns.
    pub batch: Option<BatchId>,
    /// Only these outcomes, and what is open if `None` is among them; empty for all.
    pub outcomes: Vec<Option<Outcome>>,
    /// Only what was admitted then or later.
    pub admitted_from: Option<Timestamp>,
    /// Only what was admitted before.
    pub admitted_before: Option<Timestamp>,
}

/// A page of records.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The records, newest first.
    pub records: Vec<Record>,
    /// Where to go on; `None` at the end.
    pub next: Option<ItemId>,
}
