//! The assembled service: journal, engine, gRPC server, health, and an orderly end. Tests and
//! the demo start this very thing.

mod assemble;
mod auth_setup;
mod file_watch;
mod jwks_refresh;
mod metrics;
pub mod observability;
mod readiness;
mod reconfigure;
mod run;
mod server;

pub use self::{
    assemble::{AssembleError, assemble, assemble_over, engine_setup, entrance, journal},
    auth_setup::check,
    file_watch::{FileWatcher, Reload, Reloaded},
    server::{
        grpc_server::GrpcServerOptions,
        listeners::{ListenerOptions, Listeners, ReloadHandles},
        tls::Tls,
    },
};

use std::{collections::BTreeMap, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval},
};

use self::{
    file_watch::Watches, readiness::ReadinessState, reconfigure::Reconfigure, run::SweepProgress,
};
use crate::{
    audit,
    domain::access::hourly_quota,
    engine::{self, Engine},
    identity::Caller,
    journal::{Journal, Removal, Unavailable},
    observe::{Flag, Panicked, TaskSupervisor},
};

/// How the service is put together.
#[derive(Debug)]
pub struct AppOptions {
    /// How callers come in.
    pub entrance: ListenerOptions,
    /// What is behind it.
    pub setup: EngineSetup,
}

/// What does the work.
#[derive(Debug)]
pub struct EngineSetup {
    /// The engine's own options.
    pub options: engine::EngineOptions,
    /// How long work in hand may go on after a stop.
    pub drain: Duration,
    /// How long settled cancellations are kept.
    pub retention: Retention,
    /// How long a clock that is ahead at the start has to hold its course before anything is
    /// deleted by it.
    pub clock_hold: Duration,
    /// What changes while the service runs.
    pub following: ReloadOptions,
    /// The audit, if there is one.
    pub audit: Option<AuditSetup>,
}

/// What changes while the service runs, and how often that is looked at.
#[derive(Debug)]
pub struct ReloadOptions {
    fixed: Vec<FileWatcher>,
    /// What follows from the configuration file.
    following: Vec<FileWatcher>,
    /// `None` if there is no file to be read again.
    reconfigure: Option<Box<Reconfigure>>,
    every: Duration,
}

/// How long what is settled is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Whole batches.
    pub batches: Duration,
    /// Providers' answers, if that is less.
    pub answers: Option<Duration>,
    /// E-mail addresses, if that is less.
    pub emails: Option<Duration>,
    /// Callers' own words, if that is less.
    pub comments: Option<Duration>,
}

impl Retention {
    /// How often files are freed of what was taken out.
    fn vacate_every(&self) -> Duration {
        let kept = [self.answers, self.emails, self.comments];
        if kept.contains(&Some(Duration::ZERO)) {
            VACATE_SOON
        } else {
            VACATE_DAILY
        }
    }
}

/// How the audit is kept.
#[derive(Debug, Clone)]
pub struct AuditSetup {
    /// Its directory.
    pub dir: PathBuf,
    /// How long its lines are kept.
    pub retention: Duration,
    /// The digest of the configuration, in hexadecimal.
    pub config: Option<String>,
    /// What signs its head.
    pub signer: Option<Arc<audit::Signer>>,
    /// What its lines show.
    pub shown: audit::Shown,
}

