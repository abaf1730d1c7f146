//! Which open items settle a doubt: a request of theirs with an effect has lost its answer, or was
//! accepted and its effect is not seen yet.

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

/// Those of one account.
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

    /// How many there are.
    pub(in crate::engine) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Lane {
    /// Notes that an item settles a doubt, or does not any more: for its account's figure, and for
    /// the streams and records of its batch. Saying so again changes nothing. A dry run leaves
    /// none.
    pub(in crate::engine) fn settling(&self, run: &WorkItem, is_settling: bool) {
        if let Origin::Recorded(id) = run.origin {
            self.settling.set(id, is_settling);
            self.shared.live.settling(id, is_settling);
        }
    }

    /// An item has come to its outcome. Who watches it hears that first.
    pub(in crate::engine) fn settles_no_more(&self, run: &WorkItem) {
        if let Origin::Recorded(id) = run.origin {
            self.settling.set(id, false);
        }
    }
}

impl Engine {
    /// Which open items of a batch, by their index, settle a doubt.
    #[must_use]
    pub fn settling_of(&self, batch: BatchId) -> HashSet<u32> {
        self.shared.live.settling_of(batch)
    }

    /// Whether an open item settles a doubt.
    #[must_use]
    pub fn is_settling(&self, id: ItemId) -> bool {
        self.shared.live.is_settling(id)
    }
}
