//! All that is ever written: the one owner of the table's content decides here what an
//! admission, a settlement, a stop and a purge change. Each is applied as a whole; those between
//! two calls of `close_group` are handed to the table together. When that reaches the disk is
//! its caller's matter.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    AdmitError, Admitted, AdmittedItem, Conflict,
    bits::Bits,
    fault::Fault,
    history::{History, size},
    keys::{self, Span, StoreKey},
    open_batch::OpenBatch,
    plan::{Plan, SlotPlan, plan},
    prepared::{Prepared, PreparedSettlement},
    reader::Reader,
    recent::{Recent, Told},
    record::{self, Header, Item, Step},
    redact::{self, Removal},
    room::NoRoom,
    slots::{count, merge, put_group, put_indexes, rewrite},
    staged::Staged,
    standing::{Standing, Standings},
    table::{Table, Writes},
    trail::{Audited, Behind, Of, Trail},
};
use crate::{
    domain::{
        ids::{BatchId, CallerId, ItemId},
        quota::Exhausted,
    },
    limits,
};

/// The one that writes.
#[derive(Debug)]
pub(super) struct Ledger<T> {
    table: Arc<Staged<T>>,
    /// Every batch with open items.
    open: HashMap<BatchId, OpenBatch>,
    next: BatchId,
    commits: u64,
    has_written: bool,
    trail: Trail,
}

