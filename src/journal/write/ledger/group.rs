//! Writes what a group changes besides outcomes: clearances, notes about doubts, account states and
//! doubtful targets.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Ledger;
use crate::{
    domain::{
        doubt::{AccountState, Doubt, Moment},
        ids::{AccountName, BatchId, ItemId},
    },
    journal::{
        Clearance, DoubtfulTarget, Note,
        error::StorageError,
        format::{
            key::StoreKey,
            record::{self, Ranges, Step},
        },
        read::reader::Reader,
        store::table::{Table, WriteBatch},
        write::encoded::EncodedGroup,
    },
    limits,
};

/// When each entry of doubtful targets expires, soonest first.
#[derive(Debug, Default)]
pub(super) struct DoubtfulExpiry(BTreeSet<(Timestamp, Vec<u8>)>);

impl DoubtfulExpiry {
    pub(super) fn load(reader: Reader<'_, impl Table>) -> Result<Self, StorageError> {
        let mut doubtful = Self::default();
        for entry in reader.doubtful() {
            let (key, targets) = entry?;
            doubtful.0.insert((kept(&targets), key));
        }
        Ok(doubtful)
    }
}

/// When an entry expires.
fn kept(targets: &[DoubtfulTarget]) -> Timestamp {
    let day = std::time::Duration::from_secs(limits::DOUBT_KEPT_SECONDS);
    let until = targets.iter().map(|target| target.until.at).max();
    let until = until.unwrap_or(Timestamp::MIN);
    until.checked_add(day).unwrap_or(Timestamp::MAX)
}

/// Changes to open items of a batch.
#[derive(Debug, Default)]
struct Changes {
    /// Items that are cleared, and since when.
    cleared: Option<(Moment, Vec<u32>)>,
    /// Notes about items that are not sent any more.
    noted: BTreeMap<u32, Option<Doubt>>,
}

impl<T: Table> Ledger<T> {
    /// Records the start of a process, and removes starts that no record refers to.
    pub(in crate::journal) fn begin(&mut self, at: Moment) -> Result<(), StorageError> {
        let mut writes = WriteBatch::default();
        let life = self.life.saturating_add(1);
        let referred = self.open.values().flat_map(|batch| &batch.lives);
        // The end of a process is known by the start of the next one.
        let told: BTreeSet<_> = referred.map(|life| life.saturating_add(1)).collect();
        let lives = std::mem::take(&mut self.lives);
        for number in lives {
            if told.contains(&number) {
                self.lives.insert(number);
            } else {
                writes.remove(StoreKey::Life(number).encode());
            }
        }
        self.lives.insert(life);
        self.life = life;
        writes.put(StoreKey::Life(life).encode(), record::whole(&at)?);
        self.write(writes)
    }

