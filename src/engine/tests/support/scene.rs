//! A running process on a stage, and the requests to it.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::timeout;

use super::{
    bench::{item, submission},
    hooked::Hooked,
    stage::{HOUR, Stage},
};
use crate::{
    domain::{
        command::Command,
        outcome::{Outcome, Settled},
    },
    engine::{Engine, Submission, SubmittedItem, Ticket, lane::Lane, results::feed::Update},
    providers::Mode,
};

/// A running process.
pub(in crate::engine::tests) struct Scene {
    stage: Stage,
    pub(in crate::engine::tests) engine: Arc<Engine>,
    /// The journal as this process sees it.
    pub(in crate::engine::tests) hooked: Hooked,
    /// Whether the process is gone and may send nothing.
    is_gone: Arc<AtomicBool>,
}

/// The parts that outlive the process.
impl Deref for Scene {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl Scene {
    pub(in crate::engine::tests) fn new(
        stage: Stage,
        engine: Arc<Engine>,
        hooked: Hooked,
        is_gone: Arc<AtomicBool>,
    ) -> Self {
        Self {
            stage,
            engine,
            hooked,
            is_gone,
        }
    }

    /// The lane of the account.
    pub(in crate::engine::tests) fn lane(&self) -> &Arc<Lane> {
        self.engine.lanes.values().next().unwrap()
    }

    /// Sends a request.
    pub(in crate::engine::tests) async fn opens(&self, request: Submission) -> Ticket {
        self.engine.submit(request).await.unwrap()
    }

    /// Sends a request with one item, and waits for its outcome.
    pub(in crate::engine::tests) async fn outcome(&self, request: Submission) -> Arc<Settled> {
        outcomes(&self.opens(request).await).await.remove(0)
    }

    /// Cancels a subscription under this key.
    pub(in crate::engine::tests) async fn cancels(&self, key: &str, id: &str) -> Arc<Settled> {
        self.outcome(request(key, [id])).await
    }

    /// Dry-runs the cancellation of a subscription.
    pub(in crate::engine::tests) async fn dry_runs(&self, id: &str) -> Arc<Settled> {
        self.outcome(dry(request("dry", [id]))).await
    }

    /// Stops in order.
    pub(in crate::engine::tests) async fn stops(self) -> Stage {
        self.stops_within(HOUR).await
    }

    /// Stops in order, with this time for the drain.
    pub(in crate::engine::tests) async fn stops_within(self, time: Duration) -> Stage {
        self.engine.drain(time).await;
        self.ends()
    }

    /// Kills the process: it writes nothing more.
    pub(in crate::engine::tests) async fn dies(self) -> Stage {
        self.stage.journal.fail("the process is gone");
        for lane in self.engine.lanes.values() {
            lane.close();
        }
        self.engine.shared.cut.cancel();
        self.engine.shared.tasks.close();
        self.engine.shared.tasks.wait().await;
        self.ends()
    }

    fn ends(self) -> Stage {
        self.is_gone.store(true, Ordering::Release);
        self.stage.restarted()
    }
}

/// A request for these subscriptions.
pub(in crate::engine::tests) fn request(
    key: &str,
    ids: impl IntoIterator<Item = impl AsRef<str>>,
) -> Submission {
    let items = ids.into_iter().map(|id| item(id.as_ref()));
    submission(key, items.collect())
}

/// The same as a dry run.
pub(in crate::engine::tests) fn dry(mut request: Submission) -> Submission {
    for item in &mut request.items {
        item.mode = Mode::DryRun;
    }
    request
}

/// The same with a prorated invoice.
pub(in crate::engine::tests) fn prorated(mut request: Submission) -> Submission {
    for SubmittedItem { command, .. } in &mut request.items {
        if let Command::Subscription(command) = Arc::make_mut(command) {
            command.prorate = Some(true);
        }
    }
    request
}

/// The same with this retry window.
pub(in crate::engine::tests) fn within(window: Duration, mut request: Submission) -> Submission {
    request.retry_window = Some(window);
    request
}

/// The outcomes of all items of a request, in order.
pub(in crate::engine::tests) async fn outcomes(ticket: &Ticket) -> Vec<Arc<Settled>> {
    let mut settled = Vec::new();
    let read = async {
        while let Some(updates) = ticket.feed.take(usize::MAX).await.unwrap() {
            settled.extend(updates.into_iter().filter_map(|(at, update)| match update {
                Update::Settled { settled, .. } => Some((at, settled)),
                Update::Progress { .. } => None,
            }));
        }
    };
    timeout(24 * HOUR, read)
        .await
        .expect("it ends within a day");
    settled.sort_by_key(|(at, _)| *at);
    settled.into_iter().map(|(_, settled)| settled).collect()
}

/// The outcome, and the reason of a failure.
pub(in crate::engine::tests) fn told(settled: &Settled) -> (Outcome, &'static str) {
    let failure = settled.conclusion.failure.as_ref();
    let reason = failure.map_or("", |failure| failure.reason.name());
    (settled.conclusion.outcome, reason)
}

/// Runs all tasks that can go on without time passing.
pub(in crate::engine::tests) async fn settle_down() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}
