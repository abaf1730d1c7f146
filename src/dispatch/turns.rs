//! Fair turns: between callers first, then between the batches of a caller. One cancellation
//! waits for one turn of each other batch, never for a batch of ten thousand to end.

use std::collections::VecDeque;

use crate::domain::ids::{BatchId, CallerId};

/// One caller's batches, each with the items of it that wait.
type Batches<T> = VecDeque<(BatchId, VecDeque<T>)>;

/// Items that wait for their turn.
#[derive(Debug)]
pub(super) struct Turns<T> {
    callers: VecDeque<(CallerId, Batches<T>)>,
    len: usize,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            callers: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> Turns<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends items of a batch.
    pub(super) fn push(&mut self, caller: &CallerId, batch: BatchId, items: Vec<T>) {
        self.len += items.len();
        self.queue(caller, batch).extend(items);
    }

    /// Puts an item that had its turn before back at the head of its batch.
    pub(super) fn put_back(&mut self, caller: &CallerId, batch: BatchId, item: T) {
        self.len += 1;
        self.queue(caller, batch).push_front(item);
    }

    /// Takes the next item and sends its caller and its batch to the end of their lines.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (caller, mut batches) = self.callers.pop_front()?;
        let (batch, mut items) = batches.pop_front()?;
        let item = items.pop_front()?;
        self.len -= 1;
        if !items.is_empty() {
            batches.push_back((batch, items));
        }
        if !batches.is_empty() {
            self.callers.push_back((caller, batches));
        }
        Some(item)
    }

    /// Shows items in about the order of their turns, the next ones first, at most so many.
    pub(super) fn visit(&mut self, items_max: usize, mut see: impl FnMut(&mut T)) {
        let mut left = items_max;
        let mut round = 0;
        let mut has_more = true;
        while has_more && left > 0 {
            has_more = false;
            for (_, batches) in &mut self.callers {
                let count = batches.len().max(1);
                let Some((_, items)) = batches.get_mut(round % count) else {
                    continue;
                };
                // A batch that is short leaves its later turns to the others.
                let Some(item) = items.get_mut(round / count) else {
                    has_more |= round / count < self.len && round < self.len;
                    continue;
                };
                see(item);
                has_more = true;
                left -= 1;
                if left == 0 {
                    break;
                }
            }
            round += 1;
        }
    }

    /// Takes out every item of which this is true, wherever it stands.
    pub(super) fn take_where(&mut self, mut condition: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for (_, batches) in &mut self.callers {
            for (_, items) in &mut *batches {
                let (out, stay): (VecDeque<T>, _) = items.drain(..).partition(&mut condition);
                *items = stay;
                taken.extend(out);
            }
            batches.retain(|(_, items)| !items.is_empty());
        }
        self.callers.retain(|(_, batches)| !batches.is_empty());
        self.len -= taken.len();
        taken
    }

    fn queue(&mut self, caller: &CallerId, batch: BatchId) -> &mut VecDeque<T> {
        let at = self.callers.iter().position(|(c, _)| c == caller);
        let batches = match at.and_then(|at| self.callers.get_mut(at)) {
            // Found by position, so that the borrow ends before a push.
            Some(_) => &mut at_mut(&mut self.callers, at).1,
            None => {
                self.callers.push_back((caller.clone(), VecDeque::new()));
                let last = self.callers.len().checked_sub(1);
                &mut at_mut(&mut self.callers, last).1
            }
        };
        // Newest batches stand at the end: searching from there makes appending cheap.
        let at = batches.iter().rposition(|(b, _)| *b == batch);
        if at.is_none() {
            batches.push_back((batch, VecDeque::new()));
        }
        let at = at.or_else(|| batches.len().checked_sub(1));
        &mut at_mut(batches, at).1
    }
}

/// The element at a position that was just found or just pushed.
fn at_mut<T>(list: &mut VecDeque<T>, at: Option<usize>) -> &mut T {
    &mut list[at.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> CallerId {
        CallerId::try_from(name).unwrap()
    }

    #[test]
    fn one_item_passes_a_long_batch_by() {
        let mut turns = Turns::default();
        turns.push(&caller("a"), BatchId(1), (0..10_000).collect());
        assert_eq!(turns.pop(), Some(0));
        turns.push(&caller("a"), BatchId(2), vec![77_777]);
        let next: Vec<_> = (0..3).filter_map(|_| turns.pop()).collect();
        assert!(next.contains(&77_777), "{next:?}");
        assert_eq!(turns.len(), 9_997);
    }

    #[test]
    fn a_caller_with_many_batches_gets_no_more_turns_than_one_with_one() {
        let mut turns = Turns::default();
        for batch in 0..100 {
            turns.push(&caller("busy"), BatchId(batch), vec!["busy"; 100]);
        }
        turns.push(&caller("calm"), BatchId(500), vec!["calm"; 100]);
        let first: Vec<_> = (0..100).filter_map(|_| turns.pop()).collect();
        assert_eq!(first.iter().filter(|who| **who == "calm").count(), 50);
    }

    #[test]
    fn what_comes_back_goes_first_in_its_batch_and_what_is_taken_out_is_gone() {
        let mut turns = Turns::default();
        turns.push(&caller("a"), BatchId(1), vec![1, 2, 3, 4]);
        let back = turns.pop().unwrap();
        turns.put_back(&caller("a"), BatchId(1), back);
        assert_eq!(turns.take_where(|item| item % 2 == 0), [2, 4]);
        assert_eq!(
            (turns.pop(), turns.pop(), turns.pop()),
            (Some(1), Some(3), None)
        );
        assert!(turns.is_empty());
    }
}
