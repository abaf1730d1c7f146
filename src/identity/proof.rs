//! What a call showed of whose it is, by fingerprints: so that a proof that was stolen can be told
//! from its owner's other ones, and nobody can use what is written of it.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::jwt::Claims;

/// A proof that was shown, good or not: its kind and the beginning of a SHA-256, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A token; what is no good JWT is one too. 4 bytes of the digest, as a token file may hold it.
    Token(String),
    /// A JWT whose signature is good: 8 bytes of its `jti`'s digest, or of its `sub`'s if it has
    /// none.
    Jwt(String),
    /// A certificate that an authority vouches for: 8 bytes of the digest of its DER.
    Certificate(String),
}

impl Proof {
    pub(super) fn token(token: &str) -> Self {
        Self::Token(digest(token.as_bytes(), 4))
    }

    pub(super) fn jwt(claims: &Claims) -> Self {
        Self::Jwt(digest(claims.id().as_bytes(), 8))
    }

    pub(super) fn certificate(fingerprint: &str) -> Self {
        Self::Certificate(fingerprint.to_owned())
    }

    /// Its kind and its fingerprint, such as `token:3b7d77f1`.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Token(fingerprint) => format!("token:{fingerprint}"),
            Self::Jwt(fingerprint) => format!("jwt:{fingerprint}"),
            Self::Certificate(fingerprint) => format!("certificate:{fingerprint}"),
        }
    }
}

/// The first bytes of a digest, in hexadecimal.
pub(super) fn digest(of: &[u8], bytes: usize) -> String {
    let digest = Sha256::digest(of);
    hex(digest.get(..bytes).unwrap_or(&digest))
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
