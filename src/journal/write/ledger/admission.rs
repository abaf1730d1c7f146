//! Admission: writes new batches, fills vacant slots of known ones, and reopens items.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map},
    sync::Arc,
};

use super::Ledger;
use crate::{
    domain::{
        access::hourly_quota::Exhausted,
        doubt::Moment,
        ids::{AccountName, BatchId, ItemId},
    },
    journal::{
        Admission, AdmitError, Admitted, AdmittedItem, Conflict, Slot,
        directory::disk_space::{DiskFull, Overfull},
        error::StorageError,
        format::{
            index_set::IndexSet,
            key::{self, StoreKey},
            record::{self, Cleared, Header, Ranges, RecordedItem, Step},
        },
        outbox::{EventKind, OutboxFull, cache::CachedEvent},
        read::{
            batch_log::{BatchHistory, size},
            reader::Reader,
            replay::{ItemStanding, Standings},
        },
        store::{
            table::{Table, WriteBatch},
            write_buffer::WriteBuffer,
        },
        write::{
            admission_plan::{AdmissionPlan, SlotPlan, plan},
            batch_slots::{count, merge, put_group, put_indexes, rewrite},
            encoded::EncodedAdmission,
            open_batch::OpenBatch,
        },
    },
    limits,
};

/// Why a request was not admitted.
#[derive(Debug, Clone)]
pub(in crate::journal) enum AdmissionRefusal {
    Conflicts(Vec<Conflict>),
    Unreserved(BTreeSet<u32>),
    NoRoom(DiskFull),
    OverQuota(Exhausted),
    Behind(OutboxFull),
    Overfull(Overfull),
    /// What its keys lead to cannot be read.
    Damaged(StorageError),
}

impl From<AdmissionRefusal> for AdmitError {
    fn from(refusal: AdmissionRefusal) -> Self {
        match refusal {
            AdmissionRefusal::Conflicts(conflicts) => Self::Conflict(conflicts),
            AdmissionRefusal::Unreserved(opens) => Self::Unreserved(opens),
            AdmissionRefusal::NoRoom(no_room) => Self::NoRoom(no_room),
            AdmissionRefusal::OverQuota(exhausted) => Self::OverQuota(exhausted),
            AdmissionRefusal::Behind(behind) => Self::Behind(behind),
            AdmissionRefusal::Overfull(overfull) => Self::Overfull(overfull),
            AdmissionRefusal::Damaged(fault) => Self::Damaged(fault.into()),
        }
    }
}

