//! The slots of a batch after a request, and their store entries.

use super::{
    admission_plan::{AdmissionPlan, SlotPlan},
    encoded::EncodedAdmission,
};
use crate::{
    domain::ids::{BatchId, ItemId},
    journal::{
        Slot,
        error::StorageError,
        format::{
            key::{self, Span, StoreKey},
            record::{self, Header, RecordedItem},
        },
        read::reader::{Items, Reader},
        store::table::{Table, WriteBatch},
    },
    limits,
};

pub(in crate::journal) fn count(
    slots: &[Option<RecordedItem>],
    which: impl Fn(&RecordedItem) -> bool,
) -> u32 {
    let count = slots.iter().flatten().filter(|item| which(item)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The slots of a batch after a request.
pub(in crate::journal) fn merge(
    prepared: &EncodedAdmission,
    plan: &AdmissionPlan,
    recorded: Items,
) -> Items {
    let admission = &prepared.admission;
    let mut recorded = recorded.into_iter();
    let slots = admission.slots.iter().zip(&plan.slots).zip(0..);
    let merged = slots.map(|((slot, plan), index)| {
        let recorded = recorded.next().flatten();
        match (plan, slot) {
            (SlotPlan::New, slot) => slot.as_own(),
            (SlotPlan::Referred(id), Slot::Item { key, .. }) => Some(RecordedItem::Ref {
                key: key.clone().unwrap_or_else(|| admission.key.derive(index)),
                id: *id,
            }),
            (SlotPlan::Referred(_) | SlotPlan::Vacant | SlotPlan::Recorded(_), _) => recorded,
        }
    });
    merged.collect()
}

/// Rewrites the records of a known batch whose slots were vacant or referred to expired items.
pub(in crate::journal) fn rewrite(
    reader: Reader<'_, impl Table>,
    prepared: &EncodedAdmission,
    plan: &AdmissionPlan,
    header: &Header,
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    let id = plan.batch;
    let slots = merge(prepared, plan, reader.items(id, header)?);
    let mut header = header.clone();
    header.own = count(&slots, |item| matches!(item, RecordedItem::Own { .. }));
    header.refs = count(&slots, |item| matches!(item, RecordedItem::Ref { .. }));
    let is_sealed = header.is_sealed();
    header.fingerprint.clone_from(&prepared.fingerprint);
    if is_sealed {
        header.seal(&reader.secret()?.unwrap_or_default());
    }
    writes.put(StoreKey::Header(id).encode(), record::whole(&header)?);

    let is_changed = |slot: &SlotPlan| matches!(slot, SlotPlan::New | SlotPlan::Referred(_));
    let plans = plan.slots.chunks(limits::RECORD_ITEMS);
    let groups = slots.chunks(limits::RECORD_ITEMS);
    for (group, (items, plans)) in (0..).zip(groups.zip(plans)) {
        if plans.iter().any(is_changed) {
            // The new group may need fewer values than the old one.
            for entry in reader.0.scan(Span::item_group(id, group)) {
                writes.remove(entry?.0.as_ref().to_vec());
            }
            put_group(id, group, &record::body(&items)?, writes)?;
        }
    }
    let used = reader.0.scan(Span::targets(id)).count();
    let first_part = u16::try_from(used)
        .map_err(|_| StorageError::Misused(format!("the target index of batch {id} is full")))?;
    put_indexes(id, first_part, prepared, plan, writes);
    Ok(())
}

pub(in crate::journal) fn put_group(
    id: BatchId,
    group: u32,
    body: &[u8],
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    for (part, value) in record::split(body)? {
        let key = StoreKey::Items {
            batch: id,
            group,
            part,
        };
        writes.put(key.encode(), value);
    }
    Ok(())
}

/// Indexes new items by their own keys and by targets.
pub(in crate::journal) fn put_indexes(
    id: BatchId,
    first_part: u16,
    prepared: &EncodedAdmission,
    plan: &AdmissionPlan,
    writes: &mut WriteBatch,
) {
    let admission = &prepared.admission;
    let mut hashes = Vec::with_capacity(plan.slots.len());
    for (index, (slot, plan)) in (0..).zip(admission.slots.iter().zip(&plan.slots)) {
        let (Slot::Item { key, command }, SlotPlan::New) = (slot, plan) else {
            continue;
        };
        if let Some(key) = key {
            let item = ItemId { batch: id, index };
            writes.put(key::item(&admission.scope, key), record::item_id(item));
        }
        hashes.extend(
            command
                .target_ids()
                .map(|id| record::target_hash(id.as_str())),
        );
    }
    hashes.sort_unstable();
    hashes.dedup();
    for (part, value) in (first_part..).zip(record::pack_hashes(&hashes)) {
        writes.put(StoreKey::Targets { batch: id, part }.encode(), value);
    }
}
