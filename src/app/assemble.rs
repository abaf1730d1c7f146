//! From a configuration to the parts of the service.

use std::{sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};

use super::{
    AppOptions, AuditSetup, EngineSetup, GrpcServerOptions, ListenerOptions, ReloadHandles,
    ReloadOptions, Retention, observability::logging::LostLines, reconfigure::Reconfigure,
};
use crate::{
    audit::{Shown, Sink, Usage},
    config::{self, AccountConfig, AccountLimits, Config},
    domain::ids::CallerId,
    egress::{
        self, Egress,
        flow::{
            self, adaptive_concurrency::Bounds, backoff::Backoff, circuit_breaker::Pauses,
            retry_budget::RetryBudgetOptions,
        },
    },
    engine::{self, Clock, LaneOptions},
    identity::Policy,
    journal::{
        Journal, StoredFields,
        directory::OpenError,
        sled_journal::{self, SledJournal},
    },
    limits,
    observe::Tracer,
    shared_budget::Members,
};

/// A configuration that reads well and cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The journal's directory cannot be used.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// An account's HTTP client cannot be built.
    #[error(transparent)]
    Account(#[from] egress::BuildError),
    /// The listener's certificates cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The key that the audit is to be signed with cannot be used.
    #[error("audit.sign_key_file: {0}")]
    SignKey(String),
}

/// Opens the journal and builds the way to every account.
///
/// # Errors
/// See [`AssembleError`].
pub fn assemble(config: &Config) -> Result<(Arc<dyn Journal>, AppOptions), AssembleError> {
    assemble_over(config, &journal(config), &Clock::system())
}

/// The journal that a configuration asks for.
#[must_use]
pub fn journal(config: &Config) -> sled_journal::SledJournalOptions {
    sled_journal::SledJournalOptions {
        cache_bytes: config.journal.cache_bytes,
        free_bytes_min: config.journal.free_bytes_min,
        ballast_bytes: limits::BALLAST_BYTES,
        keep: StoredFields {
            answers: config.journal.answers_retention != Some(Duration::ZERO),
            emails: config.journal.emails_retention != Some(Duration::ZERO),
            comments: config.journal.comments_retention != Some(Duration::ZERO),
        },
        audit_lag_max: config.audit.as_ref().map(|audit| audit.lag_max),
        ..sled_journal::SledJournalOptions::new(&config.journal.dir)
    }
}

/// As [`assemble`], with a journal that differs from what the configuration asks for, and a clock.
///
/// # Errors
/// See [`AssembleError`].
pub fn assemble_over(
    config: &Config,
    journal: &sled_journal::SledJournalOptions,
    clock: &Clock,
) -> Result<(Arc<dyn Journal>, AppOptions), AssembleError> {
    let entrance = entrance(config, Tracer::off(), clock)?;
    let (journal, mut setup) = engine_setup(config, journal, &Tracer::off(), &entrance.changing())?;
    setup.options.clock = clock.clone();
    Ok((journal, AppOptions { entrance, setup }))
}