impl<T: Table> Ledger<T> {
    /// Admits a request if `room` allows it; a pure repeat is answered in any case.
    pub(in crate::journal) fn admit(
        &mut self,
        prepared: &EncodedAdmission,
        room: Result<(), &AdmissionRefusal>,
    ) -> Result<Result<Admitted, AdmissionRefusal>, StorageError> {
        let table = Arc::clone(&self.table);
        let reader = Reader(&*table);
        let known = match self.look(reader, prepared) {
            Ok(Ok(known)) => known,
            Ok(Err(conflicts)) => return Ok(Err(AdmissionRefusal::Conflicts(conflicts))),
            // Only this request is concerned, and nothing was written for it.
            Err(fault @ StorageError::Damaged(_)) => {
                return Ok(Err(AdmissionRefusal::Damaged(fault)));
            }
            Err(
                fault @ (StorageError::Store(_)
                | StorageError::Misused(_)
                | StorageError::Abandoned),
            ) => {
                return Err(fault);
            }
        };
        let Looked {
            plan,
            standings,
            items,
            opened,
        } = known;

        // A repeat that changes nothing needs no space, so it is answered on a full disk too.
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
        if let Some(overfull) = prepared.admission.overfull
            && !is_replay
        {
            return Ok(Err(AdmissionRefusal::Overfull(overfull)));
        }
        if let Some(may_open) = &prepared.admission.may_open {
            let opens = (0..).zip(&items).filter_map(|(index, item)| {
                matches!(item, AdmittedItem::Opened { .. }).then_some(index)
            });
            let opens: BTreeSet<u32> = opens.collect();
            if !opens.is_subset(may_open) {
                return Ok(Err(AdmissionRefusal::Unreserved(opens)));
            }
        }
        // Last, so that only admitted items count.
        if let Some(quota) = &prepared.admission.quota {
            let slots = items.iter().zip(&prepared.admission.slots);
            // A reopened item may have its effect after all, so it counts again.
            let people = slots.filter_map(|(item, slot)| match (item, slot) {
                (AdmittedItem::Opened { .. }, Slot::Item { command, .. }) => Some(command.people()),
                _ => None,
            });
            let people = people.fold(0, u64::saturating_add);
            if let Err(exhausted) = quota.take(people, prepared.admission.at) {
                return Ok(Err(AdmissionRefusal::OverQuota(exhausted)));
            }
        }
        let mut writes = WriteBatch::default();
        // Vacant slots are filled in place: the key keeps its one batch.
        match &plan.header {
            None => self.write_new(prepared, &plan, &items, &mut writes)?,
            Some(header) if is_changed => {
                rewrite(reader, prepared, &plan, header, &mut writes)?;
            }
            Some(_) => {}
        }
        for (batch, opened) in opened {
            let read = standings.batch(batch);
            self.open_again(batch, opened, prepared, read, &mut writes)?;
        }
        if !writes.0.is_empty() {
            self.write(writes)?;
        }
        let batch = plan.batch;
        Ok(Ok(Admitted { batch, items }))
    }

    /// Reads all that is known of a request's keys, and all that its writes need.
    fn look(
        &self,
        reader: Reader<'_, WriteBuffer<T>>,
        prepared: &EncodedAdmission,
    ) -> Result<Result<Looked, Vec<Conflict>>, StorageError> {
        let plan = match plan(reader, prepared, self.next, &self.secret)? {
            Ok(plan) => plan,
            Err(conflicts) => return Ok(Err(conflicts)),
        };
        let ids = plan.slots.iter().filter_map(|slot| match slot {
            SlotPlan::Recorded(id) | SlotPlan::Referred(id) => Some(*id),
            SlotPlan::Vacant | SlotPlan::New => None,
        });
        // Vacant slots may be filled in a batch of which this request knew no item.
        let (batch, index) = (plan.batch, 0);
        let itself = plan.header.as_ref().map(|_| ItemId { batch, index });
        let ids = ids.chain(itself);
        let standings = Standings::read(reader, ids, prepared.admission.with_answers)?;
        let (items, opened) = self.answer(&prepared.admission, &plan, &standings)?;
        Ok(Ok(Looked {
            plan,
            standings,
            items,
            opened,
        }))
    }

