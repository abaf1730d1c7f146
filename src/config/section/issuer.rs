//! Who issues the JWTs that callers show, and where its keys come from.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::tls::readable;
use crate::{
    config::{
        error::{Problem, SettingSource},
        permissions,
        schema::{
            names::Group,
            setting::{Described as _, keyed},
            settings, text_format,
            value_type::Text,
        },
        source::{file::read_text, reader::SettingsReader},
    },
    identity::{Algorithm, IssuerSettings, Jwks},
    limits,
};

/// An issuer of JWTs.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// What makes its tokens good.
    pub settings: IssuerSettings,
    /// Where its keys are.
    pub keys: KeysFrom,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone)]
pub enum KeysFrom {
    /// In a file.
    File {
        /// Its path.
        path: PathBuf,
        /// What it held when the configuration was read.
        keys: Jwks,
    },
    /// At a URL.
    Url {
        /// Where: HTTPS, or HTTP on this machine.
        url: String,
        /// The authorities that vouch for the host; `None` for the system's.
        ca_file: Option<PathBuf>,
        /// The token to show there.
        token_file: Option<PathBuf>,
        /// How often they are fetched.
        refresh: Duration,
    },
}

impl KeysFrom {
    /// Whether keys from there are from here too.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { path, .. }, Self::File { path: other, .. }) => path == other,
            (
                Self::Url {
                    url,
                    ca_file,
                    token_file,
                    ..
                },
                Self::Url {
                    url: other_url,
                    ca_file: other_ca,
                    token_file: other_token,
                    ..
                },
            ) => (url, ca_file, token_file) == (other_url, other_ca, other_token),
            _ => false,
        }
    }
}

/// What tokens may be signed with if nobody says.
pub(in crate::config) fn algorithms() -> Vec<Algorithm> {
    vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]
}

/// What tokens may say that they are if nobody says: RFC 7519 and RFC 9068.
pub(in crate::config) fn types() -> Vec<Text> {
    ["JWT", "at+jwt"].map(|kind| Text(kind.to_owned())).into()
}

/// Reads an issuer's keys.
///
/// # Errors
/// Why it has none, without quoting the file.
pub fn read_keys(path: &std::path::Path) -> Result<Jwks, String> {
    let bytes_max = u64::try_from(limits::JWKS_BYTES_MAX).unwrap_or(u64::MAX);
    Jwks::parse(&read_text(path, bytes_max)?)
}

/// Reads all issuers.
pub(in crate::config) fn read_all(reader: &mut SettingsReader<'_>) -> Vec<IssuerConfig> {
    let mut issuers = Vec::new();
    for (name, named) in reader.layers.names(Group::Issuers) {
        issuers.extend(read(reader, &name, &named));
    }
    refuse_same_issuers(reader, &issuers);
    issuers
}

fn read(
    reader: &mut SettingsReader<'_>,
    name: &str,
    named: &SettingSource,
) -> Option<IssuerConfig> {
    let issuer = reader.get_of(&settings::ISSUER, name);
    let audiences = reader.get_of(&settings::AUDIENCES, name);
    let algorithms = reader.get_of(&settings::ALGORITHMS, name);
    let types = reader.get_of(&settings::TYPES, name);
    let token_life_max = reader.get_of(&settings::TOKEN_LIFE_MAX_MS, name);
    let missing = [
        (
            issuer.is_none(),
            &settings::ISSUER.key,
            "set it to what its tokens have as iss",
        ),
        (
            audiences.is_none(),
            &settings::AUDIENCES.key,
            "set it to what its tokens have as aud when they are meant for this service, so that \
             those for other services are worth nothing here",
        ),
    ];
    for (is_missing, key, remedy) in missing {
        let key = keyed(key, name);
        if is_missing && reader.source(&key).is_none() {
            let problem = Problem::new("is missing", remedy);
            reader.mistakes.push(Some(named.clone()), key, problem);
        }
    }
    let refresh_ms = reader.get_of(&settings::JWKS_REFRESH_MS, name);
    let keys = keys_from(reader, name, named, Duration::from_millis(refresh_ms));
    let keys_age_max = keys_age_max(reader, name, refresh_ms);
    let text = |text: Text| text.0;
    Some(IssuerConfig {
        settings: IssuerSettings {
            name: name.to_owned(),
            issuer: text(issuer?),
            audiences: audiences?.into_iter().map(text).collect(),
            algorithms,
            types: types
                .into_iter()
                .map(|kind| kind.0.to_ascii_lowercase())
                .collect(),
            token_life_max: token_life_max.map(Duration::from_millis),
            keys_age_max,
        },
        keys: keys?,
    })
}

