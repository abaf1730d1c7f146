//! What an admission changes: new batches, vacant slots that are filled, and items that are opened
//! again.

use std::{
    collections::{BTreeMap, hash_map},
    sync::Arc,
};

use super::Ledger;
use crate::{
    domain::{
        ids::{BatchId, ItemId},
        quota::Exhausted,
    },
    journal::{
        AdmitError, Admitted, AdmittedItem, Conflict,
        bits::Bits,
        fault::Fault,
        history::{History, size},
        keys::{self, StoreKey},
        open_batch::OpenBatch,
        plan::{Plan, SlotPlan, plan},
        prepared::Prepared,
        reader::Reader,
        recent::Told,
        record::{self, Header, Item, Step},
        room::NoRoom,
        slots::{count, merge, put_group, put_indexes, rewrite},
        standing::{Standing, Standings},
        table::{Table, Writes},
        trail::{Behind, Of},
    },
    limits,
};

/// Why a request was not admitted.
#[derive(Debug, Clone)]
pub(in crate::journal) enum Refusal {
    Conflicts(Vec<Conflict>),
    NoRoom(NoRoom),
    OverQuota(Exhausted),
    Behind(Behind),
}

impl From<Refusal> for AdmitError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflicts(conflicts) => Self::Conflict(conflicts),
            Refusal::NoRoom(no_room) => Self::NoRoom(no_room),
            Refusal::OverQuota(exhausted) => Self::OverQuota(exhausted),
            Refusal::Behind(behind) => Self::Behind(behind),
        }
    }
}

impl<T: Table> Ledger<T> {
    /// Admits a request if there is room, or finds out what its keys already mean.
    pub(in crate::journal) fn admit(
        &mut self,
        prepared: &Prepared,
        room: Result<(), &Refusal>,
    ) -> Result<Result<Admitted, Refusal>, Fault> {
        let table = Arc::clone(&self.table);
        let reader = Reader(&*table);
        let plan = match plan(reader, prepared, self.next)? {
            Ok(plan) => plan,
            Err(conflicts) => return Ok(Err(Refusal::Conflicts(conflicts))),
        };
        let ids = plan.slots.iter().filter_map(|slot| match slot {
            SlotPlan::Recorded(id) | SlotPlan::Referred(id) => Some(*id),
            SlotPlan::Vacant | SlotPlan::New => None,
        });
        let standings = Standings::read(reader, ids, prepared.admission.with_answers)?;
        let (items, opened) = self.answer(&plan, &standings)?;

        let is_changed = plan
            .slots
            .iter()
            .any(|slot| matches!(slot, SlotPlan::New | SlotPlan::Referred(_)));
        let is_replay = plan.header.is_some() && !is_changed && opened.is_empty();
        if let Err(refusal) = room
            && !is_replay
        {
            return Ok(Err(refusal.clone()));
        }
        // Last, so that nothing is counted that is not admitted.
        if let Some(quota) = &prepared.admission.quota {
            let new = plan.slots.iter().filter(|slot| **slot == SlotPlan::New);
            let new = u64::try_from(new.count()).unwrap_or(u64::MAX);
            if let Err(exhausted) = quota.take(new, prepared.admission.at) {
                return Ok(Err(Refusal::OverQuota(exhausted)));
            }
        }
        let mut writes = Writes::default();
        match &plan.header {
            None => self.write_new(prepared, &plan, &mut writes)?,
            Some(header) if is_changed => {
                rewrite(reader, prepared, &plan, header, &mut writes)?;
            }
            Some(_) => {}
        }
        for (batch, indexes) in opened {
            let read = standings.batch(batch);
            self.open_again(batch, indexes, prepared, read, &mut writes)?;
        }
        if !writes.0.is_empty() {
            self.write(writes)?;
        }
        let batch = plan.batch;
        Ok(Ok(Admitted { batch, items }))
    }