    /// The answer to a request, and the items of existing batches that it opens.
    #[expect(clippy::type_complexity, reason = "two results of one pass")]
    fn answer(
        &self,
        admission: &Admission,
        plan: &AdmissionPlan,
        standings: &Standings,
    ) -> Result<(Vec<AdmittedItem>, BTreeMap<BatchId, Vec<OpenedItems>>), StorageError> {
        let mut opened = BTreeMap::<BatchId, Vec<OpenedItems>>::new();
        let mut items = Vec::with_capacity(plan.slots.len());
        let mut left = admission.clear.clone();
        let slots = plan.slots.iter().zip(&admission.slots);
        for (index, (slot, asked)) in (0..).zip(slots) {
            items.push(match *slot {
                SlotPlan::Vacant => AdmittedItem::Vacant,
                SlotPlan::New => {
                    let is_cleared = take(&mut left, asked);
                    // A new batch has its cleared items in the header; an existing one needs a step
                    // in its log.
                    if plan.header.is_some() {
                        let of = opened.entry(plan.batch).or_default();
                        of.push(OpenedItems {
                            index,
                            is_cleared,
                            is_new: true,
                        });
                    }
                    let batch = plan.batch;
                    let id = ItemId { batch, index };
                    AdmittedItem::Opened {
                        id,
                        previous: None,
                        cleared: is_cleared,
                    }
                }
                SlotPlan::Recorded(id) | SlotPlan::Referred(id) => {
                    let standing = standings.of(id).ok_or_else(|| {
                        StorageError::damaged(id, "keys lead to it, and it is gone")
                    })?;
                    let is_open = self.is_open(id);
                    match standing {
                        ItemStanding::Open if is_open => AdmittedItem::Running { id },
                        ItemStanding::Settled(settled) if !is_open => {
                            // A final outcome is replayed; any other reopens the item.
                            if settled.conclusion.is_final() {
                                AdmittedItem::Settled { id, settled }
                            } else {
                                let is_cleared = take(&mut left, asked);
                                let index = id.index;
                                let of = opened.entry(id.batch).or_default();
                                of.push(OpenedItems {
                                    index,
                                    is_cleared,
                                    is_new: false,
                                });
                                AdmittedItem::Opened {
                                    id,
                                    previous: Some(settled),
                                    cleared: is_cleared,
                                }
                            }
                        }
                        // The log and the set of open items are written together, so they cannot
                        // differ.
                        ItemStanding::Open | ItemStanding::Settled(_) => {
                            let why = "its log and what is known to be open do not agree";
                            return Err(StorageError::damaged(id, why));
                        }
                    }
                }
            });
        }
        Ok((items, opened))
    }

    fn write_new(
        &mut self,
        prepared: &EncodedAdmission,
        plan: &AdmissionPlan,
        items: &[AdmittedItem],
        writes: &mut WriteBatch,
    ) -> Result<(), StorageError> {
        let admission = &prepared.admission;
        let id = plan.batch;
        let is_cleared = |item: &AdmittedItem| match item {
            AdmittedItem::Opened {
                id: of, cleared, ..
            } => *cleared && of.batch == id,
            AdmittedItem::Vacant | AdmittedItem::Running { .. } | AdmittedItem::Settled { .. } => {
                false
            }
        };
        let cleared = (0..).zip(items).filter(|(_, item)| is_cleared(item));
        let cleared: Ranges = cleared.map(|(index, _)| index).collect();
        self.next = BatchId(id.0.saturating_add(1));
        let slots = merge(prepared, plan, Vec::new());
        // They are contiguous, unless a request alternates between accounts.
        let (cleared, apart) = if cleared.len() > limits::RECORD_RANGES_MAX {
            (Ranges::default(), Some(cleared))
        } else {
            (cleared, None)
        };
        let header = Header {
            caller: admission.scope.caller.clone(),
            kind: admission.scope.kind,
            key: admission.key.clone(),
            admitted_at: admission.at,
            retry_until: admission.retry_until,
            total: u32::try_from(slots.len())
                .map_err(|_| StorageError::Misused("a request has too many items".to_owned()))?,
            own: count(&slots, |item| matches!(item, RecordedItem::Own { .. })),
            refs: count(&slots, |item| matches!(item, RecordedItem::Ref { .. })),
            fingerprint: prepared.fingerprint.clone(),
            cleared: Some(self.cleared(admission, cleared)),
            from: admission.from.clone().map(Box::new),
        };
        size(header.total)?;

        writes.put(
            key::request(&admission.scope, &admission.key),
            record::number(id.0),
        );
        writes.put(StoreKey::Header(id).encode(), record::whole(&header)?);
        for (group, (items, body)) in
            (0..).zip(slots.chunks(limits::RECORD_ITEMS).zip(&prepared.groups))
        {
            // Without references the groups are as they were encoded on the caller's side.
            if header.refs == 0 {
                put_group(id, group, body, writes)?;
            } else {
                put_group(id, group, &record::body(&items)?, writes)?;
            }
        }
        put_indexes(id, 0, prepared, plan, writes);
        // A batch of references has no open items, so its retention starts at once.
        if header.own == 0 {
            writes.put(key::expiry(id, admission.at), record::marker());
            return Ok(());
        }
        let mut open = IndexSet::default();
        for (index, slot) in (0..).zip(&plan.slots) {
            if *slot == SlotPlan::New {
                open.insert(index);
            }
        }
        let own = header.own;
        let told = || CachedEvent::Admitted(header, slots);
        self.trail.tell(EventKind::Admission(id), own, told);
        writes.put(StoreKey::Open(id).encode(), record::marker());
        let mut batch = OpenBatch {
            open,
            next_seq: 0,
            latest: admission.at,
            lives: [self.life].into(),
        };
        // Too many ranges for the header: a step of the log takes them.
        if let Some(indexes) = apart {
            let step = Step::<()>::Cleared {
                at: Moment {
                    at: admission.at,
                    boot: admission.boot,
                },
                life: self.life,
                indexes,
            };
            batch.log(id, &step, writes)?;
        }
        self.open.insert(id, batch);
        Ok(())
    }

