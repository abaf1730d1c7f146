//! TLS of the listener: which files, and whether clients show certificates too. What is in the
//! files is looked at by whoever uses them.

use std::path::{Path, PathBuf};

use super::{
    file::read_file,
    identity::ClientAuth,
    mistake::Problem,
    permissions,
    reader::Reader,
    setting::Setting,
    table::{
        TLS_CERT_FILE, TLS_CLIENT_AUTH, TLS_CLIENT_CA_FILE, TLS_CLIENT_CRL_FILE, TLS_KEY_FILE,
    },
};
use crate::limits;

/// How the listener speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
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
    /// The authorities that vouch for them.
    pub ca_file: PathBuf,
    /// What these authorities have revoked.
    pub crl_file: Option<PathBuf>,
    /// Whether there is no connection without one.
    pub required: bool,
}

/// Reads what the listener's TLS is to be; `None` for none.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Tls> {
    let cert_file = file(reader, &TLS_CERT_FILE);
    let key_file = file(reader, &TLS_KEY_FILE);
    let ca_file = file(reader, &TLS_CLIENT_CA_FILE);
    let crl_file = file(reader, &TLS_CLIENT_CRL_FILE);
    if crl_file.is_some() && ca_file.is_none() {
        let (problem, remedy) = ("is of no authorities", "set server.tls_client_ca_file");
        refuse(reader, &TLS_CLIENT_CRL_FILE, problem, remedy);
    }
    let default = match ca_file {
        Some(_) => ClientAuth::Optional,
        None => ClientAuth::None,
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
        _ => {}
    }
    if auth != ClientAuth::None && ca_file.is_none() {
        let problem = Problem::new(
            "asks for certificates that nobody vouches for",
            "set server.tls_client_ca_file",
        );
        reader.refuse(TLS_CLIENT_AUTH.key, problem);
    }
    let clients = ca_file
        .filter(|_| auth != ClientAuth::None)
        .map(|ca_file| ClientCertificates {
            ca_file,
            crl_file,
            required: auth == ClientAuth::Required,
        });
    Some(Tls {
        cert_file: cert_file?,
        key_file: key_file?,
        clients,
    })
}

fn refuse(
    reader: &mut Reader<'_>,
    setting: &Setting<Option<PathBuf>>,
    problem: &str,
    remedy: &str,
) {
    reader.refuse(setting.key, Problem::new(problem, remedy));
}

/// A file that a setting names, if it can be read.
fn file(reader: &mut Reader<'_>, setting: &'static Setting<Option<PathBuf>>) -> Option<PathBuf> {
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
pub(super) fn readable(reader: &mut Reader<'_>, key: &str, path: &Path) {
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
