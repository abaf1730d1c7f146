//! What was seen of each side.

use cancelot::rpc::proto::{Outcome, SubscriptionResult};

use crate::latency::Times;

/// What one side showed, over all rounds.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Items of batches settled a second, by round.
    pub(super) rates: Vec<f64>,
    /// From a batch's request to its last item.
    pub(super) batches: Times,
    pub(super) ended: Ended,
    /// Singles, by whether their own answer was lost.
    pub(super) answered: Times,
    pub(super) lost: Times,
}

/// How items of batches and singles came out.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) items: usize,
    /// CANCELED or SCHEDULED.
    pub(super) done: usize,
    pub(super) in_doubt: usize,
    /// It took more than one request.
    pub(super) lost: usize,
}

impl Ended {
    pub(super) fn add(&mut self, result: &SubscriptionResult) {
        let outcome = result.outcome();
        self.items += 1;
        self.done += usize::from(matches!(outcome, Outcome::Canceled | Outcome::Scheduled));
        self.in_doubt += usize::from(outcome == Outcome::InDoubt);
        self.lost += usize::from(is_lost(result));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.items += other.items;
        self.done += other.done;
        self.in_doubt += other.in_doubt;
        self.lost += other.lost;
    }
}

/// An answer that arrives is the only one; after a lost one comes a look.
pub(super) fn is_lost(result: &SubscriptionResult) -> bool {
    result.attempts > 1
}
