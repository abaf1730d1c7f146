//! From the content of the files to what a handshake is made with.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    time_provider::TimeProvider,
};

use crate::{dispatch::Clock, identity::Validity};

const CLIENT_CA: &str = "server.tls_client_ca_file";

/// The content of the files, in PEM.
#[derive(Debug, Clone, Copy)]
pub struct Pem<'a> {
    /// The certificate, with those between it and its authority.
    pub cert: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// The authorities that vouch for clients' certificates; `None` to ask for none.
    pub client_ca: Option<&'a [u8]>,
}

/// As of the last reload.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) config: Arc<ServerConfig>,
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
    pub(super) own_validity: Option<Validity>,
    pub(super) clients_validity: Option<Validity>,
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
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(pem.cert, "server.tls_cert_file")?;
        let key = PrivateKeyDer::from_pem_slice(pem.key)
            .map_err(|_| "server.tls_key_file holds no private key in PEM")?;
        let own_validity = ends_first(&chain);
        let authorities = pem
            .client_ca
            .map(|ca| certificates(ca, CLIENT_CA))
            .transpose()?;
        let clients_validity = authorities.as_deref().and_then(ends_first);
        let clients = authorities
            .map(|authorities| verifier(authorities, clients_required, &provider))
            .transpose()?;
        // 1.2 too: rustls has none of its weak parts, and old runtimes know nothing newer.
        let time = Arc::new(Time(clock.clone()));
        let builder = ServerConfig::builder_with_details(provider, time)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match &clients {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| {
            format!("server.tls_cert_file and server.tls_key_file do not fit together: {error}")
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would bring the certificate of an earlier connection along unchecked.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(config),
            clients,
            own_validity,
            clients_validity,
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
    required: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities {
        roots
            .add(certificate)
            .map_err(|error| format!("{CLIENT_CA} holds what is no authority: {error}"))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder
        .build()
        .map_err(|error| format!("{CLIENT_CA} cannot be used: {error}"))
}
