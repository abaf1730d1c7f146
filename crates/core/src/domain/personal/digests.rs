//! Digests that stand where something personal was, so that the same thing is known again when it
//! is sent again. They are keyed: who has the digests and not the key cannot try out whose they
//! are.

use std::fmt;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

/// The key of a journal's digests. It is made with the journal and moves with it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DigestKey([u8; Self::BYTES]);

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey")
    }
}

impl DigestKey {
    /// Bytes of a key.
    pub const BYTES: usize = 32;

    /// A key of these bytes, which nobody else should know.
    #[must_use]
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The digest of these parts, in hexadecimal: 64 characters. `purpose` keeps digests of one
    /// kind apart from all others.
    #[must_use]
    pub fn digest(&self, purpose: &str, parts: &[&str]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let mut digest = hmac::Context::with_key(&key);
        for part in std::iter::once(&purpose).chain(parts) {
            digest.update(&part.len().to_be_bytes());
            digest.update(part.as_bytes());
        }
        hex(digest.sign().as_ref())
    }
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a text is these words and then a digest.
#[must_use]
pub fn is_digest(text: &str, words: &str) -> bool {
    text.strip_prefix(words).is_some_and(|digest| {
        digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_the_key_the_purpose_and_every_part() {
        let key = DigestKey::new([7; 32]);
        let digest = key.digest("key", &["a", "bc"]);
        assert!(is_digest(&format!("x:{digest}"), "x:"));
        assert_eq!(digest, key.digest("key", &["a", "bc"]));
        for other in [
            key.digest("key", &["ab", "c"]),
            key.digest("text", &["a", "bc"]),
            DigestKey::new([8; 32]).digest("key", &["a", "bc"]),
        ] {
            assert_ne!(other, digest);
        }
        assert_eq!(format!("{key:?}"), "DigestKey");
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<DigestKey>(&json).unwrap(), key);
    }
}
