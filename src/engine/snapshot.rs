//! How the engine stands at a moment, for those who watch. It takes each lock once and briefly.

use std::time::Duration;

use tokio::time::Instant;

use super::{Engine, lane::Lane};
use crate::{
    domain::{account::Account, ids::CallerId},
    egress::flow,
    observe::{AccountMeters, RejectionMetrics, WaitMeter},
    shared_budget::SharedBudget,
};

/// How the engine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineSnapshot {
    /// Items that are open, and how many may be.
    pub open_items: [usize; 2],
    /// Bytes that they take, about, and may take.
    pub open_bytes: [usize; 2],
    /// Results that streams hold for their readers, and may hold.
    pub results_held: [usize; 2],
    /// Calls of ListCancellations that are answered or wait, and may be.
    pub scans: [usize; 2],
    /// Calls of GetCancellation that are answered or wait, and may be.
    pub gets: [usize; 2],
    /// Batches with open items.
    pub open_batches: usize,
    /// How long the oldest of them has been open here.
    pub oldest_open: Duration,
}

/// How one account stands.
#[derive(Debug)]
pub struct AccountSnapshot<'a> {
    /// Which.
    pub account: &'a Account,
    /// What was counted of it.
    pub meters: &'a AccountMeters,
    /// What waits.
    pub waiting: WaitMeter,
    /// Open items that settle a doubt: they are among those that wait or are at work.
    pub settling: usize,
    /// What its gate lets through.
    pub gate: flow::FlowSnapshot,
}

impl Engine {
    /// How it stands now.
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

    /// Calls of ListCancellations of each caller.
    #[must_use]
    pub fn scans_of(&self) -> Vec<(CallerId, usize)> {
        self.questions.scans().held()
    }

    /// How each account stands now.
    pub fn account_standings(&self) -> impl Iterator<Item = AccountSnapshot<'_>> {
        self.lanes.values().map(|lane| lane.standing())
    }

    /// What was refused.
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
