//! Fair scheduling: round robin over callers, then over the batches of a caller. A single
//! cancellation waits for one turn of each other batch, never for a batch of 10,000 to finish.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use super::deadline_queue::{DeadlineQueue, HasDeadline};
use crate::domain::ids::{BatchId, CallerId};

/// A queue of items in fair order.
#[derive(Debug)]
pub(in crate::engine) struct FairQueue<T> {
    /// Callers with queued items, the next one first.
    callers: VecDeque<CallerId>,
    batches: BTreeMap<CallerId, Batches>,
    items: DeadlineQueue<(CallerId, BatchId), T>,
    /// The last position given to a batch: positions only grow.
    last: u64,
}

/// A caller's batches by position, and their positions.
#[derive(Debug, Default)]
struct Batches {
    order: BTreeMap<u64, BatchId>,
    places: BTreeMap<BatchId, u64>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            callers: VecDeque::new(),
            batches: BTreeMap::new(),
            items: DeadlineQueue::default(),
            last: 0,
        }
    }
}

impl<T: HasDeadline> FairQueue<T> {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.items.len()
    }

    /// Appends items of a batch.
    pub(in crate::engine) fn push(&mut self, caller: &CallerId, batch: BatchId, items: Vec<T>) {
        if !items.is_empty() {
            self.enter(caller, batch);
            self.items.push_back(&(caller.clone(), batch), items);
        }
    }

    /// Puts an item that had its turn back at the head of its batch.
    pub(in crate::engine) fn put_back(&mut self, caller: &CallerId, batch: BatchId, item: T) {
        self.enter(caller, batch);
        self.items.push_front(&(caller.clone(), batch), item);
    }

    /// Takes the next item. Its caller and its batch go to the end of their rounds.
    pub(in crate::engine) fn pop(&mut self) -> Option<T> {
        let caller = self.callers.pop_front()?;
        let batches = self.batches.get_mut(&caller)?;
        let (_, batch) = batches.order.pop_first()?;
        let key = (caller, batch);
        let item = self.items.pop_front(&key);
        let (caller, batch) = (&key.0, key.1);
        if self.items.has(&key) {
            self.last += 1;
            batches.order.insert(self.last, batch);
            batches.places.insert(batch, self.last);
        } else {
            batches.places.remove(&batch);
        }
        if batches.order.is_empty() {
            self.batches.remove(caller);
        } else {
            self.callers.push_back(key.0);
        }
        item
    }

    /// Visits up to `items_max` items in the order in which they would be popped.
    pub(in crate::engine) fn visit(&mut self, items_max: usize, mut see: impl FnMut(&mut T)) {
        let mut left = items_max;
        let turns = self.callers.iter().filter_map(|caller| {
            let batches = self.batches.get(caller)?;
            let batches = batches.order.values().take(items_max);
            let next = batches.map(|batch| ((caller.clone(), *batch), 0));
            Some(next.collect::<VecDeque<_>>())
        });
        let mut turns: VecDeque<_> = turns.collect();
        while left > 0
            && let Some(mut batches) = turns.pop_front()
        {
            let Some((key, place)) = batches.pop_front() else {
                continue;
            };
            if let Some(item) = self.items.get_mut(&key, place) {
                see(item);
                left -= 1;
            }
            if place + 1 < self.items.len_of(&key) {
                batches.push_back((key, place + 1));
            }
            turns.push_back(batches);
        }
    }

    /// Lets [`FairQueue::take_ended`] begin again at the front.
    pub(in crate::engine) fn look_again(&mut self) {
        self.items.look_again();
    }

    /// Takes out items whose deadline is before a time: see [`DeadlineQueue::take_ended`].
    pub(in crate::engine) fn take_ended(
        &mut self,
        before: Timestamp,
        items_max: usize,
        condition: impl FnMut(&T) -> bool,
    ) -> Vec<T> {
        let (taken, emptied) = self.items.take_ended(before, items_max, condition);
        self.leave(emptied);
        taken
    }

    /// Takes out every matching item.
    pub(in crate::engine) fn take_where(&mut self, condition: impl FnMut(&T) -> bool) -> Vec<T> {
        let (taken, emptied) = self.items.take_where(condition);
        self.leave(emptied);
        taken
    }

    /// Gives a batch the last position, if it has none.
    fn enter(&mut self, caller: &CallerId, batch: BatchId) {
        if !self.batches.contains_key(caller) {
            self.callers.push_back(caller.clone());
        }
        let batches = self.batches.entry(caller.clone()).or_default();
        if !batches.places.contains_key(&batch) {
            self.last += 1;
            batches.order.insert(self.last, batch);
            batches.places.insert(batch, self.last);
        }
    }

    /// Removes batches that have no items left from the rounds.
    fn leave(&mut self, emptied: Vec<(CallerId, BatchId)>) {
        let mut has_gone = false;
        for (caller, batch) in emptied {
            let Some(batches) = self.batches.get_mut(&caller) else {
                continue;
            };
            if let Some(place) = batches.places.remove(&batch) {
                batches.order.remove(&place);
            }
            if batches.order.is_empty() {
                self.batches.remove(&caller);
                has_gone = true;
            }
        }
        if has_gone {
            self.callers
                .retain(|caller| self.batches.contains_key(caller));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl HasDeadline for u32 {
        fn ends_at(&self) -> Timestamp {
            Timestamp::MAX
        }
    }

    impl HasDeadline for &str {
        fn ends_at(&self) -> Timestamp {
            Timestamp::MAX
        }
    }

    fn caller(name: &str) -> CallerId {
        CallerId::try_from(name).unwrap()
    }

    #[test]
    fn one_item_passes_a_long_batch_by() {
        let mut turns = FairQueue::default();
        turns.push(&caller("a"), BatchId(1), (0..10_000).collect());
        assert_eq!(turns.pop(), Some(0));
        turns.push(&caller("a"), BatchId(2), vec![77_777_u32]);
        let next: Vec<_> = (0..3).filter_map(|_| turns.pop()).collect();
        assert!(next.contains(&77_777), "{next:?}");
        assert_eq!(turns.len(), 9_997);
    }

    #[test]
    fn a_caller_with_many_batches_gets_no_more_turns_than_one_with_one() {
        let mut turns = FairQueue::default();
        for batch in 0..100 {
            turns.push(&caller("busy"), BatchId(batch), vec!["busy"; 100]);
        }
        turns.push(&caller("calm"), BatchId(500), vec!["calm"; 100]);
        let first: Vec<_> = (0..100).filter_map(|_| turns.pop()).collect();
        assert_eq!(first.iter().filter(|who| **who == "calm").count(), 50);
    }

    #[test]
    fn what_comes_back_goes_first_in_its_batch_and_what_is_taken_out_is_gone() {
        let mut turns = FairQueue::default();
        turns.push(&caller("a"), BatchId(1), vec![1_u32, 2, 3, 4]);
        let back = turns.pop().unwrap();
        turns.put_back(&caller("a"), BatchId(1), back);
        assert_eq!(turns.take_where(|item| item % 2 == 0), [2, 4]);
        assert_eq!(
            (turns.pop(), turns.pop(), turns.pop()),
            (Some(1), Some(3), None)
        );
        assert!(turns.is_empty());
    }

    #[test]
    fn items_are_shown_in_the_order_of_their_turns() {
        let mut turns = FairQueue::default();
        turns.push(&caller("a"), BatchId(1), vec![10_u32, 11, 12]);
        turns.push(&caller("a"), BatchId(2), vec![20]);
        turns.push(&caller("b"), BatchId(3), vec![30, 31]);
        turns.push(&caller("a"), BatchId(4), vec![40, 41]);
        for items_max in [0, 1, 3, 6, 100] {
            let mut shown = Vec::new();
            turns.visit(items_max, |item| shown.push(*item));
            let all = [10, 30, 20, 31, 40, 11, 41, 12];
            assert_eq!(shown, all[..items_max.min(all.len())]);
        }
        let popped: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(popped, [10, 30, 20, 31, 40, 11, 41, 12]);
    }

    #[test]
    fn a_hundred_thousand_batches_of_one_item_line_up_and_go_without_a_walk_over_them() {
        const MANY: u64 = 100_000;
        let mut turns = FairQueue::default();
        let begun = std::time::Instant::now();
        for batch in 0..MANY {
            turns.push(&caller("a"), BatchId(batch), vec![0_u32]);
        }
        for batch in 0..MANY {
            let item = turns.pop().unwrap();
            turns.put_back(&caller("a"), BatchId(batch), item);
        }
        assert_eq!(turns.take_where(|_| true).len(), 100_000);
        // A walk for each of them takes minutes.
        assert!(begun.elapsed() < std::time::Duration::from_secs(60));
    }
}
