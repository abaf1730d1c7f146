//! The open door before there is anything behind it: the listeners answer health and probes while
//! the journal is read, and calls are told to come back.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::TcpIncoming;

use super::{
    admin_server,
    connection_limit::ConnectionLimiter,
    grpc_server::{self, Bounded, GrpcServerOptions},
    tls::{MaybeTlsStream, Tls},
};
use crate::{
    app::{
        StartError,
        file_watch::ReloadFailures,
        jwks_refresh::Fetchers,
        metrics::Metrics,
        observability::logging::LostLines,
        readiness::{Readiness, ReadinessState},
    },
    audit::Sink,
    engine::Engine,
    identity::Callers,
    observe::{CallMeters, Flag, TaskSupervisor, Tracer},
    rpc::{Access, ObserveCallsLayer, RejectionLog, SideRooms, StartupGate},
};

/// How callers come in.
#[derive(Debug)]
pub struct ListenerOptions {
    /// The bounds of connections and requests.
    pub edge: GrpcServerOptions,
    /// Who may call.
    pub access: Access,
    /// Where refusals are left for the audit.
    pub sink: Sink,
    /// TLS of the listener; `None` for none.
    pub tls: Option<Tls>,
    /// Where keys of issuers come from.
    pub(in crate::app) fetchers: Arc<Fetchers>,
    /// Where metrics and probes are served, if they are.
    pub admin: Option<TcpListener>,
    /// What begins the spans of calls.
    pub tracer: Tracer,
    /// Lines that the log has lost.
    pub lost_lines: LostLines,
}

impl ListenerOptions {
    /// What of it changes while the service runs.
    #[must_use]
    pub fn changing(&self) -> ReloadHandles {
        ReloadHandles {
            callers: Arc::clone(&self.access.callers),
            tls: self.tls.clone(),
            fetchers: Arc::clone(&self.fetchers),
            audit: self.sink.clone(),
        }
    }
}

/// What changes while the service runs. Clones are of the same.
#[derive(Debug, Clone)]
pub struct ReloadHandles {
    pub(in crate::app) callers: Arc<Callers>,
    pub(in crate::app) tls: Option<Tls>,
    pub(in crate::app) fetchers: Arc<Fetchers>,
    /// Who hears of it.
    pub(in crate::app) audit: Sink,
}

/// The listeners, open.
#[derive(Debug)]
pub struct Listeners {
    addr: SocketAddr,
    admin_addr: Option<SocketAddr>,
    edge: GrpcServerOptions,
    changing: ReloadHandles,
    sink: Sink,
    opening: StartupGate<Bounded>,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    refusals: RejectionLog,
    _counts: AbortOnDropHandle<Option<()>>,
    overseer: TaskSupervisor,
    clock_doubted: Arc<Flag>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Option<Result<(), tonic::transport::Error>>>,
    _admin: Option<AbortOnDropHandle<Option<()>>>,
}

/// What is left of a connection that does not end in time after the last stream has ended.
const CONNECTIONS_END: Duration = Duration::from_secs(1);

