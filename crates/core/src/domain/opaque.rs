//! What callers are shown of places in the journal. Batches are numbered as they come, so a number
//! tells how much comes from all callers: what is shown is a keyed permutation of it, which nobody
//! can undo or continue without the journal's key.

use sha2::{Digest as _, Sha256};

use super::ids::{BatchId, BatchName, ItemId};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Rounds of the permutation: with so many, a Feistel network of a sound function is as good as a
/// random permutation, also for one who sees many of its values (Patarin, 2004).
const ROUNDS: u8 = 10;
/// Which permutation it is, so that one tells nothing of the other.
const OF_BATCHES: u8 = 1;
const OF_PLACES: u8 = 2;

/// How one journal's batches are named, and places in its lists.
#[derive(Clone, PartialEq, Eq)]
pub struct Names {
    key: [u8; KEY_BYTES],
    /// The first batch whose name is opaque. Those before it have had names, which they keep.
    first: u64,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names")
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

impl Names {
    /// Of a journal with this key; batches from this one on have opaque names.
    #[must_use]
    pub fn new(key: [u8; KEY_BYTES], first: BatchId) -> Self {
        Self {
            key,
            first: first.0,
        }
    }

    /// Of a journal without a key, as earlier versions wrote it: a name is the number.
    #[must_use]
    pub fn plain() -> Self {
        Self::new([0; KEY_BYTES], BatchId(u64::MAX))
    }

    /// The name of a batch: the same whenever it is asked for.
    #[must_use]
    pub fn of(&self, batch: BatchId) -> BatchName {
        if batch.0 < self.first {
            BatchName::plain(batch)
        } else {
            let (left, right) = self.mix(OF_BATCHES, u32::MAX.into(), split(batch.0));
            BatchName::opaque(joined(left, right))
        }
    }

    /// The batch of a name that a caller gave. `None` if no batch has it: a number stands for a
    /// batch only if that was shown as its name, since one could else be found by counting.
    #[must_use]
    pub fn batch(&self, name: &BatchName) -> Option<BatchId> {
        let batch = self.any(name);
        Some(batch).filter(|batch| self.of(*batch) == *name)
    }

    /// The same of a name that an operator gave, who may give a number in any case.
    #[must_use]
    pub fn any(&self, name: &BatchName) -> BatchId {
        match name.number() {
            Ok(number) => BatchId(number),
            Err(opaque) => {
                let (left, right) = self.unmix(OF_BATCHES, u32::MAX.into(), split(opaque));
                BatchId(joined(left, right))
            }
        }
    }

    /// Where a list goes on, sealed with a print of what it lists.
    #[must_use]
    pub fn seal(&self, place: ItemId, print: u32) -> String {
        let of_item = joined(place.index.into(), print.into());
        let (left, right) = self.mix(OF_PLACES, u64::MAX, (place.batch.0, of_item));
        format!("{left:016x}{right:016x}")
    }

    /// Reads [`Self::seal`] back. Other texts give places too, but hardly ever with the right
    /// print.
    #[must_use]
    pub fn unseal(&self, token: &str) -> Option<(ItemId, u32)> {
        let (left, right) = token.split_at_checked(16)?;
        let half = |text: &str| {
            let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            u64::from_str_radix(text, 16).ok().filter(|_| is_hex)
        };
        let (batch, of_item) = self.unmix(OF_PLACES, u64::MAX, (half(left)?, half(right)?));
        let (index, print) = split(of_item);
        let batch = BatchId(batch);
        let index = u32::try_from(index).ok()?;
        Some((ItemId { batch, index }, u32::try_from(print).ok()?))
    }

    /// Whether a batch had a name, and lists had tokens, before the journal had its key.
    #[must_use]
    pub fn is_plain(&self, batch: BatchId) -> bool {
        batch.0 < self.first
    }

    /// One round's function: SHA-256 of the key and of what is never longer or shorter, cut.
    fn round(&self, of: u8, round: u8, half: u64) -> u64 {
        let digest = Sha256::new()
            .chain_update(self.key)
            .chain_update([of, round])
            .chain_update(half.to_be_bytes())
            .finalize();
        let first = digest.first_chunk().copied().unwrap_or_default();
        u64::from_be_bytes(first)
    }

