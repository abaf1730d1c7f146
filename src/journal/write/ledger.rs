//! The ledger: sole writer of the table. It decides what an admission, a settlement, a stop and a
//! purge change. Each change is applied entirely; all changes between two calls of `close_group` go
//! to the table together. Its caller makes them durable.

mod admission;
mod group;

pub(in crate::journal) use self::admission::AdmissionRefusal;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use self::group::DoubtfulExpiry;
use super::{
    encoded::{EncodedGroup, EncodedSettlement},
    erasure::{self, Found},
    open_batch::OpenBatch,
    redaction::{self, Removal},
};
use crate::{
    domain::{
        ids::{BatchId, ItemId},
        personal::{digests::DigestKey, erasure::Whose},
    },
    journal::{
        Stopper,
        error::StorageError,
        format::{
            key::{self, Span, StoreKey},
            record::{self, RecordedItem, Step},
        },
        outbox::{Audited, EventKind, Outbox, cache::EventCache},
        read::{batch_log::Wanted, reader::Reader},
        store::{
            table::{Table, WriteBatch},
            write_buffer::WriteBuffer,
        },
    },
};

/// The sole writer of the table.
#[derive(Debug)]
pub(in crate::journal) struct Ledger<T> {
    table: Arc<WriteBuffer<T>>,
    /// All batches with open items.
    open: HashMap<BatchId, OpenBatch>,
    next: BatchId,
    commits: u64,
    has_written: bool,
    trail: Outbox,
    /// The number of the running process, from 1; 0 if none has called `begin`.
    life: u64,
    /// Processes whose start is recorded.
    lives: BTreeSet<u64>,
    doubtful: DoubtfulExpiry,
    /// Number of quarantined batches.
    damaged: u64,
    /// The key of its digests.
    secret: DigestKey,
}

impl<T: Table> Ledger<T> {
    /// Loads the state of a table, with or without an outbox for the audit.
    pub(in crate::journal) fn load(table: Arc<T>, is_audited: bool) -> Result<Self, StorageError> {
        let table = Arc::new(WriteBuffer::over(table));
        let reader = Reader(&*table);
        let floor = reader.number(&StoreKey::BatchFloor)?.unwrap_or(1);
        let commits = reader.number(&StoreKey::Commits)?.unwrap_or(0);
        let next = match table.scan(Span::headers()).next_back().transpose()? {
            Some((key, _)) => match StoreKey::decode(key.as_ref()) {
                Some(StoreKey::Header(last)) => floor.max(last.0.saturating_add(1)),
                _ => {
                    return Err(StorageError::damaged(
                        "the last batch",
                        "its key does not decode",
                    ));
                }
            },
            None => floor,
        };
        let mut open = HashMap::new();
        for entry in table.scan(Span::open()) {
            let (key, _) = entry?;
            let Some(StoreKey::Open(batch)) = StoreKey::decode(key.as_ref()) else {
                return Err(StorageError::damaged(
                    "an open batch",
                    "its key does not decode",
                ));
            };
            open.insert(batch, OpenBatch::load(reader, batch)?);
        }
        let trail = Outbox::load(Reader(&*table), is_audited)?;
        let lives: BTreeSet<_> = reader.lives()?.into_keys().collect();
        let doubtful = DoubtfulExpiry::load(reader)?;
        let damaged = table.scan(Span::quarantine()).count();
        Ok(Self {
            // Only a table without a home, such as one in memory, has none.
            secret: reader.secret()?.unwrap_or_default(),
            life: lives.last().copied().unwrap_or(0),
            lives,
            doubtful,
            damaged: u64::try_from(damaged).unwrap_or(u64::MAX),
            table: Arc::clone(&table),
            open,
            next: BatchId(next),
            commits,
            has_written: false,
            trail,
        })
    }

    /// The next batch.
    pub(in crate::journal) fn next(&self) -> BatchId {
        self.next
    }

    /// How many groups of writes it holds.
    pub(in crate::journal) fn commits(&self) -> u64 {
        self.commits
    }

