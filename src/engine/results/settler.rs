//! Records outcomes in groups and tells them only then. The first outcome never waits for a group
//! to fill: whatever is there goes together.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{settlement_log::SettlementLog, subscriptions::Subscriptions};
use crate::{
    domain::{doubt::AccountState, ids::AccountName},
    engine::lane::Lane,
    journal::{Clearance, DoubtfulTarget, Group, Journal, Note, Settlement, Unavailable},
    limits,
    shared_budget::Reservation,
};

/// An outcome to record, and what goes with it.
#[derive(Debug)]
pub(in crate::engine) struct ToSettle {
    pub(in crate::engine) settlement: Settlement,
    /// What is counted and logged of it then.
    pub(in crate::engine) telling: Option<SettlementLog>,
    /// Its target, if a request of it may still act.
    pub(in crate::engine) target: Option<DoubtfulTarget>,
    /// What was learned of its account.
    pub(in crate::engine) account: Option<(AccountName, AccountState)>,
    /// Its place among the open items, which is free then.
    pub(in crate::engine) place: Reservation,
}

/// Permission to send, and who waits for it.
#[derive(Debug)]
pub(in crate::engine) enum Cleared {
    /// A lane that clears ahead: the number of its request.
    Ahead(Weak<Lane>, u64),
    /// One item in the middle of its conversation.
    One(oneshot::Sender<()>),
}

/// What workers hand over.
#[derive(Debug)]
pub(in crate::engine) enum Handover {
    /// An outcome to record.
    Settle(Box<ToSettle>),
    /// Items to clear.
    Clear(Clearance, Cleared),
    /// What was learned of an account, without an outcome.
    Account(AccountName, AccountState),
    /// What an orderly stop knows of open items.
    Note(Vec<Note>),
    /// Answered when everything handed over before is recorded.
    Flush(oneshot::Sender<()>),
    /// The same, and the last: the settler lets go of the journal.
    End(oneshot::Sender<()>),
}

/// A group that follows on a crowded one begins no sooner than this after it. A small commit
/// costs as many trips to the disk as a big one, so under load outcomes wait a moment for
/// company. Nothing waits otherwise.
const GROUP_INTERVAL: Duration = Duration::from_millis(4);
/// Outcomes that make a group crowded.
const CROWD: usize = 16;

/// Records until every sender is gone, or the journal fails.
pub(in crate::engine) async fn run(
    journal: Arc<dyn Journal>,
    live: Arc<Subscriptions>,
    mut handed_over: mpsc::Receiver<Handover>,
    failed: watch::Sender<Option<Unavailable>>,
) {
    let mut group = Vec::with_capacity(limits::COMMIT_GROUP_MAX);
    let mut next_group = Instant::now();
    while handed_over
        .recv_many(&mut group, limits::COMMIT_GROUP_MAX)
        .await
        > 0
    {
        if group.len() < limits::COMMIT_GROUP_MAX && Instant::now() < next_group {
            sleep_until(next_group).await;
            while group.len() < limits::COMMIT_GROUP_MAX
                && let Ok(more) = handed_over.try_recv()
            {
                group.push(more);
            }
        }
        next_group = Instant::now();
        if group.len() >= CROWD {
            next_group += GROUP_INTERVAL;
        }
        let mut settlements = Vec::with_capacity(group.len());
        let mut tellings = Vec::with_capacity(group.len());
        let mut places = Vec::with_capacity(group.len());
        let (mut written, mut cleared) = (Group::default(), Vec::new());
        let (mut flushes, mut ends) = (Vec::new(), Vec::new());
        for handover in group.drain(..) {
            match handover {
                Handover::Settle(settle) => {
                    settlements.push(settle.settlement);
                    tellings.push(settle.telling);
                    places.push(settle.place);
                    written.targets.extend(settle.target);
                    written.accounts.extend(settle.account);
                }
                Handover::Clear(clearance, whom) => {
                    written.clearances.push(clearance);
                    cleared.push(whom);
                }
                Handover::Account(name, state) => written.accounts.push((name, state)),
                Handover::Note(notes) => written.notes.extend(notes),
                Handover::Flush(done) => flushes.push(done),
                Handover::End(done) => ends.push(done),
            }
        }
        let is_empty = settlements.is_empty()
            && cleared.is_empty()
            && written.notes.is_empty()
            && written.accounts.is_empty();
        if !is_empty {
            written.settlements.clone_from(&settlements);
            if let Err(unavailable) = journal.settle(written).await {
                // Nothing may be told that is not on disk: stop telling, and let the process end
                // so that a restart settles what is open.
                tracing::error!(error = %unavailable, "outcomes cannot be recorded");
                failed.send_replace(Some(unavailable));
                live.end(super::feed::StreamClosed::Failed);
                return;
            }
            for whom in cleared {
                match whom {
                    Cleared::Ahead(lane, number) => {
                        lane.upgrade().inspect(|lane| lane.granted(number));
                    }
                    // It may have been cut off.
                    Cleared::One(done) => drop(done.send(())),
                }
            }
            let told = || settlements.iter().zip(&tellings);
            for (settlement, telling) in told() {
                telling.as_ref().inspect(|t| t.count(settlement));
            }
            live.settled(&settlements);
            drop(places);
            for (settlement, telling) in told() {
                telling.as_ref().inspect(|t| t.write(settlement));
            }
        }
        for done in flushes {
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
        if !ends.is_empty() {
            drop(journal);
            for done in ends {
                let _ = done.send(());
            }
            return;
        }
    }
}
