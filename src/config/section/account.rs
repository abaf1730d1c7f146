//! Accounts at providers: settings, credentials and limits, with what each provider brings along.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;

use super::secret::{self, SecretSources};
use crate::{
    config::{
        error::{Problem, SettingSource},
        schema::{
            names::Group,
            setting::keyed,
            settings::{self, ALL},
            text_format,
            value_type::{Choice, Text},
        },
        source::reader::SettingsReader,
    },
    domain::{
        account::{Account, FunnelFoxEnd, ProviderId, ProviderSettings, RebillyAuth, Revolv3Auth},
        ids::AccountName,
    },
};

const CONCURRENCY_MIN: u32 = 2;
const CONNECT_TIMEOUT_MS: u64 = 5_000;
const TIMEOUT_MS: u64 = 30_000;
/// FunnelFox calls through to the payment company; its other clients wait as long.
const TIMEOUT_FUNNELFOX_MS: u64 = 120_000;

const WAYS: SecretSources = SecretSources {
    inline: &settings::CREDENTIAL,
    file: &settings::CREDENTIAL_FILE,
    env: &settings::CREDENTIAL_ENV,
};

/// An account and what egress needs for it.
#[derive(Debug, Clone)]
pub struct AccountConfig {
    /// Its settings.
    pub account: Account,
    /// What it shows the provider: a legal header value, not empty.
    pub credential: SecretString,
    /// The file that it came from, if it came from one.
    pub credential_file: Option<PathBuf>,
    /// The HTTP proxy on the way there.
    pub proxy_url: Option<String>,
    /// What keeps the provider from being flooded.
    pub limits: AccountLimits,
}

/// What keeps a provider from being flooded, and a request from lasting for ever.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AccountLimits {
    /// Requests at a time, at least 1.
    pub concurrency_max: u32,
    /// The least that this comes down to, between 1 and `concurrency_max`.
    pub concurrency_min: u32,
    /// Failed retries for each hundred first requests.
    pub retry_budget_percent: u32,
    /// Requests per second in the long run, above 0 and finite.
    pub rate_per_second: f64,
    /// Requests at once after a pause, at least 1.
    pub rate_burst: u32,
    /// Time to connect, at most `timeout`.
    pub connect_timeout: Duration,
    /// Time for a whole request.
    pub timeout: Duration,
    /// How long after an answer was lost its request may still take effect.
    pub settling: Duration,
}

/// Which of a provider's hosts is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Environment {
    Live,
    Sandbox,
}

impl Choice for Environment {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("live", Self::Live), ("sandbox", Self::Sandbox)];
}

/// How a credential is sent, in the words of all providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum AuthWord {
    ApiKey,
    Token,
    Bearer,
}

impl Choice for AuthWord {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("api_key", Self::ApiKey),
        ("token", Self::Token),
        ("bearer", Self::Bearer),
    ];
}

impl Choice for ProviderId {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("rebilly", Self::Rebilly),
        ("solidgate", Self::Solidgate),
        ("funnelfox", Self::FunnelFox),
        ("revolv3", Self::Revolv3),
        ("sequenzy", Self::Sequenzy),
    ];
}

impl Choice for FunnelFoxEnd {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("period_end", Self::PeriodEnd), ("now", Self::Now)];
}

/// Where a provider's API is; `None` for a sandbox that there is not.
fn host(provider: ProviderId, environment: Environment) -> Option<&'static str> {
    use Environment::{Live, Sandbox};
    match (provider, environment) {
        (ProviderId::Rebilly, Live) => Some("https://api.rebilly.com"),
        (ProviderId::Rebilly, Sandbox) => Some("https://api-sandbox.rebilly.com"),
        (ProviderId::Solidgate, Live) => Some("https://api.solidgate.com"),
        // .io: the documentation and another API of theirs are at .com.
        (ProviderId::FunnelFox, Live) => Some("https://api.funnelfox.io/public/v1"),
        (ProviderId::Revolv3, Live) => Some("https://api.revolv3.com"),
        (ProviderId::Revolv3, Sandbox) => Some("https://api-sandbox.revolv3.com"),
        (ProviderId::Sequenzy, Live) => Some("https://api.sequenzy.com/api/v1"),
        (ProviderId::Solidgate | ProviderId::FunnelFox | ProviderId::Sequenzy, Sandbox) => None,
    }
}

