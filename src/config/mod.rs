//! Configuration: one TOML file, `CANCELOT_…` variables over it, and the command line over both,
//! parsed once into types that cannot be wrong. All mistakes are reported at once, each with its
//! place and its remedy.
//!
//! The one part of the program that reads the environment and configuration files. It knows
//! nothing of gRPC, HTTP clients, stores or tasks. A new setting is a line in `table` and a line
//! where it is read.

mod cross_checks;
pub(crate) mod did_you_mean;
mod error;
mod permissions;
mod print;
mod schema;
mod section;
mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use self::{
    error::Problem,
    schema::names::Group,
    source::{
        layers::Layers,
        reader::{SettingEntry, SettingsReader},
    },
};
pub use self::{
    error::{Mistake, Mistakes, SettingSource},
    print::{print, reference_markdown},
    section::{
        account::{AccountConfig, AccountLimits},
        caller::{CallerConfig, tokens},
        issuer::{IssuerConfig, KeysFrom, read_keys},
        log::{Format, LogConfig},
        secret::{FILE_BYTES_MAX as SECRET_FILE_BYTES_MAX, credential},
        telemetry::TelemetryConfig,
        tls::{ClientCertificates, TlsConfig},
    },
    source::{
        env::{Env, NotUtf8},
        file::{read_file, read_text},
    },
};
use crate::{identity::Revoked, limits};

/// Bytes of a configuration file that are read.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The variable that names the file if the command line does not.
const FILE_VARIABLE: &str = "CANCELOT_CONFIG";

/// Where settings come from.
#[derive(Debug, Clone)]
pub struct Sources<'a> {
    /// The file; `None` for the one that `CANCELOT_CONFIG` names, if it names one.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: &'a Env,
    /// Settings of the command line: keys such as `server.listen` with their values.
    pub overrides: &'a [(String, String)],
}

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// How gRPC is served.
    pub server: ServerConfig,
    /// How the journal is kept.
    pub journal: JournalConfig,
    /// How the audit is kept; `None` if there is none.
    pub audit: Option<AuditConfig>,
    /// How work is done.
    pub engine: EngineConfig,
    /// What is logged.
    pub log: LogConfig,
    /// Who issues the JWTs that callers show, by name.
    pub issuers: Vec<IssuerConfig>,
    /// Where spans go.
    pub telemetry: TelemetryConfig,
    /// Who may call, by name; if empty, everybody who reaches the port.
    pub callers: Vec<CallerConfig>,
    /// The accounts, by name. May be empty.
    pub accounts: Vec<AccountConfig>,
    /// What is legal and does nothing, in the order of its places.
    pub warnings: Vec<Mistake>,
    /// How it was read, if it is in a file that can be read again.
    pub again: Option<Again>,
    /// All of that as it was read, without secrets.
    entries: Vec<SettingEntry>,
}

impl Config {
    /// The keys of settings that are other ones here than there, in their order.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> BTreeSet<String> {
        let values = |config: &Self| -> BTreeMap<String, Option<String>> {
            let entries = config.entries.iter();
            entries
                .map(|entry| (entry.key.clone(), entry.toml.clone()))
                .collect()
        };
        let (ours, theirs) = (values(self), values(before));
        let keys = ours.keys().chain(theirs.keys());
        // One that is not set is as one that is not there.
        let value = |of: &BTreeMap<String, Option<String>>, key| of.get(key).cloned().flatten();
        keys.filter(|key| value(&ours, *key) != value(&theirs, *key))
            .cloned()
            .collect()
    }
}

/// How a configuration was read, so that its file can be read again, with the environment and the
/// command line as they were.
#[derive(Debug, Clone)]
pub struct Again {
    file: PathBuf,
    source: SettingSource,
    env: Env,
    overrides: Vec<(String, String)>,
}

impl Again {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads the configuration with what the file has now.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn parse(&self, text: &str) -> Result<Config, Mistakes> {
        let named = Some((&*self.file, &self.source));
        let shown = self.file.display().to_string();
        parse_named(&shown, text, &self.env, &self.overrides, named)
    }
}

