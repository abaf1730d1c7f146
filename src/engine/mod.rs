//! The engine: admits requests, runs every item to its outcome, and owns all tasks. An RPC handler
//! only submits and reads, so a caller that disconnects cancels no work.

mod admission;
mod lane;
mod reads;
mod recovery;
pub mod results;
mod snapshot;
mod stop_batch;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{RwLock, mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    admission::{
        submission::{Submission, SubmitError, SubmittedItem},
        submit::Ticket,
    },
    lane::LaneOptions,
    reads::questions::ReadError,
    results::slow_consumers::Hangup,
    snapshot::{AccountSnapshot, EngineSnapshot},
    stop_batch::Stopped,
};
use self::{
    lane::Lane,
    reads::{fair_threads::FairThreads, questions::Reads},
    results::{
        feed::StreamClosed, settler::Handover, slow_consumers::SlowConsumers,
        subscriptions::Subscriptions,
    },
};
pub use crate::clock::Clock;
use crate::shared_budget::{Members, SharedBudget};
use crate::{
    audit::Usage,
    domain::{account::Account, ids::AccountName, opaque::Names},
    journal::{Journal, Unavailable},
    limits,
    observe::{RejectionMetrics, TaskSupervisor},
};

/// Options of the engine, from the configuration.
#[derive(Debug)]
pub struct EngineOptions {
    /// One lane per account.
    pub lanes: Vec<LaneOptions>,
    /// Items that may be open at once; a request beyond it is rejected.
    pub open_items_max: usize,
    /// Approximate bytes that open items may take; a request beyond it is rejected.
    pub open_bytes_max: usize,
    /// Callers that share the limits above, with the open items that each may have at most.
    pub members: Members,
    /// The same callers, with the ListCancellations calls that each may run at once.
    pub scanners: Members,
    /// Results buffered for clients that have not read them yet, over all streams.
    pub results_held_max: usize,
    /// How long a stream may go unread before it can be evicted in favour of others.
    pub reader_patience: Duration,
    /// Default retry window, for requests that set none.
    pub retry_window: Duration,
    /// What the audit takes, and may take of each caller.
    pub audit: Usage,
    /// The time of day.
    pub clock: Clock,
    /// Seed of the jitter.
    pub seed: u64,
}

/// State shared by all lanes and tasks.
#[derive(Debug)]
struct EngineShared {
    clock: Clock,
    rng: Mutex<fastrand::Rng>,
    settle: mpsc::Sender<Handover>,
    live: Arc<Subscriptions>,
    tasks: TaskTracker,
    journal: Arc<dyn Journal>,
    /// How batches are named in the log and to callers.
    names: Arc<Names>,
    /// For looks at what else aims at a target.
    target_looks: FairThreads,
    /// Cancelled when the drain begins: no new item is started.
    stopping: CancellationToken,
    /// Cancelled when the drain time is over: aborts executions mid-request, as a crash would.
    cut: CancellationToken,
    /// Supervises every task and reports panics.
    overseer: TaskSupervisor,
}

