//! Settings that are right by themselves and not beside each other. What can never work as it is
//! written is a mistake; what only does nothing is a warning, since it may be on its way in or out.

use std::{net::SocketAddr, path::Path};

use super::{
    AccountConfig, AccountLimits, AuditConfig, CallerConfig, EngineConfig, IssuerConfig,
    JournalConfig, KeysFrom, ServerConfig, TelemetryConfig,
    error::Problem,
    schema::{names::Group, setting::keyed, settings},
    source::reader::SettingsReader,
};
use crate::identity::Method;

/// All that was read.
pub(super) struct Whole<'a> {
    pub(super) server: &'a ServerConfig,
    pub(super) engine: &'a EngineConfig,
    pub(super) journal: &'a JournalConfig,
    pub(super) audit: Option<&'a AuditConfig>,
    pub(super) issuers: &'a [IssuerConfig],
    pub(super) telemetry: &'a TelemetryConfig,
    pub(super) callers: &'a [CallerConfig],
    pub(super) accounts: &'a [AccountConfig],
}

/// Notes what contradicts each other, and what does nothing.
pub(super) fn look(reader: &mut SettingsReader<'_>, whole: &Whole<'_>) {
    listeners(reader, whole.server);
    client_certificates(reader, whole);
    retention(reader, whole.journal);
    if let Some(audit) = whole.audit {
        audit_dir(reader, &audit.dir, &whole.journal.dir);
    }
    auditors(reader, whole.callers);
    issuers(reader, whole);
    patterns(reader, whole);
    traces(reader, whole.telemetry);
    windows(reader, whole);
    if whole.server.insecure && !whole.callers.is_empty() {
        let problem = Problem::new(
            "does nothing, as there are callers, and nobody else may call",
            "leave it away",
        );
        reader.warn(settings::INSECURE.key, problem);
    }
}

fn listeners(reader: &mut SettingsReader<'_>, server: &ServerConfig) {
    let Some(admin) = server.admin_listen else {
        return;
    };
    if meet(server.listen, admin) {
        let problem = Problem::new(
            "has the port of server.listen, which only one of them can have",
            "give it another one, such as 8081",
        );
        reader.refuse(settings::ADMIN_LISTEN.key, problem);
    }
}

/// Whether two listeners cannot be open at once. Port 0 is any that is free.
fn meet(a: SocketAddr, b: SocketAddr) -> bool {
    let is_everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || is_everywhere)
}

fn client_certificates(reader: &mut SettingsReader<'_>, whole: &Whole<'_>) {
    let Some(tls) = &whole.server.tls else { return };
    // Without authorities that is said of each caller where it is read.
    let bundle = reader.source(settings::TLS_CLIENT_CA_FILE.key);
    let has_authorities = !reader.layers.names(Group::Authorities).is_empty();
    let vouched_for = bundle.is_some() || has_authorities;
    if tls.clients.is_some() || !vouched_for {
        return;
    }
    let with_names = whole
        .callers
        .iter()
        .filter(|caller| !caller.settings.sans.is_empty());
    let mut is_needed = false;
    for caller in with_names {
        is_needed = true;
        let problem = Problem::new(
            "names certificates that nobody is asked for, as server.tls_client_auth is none",
            "set that to optional or required",
        );
        let key = keyed(settings::TLS_SANS.key, caller.settings.id.as_str());
        reader.refuse(&key, problem);
    }
    if !is_needed && bundle.is_some() {
        let problem = Problem::new(
            "does nothing, as server.tls_client_auth is none and no certificate is asked for",
            "set that to optional or required, or leave both away",
        );
        reader.warn(settings::TLS_CLIENT_CA_FILE.key, problem);
    }
}

fn retention(reader: &mut SettingsReader<'_>, journal: &JournalConfig) {
    for (setting, kept) in [
        (settings::ANSWERS_DAYS.key, journal.answers_retention),
        (settings::EMAILS_DAYS.key, journal.emails_retention),
        (settings::COMMENTS_DAYS.key, journal.comments_retention),
    ] {
        if kept.is_some_and(|kept| kept > journal.retention) {
            let problem = Problem::new(
                "is more than journal.retention_days, after which nothing of a batch is kept",
                "give as much or less, or leave it away",
            );
            reader.refuse(setting, problem);
        }
    }
}