/// Whether a setting that is changed in the file is taken without a restart.
#[must_use]
pub fn is_reloaded(key: &str) -> bool {
    [Group::Callers, Group::Issuers].iter().any(|group| {
        key.strip_prefix(group.word())
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// How gRPC is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where. Beyond loopback only with callers or with `insecure`.
    pub listen: SocketAddr,
    /// Whether that everybody may call is intended.
    pub insecure: bool,
    /// Time that running work gets at the end.
    pub drain: Duration,
    /// Calls that one connection may have open.
    pub streams_max: u32,
    /// Connections that may be open.
    pub connections_max: usize,
    /// Time that a connection gets for its first frames.
    pub handshake_timeout: Duration,
    /// Age at which a connection is asked to end.
    pub connection_age: Duration,
    /// Memory for requests that are being received.
    pub request_bytes_max: usize,
    /// How long a stream with nothing new is silent.
    pub progress_interval: Duration,
    /// Its TLS; `None` for none.
    pub tls: Option<TlsConfig>,
    /// The proofs that are revoked, if there is a list of them.
    pub revoked: Option<RevokedFile>,
    /// How often files are looked at that may have changed.
    pub reload: Duration,
    /// How long what was read last stays good when a file cannot be used.
    pub reload_grace: Duration,
    /// Where metrics and health are served; `None` for nowhere.
    pub admin_listen: Option<SocketAddr>,
    /// Whether core dumps may be written.
    pub core_dumps: bool,
}

/// A list of proofs that are revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedFile {
    /// Its path.
    pub path: PathBuf,
    /// What was on it when the configuration was read.
    pub revoked: Revoked,
}

/// How the journal is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// Its directory.
    pub dir: PathBuf,
    /// Its page cache.
    pub cache_bytes: u64,
    /// Bytes of its disk that admissions leave free.
    pub free_bytes_min: u64,
    /// Time that settled batches are kept.
    pub retention: Duration,
    /// Time that providers' answers are kept, if it is another one.
    pub answers_retention: Option<Duration>,
    /// Time that e-mail addresses are kept, if it is another one.
    pub emails_retention: Option<Duration>,
    /// Time that callers' own words are kept, if it is another one.
    pub comments_retention: Option<Duration>,
}

/// How the audit is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// Its directory.
    pub dir: PathBuf,
    /// Time that its lines are kept, at least as long as the journal's batches.
    pub retention: Duration,
    /// Lines that may wait to be written while more is admitted.
    pub lag_max: u64,
    /// The key that its end is signed with.
    pub sign_key_file: Option<PathBuf>,
    /// Bytes that its files may have while more is admitted of everybody; `None` for no bound.
    pub bytes_max: Option<u64>,
}

/// How work is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Open items that are held at a time.
    pub open_items_max: usize,
    /// Bytes that open items may take, about.
    pub open_bytes_max: usize,
    /// Time to keep trying a provider that is away, within the bounds of [`crate::limits`].
    pub retry_window: Duration,
    /// Wait before the first retry.
    pub backoff_base: Duration,
    /// Longest wait between tries, at least `backoff_base`.
    pub backoff_max: Duration,
}

/// Reads the configuration.
///
/// # Errors
/// All mistakes in it.
pub fn load(sources: &Sources<'_>) -> Result<Config, Mistakes> {
    let (file, source) = match &sources.file {
        Some(file) => (Some(file.clone()), SettingSource::CommandLine),
        None => {
            let source = SettingSource::Env(FILE_VARIABLE.to_owned());
            match sources.env.get(FILE_VARIABLE) {
                Ok(named) => (named.map(PathBuf::from), source),
                Err(not_utf8) => {
                    let problem = Problem::new(not_utf8.to_string(), "give a path in UTF-8");
                    return Err(Mistakes::one(source, problem));
                }
            }
        }
    };
    let Some(file) = file else {
        return parse("", "", sources.env, sources.overrides);
    };
    match read_config(&file) {
        Ok(text) => {
            let shown = file.display().to_string();
            let named = Some((&*file, &source));
            let config = parse_named(&shown, &text, sources.env, sources.overrides, named)?;
            let again = Again {
                file: file.clone(),
                source,
                env: sources.env.clone(),
                overrides: sources.overrides.to_vec(),
            };
            Ok(Config {
                again: Some(again),
                ..config
            })
        }
        Err(error) => {
            let problem = Problem::new(
                format!("the file {} cannot be read ({error})", file.display()),
                "give the path of a readable TOML file",
            );
            Err(Mistakes::one(source, problem))
        }
    }
}

fn read_config(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let opened = File::open(file)?;
    // A byte more than allowed, so that nothing is cut off in silence.
    let read = opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read <= FILE_BYTES_MAX) {
        Ok(text)
    } else {
        Err(io::Error::other(format!(
            "it has more than {FILE_BYTES_MAX} bytes"
        )))
    }
}

/// Reads a configuration whose file is in memory; mistakes call it `file`.
///
/// # Errors
/// All mistakes in it.
pub fn parse(
    file: &str,
    text: &str,
    env: &Env,
    overrides: &[(String, String)],
) -> Result<Config, Mistakes> {
    parse_named(file, text, env, overrides, None)
}

