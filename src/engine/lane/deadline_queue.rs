//! Queues of items with a deadline, the end of their retry window. Expired items are found without
//! a walk over the others, a bounded number at a time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map},
    ops::Bound,
};

use jiff::Timestamp;

/// An item that waits until the end of its window at most.
pub(in crate::engine) trait HasDeadline {
    /// The end of its window.
    fn ends_at(&self) -> Timestamp;
}

#[derive(Debug)]
struct DeadlineLine<T> {
    items: VecDeque<T>,
    /// Lower bound of its items' deadlines.
    earliest: Timestamp,
}

/// Queues by key. A queue is removed when it is empty.
#[derive(Debug)]
pub(in crate::engine) struct DeadlineQueue<K, T> {
    lines: BTreeMap<K, DeadlineLine<T>>,
    len: usize,
    /// The queues, ordered by `earliest`.
    endings: BTreeSet<(Timestamp, K)>,
    /// Where [`DeadlineQueue::take_ended`] goes on; reset by [`DeadlineQueue::look_again`].
    seen: Option<(Timestamp, K)>,
}

impl<K, T> Default for DeadlineQueue<K, T> {
    fn default() -> Self {
        Self {
            lines: BTreeMap::new(),
            len: 0,
            endings: BTreeSet::new(),
            seen: None,
        }
    }
}

impl<K: Ord + Clone, T: HasDeadline> DeadlineQueue<K, T> {
    pub(in crate::engine) fn len(&self) -> usize {
        self.len
    }

    /// Whether a key has a queue.
    pub(in crate::engine) fn has(&self, key: &K) -> bool {
        self.lines.contains_key(key)
    }

    /// The length of a key's queue.
    pub(in crate::engine) fn len_of(&self, key: &K) -> usize {
        self.lines.get(key).map_or(0, |line| line.items.len())
    }

    /// The item at an index of a queue. Its deadline must not change.
    pub(in crate::engine) fn get_mut(&mut self, key: &K, place: usize) -> Option<&mut T> {
        self.lines.get_mut(key)?.items.get_mut(place)
    }

    /// Appends items to a queue.
    pub(in crate::engine) fn push_back(&mut self, key: &K, items: Vec<T>) {
        let Some(earliest) = items.iter().map(T::ends_at).min() else {
            return;
        };
        self.len += items.len();
        self.line(key, earliest).extend(items);
    }

    /// Prepends an item to a queue.
    pub(in crate::engine) fn push_front(&mut self, key: &K, item: T) {
        self.len += 1;
        self.line(key, item.ends_at()).push_front(item);
    }

    /// Takes the first item of a queue.
    pub(in crate::engine) fn pop_front(&mut self, key: &K) -> Option<T> {
        let line = self.lines.get_mut(key)?;
        let item = line.items.pop_front()?;
        self.len -= 1;
        if line.items.is_empty() {
            self.remove(key);
        }
        Some(item)
    }

    /// Lets [`DeadlineQueue::take_ended`] begin again at the front.
    pub(in crate::engine) fn look_again(&mut self) {
        self.seen = None;
    }

    /// Takes out up to `items_max` items whose deadline is before a time and that match; fewer mean
    /// that there are no others. A call goes on where the last one stopped, and does not come back
    /// to what that left. Also returns the keys of the queues that are empty now.
    pub(in crate::engine) fn take_ended(
        &mut self,
        before: Timestamp,
        items_max: usize,
        mut condition: impl FnMut(&T) -> bool,
    ) -> (Vec<T>, Vec<K>) {
        let (mut taken, mut emptied) = (Vec::new(), Vec::new());
        let mut condition = |item: &T| item.ends_at() < before && condition(item);
        while taken.len() < items_max {
            let Some((earliest, key)) = self.next_ended(before) else {
                break;
            };
            let Some(line) = self.lines.get_mut(&key) else {
                break;
            };
            let left = items_max - taken.len();
            let is_through = take_some(&mut line.items, left, &mut condition, &mut taken);
            if line.items.is_empty() {
                self.remove(&key);
                emptied.push(key);
            } else if is_through {
                // The items that stay did not match: the next call begins after this queue.
                self.find_earliest(&key);
                self.seen = Some((earliest, key));
            }
        }
        self.len -= taken.len();
        (taken, emptied)
    }

    /// Takes out every matching item. Also returns the keys of the queues that are empty now.
    pub(in crate::engine) fn take_where(
        &mut self,
        mut condition: impl FnMut(&T) -> bool,
    ) -> (Vec<T>, Vec<K>) {
        let (mut taken, mut emptied) = (Vec::new(), Vec::new());
        for (key, line) in &mut self.lines {
            take_some(&mut line.items, usize::MAX, &mut condition, &mut taken);
            if line.items.is_empty() {
                emptied.push(key.clone());
            }
        }
        for key in &emptied {
            self.remove(key);
        }
        self.len -= taken.len();
        (taken, emptied)
    }

    /// The next queue that may have a deadline before a time.
    fn next_ended(&self, before: Timestamp) -> Option<(Timestamp, K)> {
        let from = match &self.seen {
            Some(seen) => Bound::Excluded(seen),
            None => Bound::Unbounded,
        };
        let next = self.endings.range((from, Bound::Unbounded)).next();
        next.filter(|(earliest, _)| *earliest < before).cloned()
    }

