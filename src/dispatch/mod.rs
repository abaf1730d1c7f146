//! The engine: admits requests, owns every task, and sees each item to its outcome. Handlers
//! only submit and read: a caller that goes away takes nothing with it.

pub mod budget;
mod conversation;
pub mod feed;
mod history;
mod lane;
mod live;
mod readers;
mod run;
mod settler;
mod standing;
mod submit;
mod telling;
mod turns;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    sync::{RwLock, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use self::{
    budget::{Budget, Share},
    feed::Ended,
    lane::Lane,
    live::Live,
    readers::Readers,
    run::{Origin, Run},
    settler::Handover,
};
pub use self::{
    lane::LaneOptions,
    readers::Hangup,
    standing::{AccountStanding, Standing},
    submit::{Item, Submission, SubmitError, Ticket},
};
use crate::{
    domain::{
        account::Account,
        exchange::Exchange,
        ids::{AccountName, BatchId, CallerId},
        outcome::{Outcome, Reached},
    },
    egress::gate::Pass,
    journal::{Journal, OpenItem, Settlement, Unavailable},
    limits,
    observe::{self, Refusals},
    providers::EffectId,
};

/// Tells the time of day. Everything that waits uses tokio's clock instead.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system's.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// Any other, for tests and simulations.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// How the engine runs.
#[derive(Debug)]
pub struct Options {
    /// One lane per account.
    pub lanes: Vec<LaneOptions>,
    /// Items that may be open at a time; more are refused.
    pub open_items_max: usize,
    /// Bytes that open items may take, about; what goes beyond is refused.
    pub open_bytes_max: usize,
    /// Results that streams may hold for their readers, all streams together.
    pub results_held_max: usize,
    /// How long a reader may take nothing before others may have its room.
    pub reader_patience: Duration,
    /// How long to keep trying if the caller does not say.
    pub retry_window: Duration,
    /// The time of day.
    pub clock: Clock,
    /// Where jitter comes from.
    pub seed: u64,
}

/// What every lane and worker shares.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    rng: Mutex<fastrand::Rng>,
    settle: mpsc::Sender<Handover>,
    live: Arc<Live>,
    tasks: TaskTracker,
    /// Ends conversations where they are, as the end of the process would.
    cut: CancellationToken,
    open_items: Arc<AtomicUsize>,
}

impl Shared {
    fn rng(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A dry run is over: its place among the open items is free.
    fn planned_one(&self) {
        self.open_items.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The engine.
#[derive(Debug)]
pub struct Dispatch {
    journal: Arc<dyn Journal>,
    lanes: BTreeMap<AccountName, Arc<Lane>>,
    shared: Arc<Shared>,
    open_items_max: usize,
    open_bytes: Budget,
    results_held: Budget,
    results_bytes_held: Budget,
    readers: Readers,
    retry_window: Duration,
    draining: AtomicBool,
    /// Held to read from an admission to the start of its items, so that who holds it to write
    /// knows that everything admitted before is where it can be stopped.
    entering: RwLock<()>,
    failed: watch::Sender<Option<Unavailable>>,
    refusals: Arc<Refusals>,
}

/// What stopping a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Items that settled as stopped by this call.
    pub stopped: usize,
    /// Items that are being finished.
    pub finishing: usize,
}

impl Dispatch {
    /// Starts the engine and takes up everything that the journal has open.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn start(
        journal: Arc<dyn Journal>,
        options: Options,
    ) -> Result<Arc<Self>, Unavailable> {
        let (settle, handed_over) = mpsc::channel(limits::SETTLE_QUEUE_MAX);
        let failed = watch::Sender::new(None);
        let live = Arc::new(Live::default());
        let tasks = TaskTracker::new();
        let open_items = Arc::new(AtomicUsize::new(0));
        let shared = Arc::new(Shared {
            clock: options.clock,
            rng: Mutex::new(fastrand::Rng::with_seed(options.seed)),
            settle,
            live: Arc::clone(&live),
            tasks,
            cut: CancellationToken::new(),
            open_items: Arc::clone(&open_items),
        });
        let recorded = Box::new(move |count| {
            open_items.fetch_sub(count, Ordering::AcqRel);
        });
        tokio::spawn(settler::run(
            Arc::clone(&journal),
            live,
            handed_over,
            failed.clone(),
            recorded,
        ));
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
            tokio::spawn(Arc::clone(lane).serve());
        }
        let dispatch = Arc::new(Self {
            journal,
            lanes,
            shared,
            open_items_max: options.open_items_max,
            open_bytes: Budget::new(options.open_bytes_max),
            results_held: Budget::new(options.results_held_max),
            results_bytes_held: Budget::new(limits::RESULTS_BYTES_HELD_MAX),
            readers: Readers::new(options.reader_patience),
            retry_window: options.retry_window,
            draining: AtomicBool::new(false),
            entering: RwLock::new(()),
            failed,
            refusals: Arc::default(),
        });
        dispatch.recover().await?;
        Ok(dispatch)
    }

