//! Takes what is one person's out of the records: finds it, and writes what it is in anew.
//! Outcomes, counts and times stay, and digests of keys and commands, so that the same request is
//! still answered by what became of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::redaction::{note_taken_out, put_step, replace_group};
use crate::{
    domain::{
        ids::{BatchId, CallerId, ItemId, Key},
        outcome::Settled,
        personal::{
            digests::DigestKey,
            erasure::{Extent, Whose, erased_key},
        },
    },
    journal::{
        DoubtfulTarget,
        error::StorageError,
        format::{
            key::{self, Span, StoreKey},
            record::{self, RecordedItem, Step},
        },
        read::{
            batch_log::{BatchHistory, Wanted},
            reader::{Reader, first_of, groups},
        },
        store::table::{Table, WriteBatch},
    },
};

/// What is one person's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Items, and how far each is theirs.
    pub items: BTreeMap<ItemId, Extent>,
    /// Those of them that are open: nothing can be erased before they are not.
    pub open: Vec<StillOpen>,
    /// Keys that are theirs alone, of items and of requests.
    pub keys: BTreeSet<(CallerId, Key)>,
    /// Requests whose key is theirs alone.
    pub batches: BTreeSet<BatchId>,
    /// Until when a request of ours may still act on a target of theirs.
    pub doubtful_until: Option<Timestamp>,
    /// Batches that cannot be read, so that nobody knows what is in them.
    pub unreadable: u64,
}

impl Found {
    /// Whether a key is derived from a request's key that is theirs.
    fn has_derived(&self, caller: &CallerId, key: &Key) -> bool {
        key.derived_from()
            .is_some_and(|(of, _)| self.keys.contains(&(caller.clone(), of)))
    }
}

/// An item that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillOpen {
    /// Which.
    pub id: ItemId,
    /// Whose.
    pub caller: CallerId,
    /// Its key.
    pub key: Key,
}

/// Finds what is theirs.
pub(in crate::journal) fn find(
    reader: Reader<'_, impl Table>,
    whose: &Whose,
    now: Timestamp,
) -> Result<Found, StorageError> {
    let mut found = Found::default();
    for entry in reader.0.scan(Span::headers()) {
        let (key, _) = entry?;
        let Some(StoreKey::Header(id)) = StoreKey::decode(key.as_ref()) else {
            return Err(StorageError::damaged("a batch", "its key does not decode"));
        };
        match find_in(reader, id, whose, &mut found) {
            Err(StorageError::Damaged(why)) => {
                tracing::error!(%why, "a damaged batch is left as it is");
                found.unreadable += 1;
            }
            done => done?,
        }
    }
    for entry in reader.doubtful() {
        let (_, targets) = entry?;
        let theirs = targets.iter().filter(|of| whose.is(of.target.as_str()));
        let until = theirs
            .map(|of| of.until.at)
            .filter(|until| *until > now)
            .max();
        found.doubtful_until = found.doubtful_until.max(until);
    }
    Ok(found)
}

fn find_in(
    reader: Reader<'_, impl Table>,
    id: BatchId,
    whose: &Whose,
    found: &mut Found,
) -> Result<(), StorageError> {
    let header = reader.header(id)?;
    let header = header.ok_or_else(|| StorageError::damaged(id, "it is gone"))?;
    let mut outcomes = BTreeMap::<u32, Extent>::new();
    each_settled(reader, id, |_, items| {
        for (index, settled) in items {
            let extent = outcomes.entry(*index).or_default();
            *extent = (*extent).max(settled.conclusion.extent(whose));
        }
        Ok(())
    })?;
    let history = reader.history(id, &header, |_| Wanted::Nothing)?;
    let (mut own, mut whole, mut derived) = (0_u32, 0_u32, Vec::new());
    for (index, item) in (0..).zip(reader.items(id, &header)?) {
        let (key, command) = match item {
            Some(RecordedItem::Own { key, command, .. }) => (key, command),
            Some(RecordedItem::Ref { key, .. }) => {
                if whose.is_in(key.as_str()) {
                    found.keys.insert((header.caller.clone(), key));
                }
                continue;
            }
            None => continue,
        };
        own += 1;
        let mut extent = command.extent(whose);
        extent = extent.max(outcomes.get(&index).copied().unwrap_or_default());
        if key.as_ref().is_some_and(|key| whose.is_in(key.as_str())) {
            extent = Extent::Whole;
        }
        whole += u32::from(extent == Extent::Whole);
        let shown = key.clone().unwrap_or_else(|| header.key.derive(index));
        if key.is_none() && extent != Extent::Whole {
            derived.push((index, shown.clone()));
        }
        if extent == Extent::None {
            continue;
        }
        let here = ItemId { batch: id, index };
        found.items.insert(here, extent);
        let caller = header.caller.clone();
        if !history.trace(index).is_settled {
            found.open.push(StillOpen {
                id: here,
                caller: caller.clone(),
                key: shown.clone(),
            });
        }
        if extent == Extent::Whole {
            found.keys.insert((caller, shown));
        }
    }
    if whose.is_in(header.key.as_str()) || (own > 0 && whole == own) {
        // Keys that are derived from it go with it, and with them what an item would need to be
        // taken up again: the ids of its effects are made of its key.
        for (index, shown) in derived {
            let here = ItemId { batch: id, index };
            if found.items.insert(here, Extent::Part).is_none() && !history.trace(index).is_settled
            {
                found.open.push(StillOpen {
                    id: here,
                    caller: header.caller.clone(),
                    key: shown,
                });
            }
        }
        found.batches.insert(id);
        found.keys.insert((header.caller.clone(), header.key));
    }
    Ok(())
}