/// Requests per second and at once. Over any stretch of time at most `burst + rate * seconds`
/// requests go out, and that stays below what the provider documents.
fn rate(provider: ProviderId, environment: Environment) -> (f64, u32) {
    match (provider, environment) {
        // Documented: 3,000 in 10 minutes, other than GET. 20 + 600 * 4.8 = 2,900.
        (ProviderId::Rebilly, Environment::Sandbox) => (4.8, 20),
        // Not published; replies carry what is left. Twice the sandbox's.
        (ProviderId::Rebilly, Environment::Live) => (10.0, 20),
        // Shown in its Hub only. Its former API took 10 a second in tests.
        (ProviderId::Solidgate, _) => (8.0, 8),
        // Nothing is documented, and every call goes on to a payment company.
        (ProviderId::FunnelFox, _) => (5.0, 10),
        // Documented: 20 a second, or 20,000 in 15 minutes. 4 + 15 = 19.
        (ProviderId::Revolv3, _) => (15.0, 4),
        // Documented: 100 a minute and 20 a second. 20 + 60 * 1.3 = 98.
        (ProviderId::Sequenzy, _) => (1.3, 20),
    }
}

/// Reads all accounts, in the order of their names.
pub(in crate::config) fn read_all(reader: &mut SettingsReader<'_>) -> Vec<AccountConfig> {
    let mut accounts = Vec::new();
    for (name, named) in reader.layers.names(Group::Accounts) {
        accounts.extend(read(reader, &name, &named));
    }
    accounts
}

fn read(
    reader: &mut SettingsReader<'_>,
    name: &str,
    named: &SettingSource,
) -> Option<AccountConfig> {
    let provider = reader.get_of(&settings::PROVIDER, name);
    match provider {
        Some(provider) => refuse_settings_of_others(reader, name, provider),
        None => refuse_no_provider(reader, name, named),
    }
    // Without a provider nothing comes of it, but the other mistakes are found.
    let assumed = provider.unwrap_or(ProviderId::Rebilly);
    let environment = reader.get_of(&settings::ENVIRONMENT, name);
    let base_url = base_url(reader, name, assumed, environment);
    let proxy_url = reader.get_of(&settings::PROXY_URL, name).map(|url| url.0);
    let credential = credential(reader, name, named);
    let limits = limits(reader, name, assumed, environment);
    let settings = match provider {
        Some(provider) => Some(settings(reader, name, provider)),
        None => {
            note_mistakes_in_settings(reader, name);
            None
        }
    };
    Some(AccountConfig {
        account: Account {
            name: AccountName::try_from(name).ok()?,
            base_url: base_url?,
            settings: settings?,
        },
        credential_file: credential.as_ref().and_then(|(_, file)| file.clone()),
        credential: credential?.0,
        proxy_url,
        limits,
    })
}

fn refuse_no_provider(reader: &mut SettingsReader<'_>, name: &str, named: &SettingSource) {
    let key = keyed(settings::PROVIDER.key, name);
    if reader.source(&key).is_some() {
        // It was given, and the mistake in it is noted.
        return;
    }
    let names: Vec<_> = ProviderId::ALL.iter().map(|id| id.name()).collect();
    let mut remedy = format!("set it to one of {}", names.join(", "));
    // A variable with a misspelled name makes an account of its own.
    let others = reader.layers.names(Group::Accounts);
    let others = others.iter().map(|(other, _)| other.as_str());
    if let SettingSource::Env(_) = named
        && let Some(other) =
            crate::config::did_you_mean::nearest(name, others.filter(|other| *other != name))
    {
        remedy = format!("{remedy}, or did the variable mean the account {other}?");
    }
    let problem = Problem::new("is missing", remedy);
    reader.mistakes.push(Some(named.clone()), key, problem);
}