    async fn recover(&self) -> Result<(), Unavailable> {
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

    /// The configured accounts, by name.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.lanes.values().map(|lane| &*lane.options.account)
    }

    /// One account.
    #[must_use]
    pub fn account(&self, name: &AccountName) -> Option<&Account> {
        self.lanes.get(name).map(|lane| &*lane.options.account)
    }

    /// The journal, for reading.
    #[must_use]
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// The time of day as the engine sees it.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Stops a batch, durably, before it says so: what has not been sent settles as stopped, the
    /// rest is finished.
    ///
    /// # Errors
    /// If the journal cannot record the stop or what it settled. Some of it may be on the disk all
    /// the same, and a restart goes by that.
    pub async fn stop_batch(
        self: &Arc<Self>,
        batch: BatchId,
        by: CallerId,
    ) -> Result<Stopped, Unavailable> {
        let dispatch = Arc::clone(self);
        detached(async move {
            let now = dispatch.shared.clock.now();
            let recorded = dispatch.journal.stop(batch, by, now);
            recorded.await.inspect_err(|_| dispatch.journal_refused())?;
            drop(dispatch.entering.write().await);
            dispatch.shared.live.stop(batch);
            let mut stopped = 0;
            for lane in dispatch.lanes.values() {
                for run in lane.take_stopped() {
                    stopped += 1;
                    let conclusion = run::stopped(&run, None);
                    lane.finish(run, conclusion).await;
                }
            }
            dispatch.flush().await?;
            Ok(Stopped {
                stopped,
                finishing: dispatch.shared.live.open_count(batch),
            })
        })
        .await
    }

    /// Resolves when the journal has failed, with the reason. Nothing is told after that.
    pub async fn failed(&self) -> Unavailable {
        let mut failed = self.failed.subscribe();
        match failed
            .wait_for(Option::is_some)
            .await
            .map(|reason| reason.clone())
        {
            Ok(Some(reason)) => reason,
            // There is no failure to come.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Takes nothing more on, lets conversations go on for so long and cuts the others off,
    /// records what they came to, and ends every stream. What is open then goes on after a
    /// restart. Nothing can be recorded after that.
    pub async fn drain(&self, patience: Duration) {
        self.draining.store(true, Ordering::Release);
        for lane in self.lanes.values() {
            lane.close();
        }
        self.shared.tasks.close();
        let at_work = self.shared.tasks.len();
        if tokio::time::timeout(patience, self.shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                at_work,
                "the drain time is over; what is open goes on after a restart"
            );
            // What goes on here would meet what a restart takes up.
            self.shared.cut.cancel();
            self.shared.tasks.wait().await;
        }
        // Without a journal nothing is left to record.
        let _ = self.hand_over(Handover::End).await;
        self.shared.live.end(Ended::Draining);
    }

    /// The journal could not do what was asked. If it failed for good, so does the engine, which
    /// may have nothing to settle and would not find out otherwise.
    pub fn journal_refused(&self) {
        if let Some(why) = self.journal.failure() {
            tracing::error!(error = %why, "the journal failed");
            self.failed.send_replace(Some(why));
            self.shared.live.end(Ended::Failed);
        }
    }

    /// Waits until all that was handed over to be recorded is recorded and told, or cannot be.
    async fn flush(&self) -> Result<(), Unavailable> {
        self.hand_over(Handover::Flush).await
    }

    /// Asks the settler, and waits for its answer. A settler whose journal failed has none.
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
fn history_after(previous: Option<Outcome>) -> Vec<Exchange> {
    match previous {
        Some(Outcome::InDoubt) => vec![Exchange::recovered()],
        _ => Vec::new(),
    }
}

/// Runs to its end whatever becomes of the one who waits for it.
async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Unavailable>> + Send + 'static,
) -> Result<T, Unavailable> {
    tokio::spawn(work.in_current_span())
        .await
        .unwrap_or_else(|error| Err(Unavailable(format!("the engine failed: {error}"))))
}

/// Reads the journal where waiting for a disk harms nobody.
pub async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Unavailable> + Send + 'static,
) -> Result<T, Unavailable> {
    // A simulation runs on one thread: when another one is done, no seed can tell.
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
