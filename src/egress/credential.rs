//! What an account shows its provider: read for each request, so that it can be replaced between
//! two of them. A request that waits for its retry goes with the new one.

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

/// What a request shows, and what takes it out of the reply again.
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

    /// Shows this one from now on.
    pub(super) fn replace(&self, secret: &SecretString) -> Result<(), String> {
        self.shown.store(Arc::new(shown(self.prefix, secret)?));
        Ok(())
    }

    /// What to show now.
    pub(super) fn shown(&self) -> Arc<Presented> {
        self.shown.load_full()
    }

    /// A digest of what is shown now.
    pub(super) fn fingerprint(&self) -> u64 {
        self.shown.load().fingerprint
    }

    /// It as a header.
    pub(super) fn header(&self, shown: &Presented) -> (HeaderName, HeaderValue) {
        (self.name.clone(), shown.value.clone())
    }
}

fn shown(prefix: &str, secret: &SecretString) -> Result<Presented, String> {
    let digest = Sha256::new()
        // Keeps it apart from digests of the same secret elsewhere.
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