/// Takes e-mail addresses out that a settled batch has for ids and keys, of these items and of
/// those that it leads to. What an item that may be taken up again needs stays: the ids of its
/// effects are made of its key.
pub(in crate::journal) fn addresses(
    reader: Reader<'_, impl Table>,
    id: BatchId,
    is_final: impl Fn(u32) -> bool,
    secret: &DigestKey,
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    let whose = Whose::Addresses;
    let header = reader.header(id)?;
    let header = header.ok_or_else(|| StorageError::damaged(id, "it is gone"))?;
    let mut found = Found::default();
    let mut are_all_final = true;
    let mut has_any = false;
    for (index, item) in (0..).zip(reader.items(id, &header)?) {
        match item {
            Some(RecordedItem::Own { key, command, .. }) => {
                are_all_final &= is_final(index);
                let has_key = key.is_some_and(|key| whose.is_in(key.as_str()));
                if is_final(index) && (has_key || command.extent(&whose) != Extent::None) {
                    found
                        .items
                        .insert(ItemId { batch: id, index }, Extent::Part);
                }
            }
            Some(RecordedItem::Ref { key, .. }) => has_any |= whose.is_in(key.as_str()),
            None => {}
        }
    }
    if are_all_final && whose.is_in(header.key.as_str()) {
        found.batches.insert(id);
    }
    has_any |= !found.items.is_empty() || !found.batches.is_empty();
    if has_any {
        batch(reader, id, &found, (&whose, secret), writes)?;
    }
    Ok(())
}

/// Gives the outcomes of a batch, step by step.
fn each_settled(
    reader: Reader<'_, impl Table>,
    batch: BatchId,
    mut each: impl FnMut(u32, &mut Vec<(u32, Settled)>) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    BatchHistory::each_step(reader.0, batch, |seq, body| {
        let what = format_args!("step {seq} of batch {batch}");
        match record::parse::<Step<Settled>>(body, what)? {
            Step::Settled { mut items, .. } => each(seq, &mut items),
            _ => Ok(()),
        }
    })
}

/// Writes a batch without what is theirs in it.
pub(in crate::journal) fn batch(
    reader: Reader<'_, impl Table>,
    id: BatchId,
    found: &Found,
    (whose, secret): (&Whose, &DigestKey),
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    let header = reader.header(id)?;
    let mut header = header.ok_or_else(|| StorageError::damaged(id, "it is gone"))?;
    let scope = header.scope();
    let extent_of = |index| found.items.get(&ItemId { batch: id, index }).copied();
    let mut changed = BTreeSet::new();
    let mut targets = Vec::new();
    for group in 0..groups(header.total) {
        let mut items = reader.group(id, &header, group)?;
        let mut is_dirty = false;
        for (index, item) in (first_of(group)..).zip(&mut items) {
            if let (Some(RecordedItem::Ref { key, .. }), Whose::Addresses) = (&mut *item, whose)
                && whose.is_in(key.as_str())
            {
                *key = erased_key(&scope, key, secret);
                is_dirty = true;
            }
            let Some(RecordedItem::Own {
                key,
                command,
                erased,
            }) = item
            else {
                continue;
            };
            if let Some(extent) = extent_of(index) {
                let left = command.erased(whose, extent, secret);
                if left != **command {
                    *erased = erased.take().or_else(|| command.digest(secret));
                    *command = Arc::new(left);
                    changed.insert(index);
                }
                if key.is_none() && found.batches.contains(&id) {
                    changed.insert(index);
                }
                if let Some(key) = key
                    && (extent == Extent::Whole || whose.is_in(key.as_str()))
                {
                    // The ids of its effects are made of its key.
                    changed.insert(index);
                    writes.remove(key::item(&scope, key));
                    *key = erased_key(&scope, key, secret);
                    let item = ItemId { batch: id, index };
                    writes.put(key::item(&scope, key), record::item_id(item));
                }
                is_dirty = true;
            }
            let ids = command.target_ids();
            targets.extend(ids.map(|id| record::target_hash(id.as_str())));
        }
        if is_dirty {
            replace_group(reader, id, group, &items, writes)?;
        }
    }
    outcomes(reader, id, (whose, &extent_of, &changed), writes)?;
    put_targets(reader, id, targets, writes)?;
    if found.batches.contains(&id) {
        writes.remove(key::request(&scope, &header.key));
        header.key = erased_key(&scope, &header.key, secret);
        writes.put(key::request(&scope, &header.key), record::number(id.0));
    }
    header.seal(secret);
    writes.put(StoreKey::Header(id).encode(), record::whole(&header)?);
    writes.put(StoreKey::Erased.encode(), record::marker());
    note_taken_out(writes);
    Ok(())
}

