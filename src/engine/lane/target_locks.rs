//! Locks on targets, and the items that wait for them: two commands never work on one target at
//! once.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::deadline_queue::{DeadlineQueue, HasDeadline};
use crate::domain::ids::TargetId;

/// The target locks of a lane.
#[derive(Debug)]
pub(in crate::engine) struct TargetLocks<T> {
    held: BTreeSet<TargetId>,
    behind: DeadlineQueue<TargetId, T>,
}

impl<T> Default for TargetLocks<T> {
    fn default() -> Self {
        Self {
            held: BTreeSet::new(),
            behind: DeadlineQueue::default(),
        }
    }
}

impl<T: HasDeadline> TargetLocks<T> {
    /// Whether an item holds the target.
    pub(in crate::engine) fn is_held(&self, target: &TargetId) -> bool {
        self.held.contains(target)
    }

    /// Locks the target for an item.
    pub(in crate::engine) fn hold(&mut self, target: TargetId) {
        self.held.insert(target);
    }

    /// Queues an item until the target is free.
    pub(in crate::engine) fn wait(&mut self, target: &TargetId, item: T) {
        self.behind.push_back(target, vec![item]);
    }

    /// Releases the target. Returns the next waiting item, which holds it from now on.
    pub(in crate::engine) fn free(&mut self, target: &TargetId) -> Option<T> {
        let next = self.behind.pop_front(target);
        if next.is_none() {
            self.held.remove(target);
        }
        next
    }

    pub(in crate::engine) fn waiting(&self) -> usize {
        self.behind.len()
    }

    /// Lets [`TargetLocks::take_ended`] begin again at the front.
    pub(in crate::engine) fn look_again(&mut self) {
        self.behind.look_again();
    }

    /// Takes out waiting items whose deadline is before a time: see [`DeadlineQueue::take_ended`].
    pub(in crate::engine) fn take_ended(
        &mut self,
        before: Timestamp,
        items_max: usize,
        condition: impl FnMut(&T) -> bool,
    ) -> Vec<T> {
        self.behind.take_ended(before, items_max, condition).0
    }

    /// Takes out every matching waiting item.
    pub(in crate::engine) fn take_where(&mut self, condition: impl FnMut(&T) -> bool) -> Vec<T> {
        self.behind.take_where(condition).0
    }
}
