//! TLS of the listener. It lies under the door of [`super::accept`], so that a connection without a
//! handshake is one that has not said anything yet: it has a place for so long and no longer. The
//! handshake is made by the connection's own task as it reads, and holds nobody up.

mod current;
mod nobody;
mod secured;
mod shown;

pub(super) use self::{
    current::Pem,
    secured::Secured,
    shown::{Now, Shown},
};

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor};

use self::current::Current;
use crate::{dispatch::Clock, identity::Validity};

/// What the listener shows, and whom it believes. Clones are of the same.
#[derive(Debug, Clone)]
pub struct Tls {
    current: Arc<ArcSwap<Current>>,
    clients_required: bool,
    clock: Clock,
}

impl Tls {
    /// TLS with these certificates, and this clock for when they are good.
    ///
    /// # Errors
    /// What is wrong with them, in the words of the configuration.
    pub fn new(pem: Pem<'_>, clients_required: bool, clock: Clock) -> Result<Self, String> {
        let current = Current::read(pem, clients_required, clock.clone())?;
        current.tell();
        Ok(Self {
            current: Arc::new(ArcSwap::from_pointee(current)),
            clients_required,
            clock,
        })
    }

    /// Takes others in their place, for new connections; certificates of clients that are
    /// connected have to hold before the new authorities.
    ///
    /// # Errors
    /// What is wrong with them; then the old ones stay.
    pub fn replace(&self, pem: Pem<'_>) -> Result<(), String> {
        let current = Current::read(pem, self.clients_required, self.clock.clone())?;
        current.tell();
        self.current.store(Arc::new(current));
        Ok(())
    }

    /// Looks whether these authorities and revocation lists can be used.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_clients(ca: &[u8], crl: Option<&[u8]>) -> Result<(), String> {
        Current::clients_of(ca, crl, false).map(drop)
    }

    /// Believes no certificate of a client any more, connected or not, until others are taken.
    ///
    /// # Errors
    /// If the listener's own certificate cannot be used any more; then all stays as it was.
    pub fn distrust_clients(&self) -> Result<(), String> {
        let current = self.current.load().distrusting(self.clients_required)?;
        self.current.store(Arc::new(current));
        Ok(())
    }

    /// When what is in use is good: the listener's chain, and the authorities for clients. Of
    /// each, the certificate that ends first.
    pub(super) fn validities(&self) -> [(&'static str, Option<Validity>); 2] {
        let current = self.current.load();
        [
            ("server", current.own_validity),
            ("client_ca", current.clients_validity),
        ]
    }

    /// What is wrong with the listener's certificate at this time, although it can be used.
    pub(super) fn warning(&self) -> Option<String> {
        self.current.load().ended()
    }

    fn accept(&self, io: TcpStream) -> (Accept<TcpStream>, Shown) {
        let current = self.current.load_full();
        let acceptor = TlsAcceptor::from(Arc::clone(&current.config));
        let shown = Shown::new(Arc::clone(&self.current), current);
        (acceptor.accept(io), shown)
    }
}