impl EngineShared {
    fn rng(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine: see the module.
#[derive(Debug)]
pub struct Engine {
    journal: Arc<dyn Journal>,
    lanes: BTreeMap<AccountName, Arc<Lane>>,
    shared: Arc<EngineShared>,
    members: Mutex<Members>,
    /// What the callers share that is not the engine's own.
    others_shared: Mutex<Vec<SharedBudget>>,
    open_items: SharedBudget,
    open_bytes: SharedBudget,
    planned_items: SharedBudget,
    planned_bytes: SharedBudget,
    results_held: SharedBudget,
    results_bytes_held: SharedBudget,
    readers: SlowConsumers,
    questions: Reads,
    audit: Usage,
    retry_window: Duration,
    draining: AtomicBool,
    /// Read-held from an admission until its items are queued. StopBatch takes it for writing, as a
    /// barrier: every item that was admitted before is in a lane by then.
    entering: RwLock<()>,
    failed: watch::Sender<Option<Unavailable>>,
    refusals: Arc<RejectionMetrics>,
}

impl Engine {
    /// Starts the engine and recovers every item that is open in the journal. No item is sent
    /// before the future resolves; dropping it aborts the start.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn start(
        journal: Arc<dyn Journal>,
        options: EngineOptions,
    ) -> Result<Arc<Self>, Unavailable> {
        Self::start_watched(journal, options, TaskSupervisor::default()).await
    }

    /// Like [`Engine::start`], with a supervisor that also watches tasks outside the engine.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn start_watched(
        journal: Arc<dyn Journal>,
        options: EngineOptions,
        overseer: TaskSupervisor,
    ) -> Result<Arc<Self>, Unavailable> {
        let (settle, handed_over) = mpsc::channel(limits::SETTLE_QUEUE_MAX);
        let failed = watch::Sender::new(None);
        let live = Arc::new(Subscriptions::default());
        let tasks = TaskTracker::new();
        let shared = Arc::new(EngineShared {
            clock: options.clock,
            rng: Mutex::new(fastrand::Rng::with_seed(options.seed)),
            settle,
            live: Arc::clone(&live),
            tasks,
            journal: Arc::clone(&journal),
            names: journal.names(),
            target_looks: FairThreads::new(limits::TARGET_THREADS),
            stopping: CancellationToken::new(),
            cut: CancellationToken::new(),
            overseer,
        });
        let settler =
            results::settler::run(Arc::clone(&journal), live, handed_over, failed.clone());
        tokio::spawn(shared.overseer.watched("settler", settler));
        let lanes: BTreeMap<_, _> = options
            .lanes
            .into_iter()
            .map(|lane| {
                (
                    lane.account.name.clone(),
                    Lane::new(lane, Arc::clone(&shared)),
                )
            })
            .collect();
        for lane in lanes.values() {
            // The tracker counts the lane itself as well. Otherwise it could be empty between the
            // lane's last pop and the spawn of that item's execution, and a drain would end too
            // early.
            let serve = Arc::clone(lane).serve();
            shared.tasks.spawn(shared.overseer.watched("lane", serve));
        }
        let others = options.members.unbounded();
        let shared_by_all = |max| SharedBudget::shared(max, &others);
        let engine = Arc::new(Self {
            journal,
            lanes,
            shared,
            open_items: SharedBudget::shared(options.open_items_max, &options.members),
            open_bytes: shared_by_all(options.open_bytes_max),
            planned_items: shared_by_all(planned(options.open_items_max, limits::BATCH_ITEMS_MAX)),
            planned_bytes: shared_by_all(planned(
                options.open_bytes_max,
                limits::PLANNED_BYTES_MIN,
            )),
            results_held: shared_by_all(options.results_held_max),
            results_bytes_held: shared_by_all(limits::RESULTS_BYTES_HELD_MAX),
            members: Mutex::new(options.members),
            others_shared: Mutex::default(),
            questions: Reads::new(&options.scanners),
            readers: SlowConsumers::new(options.reader_patience),
            audit: options.audit,
            retry_window: options.retry_window,
            draining: AtomicBool::new(false),
            entering: RwLock::new(()),
            failed,
            refusals: Arc::default(),
        });
        engine.recover().await?;
        Ok(engine)
    }