impl Listeners {
    /// Opens the listeners. What was open before is not taken up yet, so nobody is served.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn open(
        listener: TcpListener,
        entrance: ListenerOptions,
    ) -> Result<Self, StartError> {
        let changing = entrance.changing();
        let ListenerOptions {
            edge,
            access,
            sink,
            tls,
            admin,
            tracer,
            lost_lines,
            ..
        } = entrance;
        let addr = listener.local_addr()?;
        let calls = Arc::new(CallMeters::new(grpc_server::methods()?));
        let (readiness, health) = Readiness::new().await;
        let readiness = Arc::new(readiness);
        let health = health.max_decoding_message_size(grpc_server::SMALL_BYTES_MAX);
        let rooms = SideRooms::new(edge.connection_age);
        let (overseer, clock_doubted) = (TaskSupervisor::default(), Arc::<Flag>::default());
        let metrics = Arc::new(Metrics::new(
            Arc::clone(&calls),
            Arc::clone(&readiness),
            overseer.clone(),
            Arc::clone(&clock_doubted),
            lost_lines,
            changing.clone(),
            (Arc::clone(&rooms), access.refusals.clone()),
        ));
        let admin_addr = admin.as_ref().map(TcpListener::local_addr).transpose()?;
        let serve_admin = admin.map(|listener| {
            let told = (Arc::clone(&metrics), Arc::clone(&readiness));
            let routes = admin_server::routes(told.0, told.1, health.clone());
            let served = overseer.watched("admin listener", admin_server::serve(listener, routes));
            AbortOnDropHandle::new(tokio::spawn(served))
        });
        let refusals = access.refusals.clone();
        let counts = refusals.clone().keep_telling_counts();
        let counts = tokio::spawn(overseer.watched("count of refusals", counts));
        let counts = AbortOnDropHandle::new(counts);
        let opening = StartupGate::new();
        let observe = ObserveCallsLayer::new(calls, tracer);
        let router = grpc_server::router(opening.clone(), health, access, observe, &edge)?;
        let tcp = TcpIncoming::from(listener)
            .with_nodelay(Some(true))
            .with_keepalive(Some(Duration::from_secs(60)));
        let door = ConnectionLimiter::new(edge.connections_max, edge.handshake_timeout, rooms);
        let secured = {
            let refusals = refusals.clone();
            move |io| MaybeTlsStream::new(io, tls.as_ref(), refusals.clone())
        };
        let tcp = tcp.map(move |accepted| accepted.map(&secured));
        let incoming = door.let_in(tcp);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = router.serve_with_incoming_shutdown(incoming, async {
            // A dropped sender ends the server as a sent word does.
            let _ = stopped.await;
        });
        let server = tokio::spawn(overseer.watched("listener", server));
        Ok(Self {
            addr,
            admin_addr,
            edge,
            changing,
            sink,
            opening,
            readiness,
            metrics,
            refusals,
            _counts: counts,
            overseer,
            clock_doubted,
            stop,
            server,
            _admin: serve_admin,
        })
    }

    /// Where gRPC is served.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where metrics and probes are served, if they are.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// What of it changes while the service runs.
    #[must_use]
    pub fn changing(&self) -> &ReloadHandles {
        &self.changing
    }

    /// Who watches all tasks.
    pub(in crate::app) fn overseer(&self) -> &TaskSupervisor {
        &self.overseer
    }

    /// Whether the clock is not believed by those who delete.
    pub(in crate::app) fn clock_doubted(&self) -> &Arc<Flag> {
        &self.clock_doubted
    }

    /// Where refusals are left for the audit.
    pub(in crate::app) fn sink(&self) -> &Sink {
        &self.sink
    }

    /// Tells whoever watches of files that cannot be used, too.
    pub(in crate::app) fn watch_files(&self, failing: &Arc<ReloadFailures>) {
        self.metrics.watch_files(failing);
    }

    /// Lets callers in to an engine.
    pub(in crate::app) async fn let_in_to(&self, engine: &Arc<Engine>) {
        self.metrics.watch(engine);
        let service = grpc_server::service(engine, &self.edge);
        self.opening.open(service);
        self.tell(ReadinessState::Serving).await;
    }

    /// Tells whoever asks what the service is doing.
    pub(in crate::app) async fn tell(&self, state: ReadinessState) {
        self.readiness.tell(state).await;
    }

    /// Ends every connection.
    pub async fn close(self) {
        // The server may have ended by itself.
        let _ = self.stop.send(());
        // hyper waits without bound for a client that never finishes its handshake
        // (hyperium/hyper#4170): connections get a moment for their last frames, no more.
        let mut server = self.server;
        if timeout(CONNECTIONS_END, &mut server).await.is_err() {
            server.abort();
        }
        self.refusals.tell_counts();
    }
}
