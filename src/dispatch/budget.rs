//! A bounded whole of which shares are taken, and given back when what they are for is gone.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A bounded whole, in whatever unit its owner counts.
#[derive(Debug, Clone)]
pub struct Budget {
    taken: Arc<AtomicUsize>,
    max: usize,
}

impl Budget {
    /// A whole of this size.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            taken: Arc::default(),
            max,
        }
    }

    /// How large the whole is.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max
    }

    /// How much of it is taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// A share of it; `None` if so much is not left.
    #[must_use]
    pub fn take(&self, amount: usize) -> Option<Share> {
        let mut share = self.force(0);
        share.grow(amount).then_some(share)
    }

    /// A share of it, even if so much is not left: for what cannot be refused any more.
    #[must_use]
    pub fn force(&self, amount: usize) -> Share {
        self.taken.fetch_add(amount, Ordering::AcqRel);
        Share {
            budget: self.clone(),
            amount,
        }
    }
}

/// A share of a budget, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    amount: usize,
}

impl Share {
    /// Takes more; `false`, and no change, if so much is not left.
    #[must_use]
    pub fn grow(&mut self, by: usize) -> bool {
        let grown = self
            .budget
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                taken.checked_add(by).filter(|sum| *sum <= self.budget.max)
            });
        if grown.is_ok() {
            self.amount += by;
        }
        grown.is_ok()
    }

    /// Has a part of it that was so large be of another size from now on, even if so much is not
    /// left: for what cannot be refused any more.
    pub fn resize(&mut self, was: usize, is: usize) {
        let (grows, shrinks) = (is.saturating_sub(was), was.saturating_sub(is));
        let shrinks = shrinks.min(self.amount);
        self.budget.taken.fetch_add(grows, Ordering::AcqRel);
        self.budget.taken.fetch_sub(shrinks, Ordering::AcqRel);
        self.amount = self.amount.saturating_add(grows).saturating_sub(shrinks);
    }

    /// Makes another share of the same budget a part of it.
    pub fn join(&mut self, mut other: Self) {
        self.amount = self.amount.saturating_add(other.amount);
        other.amount = 0;
    }

    /// A part of it as a share of its own, at most what it has.
    #[must_use]
    pub fn split(&mut self, amount: usize) -> Self {
        let amount = amount.min(self.amount);
        self.amount -= amount;
        Self {
            budget: self.budget.clone(),
            amount,
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.amount, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_taken_once_and_given_back_once() {
        let budget = Budget::new(10);
        let mut most = budget.take(8).unwrap();
        assert!(budget.take(3).is_none());
        assert!(!most.grow(3));
        assert_eq!(budget.taken(), 8);
        let part = most.split(5);
        drop(most);
        assert_eq!(budget.taken(), 5);
        let over = budget.force(20);
        assert_eq!((budget.taken(), budget.take(1).is_none()), (25, true));
        drop((part, over));
        assert_eq!(budget.taken(), 0);
        assert!(budget.take(usize::MAX).is_none());
        assert!(budget.take(10).is_some());
    }
}