/// The same for a file on the disk, with where it was named.
fn parse_named(
    file: &str,
    text: &str,
    env: &Env,
    overrides: &[(String, String)],
    named: Option<(&Path, &SettingSource)>,
) -> Result<Config, Mistakes> {
    let mut mistakes = Mistakes::default();
    let mut layers = Layers::default();
    layers.add_file(file, text, &mut mistakes);
    layers.add_env(env, &mut mistakes);
    layers.add_overrides(overrides, &mut mistakes);
    let mut reader = SettingsReader {
        env,
        layers,
        mistakes,
        warnings: Mistakes::default(),
        loose: Mistakes::default(),
        entries: Vec::new(),
    };
    let server = server(&mut reader);
    let loose = reader.get(&schema::settings::FILE_PERMISSIONS);
    let journal = journal(&mut reader);
    let audit = audit(&mut reader, &journal);
    let engine = engine(&mut reader);
    let log = section::log::read(&mut reader);
    let issuers = section::issuer::read_all(&mut reader);
    let telemetry = section::telemetry::read(&mut reader);
    let callers = section::caller::read_all(&mut reader);
    let accounts = section::account::read_all(&mut reader);
    if reader.layers.names(Group::Callers).is_empty() {
        refuse_open_door(&mut reader, &server);
    }
    let whole = cross_checks::Whole {
        server: &server,
        engine: &engine,
        journal: &journal,
        audit: audit.as_ref(),
        issuers: &issuers,
        telemetry: &telemetry,
        callers: &callers,
        accounts: &accounts,
    };
    cross_checks::look(&mut reader, &whole);
    permissions::directory(&mut reader, schema::settings::JOURNAL_DIR.key, &journal.dir);
    if let Some(audit) = &audit
        && reader.source(schema::settings::AUDIT_DIR.key).is_some()
    {
        permissions::directory(&mut reader, schema::settings::AUDIT_DIR.key, &audit.dir);
    }
    if let Some((file, source)) = named {
        permissions::configuration(&mut reader, file, source);
    }
    permissions::decide(&mut reader, loose);
    reader.mistakes.into_result()?;
    Ok(Config {
        server,
        journal,
        audit,
        engine,
        log,
        issuers,
        telemetry,
        callers,
        accounts,
        warnings: reader.warnings.into_sorted(),
        again: None,
        entries: reader.entries,
    })
}

fn server(reader: &mut SettingsReader<'_>) -> ServerConfig {
    ServerConfig {
        listen: reader.get(&schema::settings::LISTEN),
        insecure: reader.get(&schema::settings::INSECURE),
        drain: Duration::from_millis(reader.get(&schema::settings::DRAIN_MS)),
        streams_max: reader.get(&schema::settings::STREAMS_MAX),
        connections_max: reader.get(&schema::settings::CONNECTIONS_MAX),
        handshake_timeout: Duration::from_millis(
            reader.get(&schema::settings::HANDSHAKE_TIMEOUT_MS),
        ),
        connection_age: Duration::from_millis(reader.get(&schema::settings::CONNECTION_AGE_MS)),
        request_bytes_max: reader.get(&schema::settings::REQUEST_BYTES_MAX),
        progress_interval: Duration::from_millis(
            reader.get(&schema::settings::PROGRESS_INTERVAL_MS),
        ),
        tls: section::tls::read(reader),
        revoked: revoked(reader),
        reload: Duration::from_millis(reader.get(&schema::settings::RELOAD_MS)),
        reload_grace: Duration::from_millis(reader.get(&schema::settings::RELOAD_GRACE_MS)),
        admin_listen: reader.get(&schema::settings::ADMIN_LISTEN),
        core_dumps: reader.get(&schema::settings::CORE_DUMPS),
    }
}

fn revoked(reader: &mut SettingsReader<'_>) -> Option<RevokedFile> {
    let path = reader.get(&schema::settings::REVOKED_FILE)?;
    permissions::trusted(reader, schema::settings::REVOKED_FILE.key, &path);
    let bytes_max = u64::try_from(limits::REVOKED_BYTES_MAX).unwrap_or(u64::MAX);
    let revoked = read_text(&path, bytes_max).and_then(|text| {
        let parsed = Revoked::parse(&text);
        parsed.map_err(|why| format!("it {why}"))
    });
    match revoked {
        Ok(revoked) => Some(RevokedFile { path, revoked }),
        Err(why) => {
            let problem = Problem::new(
                format!("names a list that cannot be used ({why})"),
                "give the path of a list of revoked proofs",
            );
            reader.refuse(schema::settings::REVOKED_FILE.key, problem);
            None
        }
    }
}

