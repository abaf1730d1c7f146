//! A set of item indexes, small enough to keep one for each open batch.

/// A set of numbers below a bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::journal) struct IndexSet {
    words: Vec<u64>,
    count: u32,
}

impl IndexSet {
    /// Adds a number; false if it was there.
    pub(in crate::journal) fn insert(&mut self, index: u32) -> bool {
        let (word, bit) = place(index);
        if self.words.len() <= word {
            self.words.resize(word.saturating_add(1), 0);
        }
        let Some(word) = self.words.get_mut(word) else {
            return false;
        };
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += u32::from(is_new);
        is_new
    }

    /// Takes a number out; false if it was not there.
    pub(in crate::journal) fn remove(&mut self, index: u32) -> bool {
        let (word, bit) = place(index);
        let Some(word) = self.words.get_mut(word) else {
            return false;
        };
        let was_there = *word & bit != 0;
        *word &= !bit;
        self.count -= u32::from(was_there);
        was_there
    }

    /// The numbers, in order.
    pub(in crate::journal) fn iter(&self) -> impl Iterator<Item = u32> {
        (0_u32..)
            .step_by(64)
            .zip(&self.words)
            .flat_map(|(first, word)| {
                let places = (0..64).filter(move |place| (word >> place) & 1 == 1);
                places.map(move |place| first.saturating_add(place))
            })
    }

    /// Whether a number is there.
    pub(in crate::journal) fn contains(&self, index: u32) -> bool {
        let (word, bit) = place(index);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Whether there is none.
    pub(in crate::journal) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

fn place(index: u32) -> (usize, u64) {
    let word = usize::try_from(index / 64).unwrap_or(usize::MAX);
    (word, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_behave_as_a_set(steps in proptest::collection::vec((any::<bool>(), 0_u32..200), 0..300)) {
            let (mut bits, mut set) = (IndexSet::default(), BTreeSet::new());
            for (adds, index) in steps {
                if adds {
                    prop_assert_eq!(bits.insert(index), set.insert(index));
                } else {
                    prop_assert_eq!(bits.remove(index), set.remove(&index));
                }
                prop_assert_eq!(bits.contains(index), set.contains(&index));
                prop_assert_eq!(bits.is_empty(), set.is_empty());
            }
        }
    }
}
