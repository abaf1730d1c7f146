//! The current state of the items that a request's keys refer to, and the replay of a request that
//! changes nothing. Reads only.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    batch_log::{BatchHistory, Wanted},
    reader::Reader,
};
use crate::{
    domain::{
        ids::{BatchId, ItemId},
        outcome::Settled,
    },
    journal::{
        Admitted, AdmittedItem, Slot,
        error::StorageError,
        format::{
            index_set::IndexSet,
            record::{Header, RecordedItem},
        },
        store::table::Table,
        write::encoded::EncodedAdmission,
    },
};

/// The state of an item.
#[derive(Debug)]
pub(in crate::journal) enum ItemStanding {
    /// Admitted and not settled.
    Open,
    /// Settled, and not reopened since.
    Settled(Arc<Settled>),
}

/// The batches that a request's keys refer to, with their folded logs.
#[derive(Debug, Default)]
pub(in crate::journal) struct Standings(HashMap<BatchId, (Header, BatchHistory)>);

impl Standings {
    /// Reads the state of these items.
    pub(in crate::journal) fn read(
        reader: Reader<'_, impl Table>,
        ids: impl Iterator<Item = ItemId>,
        with_answers: bool,
    ) -> Result<Self, StorageError> {
        let mut wanted = BTreeMap::<BatchId, IndexSet>::new();
        for id in ids {
            wanted.entry(id.batch).or_default().insert(id.index);
        }
        let mut standings = Self::default();
        for (batch, bits) in wanted {
            let read = reader.of_batch(batch, |header| {
                let history = reader.history(batch, &header, |index| {
                    match (bits.contains(index), with_answers) {
                        (false, _) => Wanted::Nothing,
                        (true, false) => Wanted::Outcome,
                        (true, true) => Wanted::Everything,
                    }
                })?;
                Ok((header, history))
            })?;
            if let Some(found) = read {
                standings.0.insert(batch, found);
            }
        }
        Ok(standings)
    }

    /// The state of an item; `None` if its batch was purged.
    pub(in crate::journal) fn of(&self, id: ItemId) -> Option<ItemStanding> {
        let (_, history) = self.0.get(&id.batch)?;
        let trace = history.trace(id.index);
        Some(match trace.settled {
            Some(settled) if trace.is_settled => ItemStanding::Settled(settled),
            Some(_) | None => ItemStanding::Open,
        })
    }

    /// A batch that was read.
    pub(in crate::journal) fn batch(&self, batch: BatchId) -> Option<(&Header, &BatchHistory)> {
        self.0
            .get(&batch)
            .map(|(header, history)| (header, history))
    }
}

/// Answers a repeated request with the same content, if that needs no write; `None` if it has to go
/// through the writer.
pub(in crate::journal) fn replay(
    reader: Reader<'_, impl Table>,
    prepared: &EncodedAdmission,
) -> Result<Option<Admitted>, StorageError> {
    let admission = &prepared.admission;
    let Some(batch) = reader.request(&admission.scope, &admission.key)? else {
        return Ok(None);
    };
    let admitted = reader.of_batch(batch, |header| {
        let secret = || Ok(reader.secret()?.unwrap_or_default());
        if !header.has_fingerprint(&prepared.fingerprint, secret)? {
            return Ok(None);
        }
        let Some(ids) = ids(reader, batch, &header, &admission.slots)? else {
            return Ok(None);
        };
        let standings = Standings::read(
            reader,
            ids.iter().copied().flatten(),
            admission.with_answers,
        )?;
        let items = ids.into_iter().map(|id| {
            let Some(id) = id else {
                return Some(AdmittedItem::Vacant);
            };
            match standings.of(id)? {
                ItemStanding::Open => Some(AdmittedItem::Running { id }),
                ItemStanding::Settled(settled) if settled.conclusion.is_final() => {
                    Some(AdmittedItem::Settled { id, settled })
                }
                ItemStanding::Settled(_) => None,
            }
        });
        let items: Option<Vec<_>> = items.collect();
        Ok(items.map(|items| Admitted { batch, items }))
    })?;
    Ok(admitted.flatten())
}

/// The items of a request that is recorded with this content; `None` if one of them has to be
/// recorded again.
fn ids(
    reader: Reader<'_, impl Table>,
    batch: BatchId,
    header: &Header,
    slots: &[Slot],
) -> Result<Option<Vec<Option<ItemId>>>, StorageError> {
    let here = |index| ItemId { batch, index };
    if header.refs == 0 {
        let ids = (0..).zip(slots).map(|(index, slot)| match slot {
            Slot::Vacant => None,
            Slot::Item { .. } => Some(here(index)),
        });
        return Ok(Some(ids.collect()));
    }
    let items = reader.items(batch, header)?;
    let mut ids = Vec::with_capacity(slots.len());
    for (index, (slot, item)) in (0..).zip(slots.iter().zip(items)) {
        ids.push(match (slot, item) {
            (Slot::Vacant, _) => None,
            (Slot::Item { .. }, Some(RecordedItem::Own { .. })) => Some(here(index)),
            (Slot::Item { .. }, Some(RecordedItem::Ref { id, .. })) => Some(id),
            (Slot::Item { .. }, None) => return Ok(None),
        });
    }
    Ok(Some(ids))
}