    /// Permutes two halves, of as many bits as the mask has.
    fn mix(&self, of: u8, mask: u64, (mut left, mut right): (u64, u64)) -> (u64, u64) {
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (self.round(of, round, right) & mask));
        }
        (left, right)
    }

    /// Undoes [`Self::mix`].
    fn unmix(&self, of: u8, mask: u64, (mut left, mut right): (u64, u64)) -> (u64, u64) {
        for round in (0..ROUNDS).rev() {
            (left, right) = (right ^ (self.round(of, round, left) & mask), left);
        }
        (left, right)
    }
}

/// The halves of a number.
fn split(number: u64) -> (u64, u64) {
    (number >> 32, number & u64::from(u32::MAX))
}

/// The number of two halves.
fn joined(left: u64, right: u64) -> u64 {
    (left << 32) | right
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn names() -> Names {
        Names::new([7; KEY_BYTES], BatchId(100))
    }

    proptest! {
        #[test]
        fn a_name_leads_back_to_its_batch(number in any::<u64>()) {
            let (names, batch) = (names(), BatchId(number));
            let name = names.of(batch);
            prop_assert_eq!(names.batch(&name), Some(batch));
            prop_assert_eq!(name.to_string().parse::<BatchName>(), Ok(name));
            prop_assert_eq!(names.any(&BatchName::plain(batch)), batch);
        }

        #[test]
        fn a_place_leads_back_to_itself_and_not_under_another_key(
            number in any::<u64>(), index in any::<u32>(), print in any::<u32>(),
        ) {
            let place = ItemId { batch: BatchId(number), index };
            let token = names().seal(place, print);
            prop_assert_eq!(names().unseal(&token), Some((place, print)));
            let others = Names::new([8; KEY_BYTES], BatchId(100)).unseal(&token);
            prop_assert!(others.is_none_or(|(_, other)| other != print || others != Some((place, print))));
        }

        #[test]
        fn any_text_is_a_place_or_none(token in ".{0,40}") {
            let _ = names().unseal(&token);
        }
    }

    #[test]
    fn names_tell_neither_order_nor_number() {
        let names = names();
        let shown: Vec<_> = (100..1_100)
            .map(|n| names.of(BatchId(n)).to_string())
            .collect();
        assert_eq!(shown.iter().collect::<BTreeSet<_>>().len(), 1_000);
        let rises = shown.windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((400..600).contains(&rises), "{rises} of 999 rise");
        // Each bit of a name is set in about half of them, and of neighbours about half differ.
        let number = |name: &String| u64::from_str_radix(&name[2..], 16).unwrap();
        let bits: u32 = shown.iter().map(|name| number(name).count_ones()).sum();
        assert!((31_000..33_000).contains(&bits), "{bits} of 64,000");
        let pairs = shown.windows(2);
        let apart = pairs.map(|pair| (number(&pair[0]) ^ number(&pair[1])).count_ones());
        let apart: u32 = apart.sum();
        assert!((31_000..33_000).contains(&apart), "{apart} of 63,936");
    }

    /// What was shown once has to stay good, so the permutation never changes.
    #[test]
    fn names_stay_as_they_are() {
        assert_eq!(names().of(BatchId(99)).as_str(), "b000000000099");
        assert_eq!(names().of(BatchId(100)).as_str(), FIRST);
        let place = ItemId {
            batch: BatchId(100),
            index: 3,
        };
        assert_eq!(names().seal(place, 9), PLACE);
    }
    const FIRST: &str = "bx5cbe66d5b5116411";
    const PLACE: &str = "10bf9f5f323dfd7b5a223e4d219e13bd";

    #[test]
    fn a_number_is_a_name_only_where_it_was_shown() {
        let names = names();
        let plain = |number| BatchName::plain(BatchId(number));
        assert_eq!(names.batch(&plain(99)), Some(BatchId(99)));
        assert_eq!(names.batch(&plain(100)), None);
        assert_eq!(names.any(&plain(100)), BatchId(100));
        // A name that would be that of a batch from before.
        let before = Names::new([7; KEY_BYTES], BatchId(0)).of(BatchId(99));
        assert_eq!(names.batch(&before), None);
    }
}
