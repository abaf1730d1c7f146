//! `cancelot serve`: runs the service.

#[cfg(feature = "sandbox")]
pub(super) mod sandboxed;
pub(super) mod stop;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use clap::Args;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use self::stop::Stop;
use super::{
    Exit, guard,
    terminal::{out, say},
};
use crate::{
    app::{
        self, App, Listeners, Reload, Reloaded,
        observability::{
            logging::{self, Log},
            trace_export::Traces,
        },
    },
    config::{self, Config, Env, Sources},
    engine::Clock,
    observe::Tracer,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file (TOML); every setting also has an environment variable.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets one setting, such as `server.listen=127.0.0.1:7000`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
    /// Serves accounts at a simulator of the five providers, with a journal that is thrown away.
    /// With --config, the accounts of the file are at the simulator, without their credentials.
    #[cfg(feature = "sandbox")]
    #[arg(long)]
    sandbox: bool,
    /// Lets everybody who reaches the port cancel, wherever it listens, if no caller is
    /// configured: the same as `--set server.insecure=true`.
    #[arg(long)]
    insecure: bool,
}

/// The message of a service without accounts.
pub(super) const NO_ACCOUNT: &str = "no account is configured, so every cancellation is refused; add \
                                     an [accounts.some-name] with its provider and credential";

/// Parses a setting on the command line.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "give KEY=VALUE, such as server.listen=127.0.0.1:7000".to_owned())
}

/// Runs the service. `guarded` is whether core dumps could be prevented.
pub(super) async fn run(mut arguments: Arguments, guarded: rustix::io::Result<()>) -> Exit {
    if arguments.insecure {
        let insecure = ("server.insecure".to_owned(), "true".to_owned());
        arguments.overrides.push(insecure);
    }
    #[cfg(feature = "sandbox")]
    if arguments.sandbox {
        let file = arguments.config.as_deref();
        return sandboxed::run(file, &arguments.overrides, guarded).await;
    }
    let env = Env::of_process();
    let sources = Sources {
        file: arguments.config,
        env: &env,
        overrides: &arguments.overrides,
    };
    let config = match config::load(&sources) {
        Ok(config) => config,
        Err(mistakes) => {
            say(mistakes.to_string());
            return Exit::Usage;
        }
    };
    serve(config, guarded).await
}

async fn serve(config: Config, guarded: rustix::io::Result<()>) -> Exit {
    let stop = Stop::listen();
    let hangup = signal(SignalKind::hangup());
    let log = match logging::init(config.log.format, &config.log.filter) {
        Ok(log) => log,
        Err(error) => {
            say(format!("cancelot: log.filter: {error}"));
            return Exit::Usage;
        }
    };
    tell_core_dumps(&config, guarded);
    let config = Arc::new(config);
    let (traces, tracer) = match Traces::begin(&config.telemetry) {
        Ok(begun) => begun,
        Err(error) => {
            say(format!("cancelot: telemetry.otlp_endpoint: {error}"));
            return Exit::Usage;
        }
    };
    let app = match open(&config, tracer, &log, &stop).await {
        Ok(Some(app)) => app,
        Ok(None) => {
            tracing::info!("stopped before anybody was served");
            traces.end().await;
            return Exit::Success;
        }
        Err(problem) => {
            // The reason is the last output.
            drop(log);
            say(format!("cancelot: {problem}"));
            return Exit::Unavailable;
        }
    };
    // On standard output, so that a parent that uses port 0 can read the port.
    out(format!("listening on {}", app.addr()));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %app.addr(),
        accounts = config.accounts.len(),
        callers = config.callers.len(),
        journal = %config.journal.dir.display(),
        "serving"
    );
    tell_what_is_open(&config);
    if config.accounts.is_empty() {
        tracing::warn!("{NO_ACCOUNT}");
    }
    for warning in &config.warnings {
        tracing::warn!(%warning, "a setting needs a look");
    }
    let reload = app.reload().clone();
    let reloads = tokio::spawn(reload_at(hangup, reload));
    let ended = app.run(stop.asked()).await;
    reloads.abort();
    traces.end().await;
    drop(log);
    match ended {
        Ok(()) => Exit::Success,
        Err(failure) => {
            say(format!("cancelot: {failure}"));
            Exit::Failure
        }
    }
}

