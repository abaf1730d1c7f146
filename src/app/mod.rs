//! The assembled service: journal, engine, gRPC server, health, and an orderly end. Tests and
//! the demo start this very thing.

mod accept;
mod access;
mod assemble;
mod edge;
mod keys;
mod reload;
pub mod telemetry;
mod tls;

pub use self::{
    access::check,
    assemble::{AssembleError, assemble, assemble_over, journal},
    edge::Edge,
    reload::{Reload, Reloaded, Watch},
    tls::Tls,
};

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;

use self::{accept::Door, keys::Fetchers, tls::Secured};
use crate::{
    dispatch::{self, Dispatch},
    domain::quota,
    identity::Callers,
    journal::{Journal, Unavailable},
    rpc::{Access, Service, proto::cancellation_service_server::CancellationServiceServer},
};

/// How the service is put together.
#[derive(Debug)]
pub struct Options {
    /// The engine's.
    pub dispatch: dispatch::Options,
    /// The bounds of connections and requests.
    pub edge: Edge,
    /// How long work in hand may go on after a stop.
    pub drain: Duration,
    /// How long settled cancellations are kept.
    pub retention: Duration,
    /// Who may call.
    pub access: Access,
    /// TLS of the listener; `None` for none.
    pub tls: Option<Tls>,
    /// What changes while the service runs.
    pub following: Following,
}

/// What changes while the service runs, and how often that is looked at.
#[derive(Debug)]
pub struct Following {
    watches: Vec<Watch>,
    fetchers: Arc<Fetchers>,
    every: Duration,
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
    /// Reflection cannot be built from the descriptors.
    #[error("reflection cannot be built: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A running service.
#[derive(Debug)]
pub struct App {
    addr: SocketAddr,
    dispatch: Arc<Dispatch>,
    health: HealthReporter,
    drain: Duration,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    sweeper: JoinHandle<()>,
    reload: Reload,
    /// Those that look for changes.
    followers: JoinSet<()>,
}

/// What is left of a connection that does not end in time after the last stream has ended.
const CONNECTIONS_END: Duration = Duration::from_secs(1);
/// How often expired records are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Expired batches that are deleted in one go, so that writers get their turn in between.
const SWEEP_BATCHES: usize = 100;

impl App {
    /// Takes up what the journal has open, then serves on the listener.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        listener: TcpListener,
        journal: Arc<dyn Journal>,
        options: Options,
    ) -> Result<Self, StartError> {
        let addr = listener.local_addr()?;
        let dispatch = Dispatch::start(Arc::clone(&journal), options.dispatch).await?;
        let (health, health_service) = tonic_health::server::health_reporter();
        health
            .set_serving::<CancellationServiceServer<Service>>()
            .await;
        count_admitted(&journal, &options.access.callers, dispatch.clock().now()).await?;
        let router = edge::router(&dispatch, health_service, options.access, &options.edge)?;
        let Following {
            watches,
            fetchers,
            every,
        } = options.following;
        let reload = Reload::new(watches, Arc::clone(&fetchers));
        // What has changed since the configuration was read is taken before anybody calls.
        reload.files().await;
        let mut followers = JoinSet::new();
        followers.spawn(reload.clone().watch(every));
        followers.spawn(fetchers.watch());
        let tcp = TcpIncoming::from(listener)
            .with_nodelay(Some(true))
            .with_keepalive(Some(Duration::from_secs(60)));
        let door = Door::new(options.edge.connections_max, options.edge.handshake_timeout);
        let tls = options.tls;
        let tcp = tcp.map(move |accepted| accepted.map(|io| Secured::new(io, tls.as_ref())));
        let incoming = door.let_in(tcp);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(router.serve_with_incoming_shutdown(incoming, async {
            // A dropped sender ends the server as a sent word does.
            let _ = stopped.await;
        }));
        let sweeper = tokio::spawn(sweep(journal, Arc::clone(&dispatch), options.retention));
        Ok(Self {
            addr,
            dispatch,
            health,
            drain: options.drain,
            stop,
            server,
            sweeper,
            reload,
            followers,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Looks at files that may have changed when it is told to.
    #[must_use]
    pub fn reload(&self) -> &Reload {
        &self.reload
    }

    /// The engine.
    #[must_use]
    pub fn dispatch(&self) -> &Arc<Dispatch> {
        &self.dispatch
    }

    /// Serves until `stop` resolves, then drains. Ends with an error if the journal fails, so
    /// that a restart can settle what is open.
    ///
    /// # Errors
    /// Why the journal failed.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Unavailable> {
        let failure = tokio::select! {
            () = stop => None,
            unavailable = self.dispatch.failed() => Some(unavailable),
        };
        self.stop().await;
        failure.map_or(Ok(()), Err)
    }

    /// Stops in order: not ready, nothing new, what is in hand, streams, connections.
    pub async fn stop(mut self) {
        self.followers.shutdown().await;
        tracing::info!(drain_ms = %self.drain.as_millis(), "stopping");
        self.health
            .set_not_serving::<CancellationServiceServer<Service>>()
            .await;
        self.health
            .set_service_status("", tonic_health::ServingStatus::NotServing)
            .await;
        self.sweeper.abort();
        // Its journal goes with it.
        let _ = self.sweeper.await;
        self.dispatch.drain(self.drain).await;
        // The server may have ended by itself.
        let _ = self.stop.send(());
        // hyper waits without bound for a client that never finishes its handshake
        // (hyperium/hyper#4170): connections get a moment for their last frames, no more.
        let mut server = self.server;
        if timeout(CONNECTIONS_END, &mut server).await.is_err() {
            server.abort();
        }
        tracing::info!("stopped");
    }
}

/// What callers with an hourly limit brought before the start counts on.
async fn count_admitted(
    journal: &Arc<dyn Journal>,
    callers: &Callers,
    now: Timestamp,
) -> Result<(), Unavailable> {
    let limited: BTreeMap<_, _> = callers
        .all()
        .filter_map(|caller| Some((&caller.id, caller.quota.as_ref()?)))
        .collect();
    if limited.is_empty() {
        return Ok(());
    }
    let journal = Arc::clone(journal);
    let from = now.checked_sub(quota::WINDOW).unwrap_or(Timestamp::MIN);
    let brought = dispatch::blocking(move || journal.admitted_since(from)).await?;
    for intake in brought {
        if let Some(quota) = limited.get(&intake.caller) {
            quota.count(intake.items, intake.at);
        }
    }
    Ok(())
}

/// Deletes what was settled longer ago than its retention, a little at a time.
async fn sweep(journal: Arc<dyn Journal>, dispatch: Arc<Dispatch>, retention: Duration) {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = dispatch.clock().now();
        let before = now.checked_sub(retention).unwrap_or(Timestamp::MIN);
        loop {
            match journal.purge(before, SWEEP_BATCHES).await {
                Ok(0) => break,
                Ok(batches) => tracing::info!(batches, "expired batches deleted"),
                Err(unavailable) => {
                    tracing::warn!(error = %unavailable, "expired batches cannot be deleted");
                    dispatch.journal_refused();
                    break;
                }
            }
        }
    }
}
