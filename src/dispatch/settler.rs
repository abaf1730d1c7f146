//! Records outcomes in groups and tells them only then. The first outcome never waits for a group
//! to fill: whatever is there goes together.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{live::Live, telling::Telling};
use crate::{
    journal::{Journal, Settlement, Unavailable},
    limits,
};

/// What workers hand over.
#[derive(Debug)]
pub(super) enum Handover {
    /// An outcome to record, and what is told of it then.
    Settle(Settlement, Option<Telling>),
    /// Answered when everything handed over before is recorded.
    Flush(oneshot::Sender<()>),
    /// The same, and the last: the settler lets go of the journal.
    End(oneshot::Sender<()>),
}

/// Called after a group was recorded, with how many outcomes it had.
pub(super) type Recorded = Box<dyn Fn(usize) + Send>;

/// A group that follows on a crowded one begins no sooner than this after it. A small commit
/// costs as many trips to the disk as a big one, so under load outcomes wait a moment for
/// company. Nothing waits otherwise.
const GROUP_INTERVAL: Duration = Duration::from_millis(4);
/// Outcomes that make a group crowded.
const CROWD: usize = 16;

/// Records until every sender is gone, or the journal fails.
pub(super) async fn run(
    journal: Arc<dyn Journal>,
    live: Arc<Live>,
    mut handed_over: mpsc::Receiver<Handover>,
    failed: watch::Sender<Option<Unavailable>>,
    recorded: Recorded,
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
        let (mut flushes, mut ends) = (Vec::new(), Vec::new());
        for handover in group.drain(..) {
            match handover {
                Handover::Settle(settlement, telling) => {
                    settlements.push(settlement);
                    tellings.push(telling);
                }
                Handover::Flush(done) => flushes.push(done),
                Handover::End(done) => ends.push(done),
            }
        }
        if !settlements.is_empty() {
            if let Err(unavailable) = journal.settle(settlements.clone()).await {
                // Nothing may be told that is not on disk: stop telling, and let the process end
                // so that a restart settles what is open.
                tracing::error!(error = %unavailable, "outcomes cannot be recorded");
                failed.send_replace(Some(unavailable));
                live.end(super::feed::Ended::Failed);
                return;
            }
            let told = || settlements.iter().zip(&tellings);
            for (settlement, telling) in told() {
                telling.as_ref().inspect(|t| t.count(settlement));
            }
            live.settled(&settlements);
            recorded(settlements.len());
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
