//! What a group changes beside outcomes: which open items may be sent, what is known of those that
//! may have been, and what was learned of accounts and targets.

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

/// When each entry about doubtful targets need not be kept any more, soonest first.
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

/// Until when an entry is kept.
fn kept(targets: &[DoubtfulTarget]) -> Timestamp {
    let day = std::time::Duration::from_secs(limits::DOUBT_KEPT_SECONDS);
    let until = targets.iter().map(|target| target.until.at).max();
    let until = until.unwrap_or(Timestamp::MIN);
    until.checked_add(day).unwrap_or(Timestamp::MAX)
}

/// What happens to the open items of a batch.
#[derive(Debug, Default)]
struct Changes {
    /// Since when.
    cleared: Option<(Moment, Vec<u32>)>,
    /// What is known of those that are not sent any more.
    noted: BTreeMap<u32, Option<Doubt>>,
}

impl<T: Table> Ledger<T> {
    /// Records that a process begins, and forgets those whose times tell nothing any more.
    pub(in crate::journal) fn begin(&mut self, at: Moment) -> Result<(), StorageError> {
        let mut writes = WriteBatch::default();
        let life = self.life.saturating_add(1);
        let referred = self.open.values().flat_map(|batch| &batch.lives);
        // What the end of a process is known by is the start of the next.
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

    /// Changes what a few groups bring beside outcomes, which have been entered. What is said of
    /// items that have settled meanwhile is nothing.
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
                        // It is cleared after what was noted of it, and so it has to be read.
                        self.log_changes(id.batch, std::mem::take(of), writes)?;
                    }
                    let (since, indexes) = of.cleared.get_or_insert_with(|| (*at, Vec::new()));
                    // One permission for all of them, as early as the earliest.
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

    /// Removes targets that need not be kept after this time, a few at a time.
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
/// Of one target the two that bind it longest are enough, each by another item: whichever of them
/// belongs to the item that asks, the other is the longest that it waits for.
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
    // JSON has no other numbers, and a bucket that nobody can read is an empty one.
    state.bucket = state.bucket.filter(|(held, _)| held.is_finite());
    let key = StoreKey::Account(account.clone());
    writes.put(key.encode(), record::whole(&state)?);
    Ok(())
}
