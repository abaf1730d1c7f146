//! What an account shows its provider: read for each request, so that it can be replaced between
//! two of them. A request that waits for its retry goes with the new one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::scrub::Scrub;
use crate::domain::account::Auth;

/// A credential as a header. Clones share it.
#[derive(Clone)]
pub(super) struct Credential {
    name: HeaderName,
    prefix: &'static str,
    shown: Arc<ArcSwap<Shown>>,
}

/// What a request shows, and what takes it out of the reply again.
pub(super) struct Shown {
    value: HeaderValue,
    pub(super) scrub: Scrub,
}

impl Credential {
    pub(super) fn new(auth: Auth, secret: &SecretString) -> Result<Self, String> {
        Ok(Self {
            name: HeaderName::from_static(auth.header),
            prefix: auth.prefix,
            shown: Arc::new(ArcSwap::from_pointee(shown(auth.prefix, secret)?)),
        })
    }

    /// Shows this one from now on.
    pub(super) fn replace(&self, secret: &SecretString) -> Result<(), String> {
        self.shown.store(Arc::new(shown(self.prefix, secret)?));
        Ok(())
    }

    /// What to show now.
    pub(super) fn shown(&self) -> Arc<Shown> {
        self.shown.load_full()
    }

    /// It as a header.
    pub(super) fn header(&self, shown: &Shown) -> (HeaderName, HeaderValue) {
        (self.name.clone(), shown.value.clone())
    }
}

fn shown(prefix: &str, secret: &SecretString) -> Result<Shown, String> {
    Ok(Shown {
        value: value(prefix, secret)?,
        scrub: Scrub::new(secret),
    })
}

fn value(prefix: &str, secret: &SecretString) -> Result<HeaderValue, String> {
    let text = format!("{prefix}{}", secret.expose_secret());
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "the credential holds characters that no HTTP header can carry")?;
    value.set_sensitive(true);
    Ok(value)
}
