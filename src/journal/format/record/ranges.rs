//! Sets of item indexes as they are stored: what is cleared together lies mostly side by side, so
//! they are few.

use serde::{Deserialize, Serialize};

/// Ranges of indexes, each with its last one, in order and apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(Vec<(u32, u32)>);

impl FromIterator<u32> for Ranges {
    fn from_iter<I: IntoIterator<Item = u32>>(indexes: I) -> Self {
        let mut indexes: Vec<_> = indexes.into_iter().collect();
        indexes.sort_unstable();
        let mut ranges = Vec::<(u32, u32)>::new();
        for index in indexes {
            match ranges.last_mut() {
                Some((_, last)) if index <= last.saturating_add(1) => *last = index,
                Some(_) | None => ranges.push((index, index)),
            }
        }
        Self(ranges)
    }
}

impl Ranges {
    /// How many ranges there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many indexes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let counts = self.0.iter().map(|(first, last)| last.abs_diff(*first));
        let counts = counts.map(|apart| usize::try_from(apart).unwrap_or(usize::MAX));
        counts.fold(0, |sum, apart| sum.saturating_add(apart).saturating_add(1))
    }

    /// Whether an index is there.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        let behind = self.0.partition_point(|(first, _)| *first <= index);
        let range = behind.checked_sub(1).and_then(|at| self.0.get(at));
        range.is_some_and(|(_, last)| index <= *last)
    }

    /// The indexes, in order.
    pub fn indexes(&self) -> impl Iterator<Item = u32> {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_hold_what_they_are_made_of(
            indexes in proptest::collection::vec(prop_oneof![0_u32..60, Just(u32::MAX)], 0..80),
        ) {
            let set: BTreeSet<_> = indexes.iter().copied().collect();
            let ranges = Ranges::from_iter(indexes);
            prop_assert_eq!(ranges.indexes().collect::<Vec<_>>(), set.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!((ranges.count(), ranges.is_empty()), (set.len(), set.is_empty()));
            for index in 0..70 {
                prop_assert_eq!(ranges.contains(index), set.contains(&index));
            }
            let apart = ranges.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0);
            prop_assert!(apart && ranges.0.iter().all(|(first, last)| first <= last));
        }
    }

    #[test]
    fn neighbours_take_one_range() {
        let ranges: Ranges = (0..2_048).chain(3_000..3_001).collect();
        assert_eq!(
            serde_json::to_string(&ranges).unwrap(),
            "[[0,2047],[3000,3000]]"
        );
        assert_eq!(ranges.len(), 2);
    }
}