/// The service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal cannot be read.
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] Unavailable),
    /// The listener cannot be used.
    #[error("the listener cannot be used: {0}")]
    Listener(#[from] io::Error),
    /// The audit cannot be taken up.
    #[error("the audit cannot be written: {0}")]
    Audit(#[from] audit::Error),
    /// Reflection cannot be built from the descriptors.
    #[error("reflection cannot be built: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The descriptors that the service was built with cannot be read.
    #[error("the descriptors cannot be read: {0}")]
    Descriptors(#[from] prost::DecodeError),
}

/// Why a service ended as nobody had asked it to. A restart takes up what is open.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The journal cannot be used any more.
    #[error("the journal failed: {0}")]
    Journal(Unavailable),
    /// A part of the service is gone.
    #[error("{0}; this is a defect of Cancelot: keep the log and report it")]
    Panicked(Panicked),
    /// The audit could not be written to its end.
    #[error("the audit could not be written at the end: {0}")]
    Audit(#[from] audit::Error),
}

/// A running service.
#[derive(Debug)]
pub struct App {
    front: Listeners,
    engine: Arc<Engine>,
    drain: Duration,
    overseer: TaskSupervisor,
    sweeper: JoinHandle<Option<()>>,
    reload: Reload,
    /// Those that look for changes.
    followers: JoinSet<Option<()>>,
    audit: Option<audit::AuditTask>,
}

/// How often expired records are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Expired batches that are deleted in one go, so that writers get their turn in between.
const SWEEP_BATCHES: usize = 100;
/// How long the end of the audit is waited for if the drain has used up its time: of the ten
/// seconds that the chart gives beyond that.
const AUDIT_END: Duration = Duration::from_secs(3);
/// How long reads that nobody waits for any more may keep the journal from being given back.
const JOURNAL_END: Duration = Duration::from_secs(3);
/// How often the journal's files are freed of what was taken out of its records: where something is
/// to be gone with its item's outcome, and where it is kept for days.
const VACATE_SOON: Duration = Duration::from_secs(10 * 60);
const VACATE_DAILY: Duration = Duration::from_secs(24 * 60 * 60);
/// Batches of which something is taken out in one go: each is read and may be written anew.
const REDACT_BATCHES: usize = 4;

impl App {
    /// Opens the listener, takes up what the journal has open, and serves.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        listener: TcpListener,
        journal: Arc<dyn Journal>,
        options: AppOptions,
    ) -> Result<Self, StartError> {
        let front = Listeners::open(listener, options.entrance).await?;
        Self::serve(front, journal, options.setup).await
    }

    /// Takes up what the journal has open, then serves behind listeners that are open already.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn serve(
        front: Listeners,
        journal: Arc<dyn Journal>,
        setup: EngineSetup,
    ) -> Result<Self, StartError> {
        let started = Self::serve_unless(front, journal, setup, std::future::pending()).await?;
        match started {
            Some(app) => Ok(app),
            // Nobody asks for that.
            None => std::future::pending().await,
        }
    }

    /// The same, unless `stop` resolves while there is still much to read. `None` if it did: then
    /// nothing was sent.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn serve_unless(
        front: Listeners,
        journal: Arc<dyn Journal>,
        setup: EngineSetup,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Self>, StartError> {
        let overseer = front.overseer().clone();
        let (clock, sink) = (setup.options.clock.clone(), front.sink().clone());
        let usage = setup.options.audit.clone();
        let (hold, doubted) = (setup.clock_hold, Arc::clone(front.clock_doubted()));
        let taken_up = async {
            let course = begin_course(&journal, clock.clone(), hold, doubted).await?;
            let audit = match setup.audit {
                Some(audit) => {
                    let clocks = (clock, Arc::clone(&course));
                    Some(follow(&*journal, audit, clocks, (sink.clone(), usage), &overseer).await?)
                }
                None => None,
            };
            let (journal, overseer) = (Arc::clone(&journal), overseer.clone());
            let engine = Engine::start_watched(journal, setup.options, overseer).await?;
            Ok::<_, StartError>((audit, engine, course))
        };
        let (audit, engine, course) = tokio::select! {
            taken_up = taken_up => taken_up?,
            // Nothing is at work before the engine has started.
            () = stop => {
                front.close().await;
                return Ok(None);
            }
        };
        let ReloadHandles {
            callers, fetchers, ..
        } = front.changing().clone();
        let counted = (Arc::clone(&journal), callers.all(), engine.clock().now());
        engine::blocking(move || count_admitted(&*counted.0, &counted.1, counted.2)).await?;
        let ReloadOptions {
            fixed,
            following,
            reconfigure,
            every,
        } = setup.following;
        let restart_needed = Arc::default();
        let configuration =
            reconfigure.map(|of| of.configuration(&engine, Arc::clone(&restart_needed)));
        let watches = Watches {
            configuration,
            fixed,
            following,
        };
        let reload = Reload::new(watches, restart_needed, Arc::clone(&fetchers), sink);
        // What has changed since the configuration was read is taken before anybody calls.
        reload.files().await;
        front.watch_files(reload.failing());
        let mut followers = JoinSet::new();
        followers.spawn(overseer.watched("reload", reload.clone().watch(every)));
        followers.spawn(overseer.watched("fetching of keys", fetchers.watch()));
        let sweep = sweep(journal, Arc::clone(&engine), course, setup.retention);
        let sweeper = tokio::spawn(overseer.watched("sweep", sweep));
        front.let_in_to(&engine).await;
        Ok(Some(Self {
            front,
            engine,
            drain: setup.drain,
            overseer,
            sweeper,
            reload,
            followers,
            audit,
        }))
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.front.addr()
    }

    /// Where it serves metrics and probes, if it does.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.front.admin_addr()
    }

    /// Looks at files that may have changed when it is told to.
    #[must_use]
    pub fn reload(&self) -> &Reload {
        &self.reload
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Serves until `stop` resolves, then drains. Ends with an error if the journal fails or a task
    /// panics, before or while it drains, so that a restart can settle what is open.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        tokio::select! {
            () = stop => {}
            _ = self.engine.failed() => {}
        }
        let state = if self.engine.failure().is_some() {
            ReadinessState::Failed
        } else if self.overseer.first().is_some() {
            ReadinessState::Panicked
        } else {
            ReadinessState::Draining
        };
        self.stop_as(state).await
    }

    /// Stops in order: not ready, nothing new, what is in hand, streams, connections.
    pub async fn stop(self) {
        if let Err(failure) = self.stop_as(ReadinessState::Draining).await {
            tracing::error!(%failure, "it did not stop in order");
        }
    }

    async fn stop_as(mut self, state: ReadinessState) -> Result<(), Failure> {
        let drained_by = Instant::now() + self.drain;
        self.followers.shutdown().await;
        tracing::info!(drain_ms = %self.drain.as_millis(), "stopping");
        self.front.tell(state).await;
        self.sweeper.abort();
        // Its journal goes with it.
        let _ = self.sweeper.await;
        self.engine.drain(self.drain).await;
        let drained = self.engine.failure().map(Failure::Journal);
        let failure = drained.or_else(|| self.overseer.first().map(Failure::Panicked));
        self.front.close().await;
        // After all that there is to tell.
        let audited = match self.audit {
            Some(audit) => {
                let left = drained_by.saturating_duration_since(Instant::now());
                audit.stop(left.max(AUDIT_END)).await
            }
            None => Ok(()),
        };
        let given_back = self.engine.journal().given_back();
        drop(self.engine);
        if tokio::time::timeout(JOURNAL_END, given_back.cancelled())
            .await
            .is_err()
        {
            tracing::warn!(
                "something still has the journal, which stays open until this process ends"
            );
        }
        tracing::info!("stopped");
        match failure {
            Some(failure) => Err(failure),
            None => Ok(audited?),
        }
    }
}

