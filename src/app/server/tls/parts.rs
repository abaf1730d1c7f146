//! What TLS of the listener is made from, as it was read from the files.

use std::collections::BTreeMap;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::identity::Authority;

const CLIENT_CA: &str = "server.tls_client_ca_file";
pub(super) const CLIENT_CRL: &str = "server.tls_client_crl_file";

/// The content of the files, in PEM.
#[derive(Debug, Clone, Copy)]
pub struct Pem<'a> {
    /// The certificate, with those between it and its authority.
    pub cert: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// The authorities that vouch for clients' certificates; `None` for none without a name. An
    /// empty text has none, so that no certificate is believed.
    pub client_ca: Option<&'a [u8]>,
    /// What all authorities have revoked.
    pub client_crl: Option<&'a [u8]>,
}

/// The same, as it was read.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// Who vouches for clients, by name. Clients are asked for certificates if there is any.
    pub(super) authorities: BTreeMap<Authority, Vec<CertificateDer<'static>>>,
    pub(super) revoked: Vec<CertificateRevocationListDer<'static>>,
    pub(super) clients_required: bool,
    /// Nobody is believed, whatever the authorities are.
    pub(super) distrusts_all: bool,
}

impl Parts {
    /// # Errors
    /// What is wrong with the files, in the words of the configuration.
    pub(super) fn read(pem: Pem<'_>, clients_required: bool) -> Result<Self, String> {
        let chain = certificates(pem.cert, "server.tls_cert_file")?;
        let key = PrivateKeyDer::from_pem_slice(pem.key)
            .map_err(|_| "server.tls_key_file holds no private key in PEM")?;
        let mut parts = Self {
            chain,
            key,
            authorities: BTreeMap::new(),
            revoked: pem.client_crl.map(revoked).transpose()?.unwrap_or_default(),
            clients_required,
            distrusts_all: false,
        };
        if let Some(ca) = pem.client_ca {
            parts.set_authority(&Authority::default(), ca)?;
        }
        Ok(parts)
    }

    /// The same with other files, but for the authorities with names.
    pub(super) fn replace(&mut self, pem: Pem<'_>) -> Result<(), String> {
        let read = Self::read(pem, self.clients_required)?;
        let before = std::mem::replace(self, read);
        for (authority, certificates) in before.authorities {
            self.authorities.entry(authority).or_insert(certificates);
        }
        Ok(())
    }

    /// Takes an authority's certificates. An empty text takes all of them back.
    pub(super) fn set_authority(&mut self, of: &Authority, pem: &[u8]) -> Result<(), String> {
        let setting = match of.name() {
            Some(name) => format!("authorities.{name}.ca_file"),
            None => CLIENT_CA.to_owned(),
        };
        let certificates = authorities(pem, &setting)?;
        if certificates.is_empty() {
            tracing::warn!("{setting} is empty: no certificate of a client is accepted by it");
        }
        self.authorities.insert(of.clone(), certificates);
        Ok(())
    }

    /// Takes other revocation lists.
    pub(super) fn set_revoked(&mut self, pem: &[u8]) -> Result<(), String> {
        self.revoked = revoked(pem)?;
        Ok(())
    }

    pub(super) fn copy(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            authorities: self.authorities.clone(),
            revoked: self.revoked.clone(),
            clients_required: self.clients_required,
            distrusts_all: self.distrusts_all,
        }
    }
}

/// See [`crate::app::server::tls::Tls::check_authorities`].
pub(super) fn check_authorities(pem: &[u8]) -> Result<(), String> {
    authorities(pem, CLIENT_CA).map(drop)
}

/// The authorities in a file. One that was emptied takes all of them back.
fn authorities(pem: &[u8], setting: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    if pem.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let found = certificates(pem, setting)?;
    let mut roots = RootCertStore::empty();
    for certificate in &found {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("{setting} holds what is no authority: {error}"))?;
    }
    Ok(found)
}

/// The revocation lists in a file. Without any in it everything would be good again, so that is a
/// mistake.
fn revoked(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{CLIENT_CRL} holds no revocation list in PEM")),
    }
}

fn certificates(pem: &[u8], setting: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{setting} holds no certificate in PEM")),
    }
}
