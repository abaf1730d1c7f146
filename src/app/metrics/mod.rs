//! What is measured, in Prometheus' forms. Everything is read from where it is counted when
//! somebody asks; nothing here is on the way of a call or an item.

mod encoder;
mod engine;
mod listener;
mod process;
mod prometheus_text;

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
};

use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, encoding::text, registry::Registry,
};

use self::encoder::Encoder;
use super::{
    file_watch::ReloadFailures, observability::logging::LostLines, readiness::Readiness,
    server::listeners::ReloadHandles,
};
use crate::{
    engine::Engine,
    observe::{CODES, CallMeters, Flag, MethodMeters, TaskSupervisor},
    rpc::{RejectionLog, SideRooms},
};

/// The forms that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetricsFormat {
    /// Prometheus' own text, which everything reads.
    Text,
    /// OpenMetrics, which Prometheus asks for.
    OpenMetrics,
}

impl MetricsFormat {
    /// The best one of those that an `accept` header names.
    pub(super) fn of(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// Its media type.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All metrics of the service.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    watched: Arc<Watched>,
}

/// What is read when somebody asks.
#[derive(Debug)]
struct Watched {
    calls: Arc<CallMeters>,
    readiness: Arc<Readiness>,
    overseer: TaskSupervisor,
    clock_doubted: Arc<Flag>,
    lost_lines: LostLines,
    entrance: ReloadHandles,
    rooms: Arc<SideRooms>,
    refusals: RejectionLog,
    /// Known when files have been looked at first.
    files: OnceLock<Arc<ReloadFailures>>,
    /// There is none before it has been taken up, and none when it is gone: whoever watches must
    /// not keep the journal open.
    engine: OnceLock<Weak<Engine>>,
}

impl Metrics {
    pub(super) fn new(
        calls: Arc<CallMeters>,
        readiness: Arc<Readiness>,
        overseer: TaskSupervisor,
        clock_doubted: Arc<Flag>,
        lost_lines: LostLines,
        entrance: ReloadHandles,
        (rooms, refusals): (Arc<SideRooms>, RejectionLog),
    ) -> Self {
        let watched = Arc::new(Watched {
            calls,
            readiness,
            overseer,
            clock_doubted,
            lost_lines,
            entrance,
            rooms,
            refusals,
            files: OnceLock::new(),
            engine: OnceLock::new(),
        });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(&watched)));
        Self { registry, watched }
    }

    /// Watches the engine too, from now on.
    pub(super) fn watch(&self, engine: &Arc<Engine>) {
        self.watched.engine.get_or_init(|| Arc::downgrade(engine));
    }

    /// Watches the files that are reloaded too, from now on.
    pub(super) fn watch_files(&self, failing: &Arc<ReloadFailures>) {
        self.watched.files.get_or_init(|| Arc::clone(failing));
    }

    /// How everything stands. Takes locks and asks the disk: call it off the async threads.
    pub(super) fn render(&self, form: MetricsFormat) -> Result<String, fmt::Error> {
        let mut out = String::with_capacity(64 * 1024);
        text::encode(&mut out, &self.registry)?;
        Ok(match form {
            MetricsFormat::OpenMetrics => out,
            MetricsFormat::Text => prometheus_text::of(&out),
        })
    }
}

impl Collector for Watched {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Encoder(encoder);
        page.gauge(
            "cancelot_build_info",
            "The version that runs; the value is 1.",
            [([("version", env!("CARGO_PKG_VERSION"))], 1_u64)],
        )?;
        page.gauge(
            "cancelot_ready",
            "Whether calls are served: not before everything open has been taken up, and not from the drain on.",
            [([], u64::from(self.readiness.is_ready()))],
        )?;
        page.counter(
            "cancelot_panics",
            "Tasks that panicked, at the first of which the service ends.",
            [([], self.overseer.panics())],
        )?;
        page.gauge(
            "cancelot_clock_doubted",
            "Whether the clock disagrees with what was seen and what has passed since, so that nothing is deleted by it.",
            [([], u64::from(self.clock_doubted.get()))],
        )?;
        page.counter(
            "cancelot_log_lines_lost",
            "Lines of the log that were dropped, since nobody read them in time.",
            [([], self.lost_lines.count())],
        )?;
        calls(&mut page, &self.calls)?;
        listener::encode(&mut page, &self.entrance)?;
        listener::rooms(&mut page, &self.rooms)?;
        listener::strangers(&mut page, &self.refusals)?;
        listener::files(&mut page, self.files.get().map(Arc::as_ref))?;
        if let Some(engine) = self.engine.get().and_then(Weak::upgrade) {
            engine::encode(&mut page, &engine)?;
        }
        process::encode(&mut page)
    }
}

/// The names that dashboards of gRPC servers know.
fn calls(page: &mut Encoder<'_>, calls: &CallMeters) -> fmt::Result {
    let methods = calls.methods();
    page.counter(
        "grpc_server_started",
        "Calls that began.",
        methods.iter().map(|m| (labels(m), m.started.get())),
    )?;
    page.counter(
        "grpc_server_handled",
        "Calls that ended, by status.",
        methods.iter().flat_map(|m| {
            CODES.iter().zip(&m.handled).map(|(code, count)| {
                let [kind, service, method] = labels(m);
                ([kind, service, method, ("grpc_code", *code)], count.get())
            })
        }),
    )?;
    page.counter(
        "grpc_server_msg_received",
        "Messages of callers.",
        methods.iter().map(|m| (labels(m), m.received.get())),
    )?;
    page.counter(
        "grpc_server_msg_sent",
        "Messages to callers.",
        methods.iter().map(|m| (labels(m), m.sent.get())),
    )?;
    page.histogram(
        "grpc_server_handling_seconds",
        "From a call's headers to its status.",
        methods.iter().map(|m| (labels(m), m.time.snapshot())),
    )
}

fn labels(meters: &MethodMeters) -> [(&str, &str); 3] {
    let method = &meters.method;
    [
        ("grpc_type", method.kind),
        ("grpc_service", &method.service),
        ("grpc_method", &method.name),
    ]
}