/// What callers with an hourly limit brought before now counts on. Reads the disk.
fn count_admitted(
    journal: &dyn Journal,
    callers: &[Arc<Caller>],
    now: Timestamp,
) -> Result<(), Unavailable> {
    let limited: BTreeMap<_, _> = callers
        .iter()
        .filter_map(|caller| Some((&caller.id, caller.quota.as_ref()?)))
        .collect();
    if limited.is_empty() {
        return Ok(());
    }
    let from = now
        .checked_sub(hourly_quota::WINDOW)
        .unwrap_or(Timestamp::MIN);
    let names = limited.keys().map(|name| (*name).clone()).collect();
    for intake in journal.admitted_since(from, &names)? {
        if let Some(quota) = limited.get(&intake.caller) {
            // A clock that was ahead then is not followed there.
            quota.count(intake.people, intake.at.min(now));
        }
    }
    Ok(())
}

/// Holds the clock against the newest record, from now on.
async fn begin_course(
    journal: &Arc<dyn Journal>,
    clock: engine::Clock,
    hold: Duration,
    doubted: Arc<Flag>,
) -> Result<Arc<SweepProgress>, Unavailable> {
    let journal = Arc::clone(journal);
    let course = move || Ok(SweepProgress::begin(&*journal, clock, hold, doubted));
    Ok(Arc::new(engine::blocking(course).await?))
}

/// Takes the audit up.
async fn follow(
    journal: &dyn Journal,
    audit: AuditSetup,
    (clock, course): (engine::Clock, Arc<SweepProgress>),
    (sink, usage): (audit::Sink, audit::Usage),
    overseer: &TaskSupervisor,
) -> Result<audit::AuditTask, audit::Error> {
    let options = audit::AuditOptions {
        dir: audit.dir,
        retention: audit.retention,
        now: Arc::new(move || clock.now()),
        for_deletions: Arc::new(move || course.for_deletions()),
        sink,
        usage,
        config: audit.config,
        signer: audit.signer,
        shown: audit.shown,
    };
    audit::AuditTask::start(journal.trail(), options, overseer).await
}

/// Deletes what was settled longer ago than its retention, a little at a time.
async fn sweep(
    journal: Arc<dyn Journal>,
    engine: Arc<Engine>,
    course: Arc<SweepProgress>,
    retention: Retention,
) {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut vacated: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let Some(now) = course.for_deletions() else {
            continue;
        };
        let mut swept = sweep_once(&*journal, now, retention).await;
        let is_due = vacated.is_none_or(|at| at.elapsed() >= retention.vacate_every());
        if swept.is_ok() && is_due {
            swept = journal.vacate().await;
            vacated = Some(Instant::now());
        }
        if let Err(unavailable) = swept {
            tracing::warn!(error = %unavailable, "expired records cannot be deleted");
            engine.journal_refused();
        }
    }
}

async fn sweep_once(
    journal: &dyn Journal,
    now: Timestamp,
    retention: Retention,
) -> Result<(), Unavailable> {
    let before = |kept| now.checked_sub(kept).unwrap_or(Timestamp::MIN);
    loop {
        match journal
            .purge(before(retention.batches), SWEEP_BATCHES)
            .await?
        {
            0 => break,
            batches => tracing::info!(batches, "expired batches deleted"),
        }
    }
    for (removal, kept) in [
        (Removal::Answers, retention.answers),
        (Removal::Emails, retention.emails),
        (Removal::Comments, retention.comments),
    ] {
        let Some(kept) = kept else { continue };
        while journal
            .redact(removal, before(kept), REDACT_BATCHES)
            .await?
            > 0
        {}
    }
    Ok(())
}
