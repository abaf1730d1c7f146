//! Targets that an item is at work on, with those that wait for the same one: two commands never
//! work on one target at a time.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::deadline_queue::{DeadlineQueue, HasDeadline};
use crate::domain::ids::TargetId;

/// A lane's targets.
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
    /// Whether an item is at work on it.
    pub(in crate::engine) fn is_held(&self, target: &TargetId) -> bool {
        self.held.contains(target)
    }

    /// Has an item work on it.
    pub(in crate::engine) fn hold(&mut self, target: TargetId) {
        self.held.insert(target);
    }

    /// Has an item wait until the others of its target are done.
    pub(in crate::engine) fn wait(&mut self, target: &TargetId, item: T) {
        self.behind.push_back(target, vec![item]);
    }

    /// The item at work on it is done. Gives the next one, which has it from now on.
    pub(in crate::engine) fn free(&mut self, target: &TargetId) -> Option<T> {
        let next = self.behind.pop_front(target);
        if next.is_none() {
            self.held.remove(target);
        }
        next
    }

    /// How many wait.
    pub(in crate::engine) fn waiting(&self) -> usize {
        self.behind.len()
    }

    /// Has [`TargetLocks::take_ended`] begin anew.
    pub(in crate::engine) fn look_again(&mut self) {
        self.behind.look_again();
    }

    /// Takes out items that wait and whose windows ended before a time: see [`DeadlineQueue::take_ended`].
    pub(in crate::engine) fn take_ended(
        &mut self,
        before: Timestamp,
        items_max: usize,
        condition: impl FnMut(&T) -> bool,
    ) -> Vec<T> {
        self.behind.take_ended(before, items_max, condition).0
    }

    /// Takes out every item that waits and of which this is true.
    pub(in crate::engine) fn take_where(&mut self, condition: impl FnMut(&T) -> bool) -> Vec<T> {
        self.behind.take_where(condition).0
    }
}
