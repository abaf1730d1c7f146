//! Figures of the engine for metrics. Each lock is taken once and briefly.

use std::time::Duration;

use tokio::time::Instant;

use super::{Engine, lane::Lane};
use crate::{
    domain::{account::Account, ids::CallerId},
    egress::flow,
    observe::{AccountMeters, RejectionMetrics, WaitMeter},
    shared_budget::SharedBudget,
};

/// Figures of the engine. Pairs are the current value and the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineSnapshot {
    /// Open items.
    pub open_items: [usize; 2],
    /// Approximate bytes of open items.
    pub open_bytes: [usize; 2],
    /// Results that streams buffer for clients that have not read them.
    pub results_held: [usize; 2],
    /// ListCancellations calls that run or wait.
    pub scans: [usize; 2],
    /// GetCancellation calls that run or wait.
    pub gets: [usize; 2],
    /// Batches with open items.
    pub open_batches: usize,
    /// How long the oldest of them has been open in this process.
    pub oldest_open: Duration,
}

/// Figures of one account.
#[derive(Debug)]
pub struct AccountSnapshot<'a> {
    /// The account.
    pub account: &'a Account,
    /// Its counters.
    pub meters: &'a AccountMeters,
    /// The lengths of its queues.
    pub waiting: WaitMeter,
    /// Open items that are resolving a doubt. They also count as waiting or running.
    pub settling: usize,
    /// The state of its flow control.
    pub gate: flow::FlowSnapshot,
}

impl Engine {
    /// The engine's figures now.
    #[must_use]
    pub fn standing(&self) -> EngineSnapshot {
        let standing = |of: &SharedBudget| [of.taken(), of.max()];
        let (open_batches, since) = self.shared.live.oldest();
        EngineSnapshot {
            open_items: standing(&self.open_items),
            open_bytes: standing(&self.open_bytes),
            results_held: standing(&self.results_held),
            scans: standing(self.questions.scans()),
            gets: standing(self.questions.gets()),
            open_batches,
            oldest_open: since.map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }

    /// Open items of each caller.
    #[must_use]
    pub fn open_items_of(&self) -> Vec<(CallerId, usize)> {
        self.open_items.held()
    }

    /// ListCancellations calls that run or wait, by caller.
    #[must_use]
    pub fn scans_of(&self) -> Vec<(CallerId, usize)> {
        self.questions.scans().held()
    }

    /// The figures of every account now.
    pub fn account_standings(&self) -> impl Iterator<Item = AccountSnapshot<'_>> {
        self.lanes.values().map(|lane| lane.standing())
    }

    /// Counts of rejected requests and reads.
    #[must_use]
    pub fn refusals(&self) -> &std::sync::Arc<RejectionMetrics> {
        &self.refusals
    }
}

impl Lane {
    fn standing(&self) -> AccountSnapshot<'_> {
        let (waiting, gate) = self.waiting(Instant::now());
        AccountSnapshot {
            account: &self.options.account,
            meters: self.options.egress.meters(),
            waiting,
            settling: self.settling.count(),
            gate,
        }
    }
}