/// How old keys may be that are fetched. Those of a file are looked at all the time.
fn keys_age_max(reader: &mut SettingsReader<'_>, name: &str, refresh_ms: u64) -> Option<Duration> {
    let age_max_ms = reader.get_of(&settings::JWKS_AGE_MAX_MS, name);
    reader.source(&keyed(settings::JWKS_URL.key, name))?;
    if age_max_ms < refresh_ms {
        let problem = Problem::new(
            format!("= {age_max_ms} is less than jwks_refresh_ms = {refresh_ms}"),
            "make it at least twice as long, so that keys are fetched before they are too old",
        );
        reader.refuse(&keyed(settings::JWKS_AGE_MAX_MS.key, name), problem);
    }
    Some(Duration::from_millis(age_max_ms))
}

fn keys_from(
    reader: &mut SettingsReader<'_>,
    name: &str,
    named: &SettingSource,
    refresh: Duration,
) -> Option<KeysFrom> {
    let path = reader.get_of(&settings::JWKS_FILE, name);
    let url = reader.get_of(&settings::JWKS_URL, name);
    let ca_file = reader.get_of(&settings::JWKS_CA_FILE, name);
    let token_file = reader.get_of(&settings::JWKS_TOKEN_FILE, name);
    let key = |setting: &str| keyed(setting, name);
    match (path, url) {
        (Some(path), None) => {
            for setting in [settings::JWKS_CA_FILE.key, settings::JWKS_TOKEN_FILE.key] {
                if reader.source(&key(setting)).is_some() {
                    let problem = Problem::new("belongs to a jwks_url", "leave it away");
                    reader.refuse(&key(setting), problem);
                }
            }
            permissions::trusted(reader, &key(settings::JWKS_FILE.key), &path);
            match read_keys(&path) {
                Ok(keys) => Some(KeysFrom::File { path, keys }),
                Err(why) => {
                    let problem = Problem::new(
                        format!("names a file that cannot be used ({why})"),
                        "give the path of a JWKS",
                    );
                    reader.refuse(&key(settings::JWKS_FILE.key), problem);
                    None
                }
            }
        }
        (None, Some(url)) => {
            let url = url.0;
            let parsed = text_format::base_url(&url).ok()?;
            if !(parsed.is_https || parsed.is_loopback) {
                let problem = Problem::new(
                    "would fetch keys in the clear, where anybody on the way could put others",
                    "begin it with https://",
                );
                reader.refuse(&key(settings::JWKS_URL.key), problem);
            }
            for (setting, file) in [
                (settings::JWKS_CA_FILE.key, &ca_file),
                (settings::JWKS_TOKEN_FILE.key, &token_file),
            ] {
                if let Some(file) = file {
                    readable(reader, &key(setting), file);
                }
            }
            if let Some(file) = &ca_file {
                permissions::trusted(reader, &key(settings::JWKS_CA_FILE.key), file);
            }
            if let Some(file) = &token_file {
                permissions::private(reader, &key(settings::JWKS_TOKEN_FILE.key), file);
            }
            Some(KeysFrom::Url {
                url,
                ca_file,
                token_file,
                refresh,
            })
        }
        (Some(_), Some(_)) => {
            let problem = Problem::new("is one of two places", "keep it or jwks_url");
            reader.refuse(&key(settings::JWKS_FILE.key), problem);
            None
        }
        (None, None) => {
            let given = [settings::JWKS_FILE.key, settings::JWKS_URL.key];
            // One that was given is there, and the mistake in it is noted.
            if given
                .iter()
                .all(|given| reader.source(&key(given)).is_none())
            {
                let problem = Problem::new(
                    "has no keys",
                    format!(
                        "set {} or {}",
                        settings::JWKS_FILE.word(),
                        settings::JWKS_URL.word()
                    ),
                );
                let table = keyed(settings::JWKS_FILE.section(), name);
                reader.mistakes.push(Some(named.clone()), table, problem);
            }
            None
        }
    }
}

/// A token is looked at by the rules of its issuer, so there has to be one set of them.
fn refuse_same_issuers(reader: &mut SettingsReader<'_>, issuers: &[IssuerConfig]) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for config in issuers {
        let IssuerSettings { name, issuer, .. } = &config.settings;
        let first = *seen.entry(issuer).or_insert(name);
        if first != name {
            let problem = Problem::new(
                format!("is that of issuers.{first} too"),
                "make one of the two, with the audiences of both",
            );
            reader.refuse(&keyed(settings::ISSUER.key, name), problem);
        }
    }
}