fn journal(reader: &mut SettingsReader<'_>) -> JournalConfig {
    let days = |days: Option<u32>| days.map(|days| Duration::from_hours(24) * days);
    let dir = reader.get(&schema::settings::JOURNAL_DIR);
    let cache_bytes = reader.get(&schema::settings::CACHE_BYTES);
    let free_bytes_min = reader.get(&schema::settings::FREE_BYTES_MIN);
    let retention_days = reader.get(&schema::settings::RETENTION_DAYS);
    let answers_retention = days(reader.get(&schema::settings::ANSWERS_DAYS));
    let emails_retention = days(reader.get(&schema::settings::EMAILS_DAYS));
    let comments_retention = days(reader.get(&schema::settings::COMMENTS_DAYS));
    for setting in [
        &schema::settings::ANSWERS_DAYS,
        &schema::settings::EMAILS_DAYS,
        &schema::settings::COMMENTS_DAYS,
    ] {
        let key = setting.key;
        reader.assume(key, retention_days);
    }
    JournalConfig {
        dir,
        cache_bytes,
        free_bytes_min,
        retention: Duration::from_hours(24) * retention_days,
        answers_retention,
        emails_retention,
        comments_retention,
    }
}

/// Days that lines of the audit are kept, if nobody says.
const AUDIT_DAYS: u32 = 400;

fn audit(reader: &mut SettingsReader<'_>, journal: &JournalConfig) -> Option<AuditConfig> {
    let is_enabled = reader.get(&schema::settings::AUDIT_ENABLED);
    let dir = reader.get(&schema::settings::AUDIT_DIR);
    let days = reader.get(&schema::settings::AUDIT_RETENTION_DAYS);
    let lag_max = reader.get(&schema::settings::AUDIT_LAG_MAX);
    let sign_key_file = reader.get(&schema::settings::AUDIT_SIGN_KEY_FILE);
    if let Some(path) = &sign_key_file {
        section::tls::readable(reader, schema::settings::AUDIT_SIGN_KEY_FILE.key, path);
        permissions::private(reader, schema::settings::AUDIT_SIGN_KEY_FILE.key, path);
    }
    let bytes_max = reader.get(&schema::settings::AUDIT_BYTES_MAX);
    let retention = Duration::from_hours(24) * days.unwrap_or(AUDIT_DAYS);
    let dir = dir.unwrap_or_else(|| journal.dir.join(limits::AUDIT_DIR));
    let whole_days = |time: Duration| u32::try_from(time.as_secs() / (24 * 60 * 60)).ok();
    reader.assume(schema::settings::AUDIT_DIR.key, dir.clone());
    reader.assume(
        schema::settings::AUDIT_RETENTION_DAYS.key,
        whole_days(retention.max(journal.retention)),
    );
    if days.is_some() && retention < journal.retention {
        let problem = Problem::new(
            "is less than journal.retention_days",
            "keep the audit at least as long as the journal, or leave it away",
        );
        reader.refuse(schema::settings::AUDIT_RETENTION_DAYS.key, problem);
    }
    is_enabled.then(|| AuditConfig {
        dir,
        retention: retention.max(journal.retention),
        lag_max,
        sign_key_file,
        bytes_max: Some(bytes_max).filter(|max| *max > 0),
    })
}

fn engine(reader: &mut SettingsReader<'_>) -> EngineConfig {
    let open_items_max = reader.get(&schema::settings::OPEN_ITEMS_MAX);
    let open_bytes_max = reader.get(&schema::settings::OPEN_BYTES_MAX);
    let retry_window_ms = reader.get(&schema::settings::RETRY_WINDOW_MS);
    let base_ms = reader.get(&schema::settings::BACKOFF_BASE_MS);
    let max_ms = reader.get(&schema::settings::BACKOFF_MAX_MS);
    if base_ms > max_ms {
        let key = [
            schema::settings::BACKOFF_BASE_MS.key,
            schema::settings::BACKOFF_MAX_MS.key,
        ]
        .into_iter()
        .find(|key| reader.source(key).is_some())
        .unwrap_or(schema::settings::BACKOFF_BASE_MS.key);
        let problem = Problem::new(
            format!("makes backoff_base_ms = {base_ms} more than backoff_max_ms = {max_ms}"),
            "lower the first or raise the second",
        );
        reader.refuse(key, problem);
    }
    EngineConfig {
        open_items_max,
        open_bytes_max,
        retry_window: Duration::from_millis(retry_window_ms),
        backoff_base: Duration::from_millis(base_ms),
        backoff_max: Duration::from_millis(max_ms),
    }
}

/// Whoever can reach the port can cancel everything: that has to be intended.
fn refuse_open_door(reader: &mut SettingsReader<'_>, server: &ServerConfig) {
    if server.listen.ip().is_loopback() || server.insecure {
        return;
    }
    let problem = Problem::new(
        "would let everybody who reaches it cancel, as no caller is configured",
        "add a [callers.some-name] with a token, listen on 127.0.0.1, or set server.insecure = \
         true (or --insecure) if something in front of it decides who may call",
    );
    reader.refuse(schema::settings::LISTEN.key, problem);
}
