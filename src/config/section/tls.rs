//! TLS of the listener: which files, and whether clients show certificates too. What is in the
//! files is looked at by whoever uses them.

use std::path::{Path, PathBuf};

use super::identity::ClientAuth;
use crate::{
    config::{
        error::Problem,
        permissions,
        schema::{
            names::Group,
            setting::{Setting, keyed},
            settings::{
                AUTHORITY_CA_FILE, TLS_CERT_FILE, TLS_CLIENT_AUTH, TLS_CLIENT_CA_FILE,
                TLS_CLIENT_CRL_FILE, TLS_KEY_FILE,
            },
        },
        source::{file::read_file, reader::SettingsReader},
    },
    identity::Authority,
    limits,
};

/// How the listener speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Its certificate, with those between it and the authority.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Who may ask for a client's certificate, and who vouches for it: the authorities, and
    /// whether clients need one.
    pub clients: Option<ClientCertificates>,
}

/// How clients' certificates are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The authorities that vouch for all callers that name none.
    pub ca_file: Option<PathBuf>,
    /// Those that vouch for the callers that name them, with their files.
    pub authorities: Vec<(Authority, PathBuf)>,
    /// What these authorities have revoked.
    pub crl_file: Option<PathBuf>,
    /// Whether there is no connection without one.
    pub required: bool,
}

/// Reads what the listener's TLS is to be; `None` for none.
pub(in crate::config) fn read(reader: &mut SettingsReader<'_>) -> Option<TlsConfig> {
    let cert_file = file(reader, &TLS_CERT_FILE);
    let key_file = file(reader, &TLS_KEY_FILE);
    let ca_file = file(reader, &TLS_CLIENT_CA_FILE);
    let crl_file = file(reader, &TLS_CLIENT_CRL_FILE);
    let authorities = authorities(reader);
    let vouches = ca_file.is_some() || !authorities.is_empty();
    if crl_file.is_some() && !vouches {
        let (problem, remedy) = ("is of no authorities", "set server.tls_client_ca_file");
        refuse(reader, &TLS_CLIENT_CRL_FILE, problem, remedy);
    }
    let default = match vouches {
        true => ClientAuth::Optional,
        false => ClientAuth::None,
    };
    let auth = reader.get_or(&TLS_CLIENT_AUTH, "", default);
    match (&cert_file, &key_file) {
        (Some(_), None) => refuse(
            reader,
            &TLS_CERT_FILE,
            "has no key",
            "set server.tls_key_file",
        ),
        (None, Some(_)) => refuse(
            reader,
            &TLS_KEY_FILE,
            "has no certificate",
            "set server.tls_cert_file",
        ),
        (None, None) if ca_file.is_some() => refuse(
            reader,
            &TLS_CLIENT_CA_FILE,
            "does nothing without TLS",
            "set server.tls_cert_file and server.tls_key_file",
        ),
        (None, None) => {
            for (authority, _) in &authorities {
                let key = keyed(AUTHORITY_CA_FILE.key, authority.name().unwrap_or_default());
                let remedy = "set server.tls_cert_file and server.tls_key_file";
                reader.refuse(&key, Problem::new("does nothing without TLS", remedy));
            }
        }
        _ => {}
    }
    if auth != ClientAuth::None && !vouches {
        let problem = Problem::new(
            "asks for certificates that nobody vouches for",
            "set server.tls_client_ca_file",
        );
        reader.refuse(TLS_CLIENT_AUTH.key, problem);
    }
    let clients = (vouches && auth != ClientAuth::None).then(|| ClientCertificates {
        ca_file,
        authorities,
        crl_file,
        required: auth == ClientAuth::Required,
    });
    Some(TlsConfig {
        cert_file: cert_file?,
        key_file: key_file?,
        clients,
    })
}

/// The authorities that have names.
fn authorities(reader: &mut SettingsReader<'_>) -> Vec<(Authority, PathBuf)> {
    let mut authorities = Vec::new();
    for (name, named) in reader.layers.names(Group::Authorities) {
        let key = keyed(AUTHORITY_CA_FILE.key, &name);
        match reader.get_of(&AUTHORITY_CA_FILE, &name) {
            Some(path) => {
                readable(reader, &key, &path);
                permissions::trusted(reader, &key, &path);
                authorities.push((Authority::named(&name), path));
            }
            // One that was given is there, and the mistake in it is noted.
            None if reader.source(&key).is_some() => {}
            None => {
                let remedy = "set it to the path of a PEM file with its certificates";
                let problem = Problem::new("is missing", remedy);
                reader.mistakes.push(Some(named), key, problem);
            }
        }
    }
    authorities
}

fn refuse(
    reader: &mut SettingsReader<'_>,
    setting: &Setting<Option<PathBuf>>,
    problem: &str,
    remedy: &str,
) {
    reader.refuse(setting.key, Problem::new(problem, remedy));
}

/// A file that a setting names, if it can be read.
fn file(
    reader: &mut SettingsReader<'_>,
    setting: &'static Setting<Option<PathBuf>>,
) -> Option<PathBuf> {
    let path = reader.get(setting)?;
    readable(reader, setting.key, &path);
    if setting.key == TLS_KEY_FILE.key {
        permissions::private(reader, setting.key, &path);
    } else {
        permissions::trusted(reader, setting.key, &path);
    }
    Some(path)
}

/// Notes a mistake if a file cannot be read.
pub(in crate::config) fn readable(reader: &mut SettingsReader<'_>, key: &str, path: &Path) {
    if let Err(why) = read_file(path, bytes_max()) {
        let problem = Problem::new(
            format!("names a file that cannot be read ({why})"),
            "give the path of a readable PEM file",
        );
        reader.refuse(key, problem);
    }
}

fn bytes_max() -> u64 {
    u64::try_from(limits::PEM_BYTES_MAX).unwrap_or(u64::MAX)
}