    /// Applies what groups change besides outcomes, which have been applied. Changes to items that
    /// have settled in the meantime are ignored.
    pub(super) fn change<'a>(
        &mut self,
        groups: impl Iterator<Item = &'a EncodedGroup> + Clone,
        writes: &mut WriteBatch,
    ) -> Result<(), StorageError> {
        self.change_items(groups.clone(), writes)?;
        let accounts = groups.clone().flat_map(|group| &group.accounts);
        let accounts: BTreeMap<_, _> = accounts.map(|(name, state)| (name, state)).collect();
        for (account, state) in accounts {
            put_account(account, state, writes)?;
        }
        let targets = groups.flat_map(|group| &group.targets);
        self.put_targets(targets, writes)
    }

    fn change_items<'a>(
        &mut self,
        groups: impl Iterator<Item = &'a EncodedGroup>,
        writes: &mut WriteBatch,
    ) -> Result<(), StorageError> {
        let mut changes = BTreeMap::<BatchId, Changes>::new();
        for group in groups {
            for Clearance { at, items } in &group.clearances {
                for id in items {
                    if !self.is_open(*id) {
                        continue;
                    }
                    let of = changes.entry(id.batch).or_default();
                    if of.noted.contains_key(&id.index) {
                        // The clearance comes after the note, so the note has to be logged first.
                        self.log_changes(id.batch, std::mem::take(of), writes)?;
                    }
                    let (since, indexes) = of.cleared.get_or_insert_with(|| (*at, Vec::new()));
                    // One clearance for all of them, as of the earliest.
                    if at.at < since.at {
                        *since = *at;
                    }
                    indexes.push(id.index);
                }
            }
            for Note { id, doubt } in group.notes.iter().filter(|note| self.is_open(note.id)) {
                let of = changes.entry(id.batch).or_default();
                of.noted.insert(id.index, doubt.clone());
            }
        }
        for (id, changes) in changes {
            self.log_changes(id, changes, writes)?;
        }
        Ok(())
    }

    fn log_changes(
        &mut self,
        id: BatchId,
        changes: Changes,
        writes: &mut WriteBatch,
    ) -> Result<(), StorageError> {
        let life = self.life;
        let Some(batch) = self.open.get_mut(&id) else {
            return Ok(());
        };
        if let Some((at, indexes)) = changes.cleared {
            let indexes = Ranges::from_iter(indexes);
            batch.lives.insert(life);
            batch.log(id, &Step::<()>::Cleared { at, life, indexes }, writes)?;
        }
        let (mut noted, mut withdrawn) = (Vec::new(), Vec::new());
        for (index, doubt) in changes.noted {
            match doubt {
                Some(doubt) => noted.push((index, doubt)),
                None => withdrawn.push(index),
            }
        }
        for items in noted.chunks(limits::RECORD_NOTES) {
            let items = items.to_vec();
            batch.log(id, &Step::<()>::Noted { items }, writes)?;
        }
        if !withdrawn.is_empty() {
            let indexes = Ranges::from_iter(withdrawn);
            batch.log(id, &Step::<()>::Withdrawn { life, indexes }, writes)?;
        }
        Ok(())
    }

    fn put_targets<'a>(
        &mut self,
        targets: impl Iterator<Item = &'a DoubtfulTarget>,
        writes: &mut WriteBatch,
    ) -> Result<(), StorageError> {
        let mut entries = BTreeMap::<_, (Vec<DoubtfulTarget>, Option<Timestamp>)>::new();
        for target in targets {
            let key = StoreKey::Doubtful {
                account: target.account.clone(),
                hash: record::target_hash(target.target.as_str()),
            };
            let key = key.encode();
            if !entries.contains_key(&key) {
                let value = Table::get(&*self.table, &key)?;
                let known = value
                    .map(|value| record::read_whole(value.as_ref(), "a doubtful target"))
                    .transpose()?;
                let until = known.as_deref().map(kept);
                entries.insert(key.clone(), (known.unwrap_or_default(), until));
            }
            if let Some((known, _)) = entries.get_mut(&key) {
                put_target(known, target.clone());
            }
        }
        for (key, (targets, until)) in entries {
            writes.put(key.clone(), record::whole(&targets)?);
            if let Some(until) = until {
                self.doubtful.0.remove(&(until, key.clone()));
            }
            self.doubtful.0.insert((kept(&targets), key));
        }
        Ok(())
    }

    /// Removes expired doubtful targets, a few at a time.
    pub(super) fn remove_targets(&mut self, before: Timestamp, writes: &mut WriteBatch) {
        for _ in 0..limits::DOUBTS_REMOVED_MAX {
            let Some(first) = self.doubtful.0.first() else {
                return;
            };
            if first.0 >= before {
                return;
            }
            if let Some((_, key)) = self.doubtful.0.pop_first() {
                writes.remove(key);
            }
        }
    }

    pub(super) fn is_open(&self, id: ItemId) -> bool {
        self.open
            .get(&id.batch)
            .is_some_and(|batch| batch.open.contains(id.index))
    }
}

/// Adds a target to those with the same hash.
///
/// Per target the two longest bindings are enough, each of another item: one may belong to the item
/// that asks, and then the other is the longest that it waits for.
fn put_target(known: &mut Vec<DoubtfulTarget>, new: DoubtfulTarget) {
    known.retain(|of| of.target != new.target || of.owner != new.owner);
    let target = new.target.clone();
    known.push(new);
    known.sort_by_key(|of| std::cmp::Reverse(of.until.at));
    let mut left = 2;
    known.retain(|of| {
        let counts = of.target == target;
        let stays = !counts || left > 0;
        left -= i32::from(counts && stays);
        stays
    });
}

fn put_account(
    account: &AccountName,
    state: &AccountState,
    writes: &mut WriteBatch,
) -> Result<(), StorageError> {
    let mut state = state.clone();
    // JSON has no other numbers; an unreadable bucket counts as empty.
    state.bucket = state.bucket.filter(|(held, _)| held.is_finite());
    let key = StoreKey::Account(account.clone());
    writes.put(key.encode(), record::whole(&state)?);
    Ok(())
}