    /// The answer to a request, and what of batches that exist already it opens.
    #[expect(clippy::type_complexity, reason = "two results of one pass")]
    fn answer(
        &self,
        plan: &Plan,
        standings: &Standings,
    ) -> Result<(Vec<AdmittedItem>, BTreeMap<BatchId, Vec<u32>>), Fault> {
        let mut opened = BTreeMap::<BatchId, Vec<u32>>::new();
        let mut items = Vec::with_capacity(plan.slots.len());
        for (index, slot) in (0..).zip(&plan.slots) {
            items.push(match *slot {
                SlotPlan::Vacant => AdmittedItem::Vacant,
                SlotPlan::New => {
                    if plan.header.is_some() {
                        opened.entry(plan.batch).or_default().push(index);
                    }
                    let batch = plan.batch;
                    let id = ItemId { batch, index };
                    AdmittedItem::Opened { id, previous: None }
                }
                SlotPlan::Recorded(id) | SlotPlan::Referred(id) => {
                    let standing = standings
                        .of(id)
                        .ok_or_else(|| Fault::damaged(id, "keys lead to it, and it is gone"))?;
                    let is_open = self.is_open(id);
                    match standing {
                        Standing::Open if is_open => AdmittedItem::Running { id },
                        Standing::Settled(settled) if !is_open => {
                            if settled.conclusion.outcome.is_final() {
                                AdmittedItem::Settled { id, settled }
                            } else {
                                opened.entry(id.batch).or_default().push(id.index);
                                let previous = Some(settled);
                                AdmittedItem::Opened { id, previous }
                            }
                        }
                        Standing::Open | Standing::Settled(_) => {
                            let why = "its log and what is known to be open do not agree";
                            return Err(Fault::damaged(id, why));
                        }
                    }
                }
            });
        }
        Ok((items, opened))
    }

    fn is_open(&self, id: ItemId) -> bool {
        self.open
            .get(&id.batch)
            .is_some_and(|batch| batch.open.contains(id.index))
    }

    fn write_new(
        &mut self,
        prepared: &Prepared,
        plan: &Plan,
        writes: &mut Writes,
    ) -> Result<(), Fault> {
        let admission = &prepared.admission;
        let id = plan.batch;
        self.next = BatchId(id.0.saturating_add(1));
        let slots = merge(prepared, plan, Vec::new());
        let header = Header {
            caller: admission.scope.caller.clone(),
            kind: admission.scope.kind,
            key: admission.key.clone(),
            admitted_at: admission.at,
            retry_until: admission.retry_until,
            total: u32::try_from(slots.len())
                .map_err(|_| Fault::Misused("a request has too many items".to_owned()))?,
            own: count(&slots, |item| matches!(item, Item::Own { .. })),
            refs: count(&slots, |item| matches!(item, Item::Ref { .. })),
            fingerprint: prepared.fingerprint.clone(),
        };
        size(header.total)?;

        writes.put(
            keys::request(&admission.scope, &admission.key),
            record::number(id.0),
        );
        writes.put(StoreKey::Header(id).encode(), record::whole(&header)?);
        for (group, (items, body)) in
            (0..).zip(slots.chunks(limits::RECORD_ITEMS).zip(&prepared.groups))
        {
            if header.refs == 0 {
                put_group(id, group, body, writes)?;
            } else {
                put_group(id, group, &record::body(&items)?, writes)?;
            }
        }
        put_indexes(id, 0, prepared, plan, writes);
        if header.own == 0 {
            writes.put(keys::expiry(id, admission.at), record::marker());
            return Ok(());
        }
        let mut open = Bits::default();
        for (index, slot) in (0..).zip(&plan.slots) {
            if *slot == SlotPlan::New {
                open.insert(index);
            }
        }
        let own = header.own;
        let told = || Told::Admitted(header, slots);
        self.trail.tell(Of::Admission(id), own, told);
        writes.put(StoreKey::Open(id).encode(), record::marker());
        let batch = OpenBatch {
            open,
            next_seq: 0,
            latest: admission.at,
        };
        self.open.insert(id, batch);
        Ok(())
    }

    /// Opens items of a batch that exists already.
    fn open_again(
        &mut self,
        id: BatchId,
        indexes: Vec<u32>,
        prepared: &Prepared,
        read: Option<(&Header, &History)>,
        writes: &mut Writes,
    ) -> Result<(), Fault> {
        let batch = match self.open.entry(id) {
            hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hash_map::Entry::Vacant(entry) => {
                let batch = match read {
                    Some((header, history)) => OpenBatch::closed(header, history),
                    // None of its items was known to this request, which fills vacant slots.
                    None => OpenBatch::load(Reader(&*self.table), id)?,
                };
                writes.remove(keys::expiry(id, batch.latest));
                writes.put(StoreKey::Open(id).encode(), record::marker());
                entry.insert(batch)
            }
        };
        for index in &indexes {
            if !batch.open.insert(*index) {
                return Err(Fault::damaged(
                    id,
                    format_args!("item {index} is open already"),
                ));
            }
        }
        let lines = u32::try_from(indexes.len()).unwrap_or(u32::MAX);
        self.trail.note(Of::Step(id, batch.next_seq), lines);
        let step = Step::<()>::Opened {
            at: prepared.admission.at,
            retry_until: prepared.admission.retry_until,
            indexes,
        };
        batch.log(id, &step, writes)
    }
}