/// Writes the steps of a batch without what is theirs in its outcomes.
fn outcomes(
    reader: Reader<'_, impl Table>,
    id: BatchId,
    (whose, extent_of, changed): (&Whose, &impl Fn(u32) -> Option<Extent>, &BTreeSet<u32>),
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    let mut dirty = Vec::new();
    BatchHistory::each_step(reader.0, id, |seq, body| {
        let what = format_args!("step {seq} of batch {id}");
        let mut step = record::parse::<Step<Settled>>(body, what)?;
        let mut is_dirty = false;
        if let Step::Settled { items, .. } = &mut step {
            for (index, settled) in items {
                if let Some(extent) = extent_of(*index) {
                    let is_command = changed.contains(index);
                    settled.conclusion.erase(whose, extent, is_command);
                    is_dirty = true;
                }
            }
        }
        if is_dirty {
            dirty.push((seq, step));
        }
        Ok::<_, StorageError>(())
    })?;
    for (seq, step) in dirty {
        put_step(reader, id, seq, &step, writes)?;
    }
    Ok(())
}

/// Indexes what is left of the targets of a batch.
fn put_targets(
    reader: Reader<'_, impl Table>,
    batch: BatchId,
    mut hashes: Vec<u64>,
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    for entry in reader.0.scan(Span::targets(batch)) {
        writes.remove(entry?.0.as_ref().to_vec());
    }
    hashes.sort_unstable();
    hashes.dedup();
    for (part, value) in (0..).zip(record::pack_hashes(&hashes)) {
        writes.put(StoreKey::Targets { batch, part }.encode(), value);
    }
    Ok(())
}

/// Writes the slots of other batches that lead to what is theirs, without its keys. A key that says
/// who they are goes wherever it leads to: its item may have been purged.
pub(in crate::journal) fn references(
    reader: Reader<'_, impl Table>,
    id: BatchId,
    found: &Found,
    (whose, secret): (&Whose, &DigestKey),
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    let Some(header) = reader.header(id)?.filter(|header| header.refs > 0) else {
        return Ok(());
    };
    let scope = header.scope();
    for group in 0..groups(header.total) {
        let mut items = reader.group(id, &header, group)?;
        let mut is_dirty = false;
        for item in &mut items {
            if let Some(RecordedItem::Ref { key, id }) = item
                && (found.items.get(id) == Some(&Extent::Whole)
                    || whose.is_in(key.as_str())
                    || found.has_derived(&header.caller, key))
            {
                *key = erased_key(&scope, key, secret);
                is_dirty = true;
            }
        }
        if is_dirty {
            replace_group(reader, id, group, &items, writes)?;
            note_taken_out(writes);
        }
    }
    Ok(())
}

/// Forgets targets of theirs on which nothing can act any more.
pub(in crate::journal) fn doubtful(
    reader: Reader<'_, impl Table>,
    whose: &Whose,
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    for entry in reader.doubtful() {
        let (key, targets) = entry?;
        let before = targets.len();
        let kept = targets.into_iter();
        let kept: Vec<DoubtfulTarget> = kept.filter(|of| !whose.is(of.target.as_str())).collect();
        if kept.len() == before {
            continue;
        }
        note_taken_out(writes);
        if kept.is_empty() {
            writes.remove(key);
        } else {
            writes.put(key, record::whole(&kept)?);
        }
    }
    Ok(())
}