/// Why a request was not admitted.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
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
    /// Takes over a table, with or without a trail for an audit.
    pub(super) fn load(table: Arc<T>, is_audited: bool) -> Result<Self, Fault> {
        let table = Arc::new(Staged::over(table));
        let reader = Reader(&*table);
        let floor = reader.number(&StoreKey::BatchFloor)?.unwrap_or(1);
        let commits = reader.number(&StoreKey::Commits)?.unwrap_or(0);
        let next = match table.scan(Span::headers()).next_back().transpose()? {
            Some((key, _)) => match StoreKey::decode(key.as_ref()) {
                Some(StoreKey::Header(last)) => floor.max(last.0.saturating_add(1)),
                _ => return Err(Fault::damaged("the last batch", "its key does not decode")),
            },
            None => floor,
        };
        let mut open = HashMap::new();
        for entry in table.scan(Span::open()) {
            let (key, _) = entry?;
            let Some(StoreKey::Open(batch)) = StoreKey::decode(key.as_ref()) else {
                return Err(Fault::damaged("an open batch", "its key does not decode"));
            };
            open.insert(batch, OpenBatch::load(reader, batch)?);
        }
        let trail = Trail::load(Reader(&*table), is_audited)?;
        Ok(Self {
            table,
            open,
            next: BatchId(next),
            commits,
            has_written: false,
            trail,
        })
    }

    /// How many groups of writes it holds.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// What the audit has not got yet.
    pub(super) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// What the last group of writes brought, for the audit.
    pub(super) fn take_recent(&mut self) -> Recent {
        self.trail.take_recent()
    }

    /// Whether there is something to close a group for.
    pub(super) fn has_written(&self) -> bool {
        self.has_written
    }

    /// Records how far the audit has got.
    pub(super) fn audited(&mut self, audited: &Audited) -> Result<(), Fault> {
        let mut writes = Writes::default();
        self.trail.audited(audited, &mut writes)?;
        self.write(writes)
    }

    /// Closes a group of writes with its number; `None` if nothing was written.
    pub(super) fn close_group(&mut self) -> Result<Option<u64>, Fault> {
        if !self.has_written {
            return Ok(None);
        }
        self.commits += 1;
        let mut writes = Writes::default();
        writes.put(StoreKey::Commits.encode(), record::number(self.commits));
        self.write(writes)?;
        self.table.hand_over()?;
        self.trail.close();
        self.has_written = false;
        Ok(Some(self.commits))
    }

    fn write(&mut self, mut writes: Writes) -> Result<(), Fault> {
        self.has_written = true;
        self.trail.add_to(&mut writes, self.commits);
        self.table.write(writes)
    }

    /// Records outcomes, all or none of each call.
    pub(super) fn settle<'a>(
        &mut self,
        settlements: impl Iterator<Item = &'a PreparedSettlement>,
    ) -> Result<(), Fault> {
        let mut batches = BTreeMap::<BatchId, Vec<&PreparedSettlement>>::new();
        for settlement in settlements {
            batches
                .entry(settlement.id.batch)
                .or_default()
                .push(settlement);
        }
        if batches.is_empty() {
            return Ok(());
        }
        let mut writes = Writes::default();
        for (id, settlements) in batches {
            let batch = self.open.get_mut(&id);
            let batch = batch.ok_or_else(|| Fault::Misused(format!("{id} has nothing open")))?;
            batch.settle(id, &settlements, &mut self.trail, &mut writes)?;
            if batch.open.is_empty() {
                writes.remove(StoreKey::Open(id).encode());
                writes.put(keys::expiry(id, batch.latest), record::marker());
                self.open.remove(&id);
            }
        }
        self.write(writes)
    }

    /// Records that a batch was stopped, if anything of it is open.
    pub(super) fn stop(
        &mut self,
        id: BatchId,
        by: Option<CallerId>,
        at: Timestamp,
    ) -> Result<(), Fault> {
        let Some(batch) = self.open.get_mut(&id) else {
            return Ok(());
        };
        let mut writes = Writes::default();
        self.trail.note(Of::Step(id, batch.next_seq), 1);
        batch.log(id, &Step::<()>::Stopped { at, by }, &mut writes)?;
        self.write(writes)
    }

    /// Deletes batches that settled before this time, but for those that the audit still has to
    /// read.
    pub(super) fn purge(&mut self, before: Timestamp, batches_max: usize) -> Result<usize, Fault> {
        let kept = self.trail.batches();
        let mut due = Vec::new();
        for entry in self.table.scan(Span::expired(before.as_microsecond())) {
            if due.len() >= batches_max {
                break;
            }
            let (key, _) = entry?;
            let Some(StoreKey::Expiry { batch, .. }) = StoreKey::decode(key.as_ref()) else {
                return Err(Fault::damaged("an expiry entry", "its key does not decode"));
            };
            if !kept.contains(&batch) {
                due.push((key.as_ref().to_vec(), batch));
            }
        }
        for (key, batch) in &due {
            let batch = *batch;
            if self.open.contains_key(&batch) {
                return Err(Fault::damaged(
                    batch,
                    "it would be purged and has open items",
                ));
            }
            let mut writes = Writes::default();
            self.purge_batch(batch, &mut writes)?;
            writes.remove(key.clone());
            self.write(writes)?;
        }
        Ok(due.len())
    }

    /// Takes out of settled batches what is kept for a shorter time; says of how many.
    pub(super) fn redact(
        &mut self,
        removal: Removal,
        before: Timestamp,
        batches_max: usize,
    ) -> Result<usize, Fault> {
        let due = redact::due(Reader(&*self.table), removal, before, batches_max)?;
        for (key, batch) in &due {
            let mut writes = Writes::default();
            redact::remove(Reader(&*self.table), removal, (key, *batch), &mut writes)?;
            self.write(writes)?;
        }
        Ok(due.len())
    }

    fn purge_batch(&self, id: BatchId, writes: &mut Writes) -> Result<(), Fault> {
        let reader = Reader(&*self.table);
        let header = reader.header(id)?;
        let header = header.ok_or_else(|| Fault::damaged(id, "it expired and is not there"))?;
        let scope = header.scope();
        for item in reader.items(id, &header)? {
            if let Some(Item::Own { key: Some(key), .. }) = item {
                writes.remove(keys::item(&scope, &key));
            }
        }
        for span in [Span::items(id), Span::log(id), Span::targets(id)] {
            for entry in self.table.scan(span) {
                writes.remove(entry?.0.as_ref().to_vec());
            }
        }
        writes.remove(keys::request(&scope, &header.key));
        writes.remove(StoreKey::Header(id).encode());
        // Other batches may still refer to this id, so it must never name another batch.
        writes.put(StoreKey::BatchFloor.encode(), record::number(self.next.0));
        Ok(())
    }

    /// Admits a request if there is room, or finds out what its keys already mean.
    pub(super) fn admit(
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
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
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