    /// The queue of a key, for an item with this deadline.
    fn line(&mut self, key: &K, ends_at: Timestamp) -> &mut VecDeque<T> {
        let line = match self.lines.entry(key.clone()) {
            btree_map::Entry::Occupied(entry) => entry.into_mut(),
            btree_map::Entry::Vacant(entry) => {
                self.endings.insert((ends_at, key.clone()));
                entry.insert(DeadlineLine {
                    items: VecDeque::new(),
                    earliest: ends_at,
                })
            }
        };
        if ends_at < line.earliest {
            self.endings.remove(&(line.earliest, key.clone()));
            self.endings.insert((ends_at, key.clone()));
            line.earliest = ends_at;
        }
        &mut line.items
    }

    /// Recomputes a queue's earliest deadline.
    fn find_earliest(&mut self, key: &K) {
        let Some(line) = self.lines.get_mut(key) else {
            return;
        };
        let earliest = line.items.iter().map(T::ends_at).min();
        let earliest = earliest.unwrap_or(line.earliest);
        if earliest != line.earliest {
            self.endings.remove(&(line.earliest, key.clone()));
            self.endings.insert((earliest, key.clone()));
            line.earliest = earliest;
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(line) = self.lines.remove(key) {
            self.endings.remove(&(line.earliest, key.clone()));
        }
    }
}

/// Takes out up to `items_max` matching items and keeps the order of the others. Whether it reached
/// the end.
fn take_some<T>(
    items: &mut VecDeque<T>,
    items_max: usize,
    condition: &mut impl FnMut(&T) -> bool,
    taken: &mut Vec<T>,
) -> bool {
    let Some(first) = items.iter().position(&mut *condition) else {
        // Most scans find nothing: do not move any items then.
        return true;
    };
    let full = taken.len().saturating_add(items_max);
    items.rotate_left(first);
    let mut stay = first;
    for _ in first..items.len() {
        if taken.len() == full {
            items.rotate_right(stay);
            return false;
        }
        let Some(item) = items.pop_front() else { break };
        if condition(&item) {
            taken.push(item);
        } else {
            items.push_back(item);
            stay += 1;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Until(i64, u32);

    impl HasDeadline for Until {
        fn ends_at(&self) -> Timestamp {
            at(self.0)
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn numbers(items: &[Until]) -> Vec<u32> {
        items.iter().map(|item| item.1).collect()
    }

    #[test]
    fn nothing_is_looked_at_before_a_window_of_its_line_ends() {
        let mut lines = DeadlineQueue::default();
        lines.push_back(&"a", (0..1_000).map(|i| Until(100, i)).collect());
        lines.push_back(&"b", vec![Until(50, 0), Until(10, 1), Until(100, 2)]);
        let mut looked = 0;
        let mut count = |_: &Until| {
            looked += 1;
            true
        };
        assert_eq!(lines.take_ended(at(10), 9, &mut count).0, []);
        assert_eq!(looked, 0);
        let mut count = |_: &Until| {
            looked += 1;
            true
        };
        let (taken, emptied) = lines.take_ended(at(11), 9, &mut count);
        assert_eq!((numbers(&taken), emptied), (vec![1], vec![]));
        assert!(looked <= 2, "{looked}");
        // What is left of the line is found again when it ends.
        assert_eq!(numbers(&lines.take_ended(at(51), 9, |_| true).0), [0]);
        assert_eq!(lines.len(), 1_001);
    }

    #[test]
    fn what_ended_is_taken_a_few_at_a_time_and_the_others_keep_their_order() {
        let mut lines = DeadlineQueue::default();
        lines.push_back(&1, (0..10).map(|i| Until(5, i)).collect());
        lines.push_back(&2, (10..14).map(|i| Until(6, i)).collect());
        let mut steps = Vec::new();
        loop {
            let (taken, emptied) = lines.take_ended(at(9), 3, |item| item.1 % 2 == 1);
            steps.push((numbers(&taken), emptied));
            if taken.len() < 3 {
                break;
            }
        }
        let steps: Vec<_> = steps.iter().map(|(taken, _)| taken.as_slice()).collect();
        assert_eq!(steps, [&[1, 3, 5][..], &[7, 9, 11], &[13]]);
        assert_eq!(lines.take_ended(at(9), 3, |_| true).0, [], "it was left");
        lines.look_again();
        let (taken, emptied) = lines.take_ended(at(9), 9, |_| true);
        assert_eq!(numbers(&taken), [0, 2, 4, 6, 8, 10, 12]);
        assert_eq!(
            (emptied, lines.len(), lines.has(&1)),
            (vec![1, 2], 0, false)
        );
    }

    #[test]
    fn a_line_is_as_early_as_the_earliest_that_came() {
        let mut lines = DeadlineQueue::default();
        lines.push_back(&"a", vec![Until(100, 0)]);
        lines.push_front(&"a", Until(5, 1));
        assert_eq!(lines.pop_front(&"a"), Some(Until(5, 1)));
        lines.push_front(&"a", Until(7, 2));
        assert_eq!(numbers(&lines.take_ended(at(9), 9, |_| true).0), [2]);
        assert_eq!(numbers(&lines.take_where(|_| true).0), [0]);
        assert_eq!(lines.take_ended(at(1_000), 9, |_| true), (vec![], vec![]));
    }
}
