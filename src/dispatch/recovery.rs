//! What items that are taken up again begin with: those that the journal has open at the start, and
//! those whose keys are sent again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::Instant;

use super::{
    Dispatch, blocking,
    budget::Share,
    run::{self, Origin, Run},
    settler::Handover,
};
use crate::{
    domain::{
        exchange::Exchange,
        ids::{AccountName, BatchId},
        outcome::{Outcome, Reached},
    },
    egress::gate::Pass,
    journal::{OpenItem, Settlement, Unavailable},
    observe,
    providers::EffectId,
};

impl Dispatch {
    /// Takes up everything that the journal has open.
    pub(super) async fn recover(&self) -> Result<(), Unavailable> {
        let journal = Arc::clone(&self.journal);
        let open = blocking(move || journal.open_items()).await?;
        if open.is_empty() {
            return Ok(());
        }
        tracing::info!(items = open.len(), "taking up what was open");
        self.shared
            .open_items
            .fetch_add(open.len(), Ordering::AcqRel);
        let mut runs: BTreeMap<(AccountName, BatchId), Vec<Run>> = BTreeMap::new();
        for item in open {
            let stop = self.shared.live.open(item.id.batch, [item.id.index]);
            let stop = if item.stopped {
                Arc::new(AtomicBool::new(true))
            } else {
                stop
            };
            let bytes = self.open_bytes.force(run::weight(&item.command));
            let run = recovered(item, stop, bytes);
            let account = run.command.account().clone();
            runs.entry((account, run.batch)).or_default().push(run);
        }
        for ((account, batch), runs) in runs {
            match (
                self.lanes.get(&account),
                runs.first().map(|run| run.caller.clone()),
            ) {
                (Some(lane), Some(caller)) => lane.enqueue(&caller, batch, runs),
                _ => self.settle_without_account(runs, Reached::Unknown).await,
            }
        }
        Ok(())
    }

    /// Settles items whose account is not configured any more.
    async fn settle_without_account(&self, runs: Vec<Run>, sent: Reached) {
        for run in runs {
            if let Origin::Recorded(id) = run.origin {
                let conclusion = run::account_gone(&run.command, sent);
                let settled = Arc::new(run.settle(conclusion, self.shared.clock.now()));
                let handover = Handover::Settle(Settlement { id, settled }, None);
                // Only a failed journal closes the queue.
                let _ = self.shared.settle.send(handover).await;
            }
        }
    }
}

/// A run for an item that was open when the service started: perhaps something was sent.
fn recovered(item: OpenItem, stop: Arc<AtomicBool>, bytes: Share) -> Run {
    Run {
        origin: Origin::Recorded(item.id),
        from: observe::Origin::default(),
        since: Instant::now(),
        batch: item.id.batch,
        effect_id: EffectId::derive(&item.scope, &item.key, &item.command),
        caller: item.scope.caller,
        command: item.command,
        history: vec![Exchange::recovered()],
        previous: item.previous,
        retry_until: item.retry_until,
        stop,
        attempts: 0,
        tries: 0,
        sends: 0,
        rested: false,
        unseen: None,
        retry_at: None,
        holds_target: false,
        retries: false,
        pass: Pass::default(),
        paid: false,
        _bytes: bytes,
    }
}

/// What an item's history begins with when it is taken up again: a doubt is still a doubt.
pub(super) fn history_after(previous: Option<Outcome>) -> Vec<Exchange> {
    match previous {
        Some(Outcome::InDoubt) => vec![Exchange::recovered()],
        _ => Vec::new(),
    }
}