/// Allows core dumps if configured, and logs how the process's memory is exposed.
fn tell_core_dumps(config: &Config, guarded: rustix::io::Result<()>) {
    if config.server.core_dumps {
        match guard::allow_core_dumps() {
            Ok(()) => tracing::warn!("core dumps are allowed: they hold credentials and keys"),
            Err(error) => tracing::warn!(%error, "core dumps cannot be allowed"),
        }
    } else if let Err(error) = guarded {
        tracing::warn!(
            %error,
            "core dumps cannot be refused from here, and would hold credentials and keys: refuse \
             them outside, such as by ulimit -c 0 and kernel.core_pattern"
        );
    }
}

/// Logs settings that admit anyone, as an error so that no log filter hides them.
fn tell_what_is_open(config: &Config) {
    let server = &config.server;
    let is_local = server.listen.ip().is_loopback();
    if config.callers.is_empty() && !is_local {
        tracing::error!(
            listen = %server.listen,
            "INSECURE: no caller is configured, and server.insecure is set: everybody who reaches \
             this address can cancel everything at every account"
        );
    } else if server.tls.is_none() && !is_local {
        tracing::warn!(
            listen = %server.listen,
            "tokens travel in the clear: set server.tls_cert_file, unless something in front of \
             the service speaks TLS"
        );
    }
}

/// Reloads changed files at each SIGHUP.
async fn reload_at(hangup: io::Result<Signal>, reload: Reload) {
    // Without a handler the system ends the process by itself.
    let Ok(mut hangup) = hangup else { return };
    while hangup.recv().await.is_some() {
        let Reloaded { changed, failed } = reload.now().await;
        tracing::info!(changed, failed, "looked at all files and keys again");
    }
}

/// Opens the listeners and then the journal, so that probes are answered while it loads. `None` if
/// the service was asked to stop meanwhile: a large journal takes longer than a pod's grace period.
async fn open(
    config: &Arc<Config>,
    tracer: Tracer,
    log: &Log,
    stop: &Stop,
) -> Result<Option<App>, String> {
    let listener = bind(config.server.listen).await?;
    let mut entrance = app::entrance(config, tracer.clone(), &Clock::system())
        .map_err(|error| error.to_string())?;
    entrance.lost_lines = log.lost();
    if let Some(listen) = config.server.admin_listen {
        entrance.admin = Some(bind(listen).await?);
    }
    let front = Listeners::open(listener, entrance)
        .await
        .map_err(|error| error.to_string())?;
    if let Some(addr) = front.admin_addr() {
        out(format!("metrics and probes on http://{addr}"));
    }
    tracing::info!(
        listen = %front.addr(),
        admin_listen = front.admin_addr().map(tracing::field::display),
        "taking up what was open"
    );
    let (config, changing) = (Arc::clone(config), front.changing().clone());
    let opened = move || app::engine_setup(&config, &app::journal(&config), &tracer, &changing);
    let opened = tokio::select! {
        opened = tokio::task::spawn_blocking(opened) => opened,
        // The journal is read on in its thread until the process ends.
        () = stop.asked() => {
            front.close().await;
            return Ok(None);
        }
    };
    let (journal, setup) = opened
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    App::serve_unless(front, journal, setup, stop.asked())
        .await
        .map_err(|error| error.to_string())
}

async fn bind(addr: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(addr)
        .await
        .map_err(|error| format!("cannot listen on {addr}: {error}"))
}

/// Starts the configured service in this process, without telemetry.
#[cfg(feature = "sandbox")]
pub(super) async fn start(config: &Config, listener: TcpListener) -> Result<App, String> {
    let (journal, options) = app::assemble(config).map_err(|error| error.to_string())?;
    App::start(listener, journal, options)
        .await
        .map_err(|error| error.to_string())
}
