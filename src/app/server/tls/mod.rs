//! TLS of the listener. It lies under the door of [`crate::app::server::connection_limit`], so that
//! a connection without a handshake is one that has not said anything yet: it has a place for so
//! long and no longer. The handshake is made by the connection's own task as it reads, and holds
//! nobody up.

mod parts;
mod peer_certificate;
mod server_config;
mod stream;
mod vouching;

pub(in crate::app) use self::{
    parts::Pem,
    peer_certificate::{CertificateStatus, PeerCertificate},
    stream::MaybeTlsStream,
};

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor};

use self::{parts::Parts, server_config::CurrentTls};
use crate::{
    engine::Clock,
    identity::{Authority, CertificateValidity},
};

/// What the listener shows, and whom it believes. Clones are of the same.
#[derive(Debug, Clone)]
pub struct Tls {
    current: Arc<ArcSwap<CurrentTls>>,
    /// What that was made from. Held while it is replaced.
    parts: Arc<Mutex<Parts>>,
    clock: Clock,
}

impl Tls {
    /// TLS with these certificates, authorities with names, and this clock for when they are good.
    ///
    /// # Errors
    /// What is wrong with them, in the words of the configuration.
    pub fn new(
        pem: Pem<'_>,
        named: Vec<(Authority, Vec<u8>)>,
        clients_required: bool,
        clock: Clock,
    ) -> Result<Self, String> {
        let mut parts = Parts::read(pem, clients_required)?;
        for (authority, pem) in named {
            parts.set_authority(&authority, &pem)?;
        }
        let current = CurrentTls::of(&parts, clock.clone())?;
        current.tell();
        Ok(Self {
            current: Arc::new(ArcSwap::from_pointee(current)),
            parts: Arc::new(Mutex::new(parts)),
            clock,
        })
    }

    /// Takes others in their place, for new connections; certificates of clients that are
    /// connected have to hold before the new authorities.
    ///
    /// # Errors
    /// What is wrong with them; then the old ones stay.
    pub fn replace(&self, pem: Pem<'_>) -> Result<(), String> {
        self.change(|parts| parts.replace(pem))?;
        self.current.load().tell();
        Ok(())
    }

    /// Takes other certificates of an authority with a name.
    ///
    /// # Errors
    /// What is wrong with them; then the old ones stay.
    pub fn replace_authority(&self, authority: &Authority, pem: &[u8]) -> Result<(), String> {
        self.change(|parts| parts.set_authority(authority, pem))
    }

    fn change(&self, change: impl FnOnce(&mut Parts) -> Result<(), String>) -> Result<(), String> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = parts.copy();
        change(&mut changed)?;
        let current = CurrentTls::of(&changed, self.clock.clone())?;
        *parts = changed;
        self.current.store(Arc::new(current));
        Ok(())
    }

    /// Looks whether these authorities can be used.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_authorities(pem: &[u8]) -> Result<(), String> {
        parts::check_authorities(pem)
    }

    /// Looks whether these revocation lists can be used.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_revoked(&self, pem: &[u8]) -> Result<(), String> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts = parts.copy();
        parts.set_revoked(pem)?;
        CurrentTls::of(&parts, self.clock.clone()).map(drop)
    }

    /// Believes no certificate of a client any more, connected or not, until others are taken.
    ///
    /// # Errors
    /// If the listener's own certificate cannot be used any more; then all stays as it was.
    pub fn distrust_clients(&self) -> Result<(), String> {
        self.change(|parts| {
            parts.distrusts_all = true;
            Ok(())
        })
    }

    /// Believes nothing any more that this authority vouches for, until its certificates are taken
    /// again.
    ///
    /// # Errors
    /// As [`Self::distrust_clients`].
    pub fn distrust(&self, authority: &Authority) -> Result<(), String> {
        self.change(|parts| parts.set_authority(authority, b""))
    }

    /// When what is in use is good: the listener's chain, and the authorities for clients. Of
    /// each, the certificate that ends first.
    pub(in crate::app) fn validities(&self) -> Vec<(String, CertificateValidity)> {
        let current = self.current.load();
        let own = current.own_validity.map(|own| ("server".to_owned(), own));
        let clients = current
            .clients_validity
            .iter()
            .map(|(authority, validity)| {
                let named = authority.name().map(|name| format!("authorities.{name}"));
                (named.unwrap_or_else(|| "client_ca".to_owned()), *validity)
            });
        own.into_iter().chain(clients).collect()
    }

    /// What is wrong with the listener's certificate at this time, although it can be used.
    pub(in crate::app) fn warning(&self) -> Option<String> {
        self.current.load().ended()
    }

    fn accept(&self, io: TcpStream) -> (Accept<TcpStream>, PeerCertificate) {
        let current = self.current.load_full();
        let acceptor = TlsAcceptor::from(Arc::clone(&current.config));
        let shown = PeerCertificate::new(Arc::clone(&self.current), current);
        (acceptor.accept(io), shown)
    }
}