fn refuse_settings_of_others(reader: &mut SettingsReader<'_>, name: &str, provider: ProviderId) {
    let foreign = |owners: &[ProviderId]| !owners.is_empty() && !owners.contains(&provider);
    for setting in ALL.iter().filter(|setting| foreign(setting.owners())) {
        let key = keyed(setting.key(), name);
        if reader.source(&key).is_some() {
            let owners: Vec<_> = setting.owners().iter().map(|id| id.name()).collect();
            let problem = Problem::new(
                format!("does not exist at {}", provider.name()),
                format!("it belongs to accounts at {}", owners.join(" and ")),
            );
            reader.refuse(&key, problem);
        }
    }
}

fn base_url(
    reader: &mut SettingsReader<'_>,
    name: &str,
    provider: ProviderId,
    environment: Environment,
) -> Option<String> {
    let host = host(provider, environment);
    if host.is_none() {
        let problem = Problem::new(
            format!("cannot be sandbox: {} has no host for it", provider.name()),
            "leave the setting away, and use a key of the provider's test mode if it has one",
        );
        reader.refuse(&keyed(settings::ENVIRONMENT.key, name), problem);
    }
    let default = Text(host.unwrap_or_default().to_owned());
    let given = reader.get_or(&settings::BASE_URL, name, default).0;
    let allow_http = reader.get_of(&settings::ALLOW_HTTP, name);
    host?;
    // Read before, so a mistake in it is noted.
    let url = text_format::base_url(&given).ok()?;
    let key = keyed(settings::BASE_URL.key, name);
    if !(url.is_https || url.is_loopback || allow_http) {
        let problem = Problem::new(
            "would send the credential in the clear",
            "begin it with https://, or set allow_http = true if the way there is safe",
        );
        reader.refuse(&key, problem);
    }
    if provider == ProviderId::Rebilly && url.text.contains("/organizations") {
        let problem = Problem::new(
            "names an organization",
            "end it before /organizations, and name the organization in `organization`",
        );
        reader.refuse(&key, problem);
    }
    Some(url.text)
}

fn credential(
    reader: &mut SettingsReader<'_>,
    name: &str,
    named: &SettingSource,
) -> Option<(SecretString, Option<PathBuf>)> {
    let found = secret::find(reader, &WAYS, name, named)?;
    match secret::parse(&found.text) {
        Ok(credential) => Some((credential, found.file)),
        Err(problem) => {
            reader.refuse(&found.key, problem);
            None
        }
    }
}

fn limits(
    reader: &mut SettingsReader<'_>,
    name: &str,
    provider: ProviderId,
    environment: Environment,
) -> AccountLimits {
    let (rate_per_second, rate_burst) = rate(provider, environment);
    let concurrency_max = reader.get_of(&settings::CONCURRENCY_MAX, name);
    let concurrency_min = reader.get_or(
        &settings::CONCURRENCY_MIN,
        name,
        CONCURRENCY_MIN.min(concurrency_max),
    );
    if concurrency_min > concurrency_max {
        let problem = Problem::new(
            format!("= {concurrency_min} is more than concurrency_max = {concurrency_max}"),
            "give as much or less",
        );
        reader.refuse(&keyed(settings::CONCURRENCY_MIN.key, name), problem);
    }
    let retry_budget_percent = reader.get_of(&settings::RETRY_BUDGET_PERCENT, name);
    let rate_per_second = reader.get_or(&settings::RATE_PER_SECOND, name, rate_per_second);
    let rate_burst = reader.get_or(&settings::RATE_BURST, name, rate_burst);
    let timeout_ms = match provider {
        ProviderId::FunnelFox => TIMEOUT_FUNNELFOX_MS,
        ProviderId::Rebilly
        | ProviderId::Solidgate
        | ProviderId::Revolv3
        | ProviderId::Sequenzy => TIMEOUT_MS,
    };
    let timeout_ms = reader.get_or(&settings::TIMEOUT_MS, name, timeout_ms);
    let connect_timeout_ms = reader.get_or(
        &settings::CONNECT_TIMEOUT_MS,
        name,
        CONNECT_TIMEOUT_MS.min(timeout_ms),
    );
    if connect_timeout_ms > timeout_ms {
        let problem = Problem::new(
            format!("= {connect_timeout_ms} is more than timeout_ms = {timeout_ms}"),
            "give less: connecting is part of the request",
        );
        reader.refuse(&keyed(settings::CONNECT_TIMEOUT_MS.key, name), problem);
    }
    AccountLimits {
        concurrency_max,
        concurrency_min,
        retry_budget_percent,
        rate_per_second,
        rate_burst,
        connect_timeout: Duration::from_millis(connect_timeout_ms),
        timeout: Duration::from_millis(timeout_ms),
        settling: Duration::from_millis(reader.get_of(&settings::SETTLING_MS, name)),
    }
}