/// The journal removes what it finds in its own files' places.
fn audit_dir(reader: &mut SettingsReader<'_>, audit: &Path, journal: &Path) {
    let Ok(below) = audit.strip_prefix(journal) else {
        return;
    };
    let first = below.components().next();
    let is_the_journals = first.is_none_or(|first| {
        let name = first.as_os_str().to_string_lossy();
        name.starts_with("store-")
    });
    if is_the_journals {
        let problem = Problem::new(
            "is where the journal has its own files",
            "give a directory of its own, or leave it away for `audit` in journal.dir",
        );
        reader.refuse(settings::AUDIT_DIR.key, problem);
    }
}

fn auditors(reader: &mut SettingsReader<'_>, callers: &[CallerConfig]) {
    for caller in callers {
        let policy = &caller.settings.policy;
        let reads = [Method::GetCancellation, Method::ListCancellations];
        if policy.auditor && !reads.into_iter().any(|method| policy.allows_method(method)) {
            let problem = Problem::new(
                "means nothing to a caller that may not read records",
                "add GetCancellation and ListCancellations to its methods, or leave it away",
            );
            let key = keyed(settings::AUDITOR.key, caller.settings.id.as_str());
            reader.refuse(&key, problem);
        }
        if policy.auditor_answers && !policy.auditor {
            let problem = Problem::new(
                "means nothing to a caller that may not read the records of others",
                "add auditor = true, or leave it away",
            );
            let key = keyed(settings::AUDITOR_ANSWERS.key, caller.settings.id.as_str());
            reader.refuse(&key, problem);
        }
    }
}

fn issuers(reader: &mut SettingsReader<'_>, whole: &Whole<'_>) {
    for issuer in whole.issuers {
        let settings = &issuer.settings;
        if let KeysFrom::File { keys, .. } = &issuer.keys
            && !keys.sign_by_any(&settings.algorithms)
        {
            let problem = Problem::new(
                "has no key for any of the issuer's algorithms, so that no token of its is good",
                "add what its keys sign with to algorithms, or give its other keys",
            );
            reader.refuse(&keyed(settings::JWKS_FILE.key, &settings.name), problem);
        }
        let mut subjects = whole.callers.iter().flat_map(|c| &c.settings.subjects);
        if !subjects.any(|subject| subject.issuer == settings.name) {
            let problem = Problem::new(
                "proves nobody, as no caller has it as jwt_issuer",
                "set jwt_issuer and jwt_subjects of a caller, or leave the issuer away",
            );
            reader.warn(&keyed(settings::ISSUER.key, &settings.name), problem);
        }
    }
}

/// A pattern may be there before its account, or be left after it: an account that is taken out
/// for a while must not keep the service from starting.
fn patterns(reader: &mut SettingsReader<'_>, whole: &Whole<'_>) {
    if whole.accounts.is_empty() {
        return;
    }
    for caller in whole.callers {
        let unmatched = |pattern: &&crate::domain::access::pattern::AccountPattern| {
            let mut accounts = whole.accounts.iter();
            !accounts.any(|config| pattern.fits(config.account.name.as_str()))
        };
        let count = caller
            .settings
            .policy
            .accounts
            .iter()
            .filter(unmatched)
            .count();
        if count > 0 {
            let problem = Problem::new(
                format!("has {count} that no account is called by"),
                "compare them with the names of [accounts]",
            );
            let key = keyed(settings::ACCOUNTS.key, caller.settings.id.as_str());
            reader.warn(&key, problem);
        }
    }
}

/// What was lost is sent again within the window only, and not before it counts as not done.
fn windows(reader: &mut SettingsReader<'_>, whole: &Whole<'_>) {
    for config in whole.accounts {
        let AccountLimits {
            timeout, settling, ..
        } = config.limits;
        if timeout.saturating_add(settling) >= whole.engine.retry_window {
            let problem = Problem::new(
                "and timeout_ms together are no less than engine.retry_window_ms, so a request \
                 whose answer was lost at the end of its time is not sent again within that",
                "give less, or a longer window",
            );
            let key = keyed(settings::SETTLING_MS.key, config.account.name.as_str());
            reader.warn(&key, problem);
        }
    }
}

fn traces(reader: &mut SettingsReader<'_>, telemetry: &TelemetryConfig) {
    if telemetry.propagate_to_providers && telemetry.otlp_endpoint.is_none() {
        let problem = Problem::new(
            "does nothing, as there are no traces without telemetry.otlp_endpoint",
            "set that, or leave this away",
        );
        reader.warn(settings::PROPAGATE.key, problem);
    }
}