    /// Makes digests by this key.
    pub(in crate::journal) fn set_secret(&mut self, secret: DigestKey) {
        self.secret = secret;
    }

    /// What the audit has not got yet.
    pub(in crate::journal) fn trail(&self) -> &Outbox {
        &self.trail
    }

    /// The audit events of the last group.
    pub(in crate::journal) fn take_recent(&mut self) -> EventCache {
        self.trail.take_recent()
    }

    /// Whether the open group has changes.
    pub(in crate::journal) fn has_written(&self) -> bool {
        self.has_written
    }

    /// Records which events the audit has acknowledged.
    pub(in crate::journal) fn audited(&mut self, audited: &Audited) -> Result<(), StorageError> {
        let mut writes = WriteBatch::default();
        self.trail.audited(audited, &mut writes)?;
        self.write(writes)
    }

    /// Closes the group, and returns its commit number; `None` if nothing was written.
    pub(in crate::journal) fn close_group(&mut self) -> Result<Option<u64>, StorageError> {
        if !self.has_written {
            return Ok(None);
        }
        self.commits += 1;
        let mut writes = WriteBatch::default();
        writes.put(StoreKey::Commits.encode(), record::number(self.commits));
        self.write(writes)?;
        self.table.hand_over()?;
        self.trail.close();
        self.has_written = false;
        Ok(Some(self.commits))
    }

    fn write(&mut self, mut writes: WriteBatch) -> Result<(), StorageError> {
        self.has_written = true;
        self.trail.add_to(&mut writes, self.commits);
        self.table.write(writes)
    }

