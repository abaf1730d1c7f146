//! What a provider remembers, and the answers that it does not give: it hangs up on every n-th
//! cancel, by turns before and after it has carried it out.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;

/// What becomes of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    LostBefore,
    LostAfter,
}

/// Cancels are counted and not drawn, so that every run loses the same share.
#[derive(Default)]
struct Kept {
    cancels: u64,
    /// When, by the hash of the id: ids would cost more, and nobody asks for them.
    cancelled: HashMap<u64, Timestamp>,
}

/// A provider's memory.
pub(crate) struct Memory {
    /// Which cancels are lost; 0 is none.
    lost_every: u64,
    hasher: RandomState,
    kept: Mutex<Kept>,
}

impl Memory {
    pub(crate) fn new(lost_every: u64) -> Self {
        Self {
            lost_every,
            hasher: RandomState::new(),
            kept: Mutex::default(),
        }
    }

    /// Carries a cancel out, unless it is lost before that.
    pub(crate) fn cancel(&self, id: &str) -> Fate {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.cancels += 1;
        let fate = fate(self.lost_every, kept.cancels);
        if fate != Fate::LostBefore {
            let id = self.hasher.hash_one(id);
            kept.cancelled.entry(id).or_insert_with(Timestamp::now);
        }
        fate
    }

    /// When the subscription was cancelled, if it was.
    pub(crate) fn cancelled(&self, id: &str) -> Option<Timestamp> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.cancelled.get(&self.hasher.hash_one(id)).copied()
    }
}

fn fate(lost_every: u64, cancel: u64) -> Fate {
    match (
        cancel.checked_rem(lost_every),
        cancel / lost_every.max(1) % 2,
    ) {
        (Some(0), 1) => Fate::LostBefore,
        (Some(0), _) => Fate::LostAfter,
        (Some(_) | None, _) => Fate::Answered,
    }
}
