//! The certificate that a client showed, and whether it is still good at the time of a call.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use super::{
    server_config::{CurrentTls, unix_time},
    vouching::told,
};
use crate::{identity::Certificate, limits};

/// What a connection showed of itself in its handshake.
#[derive(Debug, Clone)]
pub(in crate::app) struct PeerCertificate(Arc<ShownOnce>);

#[derive(Debug)]
struct ShownOnce {
    tls: Arc<ArcSwap<CurrentTls>>,
    /// Whom the handshake believes, which may be replaced while it is made.
    accepted_by: Arc<CurrentTls>,
    seen: OnceLock<SeenCertificate>,
}

#[derive(Debug)]
struct SeenCertificate {
    chain: Vec<CertificateDer<'static>>,
    checked: Mutex<Checked>,
}

/// When the certificate was good last, and before which authorities.
#[derive(Debug)]
struct Checked {
    at: Timestamp,
    before: Arc<CurrentTls>,
    /// With those that vouched for it then.
    certificate: Arc<Certificate>,
}

/// A connection's certificate at the time of a call.
#[derive(Debug)]
pub(in crate::app) enum CertificateStatus {
    /// There is none.
    None,
    /// It is good.
    Good(Arc<Certificate>),
    /// It was good when the connection began; why it is not any more.
    Stale(String),
}

impl PeerCertificate {
    /// A connection whose handshake is still to come.
    pub(super) fn new(tls: Arc<ArcSwap<CurrentTls>>, accepted_by: Arc<CurrentTls>) -> Self {
        Self(Arc::new(ShownOnce {
            tls,
            accepted_by,
            seen: OnceLock::new(),
        }))
    }

    /// A connection may be older than a certificate's end or the removal of its authority, so it
    /// is checked again: at once when the authorities have changed, and each minute.
    pub(in crate::app) fn now(&self) -> CertificateStatus {
        let Some(seen) = self.0.seen.get() else {
            return CertificateStatus::None;
        };
        let current = self.0.tls.load_full();
        let now = current.now();
        let mut checked = seen.checked.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was put back makes no check last longer.
        let age = Duration::try_from(now.duration_since(checked.at)).ok();
        let is_recent =
            age.is_some_and(|age| age < Duration::from_millis(limits::CERTIFICATE_CHECK_MS));
        if is_recent && Arc::ptr_eq(&checked.before, &current) {
            return CertificateStatus::Good(Arc::clone(&checked.certificate));
        }
        let (Some((first, others)), Some(clients)) = (seen.chain.split_first(), &current.clients)
        else {
            return CertificateStatus::Stale("no certificates of clients are believed".to_owned());
        };
        match clients.vouching(first, others, unix_time(now)) {
            Ok(by) => {
                let certificate = Certificate::clone(&checked.certificate).vouched_for(by);
                *checked = Checked {
                    at: now,
                    before: Arc::clone(&current),
                    certificate: Arc::new(certificate),
                };
                CertificateStatus::Good(Arc::clone(&checked.certificate))
            }
            Err(error) => CertificateStatus::Stale(told(&error)),
        }
    }

    /// Keeps what the handshake brought.
    pub(super) fn keep(&self, chain: Option<&[CertificateDer<'_>]>) -> io::Result<()> {
        let Some((first, others)) = chain.and_then(<[_]>::split_first) else {
            return Ok(());
        };
        let failed = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let certificate = Certificate::read(first).map_err(|why| failed(why.to_string()))?;
        let before = &self.0.accepted_by;
        let at = before.now();
        let by = match &before.clients {
            Some(clients) => clients.of_believed(first, others, unix_time(at)),
            None => Ok(Vec::new()),
        };
        let by = by.map_err(|why| failed(why.to_string()))?;
        let chain = chain.unwrap_or_default().iter();
        let seen = SeenCertificate {
            chain: chain.map(|c| c.clone().into_owned()).collect(),
            checked: Mutex::new(Checked {
                at,
                before: Arc::clone(before),
                certificate: Arc::new(certificate.vouched_for(by)),
            }),
        };
        // There is one handshake.
        let _ = self.0.seen.set(seen);
        Ok(())
    }
}