    /// Records a few groups, entirely or not at all per call.
    pub(in crate::journal) fn settle<'a>(
        &mut self,
        groups: impl Iterator<Item = &'a EncodedGroup> + Clone,
    ) -> Result<(), StorageError> {
        let mut writes = WriteBatch::default();
        let settlements = groups.clone().flat_map(|group| &group.settlements);
        self.settle_items(settlements, &mut writes)?;
        self.change(groups.clone(), &mut writes)?;
        if !writes.0.is_empty() {
            self.write(writes)?;
        }
        self.clean_settled(groups)
    }

    /// Takes out of commands at once what is not kept beyond their final outcomes.
    fn clean_settled<'a>(
        &mut self,
        groups: impl Iterator<Item = &'a EncodedGroup>,
    ) -> Result<(), StorageError> {
        let mut closed = BTreeSet::new();
        for group in groups {
            let removals = group.keep.removals().collect::<Vec<_>>();
            if removals.is_empty() {
                continue;
            }
            let mut ended = BTreeMap::<BatchId, BTreeSet<u32>>::new();
            for settlement in &group.settlements {
                let ItemId { batch, index } = settlement.id;
                if settlement.is_final {
                    ended.entry(batch).or_default().insert(index);
                }
                // What closes a batch need not be final: others of it have waited for this.
                if !group.keep.emails && !self.open.contains_key(&batch) {
                    closed.insert(batch);
                }
            }
            for (batch, items) in ended {
                let mut writes = WriteBatch::default();
                let removals = removals.iter().copied();
                let reader = Reader(&*self.table);
                redaction::clean(reader, batch, &items, removals, &self.secret, &mut writes)?;
                if !writes.0.is_empty() {
                    self.write(writes)?;
                }
            }
        }
        for batch in closed {
            self.clean_addresses(batch)?;
        }
        Ok(())
    }

    /// Takes addresses out that a settled batch has for ids and keys.
    fn clean_addresses(&mut self, batch: BatchId) -> Result<(), StorageError> {
        let reader = Reader(&*self.table);
        let header = reader.header(batch)?;
        let header = header.ok_or_else(|| StorageError::damaged(batch, "it is gone"))?;
        let history = reader.history(batch, &header, |_| Wanted::Outcome)?;
        let is_final = |index| {
            let settled = history.trace(index).settled;
            settled.is_some_and(|settled| settled.conclusion.is_final())
        };
        let mut writes = WriteBatch::default();
        erasure::addresses(reader, batch, is_final, &self.secret, &mut writes)?;
        if !writes.0.is_empty() {
            self.write(writes)?;
        }
        Ok(())
    }

    fn settle_items<'a>(
        &mut self,
        settlements: impl Iterator<Item = &'a EncodedSettlement>,
        writes: &mut WriteBatch,
    ) -> Result<(), StorageError> {
        let mut batches = BTreeMap::<BatchId, Vec<&EncodedSettlement>>::new();
        for settlement in settlements {
            batches
                .entry(settlement.id.batch)
                .or_default()
                .push(settlement);
        }
        for (id, settlements) in batches {
            let batch = self.open.get_mut(&id);
            let batch =
                batch.ok_or_else(|| StorageError::Misused(format!("{id} has nothing open")))?;
            batch.settle(id, &settlements, &mut self.trail, writes)?;
            if batch.open.is_empty() {
                writes.remove(StoreKey::Open(id).encode());
                writes.put(key::expiry(id, batch.latest), record::marker());
                self.open.remove(&id);
            }
        }
        Ok(())
    }

    /// Records that a batch was stopped, if it has open items.
    pub(in crate::journal) fn stop(
        &mut self,
        id: BatchId,
        by: Stopper,
        at: Timestamp,
    ) -> Result<(), StorageError> {
        let Some(batch) = self.open.get_mut(&id) else {
            return Ok(());
        };
        let mut writes = WriteBatch::default();
        self.trail.note(EventKind::Step(id, batch.next_seq), 1);
        let step = Step::<()>::Stopped {
            at,
            by: Some(by.caller),
            from: by.from.map(Box::new),
            indexes: Some(batch.open.iter().collect()),
        };
        batch.log(id, &step, &mut writes)?;
        self.write(writes)
    }

    /// Deletes batches that settled before a time, except those that the audit has still to read.
    /// Doubtful targets expire by the same time, since their own times could be of a clock that was
    /// ahead.
    pub(in crate::journal) fn purge(
        &mut self,
        before: Timestamp,
        batches_max: usize,
    ) -> Result<usize, StorageError> {
        let mut writes = WriteBatch::default();
        self.remove_targets(before, &mut writes);
        if !writes.0.is_empty() {
            self.write(writes)?;
        }
        let kept = self.trail.batches();
        let mut due = Vec::new();
        for entry in self.table.scan(Span::expired(before.as_microsecond())) {
            if due.len() >= batches_max {
                break;
            }
            let (key, _) = entry?;
            let Some(StoreKey::Expiry { batch, .. }) = StoreKey::decode(key.as_ref()) else {
                return Err(StorageError::damaged(
                    "an expiry entry",
                    "its key does not decode",
                ));
            };
            if !kept.contains(&batch) {
                due.push((key.as_ref().to_vec(), batch));
            }
        }
        let mut purged = 0;
        for (key, batch) in due {
            let mut writes = WriteBatch::default();
            let done = self.purge_batch(batch, &mut writes);
            writes.remove(key.clone());
            if self.put_aside(done, (key, batch), writes)? {
                purged += 1;
            }
        }
        Ok(purged)
    }

    /// Writes the changes to a settled batch. If its records cannot be read, quarantines it
    /// instead: it stays for a repair, and is not tried again.
    fn put_aside(
        &mut self,
        done: Result<(), StorageError>,
        (key, batch): (Vec<u8>, BatchId),
        writes: WriteBatch,
    ) -> Result<bool, StorageError> {
        let why = match done {
            Ok(()) => {
                self.write(writes)?;
                return Ok(true);
            }
            Err(StorageError::Damaged(why)) => why,
            Err(
                fault @ (StorageError::Store(_)
                | StorageError::Misused(_)
                | StorageError::Abandoned),
            ) => {
                return Err(fault);
            }
        };
        tracing::error!(
            %batch,
            %why,
            "a batch is damaged and put aside; `cancelot journal verify` says more"
        );
        let mut writes = WriteBatch::default();
        writes.remove(key);
        writes.put(StoreKey::Quarantine(batch).encode(), record::marker());
        self.write(writes)?;
        self.damaged += 1;
        Ok(false)
    }

    /// The number of quarantined batches.
    pub(in crate::journal) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Removes parts of settled batches that have a shorter retention. Returns the number of
    /// batches checked.
    pub(in crate::journal) fn redact(
        &mut self,
        removal: Removal,
        before: Timestamp,
        batches_max: usize,
    ) -> Result<usize, StorageError> {
        let due = redaction::due(Reader(&*self.table), removal, before, batches_max)?;
        let looked_at = due.len();
        for (key, batch) in due {
            let mut writes = WriteBatch::default();
            let reader = Reader(&*self.table);
            let done = redaction::remove(reader, removal, batch, &self.secret, &mut writes);
            if !self.put_aside(done, (key.clone(), batch), writes)? {
                continue;
            }
            let cleaned = match removal {
                Removal::Emails => self.clean_addresses(batch),
                Removal::Answers | Removal::Comments => Ok(()),
            };
            // The cursor moves last: what a crash interrupts is done again.
            let mut writes = WriteBatch::default();
            redaction::move_cursor(removal, &key, &mut writes);
            self.put_aside(cleaned, (key, batch), writes)?;
        }
        Ok(looked_at)
    }

    /// Takes what is one person's out of the records, as it was found; says of how many items.
    pub(in crate::journal) fn erase(
        &mut self,
        found: &Found,
        whose: &Whose,
    ) -> Result<usize, StorageError> {
        let table = Arc::clone(&self.table);
        let reader = Reader(&*table);
        // First what leads to the items, and then they: what a crash leaves of it is found again by
        // them, and nothing else would find it.
        let headers: Result<Vec<_>, StorageError> = table
            .scan(Span::headers())
            .map(|entry| Ok(entry?.0.as_ref().to_vec()))
            .collect();
        for key in headers? {
            if let Some(StoreKey::Header(id)) = StoreKey::decode(&key) {
                let mut writes = WriteBatch::default();
                match erasure::references(reader, id, found, (whose, &self.secret), &mut writes) {
                    // It was counted when it was not found to be theirs.
                    Err(StorageError::Damaged(_)) => continue,
                    done => done?,
                }
                if !writes.0.is_empty() {
                    self.write(writes)?;
                }
            }
        }
        let mut writes = WriteBatch::default();
        erasure::doubtful(reader, whose, &mut writes)?;
        if !writes.0.is_empty() {
            self.write(writes)?;
        }
        let mut batches: BTreeSet<_> = found.items.keys().map(|id| id.batch).collect();
        batches.extend(&found.batches);
        for id in &batches {
            let mut writes = WriteBatch::default();
            let secret = &self.secret;
            erasure::batch(reader, *id, found, (whose, secret), &mut writes)?;
            self.write(writes)?;
        }
        Ok(found.items.len())
    }

    fn purge_batch(&self, id: BatchId, writes: &mut WriteBatch) -> Result<(), StorageError> {
        if self.open.contains_key(&id) {
            return Err(StorageError::damaged(
                id,
                "it would be purged and has open items",
            ));
        }
        let reader = Reader(&*self.table);
        let header = reader.header(id)?;
        let header =
            header.ok_or_else(|| StorageError::damaged(id, "it expired and is not there"))?;
        let scope = header.scope();
        for item in reader.items(id, &header)? {
            if let Some(RecordedItem::Own { key: Some(key), .. }) = item {
                writes.remove(key::item(&scope, &key));
            }
        }
        for span in [Span::items(id), Span::log(id), Span::targets(id)] {
            for entry in self.table.scan(span) {
                writes.remove(entry?.0.as_ref().to_vec());
            }
        }
        writes.remove(key::request(&scope, &header.key));
        writes.remove(StoreKey::Header(id).encode());
        // Other batches may still refer to this id, so it must never be used again.
        writes.put(StoreKey::BatchFloor.encode(), record::number(self.next.0));
        Ok(())
    }
}