    fn cleared(&self, admission: &Admission, indexes: Ranges) -> Cleared {
        Cleared {
            life: self.life,
            boot: admission.boot,
            indexes,
        }
    }

    /// Opens items of a batch that exists already.
    fn open_again(
        &mut self,
        id: BatchId,
        opened: Vec<OpenedItems>,
        prepared: &EncodedAdmission,
        read: Option<(&Header, &BatchHistory)>,
        writes: &mut WriteBatch,
    ) -> Result<(), StorageError> {
        let cleared = opened.iter().filter(|opened| opened.is_cleared);
        let cleared = cleared.map(|opened| opened.index).collect();
        let cleared = self.cleared(&prepared.admission, cleared);
        let batch = match self.open.entry(id) {
            hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hash_map::Entry::Vacant(entry) => {
                let batch = match read {
                    Some((header, history)) => OpenBatch::closed(header, history),
                    // No item of the batch was known to this request, which fills its vacant slots.
                    None => OpenBatch::load(Reader(&*self.table), id)?,
                };
                // An open batch is not deleted, so its retention starts again when it closes.
                writes.remove(key::expiry(id, batch.latest));
                writes.put(StoreKey::Open(id).encode(), record::marker());
                entry.insert(batch)
            }
        };
        let indexes: Vec<_> = opened.iter().map(|opened| opened.index).collect();
        batch.lives.insert(cleared.life);
        for index in &indexes {
            if !batch.open.insert(*index) {
                return Err(StorageError::damaged(
                    id,
                    format_args!("item {index} is open already"),
                ));
            }
        }
        // Those that are opened again have a line together.
        let new = opened.iter().filter(|opened| opened.is_new).count();
        let again = usize::from(new < opened.len());
        let lines = u32::try_from(new.saturating_add(again)).unwrap_or(u32::MAX);
        self.trail.note(EventKind::Step(id, batch.next_seq), lines);
        let step = Step::<()>::Opened {
            at: prepared.admission.at,
            retry_until: prepared.admission.retry_until,
            indexes,
            cleared: Some(cleared),
            from: prepared.admission.from.clone().map(Box::new),
        };
        batch.log(id, &step, writes)
    }
}

/// What is known of a request's keys, and the answer to it.
struct Looked {
    plan: AdmissionPlan,
    standings: Standings,
    items: Vec<AdmittedItem>,
    opened: BTreeMap<BatchId, Vec<OpenedItems>>,
}

/// An item of an existing batch that is opened.
#[derive(Debug, Clone, Copy)]
struct OpenedItems {
    index: u32,
    is_cleared: bool,
    /// It comes to a slot that was vacant.
    is_new: bool,
}

/// Takes a clearance for an item, if its account has one left.
fn take(left: &mut BTreeMap<AccountName, usize>, slot: &Slot) -> bool {
    let Slot::Item { command, .. } = slot else {
        return false;
    };
    match left.get_mut(command.account()) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        Some(_) | None => false,
    }
}