    /// The configured accounts, by name.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.lanes.values().map(|lane| &*lane.options.account)
    }

    /// The account of this name, if it is configured.
    #[must_use]
    pub fn account(&self, name: &AccountName) -> Option<&Account> {
        self.lanes.get(name).map(|lane| &*lane.options.account)
    }

    /// The journal, for reading.
    #[must_use]
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// How batches are named to callers.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.shared.names
    }

    /// The time of day as the engine sees it.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// What the audit takes.
    #[must_use]
    pub fn audit(&self) -> &Usage {
        &self.audit
    }

    /// Something else of this size that the service's callers share, without bounds of their own,
    /// whoever they come to be.
    #[must_use]
    pub fn shared_by_callers(&self, max: usize) -> SharedBudget {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = SharedBudget::shared(max, &members.unbounded());
        self.others_shared().push(budget.clone());
        budget
    }

    /// Has other callers share the service's room from now on; see [`EngineOptions::members`] and
    /// [`EngineOptions::scanners`]. What is open of whom is not among them stays open.
    pub fn share_anew(&self, members: Members, scanners: &Members) {
        let mut current = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        self.open_items.share_anew(&members);
        let unbounded = members.unbounded();
        for budget in [
            &self.open_bytes,
            &self.planned_items,
            &self.planned_bytes,
            &self.results_held,
            &self.results_bytes_held,
        ] {
            budget.share_anew(&unbounded);
        }
        for budget in self.others_shared().iter() {
            budget.share_anew(&unbounded);
        }
        self.questions.share_anew(scanners);
        self.audit.share_anew(members.names());
        *current = members;
    }

    fn others_shared(&self) -> MutexGuard<'_, Vec<SharedBudget>> {
        self.others_shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The default retry window, for requests that set none.
    #[must_use]
    pub fn retry_window(&self) -> Duration {
        self.retry_window
    }

    /// The journal's failure, if it has failed for good.
    #[must_use]
    pub fn failure(&self) -> Option<Unavailable> {
        let failed = self.failed.borrow().clone();
        failed.or_else(|| self.journal.failure())
    }

    /// Resolves with the reason when the journal has failed for good or a task has panicked. After
    /// a journal failure nothing more is recorded or published.
    pub async fn failed(&self) -> Unavailable {
        tokio::select! {
            why = self.journal_failed() => why,
            panicked = self.shared.overseer.panicked() => Unavailable(panicked.to_string()),
        }
    }

    async fn journal_failed(&self) -> Unavailable {
        let mut failed = self.failed.subscribe();
        match failed
            .wait_for(Option::is_some)
            .await
            .map(|reason| reason.clone())
        {
            Ok(Some(reason)) => reason,
            // The sender is gone, so the journal cannot fail any more.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Stops the engine: admits nothing more, waits up to `patience` for executions under way and
    /// aborts the rest, records all outcomes, and ends every stream. Open items continue after a
    /// restart. Nothing can be recorded afterwards.
    pub async fn drain(&self, patience: Duration) {
        self.draining.store(true, Ordering::Release);
        for lane in self.lanes.values() {
            lane.close();
        }
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(patience, self.shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                at_work = self.shared.tasks.len(),
                "the drain time is over; what is open goes on after a restart"
            );
            // An execution that outlived the drain could overlap with its own recovery after a
            // restart.
            self.shared.cut.cancel();
            self.shared.tasks.wait().await;
        }
        self.leave_notes().await;
        // A failed journal cannot record; there is nothing to do about it here.
        let _ = self.hand_over(Handover::End).await;
        self.shared.live.end(StreamClosed::Draining);
    }

    /// Records the doubt of every item that is still open, so that the next process treats only
    /// aborted requests as in doubt.
    async fn leave_notes(&self) {
        let now = self.shared.clock.moment();
        for lane in self.lanes.values() {
            let notes = lane.notes();
            // The channel closes only when the journal has failed.
            let _ = self.shared.settle.send(Handover::Note(notes)).await;
            let (name, state) = lane.last_state(now);
            let _ = self
                .shared
                .settle
                .send(Handover::Account(name, state))
                .await;
        }
    }

    /// Reports a journal error. If the journal has failed for good, the engine fails too: without
    /// outcomes to record the settler would not notice.
    pub fn journal_refused(&self) {
        if let Some(why) = self.journal.failure() {
            tracing::error!(error = %why, "the journal failed");
            self.failed.send_replace(Some(why));
            self.shared.live.end(StreamClosed::Failed);
        }
    }

    /// Waits until everything handed over so far is recorded and published.
    ///
    /// # Errors
    /// If the journal failed.
    async fn flush(&self) -> Result<(), Unavailable> {
        self.hand_over(Handover::Flush).await
    }

    /// Sends a request to the settler and waits for its reply. A settler whose journal failed sends
    /// none.
    async fn hand_over(
        &self,
        question: fn(oneshot::Sender<()>) -> Handover,
    ) -> Result<(), Unavailable> {
        let (done, answered) = oneshot::channel();
        let asked = self.shared.settle.send(question(done)).await;
        if asked.is_ok() && answered.await.is_ok() {
            return Ok(());
        }
        let why = self.failed.borrow().clone();
        Err(why.unwrap_or_else(|| Unavailable("nothing is recorded any more".to_owned())))
    }
}

/// Capacity for dry runs, beside that for open items: a quarter of it, and at least `at_least`
/// where `open_max` allows it. A caller that has filled its share of open items can still plan.
fn planned(open_max: usize, at_least: usize) -> usize {
    (open_max / 4).max(at_least.min(open_max))
}

/// Runs a blocking journal read on a thread that may wait for the disk.
pub async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Unavailable> + Send + 'static,
) -> Result<T, Unavailable> {
    // A simulation runs on one thread, to be deterministic: the timing of a second thread would not
    // follow from the seed.
    #[cfg(test)]
    if tokio::runtime::Handle::current().runtime_flavor()
        == tokio::runtime::RuntimeFlavor::CurrentThread
    {
        tokio::task::yield_now().await;
        return read();
    }
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|error| Err(Unavailable(format!("reading the journal failed: {error}"))))
}
