//! The open items that are resolving a doubt: a request of theirs with an effect lost its reply, or
//! was accepted and its effect does not show yet.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use super::{
    Lane,
    work_item::{Origin, WorkItem},
};
use crate::{
    domain::ids::{BatchId, ItemId},
    engine::Engine,
};

/// The items of one account that are resolving a doubt.
#[derive(Debug, Default)]
pub(in crate::engine) struct Settling(Mutex<HashSet<ItemId>>);

impl Settling {
    fn set(&self, id: ItemId, is_settling: bool) {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_settling {
            items.insert(id);
        } else {
            items.remove(&id);
        }
    }

    pub(in crate::engine) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Lane {
    /// Marks an item as resolving a doubt or not, for its account's metric and for the streams and
    /// records of its batch. Idempotent. A dry run leaves no doubt.
    pub(in crate::engine) fn settling(&self, run: &WorkItem, is_settling: bool) {
        if let Origin::Recorded(id) = run.origin {
            self.settling.set(id, is_settling);
            self.shared.live.settling(id, is_settling);
        }
    }

    /// Removes an item that has an outcome from the account's metric only: its streams learn it
    /// with the outcome.
    pub(in crate::engine) fn settles_no_more(&self, run: &WorkItem) {
        if let Origin::Recorded(id) = run.origin {
            self.settling.set(id, false);
        }
    }
}

impl Engine {
    /// Indexes of the open items of a batch that are resolving a doubt.
    #[must_use]
    pub fn settling_of(&self, batch: BatchId) -> HashSet<u32> {
        self.shared.live.settling_of(batch)
    }

    /// Whether an open item is resolving a doubt.
    #[must_use]
    pub fn is_settling(&self, id: ItemId) -> bool {
        self.shared.live.is_settling(id)
    }
}
