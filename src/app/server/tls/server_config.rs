//! From what the files hold to what a handshake is made with.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, UnixTime},
    server::{NoServerSessionStorage, danger::ClientCertVerifier},
    time_provider::TimeProvider,
};

use super::{parts::Parts, vouching::Vouching};
use crate::{
    engine::Clock,
    identity::{Authority, CertificateValidity},
};

/// As of the last reload.
#[derive(Debug)]
pub(super) struct CurrentTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) clients: Option<Arc<Vouching>>,
    pub(super) own_validity: Option<CertificateValidity>,
    /// Of those that vouch for clients, how long the first certificate of each is good.
    pub(super) clients_validity: Vec<(Authority, CertificateValidity)>,
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

impl CurrentTls {
    /// # Errors
    /// What is wrong with the files, in the words of the configuration.
    pub(super) fn of(parts: &Parts, clock: Clock) -> Result<Self, String> {
        // 1.2 too: rustls has none of its weak parts, and old runtimes know nothing newer.
        let (provider, time) = (provider(), Arc::new(Time(clock.clone())));
        let builder = ServerConfig::builder_with_details(Arc::clone(&provider), time)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let clients = match parts.authorities.is_empty() {
            true => None,
            false => Some(Arc::new(Vouching::new(parts, &provider)?)),
        };
        let builder = match &clients {
            Some(clients) => {
                let verifier: Arc<dyn ClientCertVerifier> = Arc::<Vouching>::clone(clients);
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let own = (parts.chain.clone(), parts.key.clone_key());
        let mut config = builder.with_single_cert(own.0, own.1).map_err(|error| {
            format!("server.tls_cert_file and server.tls_key_file do not fit together: {error}")
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would bring the certificate of an earlier connection along unchecked.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let validities = parts
            .authorities
            .iter()
            .filter_map(|(authority, certificates)| {
                let believed = ends_first(certificates).filter(|_| !parts.distrusts_all);
                Some((authority.clone(), believed?))
            });
        Ok(Self {
            config: Arc::new(config),
            clients,
            own_validity: ends_first(&parts.chain),
            clients_validity: validities.collect(),
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

fn ends_first(certificates: &[CertificateDer<'_>]) -> Option<CertificateValidity> {
    CertificateValidity::ends_first(certificates.iter().map(|certificate| &**certificate))
}
