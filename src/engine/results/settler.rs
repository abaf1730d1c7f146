//! Records outcomes in groups, and publishes them only then. No outcome waits for a group to fill:
//! whatever is queued goes together.

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

/// An outcome to record, with all that is written or released together with it.
#[derive(Debug)]
pub(in crate::engine) struct ToSettle {
    pub(in crate::engine) settlement: Settlement,
    /// Its metrics and log line; `None` for items of accounts that are not configured.
    pub(in crate::engine) telling: Option<SettlementLog>,
    /// Its target, if a request may still act on it.
    pub(in crate::engine) target: Option<DoubtfulTarget>,
    /// New facts about its account.
    pub(in crate::engine) account: Option<(AccountName, AccountState)>,
    /// Its slot among the open items, released when it is recorded.
    pub(in crate::engine) place: Reservation,
}

/// Who waits for a clearance.
#[derive(Debug)]
pub(in crate::engine) enum Cleared {
    /// A lane that clears ahead, with the number of the clearance.
    Ahead(Weak<Lane>, u64),
    /// One item that is about to be sent.
    One(oneshot::Sender<()>),
}

/// What lanes hand over to be recorded.
#[derive(Debug)]
pub(in crate::engine) enum Handover {
    /// An outcome to record.
    Settle(Box<ToSettle>),
    /// Items to clear.
    Clear(Clearance, Cleared),
    /// New facts about an account, without an outcome.
    Account(AccountName, AccountState),
    /// Notes of an orderly stop about open items.
    Note(Vec<Note>),
    /// Answered when everything handed over before is recorded and published.
    Flush(oneshot::Sender<()>),
    /// Like `Flush`, and the last one: the settler then releases the journal.
    End(oneshot::Sender<()>),
}

/// Minimum distance from a crowded group to the next. A small commit costs as many fsyncs as a big
/// one, so under load outcomes wait a moment and share a commit. Without load nothing waits.
const GROUP_INTERVAL: Duration = Duration::from_millis(4);
/// Entries that make a group crowded.
const CROWD: usize = 16;

/// Records until every sender is gone or the journal fails.
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
                // Nothing may be published that is not on disk. The engine fails, so that the
                // process ends and a restart settles what is open.
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
                    // Its execution may have been aborted.
                    Cleared::One(done) => drop(done.send(())),
                }
            }
            // Count, publish, log: a client that has a result finds it counted, and never waits for
            // a log line.
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
            // The caller may have stopped waiting.
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
