//! From the content of the files to what a handshake is made with.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime, pem::PemObject as _,
    },
    server::{
        NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    time_provider::TimeProvider,
};

use super::nobody::Nobody;
use crate::{dispatch::Clock, identity::Validity};

const CLIENT_CA: &str = "server.tls_client_ca_file";
const CLIENT_CRL: &str = "server.tls_client_crl_file";

/// The content of the files, in PEM.
#[derive(Debug, Clone, Copy)]
pub struct Pem<'a> {
    /// The certificate, with those between it and its authority.
    pub cert: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// The authorities that vouch for clients' certificates; `None` to ask for none. An empty text
    /// has none, so that no certificate is believed.
    pub client_ca: Option<&'a [u8]>,
    /// What they have revoked.
    pub client_crl: Option<&'a [u8]>,
}

/// As of the last reload.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) config: Arc<ServerConfig>,
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) own_validity: Option<Validity>,
    pub(super) clients_validity: Option<Validity>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clock: Clock,
}

/// The clock in the library's terms.
#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}

/// Certificates know no time before 1970.
pub(super) fn unix_time(at: Timestamp) -> UnixTime {
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

impl Current {
    /// # Errors
    /// What is wrong with the files, in the words of the configuration.
    pub(super) fn read(pem: Pem<'_>, clients_required: bool, clock: Clock) -> Result<Self, String> {
        let chain = certificates(pem.cert, "server.tls_cert_file")?;
        let key = PrivateKeyDer::from_pem_slice(pem.key)
            .map_err(|_| "server.tls_key_file holds no private key in PEM")?;
        let clients = pem.client_ca;
        let clients = clients.map(|ca| Self::clients_of(ca, pem.client_crl, clients_required));
        let (clients, clients_validity) = clients.transpose()?.unzip();
        Self::with_clients((chain, key), clients, clients_validity.flatten(), clock)
    }

    /// Who judges clients' certificates, and how long the first of its authorities is good.
    pub(super) fn clients_of(
        ca: &[u8],
        crl: Option<&[u8]>,
        required: bool,
    ) -> Result<(Arc<dyn ClientCertVerifier>, Option<Validity>), String> {
        let authorities = authorities(ca)?;
        let validity = ends_first(&authorities);
        let revoked = crl.map(revoked).transpose()?.unwrap_or_default();
        let verifier = verifier(authorities, revoked, required, &provider())?;
        Ok((verifier, validity))
    }

    /// The same for a listener that believes no client's certificate.
    pub(super) fn distrusting(&self, clients_required: bool) -> Result<Self, String> {
        let own = (self.chain.clone(), self.key.clone_key());
        let nobody = Nobody::new(clients_required, provider());
        Self::with_clients(own, Some(Arc::new(nobody)), None, self.clock.clone())
    }

    fn with_clients(
        (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
        clients: Option<Arc<dyn ClientCertVerifier>>,
        clients_validity: Option<Validity>,
        clock: Clock,
    ) -> Result<Self, String> {
        // 1.2 too: rustls has none of its weak parts, and old runtimes know nothing newer.
        let time = Arc::new(Time(clock.clone()));
        let builder = ServerConfig::builder_with_details(provider(), time)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &clients {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let own = (chain.clone(), key.clone_key());
        let mut config = builder.with_single_cert(own.0, own.1).map_err(|error| {
            format!("server.tls_cert_file and server.tls_key_file do not fit together: {error}")
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would bring the certificate of an earlier connection along unchecked.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(config),
            clients,
            own_validity: ends_first(&chain),
            clients_validity,
            chain,
            key,
            clock,
        })
    }

    /// The time, as certificates are judged by it.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// That the listener's certificate has ended, if it has.
    pub(super) fn ended(&self) -> Option<String> {
        let end = self.own_validity?.not_after;
        let now = self.now().as_second();
        let at = Timestamp::from_second(end).ok().filter(|_| end < now)?;
        Some(format!(
            "server.tls_cert_file has a certificate that ended at {at}, so that clients refuse to \
             connect; renew it"
        ))
    }

    /// Work that was admitted goes on without callers, so this is no reason not to start.
    pub(super) fn tell(&self) {
        if let Some(warning) = self.ended() {
            tracing::error!(%warning, "the listener's certificate has ended");
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The authorities in a file. One that was emptied takes all of them back.
fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    if pem.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    certificates(pem, CLIENT_CA)
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

fn ends_first(certificates: &[CertificateDer<'_>]) -> Option<Validity> {
    Validity::ends_first(certificates.iter().map(|certificate| &**certificate))
}

fn certificates(pem: &[u8], setting: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{setting} holds no certificate in PEM")),
    }
}

fn verifier(
    authorities: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
    required: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    if authorities.is_empty() {
        tracing::warn!("{CLIENT_CA} is empty: no certificate of a client is accepted");
        return Ok(Arc::new(Nobody::new(required, Arc::clone(provider))));
    }
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots
            .add(certificate)
            .map_err(|error| format!("{CLIENT_CA} holds what is no authority: {error}"))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .with_crls(revoked)
            // Of several authorities not each has a list.
            .allow_unknown_revocation_status();
    let builder = if required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder.build().map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(why) => format!(
            "{CLIENT_CRL} holds a list that cannot be used ({why:?}); it has to be of version 2, \
                 with a number and its authority's key identifier (RFC 5280)"
        ),
        other => format!("{CLIENT_CA} cannot be used: {other}"),
    })
}