/// Reads what belongs to single providers for the mistakes in it.
fn note_mistakes_in_settings(reader: &mut SettingsReader<'_>, name: &str) {
    reader.get_of(&settings::ORGANIZATION, name);
    reader.get_of(&settings::AUTH, name);
    reader.get_of(&settings::CHANNEL_ID, name);
    reader.get_of(&settings::LOOKUP_PATH, name);
    reader.get_of(&settings::CANCEL_ENDS, name);
    reader.get_of(&settings::SET_TIMING, name);
    reader.get_of(&settings::COMPANY_ID, name);
}

fn settings(reader: &mut SettingsReader<'_>, name: &str, provider: ProviderId) -> ProviderSettings {
    let text = |text: Option<Text>| text.map(|text| text.0);
    match provider {
        ProviderId::Rebilly => ProviderSettings::Rebilly {
            organization: text(reader.get_of(&settings::ORGANIZATION, name)),
            auth: match auth(reader, name, AuthWord::ApiKey) {
                AuthWord::Bearer => RebillyAuth::Bearer,
                AuthWord::ApiKey | AuthWord::Token => RebillyAuth::ApiKey,
            },
        },
        ProviderId::Solidgate => ProviderSettings::Solidgate {
            channel_id: text(reader.get_of(&settings::CHANNEL_ID, name)),
            lookup_path: reader.get_of(&settings::LOOKUP_PATH, name).0,
        },
        ProviderId::FunnelFox => ProviderSettings::FunnelFox {
            cancel_ends: reader.get_of(&settings::CANCEL_ENDS, name),
        },
        ProviderId::Revolv3 => ProviderSettings::Revolv3 {
            auth: match auth(reader, name, AuthWord::Token) {
                AuthWord::Bearer => Revolv3Auth::Bearer,
                AuthWord::ApiKey | AuthWord::Token => Revolv3Auth::Token,
            },
            set_timing: reader.get_of(&settings::SET_TIMING, name),
        },
        ProviderId::Sequenzy => ProviderSettings::Sequenzy {
            company_id: text(reader.get_of(&settings::COMPANY_ID, name)),
        },
    }
}

/// The word given for `auth`, which is the provider's own word or `bearer`.
fn auth(reader: &mut SettingsReader<'_>, name: &str, own: AuthWord) -> AuthWord {
    let auth = reader.get_or(&settings::AUTH, name, own);
    if auth != own && auth != AuthWord::Bearer {
        let own_word = match own {
            AuthWord::ApiKey => "api_key",
            AuthWord::Token => "token",
            AuthWord::Bearer => "bearer",
        };
        let problem = Problem::new(
            "is a word of another provider",
            format!("give {own_word} or bearer"),
        );
        reader.refuse(&keyed(settings::AUTH.key, name), problem);
    }
    auth
}
