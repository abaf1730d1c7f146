//! In-memory state of a batch with open items, needed to write its log.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::encoded::EncodedSettlement;
use crate::{
    domain::ids::BatchId,
    journal::{
        error::StorageError,
        format::{
            index_set::IndexSet,
            key::StoreKey,
            record::{self, Header, RecordedItem, Step},
        },
        outbox::{EventKind, Outbox, cache::CachedEvent, settlement},
        read::{
            batch_log::{BatchHistory, Wanted},
            reader::Reader,
        },
        store::table::{Table, WriteBatch},
    },
};

/// A batch with open items.
#[derive(Debug)]
pub(in crate::journal) struct OpenBatch {
    pub(in crate::journal) open: IndexSet,
    pub(in crate::journal) next_seq: u32,
    /// The latest time in its records: retention starts here when its last item settles.
    pub(in crate::journal) latest: Timestamp,
    /// The processes that were allowed to send any of its items.
    pub(in crate::journal) lives: BTreeSet<u64>,
}

/// Bytes at which the body of a step is closed, so that reading one takes little memory.
const STEP_BYTES: usize = 64 * 1024;

impl OpenBatch {
    /// Loads a batch from its records.
    pub(in crate::journal) fn load(
        reader: Reader<'_, impl Table>,
        id: BatchId,
    ) -> Result<Self, StorageError> {
        let header = reader.header(id)?;
        let header = header.ok_or_else(|| StorageError::damaged(id, "it is open and not there"))?;
        let history = reader.history(id, &header, |_| Wanted::Nothing)?;
        let mut batch = Self::closed(&header, &history);
        let is_full = header.own == header.total;
        let items = if is_full {
            Vec::new()
        } else {
            reader.items(id, &header)?
        };
        let mut items = items.into_iter();
        for index in 0..header.total {
            let is_own = matches!(items.next(), Some(Some(RecordedItem::Own { .. })));
            if (is_full || is_own) && !history.trace(index).is_settled {
                batch.open.insert(index);
            }
        }
        Ok(batch)
    }

    /// A batch without open items.
    pub(in crate::journal) fn closed(header: &Header, history: &BatchHistory) -> Self {
        Self {
            open: IndexSet::default(),
            next_seq: history.next_seq,
            latest: history.latest_since(header),
            lives: history.lives().collect(),
        }
    }

    pub(in crate::journal) fn settle(
        &mut self,
        id: BatchId,
        settlements: &[&EncodedSettlement],
        trail: &mut Outbox,
        writes: &mut WriteBatch,
    ) -> Result<(), StorageError> {
        let mut rest = settlements;
        while !rest.is_empty() {
            let mut bytes = 0_usize;
            let count = rest
                .iter()
                .take_while(|settlement| {
                    let fits = bytes < STEP_BYTES;
                    bytes = bytes.saturating_add(settlement.json.get().len());
                    fits
                })
                .count();
            let (now, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = later;
            let (mut latest, mut kept) = (self.latest, None);
            let mut items = Vec::<(u32, &RawValue)>::with_capacity(now.len());
            for settlement in now {
                if !self.open.remove(settlement.id.index) {
                    return Err(StorageError::Misused(format!(
                        "{} settles and is not open",
                        settlement.id
                    )));
                }
                latest = latest.max(settlement.settled_at);
                kept = kept.max(settlement.kept);
                items.push((settlement.id.index, &settlement.json));
            }
            self.latest = latest.max(kept.unwrap_or(latest));
            let ended = now.iter().map(|one| &*one.ended);
            let lines = u32::try_from(settlement::lines(ended)).unwrap_or(u32::MAX);
            trail.tell(EventKind::Step(id, self.next_seq), lines, || {
                let ended = now.iter();
                let ended = ended.map(|one| (one.id.index, Arc::clone(&one.ended)));
                CachedEvent::Settled(ended.collect())
            });
            let step = Step::Settled {
                latest,
                kept,
                items,
            };
            self.log(id, &step, writes)?;
        }
        Ok(())
    }

    /// Appends a step to the batch's log.
    pub(in crate::journal) fn log<S: serde::Serialize>(
        &mut self,
        id: BatchId,
        step: &Step<S>,
        writes: &mut WriteBatch,
    ) -> Result<(), StorageError> {
        let seq = self.next_seq;
        self.next_seq = seq
            .checked_add(1)
            .ok_or_else(|| StorageError::Misused(format!("the log of batch {id} is full")))?;
        for (part, value) in record::split(&record::body(step)?)? {
            let key = StoreKey::Log {
                batch: id,
                seq,
                part,
            };
            writes.put(key.encode(), value);
        }
        Ok(())
    }
}