/// What `config print` says, by its digest: it has no secrets, and the paths of those there are.
fn digest(config: &Config) -> String {
    let digest = Sha256::digest(config::print(config).as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How callers come in, without a listener for operators.
///
/// # Errors
/// If the listener's certificates cannot be used.
pub fn entrance(
    config: &Config,
    tracer: Tracer,
    clock: &Clock,
) -> Result<ListenerOptions, AssembleError> {
    let sink = match config.audit {
        Some(_) => {
            let clock = clock.clone();
            Sink::new(move || clock.now())
        }
        None => Sink::default(),
    };
    let (access, fetchers) = super::auth_setup::access(config, &sink);
    let tls = config.server.tls.as_ref();
    let tls = tls.map(|settings| super::auth_setup::tls(settings, clock.clone()));
    let tls = tls.transpose().map_err(AssembleError::Tls)?;
    Ok(ListenerOptions {
        edge: GrpcServerOptions {
            streams_max: config.server.streams_max,
            connections_max: config.server.connections_max,
            handshake_timeout: config.server.handshake_timeout,
            // One process's connections are spread by when they were opened, and processes that
            // were started together by this.
            connection_age: config
                .server
                .connection_age
                .mul_f64(0.9 + 0.2 * fastrand::f64()),
            request_bytes_max: config.server.request_bytes_max,
            progress_interval: config.server.progress_interval,
        },
        access,
        sink,
        fetchers,
        tls,
        admin: None,
        lost_lines: LostLines::default(),
        tracer,
    })
}

/// Builds the way to every account, and opens the journal. Reads the disk, for long if the journal
/// is large.
///
/// # Errors
/// See [`AssembleError`].
pub fn engine_setup(
    config: &Config,
    journal: &sled_journal::SledJournalOptions,
    tracer: &Tracer,
    changing: &ReloadHandles,
) -> Result<(Arc<dyn Journal>, EngineSetup), AssembleError> {
    let backoff = Backoff {
        base: config.engine.backoff_base,
        max: config.engine.backoff_max,
    };
    let lanes: Result<Vec<_>, _> = config
        .accounts
        .iter()
        .map(|account| lane(account, backoff, tracer))
        .collect();
    let lanes = lanes?;
    let signer = super::auth_setup::signer(config).map_err(AssembleError::SignKey)?;
    let following = ReloadOptions {
        fixed: super::auth_setup::watches(config, changing, &lanes),
        following: super::auth_setup::watches_of_callers(
            config,
            changing,
            config.server.reload_grace,
        ),
        reconfigure: config
            .again
            .clone()
            .map(|again| Box::new(Reconfigure::new(again, config, changing))),
        every: config.server.reload,
    };
    let setup = EngineSetup {
        options: engine::EngineOptions {
            lanes,
            open_items_max: config.engine.open_items_max,
            members: openers(config),
            scanners: scanners(config),
            open_bytes_max: config.engine.open_bytes_max,
            results_held_max: limits::RESULTS_HELD_MAX,
            reader_patience: Duration::from_millis(limits::READER_ASLEEP_MS_MIN),
            audit: usage(config),
            retry_window: config.engine.retry_window,
            clock: Clock::system(),
            seed: fastrand::u64(..),
        },
        drain: config.server.drain,
        following,
        retention: Retention {
            batches: config.journal.retention,
            answers: config.journal.answers_retention,
            emails: config.journal.emails_retention,
            comments: config.journal.comments_retention,
        },
        clock_hold: Duration::from_secs(limits::CLOCK_HELD_SECONDS),
        audit: config.audit.as_ref().map(|audit| AuditSetup {
            dir: audit.dir.clone(),
            retention: audit.retention,
            config: Some(digest(config)),
            signer,
            shown: Shown {
                words: config.journal.comments_retention.is_none(),
                emails: config.journal.emails_retention != Some(Duration::ZERO),
            },
        }),
    };
    let journal = SledJournal::open(journal)?;
    Ok((Arc::new(journal), setup))
}

/// The callers that share the service's room, each with the items that it may have open.
pub(super) fn openers(config: &Config) -> Members {
    members(config, |policy| policy.open_items_max)
}

/// What the audit may take, and who shares it.
fn usage(config: &Config) -> Usage {
    let bytes_max = config.audit.as_ref().and_then(|audit| audit.bytes_max);
    let callers = config.callers.iter();
    Usage::new(bytes_max, callers.map(|caller| caller.settings.id.clone()))
}

/// The callers that share the service's room, each with its own bound.
fn members(config: &Config, bound: impl Fn(&Policy) -> Option<usize>) -> Members {
    let callers = config.callers.iter().map(|caller| &caller.settings);
    callers
        .map(|settings| (settings.id.clone(), bound(&settings.policy)))
        .collect()
}

/// The callers that list, each with what it may list at a time. Without callers everybody is one.
pub(super) fn scanners(config: &Config) -> Members {
    if config.callers.is_empty() {
        let scans_max = Policy::default().scans_max;
        return [(CallerId::anonymous(), Some(scans_max))]
            .into_iter()
            .collect();
    }
    members(config, |policy| Some(policy.scans_max))
}

fn lane(
    config: &AccountConfig,
    backoff: Backoff,
    tracer: &Tracer,
) -> Result<LaneOptions, egress::BuildError> {
    let account = Arc::new(config.account.clone());
    let concurrency_max = usize::try_from(config.limits.concurrency_max).unwrap_or(usize::MAX);
    let connect_timeout: Duration = config.limits.connect_timeout;
    let egress = Egress::build(&egress::EgressOptions {
        account: Arc::clone(&account),
        credential: config.credential.clone(),
        connect_timeout,
        timeout: config.limits.timeout,
        proxy_url: config.proxy_url.clone(),
        concurrency_max,
        tracer: tracer.clone(),
    })?;
    let place = account.place(config.proxy_url.as_deref());
    Ok(LaneOptions {
        account,
        egress,
        gate: gate(&config.limits, backoff),
        backoff,
        timeout: config.limits.timeout,
        settling: config.limits.settling,
        place,
    })
}

/// Seconds of its long-run rate that an account may save up as retries, and the share of that
/// rate that retries get whatever else is sent.
const RETRY_SECONDS_SAVED: f64 = 2.0;
const RETRY_SHARE_MIN: f64 = 0.1;
/// Waits for a probe, as multiples of the first wait for a retry.
const PROBE_PAUSE: u32 = 5;
/// The longest of them: one request now and then is no load, and a provider that is back is found
/// that soon.
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(5);

fn gate(limits: &AccountLimits, backoff: Backoff) -> flow::FlowOptions {
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let saved = limits.rate_per_second * RETRY_SECONDS_SAVED;
    flow::FlowOptions {
        concurrency: Bounds {
            floor: count(limits.concurrency_min),
            ceiling: count(limits.concurrency_max),
        },
        rate_per_second: limits.rate_per_second,
        rate_burst: limits.rate_burst,
        retries: RetryBudgetOptions {
            per_request: f64::from(limits.retry_budget_percent) / 100.0,
            per_second: (limits.rate_per_second * RETRY_SHARE_MIN).min(10.0),
            saved_max: saved.clamp(10.0, 100.0),
        },
        pauses: Pauses {
            base: backoff
                .base
                .saturating_mul(PROBE_PAUSE)
                .min(PROBE_PAUSE_MAX),
            max: backoff.max.min(PROBE_PAUSE_MAX),
        },
    }
}
