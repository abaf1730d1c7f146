//! Recovery: continues the items that the journal has open at start-up.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Engine, blocking,
    lane::{
        belief::LookPlan,
        work_item::{self, Origin, WorkItem},
        work_item_start::WorkItemStart,
    },
    results::settler::{Handover, ToSettle},
};
use crate::{
    domain::{
        doubt::{AccountState, Moment},
        ids::{AccountName, BatchId},
        outcome::Reached,
    },
    journal::{DoubtfulTarget, OpenItem, Settlement, Unavailable},
    limits, observe,
    shared_budget::Reservation,
};

impl Engine {
    /// Continues every item that is open in the journal. No item is queued before all are read.
    pub(super) async fn recover(&self) -> Result<(), Unavailable> {
        let now = self.shared.clock.moment();
        self.journal.begin(now).await?;
        let journal = Arc::clone(&self.journal);
        let (open, known, doubtful) = blocking(move || {
            let known = journal.account_states()?;
            Ok((journal.open_items()?, known, journal.doubtful_targets()?))
        })
        .await?;
        // Reading may have taken long, so remaining waits are counted from here.
        let now = self.shared.clock.moment();
        self.restore(&open, known, doubtful, &now);
        if open.is_empty() {
            return Ok(());
        }
        tracing::info!(items = open.len(), "taking up what was open");
        let mut runs: BTreeMap<(AccountName, BatchId), Vec<WorkItem>> = BTreeMap::new();
        let mut looks_left = self.looks_at_once();
        for mut item in open {
            let stop = self.shared.live.open(item.id.batch, [item.id.index]);
            // The batch was stopped by an earlier process. Its items do not share the batch's flag:
            // items that are reopened later run again.
            let stop = if item.stopped {
                Arc::new(AtomicBool::new(true))
            } else {
                stop
            };
            let caller = &item.scope.caller;
            let room = [
                self.open_items.force(caller, 1),
                self.open_bytes
                    .force(caller, work_item::weight(&item.command)),
            ];
            let doubt = item.doubt.take();
            let mut run = recovered(item, stop, room);
            let account = run.command.account().clone();
            match (doubt, self.lanes.get(&account)) {
                (Some(doubt), Some(lane)) => {
                    let left = looks_left.entry(account.clone()).or_default();
                    // With many items in doubt, lookups at once would only delay new items.
                    let plan = match left.checked_sub(1) {
                        Some(less) => {
                            *left = less;
                            LookPlan::AtOnce
                        }
                        None => LookPlan::AtBelief,
                    };
                    run.inherit(doubt, plan, &lane.options, &now);
                    lane.bind_left(&run);
                    lane.settling(&run, run.belief.is_some());
                }
                (doubt, _) => run.doubt = doubt.map(Box::new),
            }
            runs.entry((account, run.batch)).or_default().push(run);
        }
        let is_configured = |(account, _): &(AccountName, _)| self.lanes.contains_key(account);
        // No lane can resolve these; their keys can be sent again when the account is back.
        for (place, runs) in &mut runs {
            if !is_configured(place) {
                self.settle_without_account(std::mem::take(runs)).await;
            }
        }
        // Last, and without an await: a start that is given up is dropped at an await, and nothing
        // may run then.
        for ((account, batch), runs) in runs {
            let caller = runs.first().map(|run| run.caller.clone());
            if let (Some(lane), Some(caller)) = (self.lanes.get(&account), caller) {
                lane.enqueue(&caller, batch, runs);
            }
        }
        Ok(())
    }

    /// Restores what earlier processes recorded about accounts and targets.
    fn restore(
        &self,
        open: &[OpenItem],
        mut known: BTreeMap<AccountName, AccountState>,
        doubtful: Vec<DoubtfulTarget>,
        now: &Moment,
    ) {
        for (name, lane) in &self.lanes {
            let has_open = open.iter().any(|item| item.command.account() == name);
            let known = known.remove(name);
            let is_new = !has_open && known.is_none();
            lane.restore(known, is_new, now);
        }
        // If the clock was set back, a target would otherwise stay bound for that long.
        let acts_max = limits::SETTLING_MS_MAX.max(limits::TIMEOUT_MS_MAX);
        let acts_max = Duration::from_millis(acts_max + limits::TCP_USER_TIMEOUT_MS);
        for target in doubtful {
            let left = now.until(&target.until).map(|left| left.min(acts_max));
            if let (Some(lane), Some(left)) = (self.lanes.get(&target.account), left) {
                lane.bind(target.target, target.owner, Instant::now() + left);
            }
        }
    }

    /// How many items of each account may send a lookup at once: as many as its rate allows in a
    /// third of its settling time.
    fn looks_at_once(&self) -> BTreeMap<AccountName, usize> {
        let lanes = self.lanes.iter();
        let looks = lanes.map(|(name, lane)| (name.clone(), lane.looks_at_once()));
        looks.collect()
    }

    /// Settles items whose account is no longer configured.
    async fn settle_without_account(&self, runs: Vec<WorkItem>) {
        for mut run in runs {
            let sent = match run.doubt {
                Some(_) => Reached::Unknown,
                None => Reached::No,
            };
            if let Origin::Recorded(id) = run.origin {
                let conclusion = work_item::account_gone(&run.command, sent);
                let settled = Arc::new(run.settle(conclusion, self.shared.clock.now()));
                let handover = Handover::Settle(Box::new(ToSettle {
                    settlement: Settlement { id, settled },
                    telling: None,
                    target: None,
                    account: None,
                    place: run.place.split(1),
                }));
                // The channel closes only when the journal has failed.
                let _ = self.shared.settle.send(handover).await;
            }
        }
    }
}

/// An item that was open when the process started.
fn recovered(item: OpenItem, stop: Arc<AtomicBool>, [place, bytes]: [Reservation; 2]) -> WorkItem {
    let mut run = WorkItem::from(WorkItemStart {
        origin: Origin::Recorded(item.id),
        from: observe::RequestContext::default(),
        scope: &item.scope,
        key: &item.key,
        batch: item.id.batch,
        command: item.command,
        retry_until: item.retry_until,
        place,
        bytes,
    });
    run.previous = item.previous;
    run.stop = stop;
    run
}
