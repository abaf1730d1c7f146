//! The credential of an account. Each request reads it, so that it can be replaced at run-time; a
//! retry uses the new one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::credential_scrubber::CredentialScrubber;
use crate::domain::account::Auth;

/// A credential as a header. Clones share it.
#[derive(Clone)]
pub(super) struct Credential {
    name: HeaderName,
    prefix: &'static str,
    shown: Arc<ArcSwap<Presented>>,
}

/// A credential in use, and the scrubber that removes it from replies.
pub(super) struct Presented {
    value: HeaderValue,
    pub(super) scrub: CredentialScrubber,
    fingerprint: u64,
}

impl Credential {
    pub(super) fn new(auth: Auth, secret: &SecretString) -> Result<Self, String> {
        Ok(Self {
            name: HeaderName::from_static(auth.header),
            prefix: auth.prefix,
            shown: Arc::new(ArcSwap::from_pointee(shown(auth.prefix, secret)?)),
        })
    }

    /// Replaces the credential from now on.
    pub(super) fn replace(&self, secret: &SecretString) -> Result<(), String> {
        self.shown.store(Arc::new(shown(self.prefix, secret)?));
        Ok(())
    }

    /// The current credential.
    pub(super) fn shown(&self) -> Arc<Presented> {
        self.shown.load_full()
    }

    /// A digest of the current credential.
    pub(super) fn fingerprint(&self) -> u64 {
        self.shown.load().fingerprint
    }

    /// The credential as a header.
    pub(super) fn header(&self, shown: &Presented) -> (HeaderName, HeaderValue) {
        (self.name.clone(), shown.value.clone())
    }
}

fn shown(prefix: &str, secret: &SecretString) -> Result<Presented, String> {
    let digest = Sha256::new()
        // Domain separation from digests of the same secret elsewhere.
        .chain_update(b"cancelot account credential\0")
        .chain_update(secret.expose_secret().as_bytes())
        .finalize();
    let bytes = digest.iter().take(8);
    Ok(Presented {
        fingerprint: bytes.fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
        value: value(prefix, secret)?,
        scrub: CredentialScrubber::new(secret),
    })
}

fn value(prefix: &str, secret: &SecretString) -> Result<HeaderValue, String> {
    let text = format!("{prefix}{}", secret.expose_secret());
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "the credential holds characters that no HTTP header can carry")?;
    value.set_sensitive(true);
    Ok(value)
}
