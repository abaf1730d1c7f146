//! Signatures of the chain's head, by which somebody without the journal can tell that the lines up
//! to it are those that were written. What is signed is a text of three lines: `cancelot audit`,
//! the time of the line with the signature, and the head as `cancelot audit verify` prints it.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::ChainHead;
use crate::domain::personal::digests::hex;

/// A key that signs.
pub struct Signer {
    pair: Ed25519KeyPair,
    kid: String,
}

/// A key that signatures are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    bytes: Vec<u8>,
    kid: String,
}

/// What comes before the bytes of an Ed25519 public key in DER (RFC 8410).
const PUBLIC_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const PUBLIC_BYTES: usize = 32;
/// Hexadecimal digits of a digest that name a key.
const KID_CHARS: usize = 16;

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads an Ed25519 key in PEM (PKCS#8), as `openssl genpkey -algorithm ed25519` makes it.
    ///
    /// # Errors
    /// What it is instead, without its content.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        let der = der(pem, "PRIVATE KEY")?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map_err(|_| "its key is no Ed25519 key in PKCS#8".to_owned())?;
        let kid = kid(pair.public_key().as_ref());
        Ok(Self { pair, kid })
    }

    /// What its signatures are known by.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs a head at a time.
    #[must_use]
    pub fn sign(&self, head: &ChainHead, at: Timestamp) -> String {
        let signature = self.pair.sign(signed(head, at).as_bytes());
        URL_SAFE_NO_PAD.encode(signature.as_ref())
    }
}

impl PublicKey {
    /// Reads an Ed25519 public key in PEM, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    /// What it is instead.
    pub fn from_pem(pem: &str) -> Result<Self, String> {
        let der = der(pem, "PUBLIC KEY")?;
        let bytes = der.strip_prefix(&PUBLIC_PREFIX);
        let bytes = bytes.filter(|bytes| bytes.len() == PUBLIC_BYTES);
        let bytes = bytes.ok_or("its key is no Ed25519 public key")?.to_vec();
        let kid = kid(&bytes);
        Ok(Self { bytes, kid })
    }

    /// What its signatures are known by.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Whether it signed this head at this time.
    #[must_use]
    pub fn has_signed(&self, head: &ChainHead, at: Timestamp, signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.bytes);
        URL_SAFE_NO_PAD
            .decode(signature)
            .is_ok_and(|signature| key.verify(signed(head, at).as_bytes(), &signature).is_ok())
    }
}

fn signed(head: &ChainHead, at: Timestamp) -> String {
    format!("cancelot audit\n{at}\n{head}\n")
}

/// The first digits of the SHA-256 of a public key in DER.
fn kid(public: &[u8]) -> String {
    let digest = Sha256::new()
        .chain_update(PUBLIC_PREFIX)
        .chain_update(public);
    let mut kid = hex(&digest.finalize());
    kid.truncate(KID_CHARS);
    kid
}

/// What is in the first block of this kind.
fn der(pem: &str, kind: &str) -> Result<Vec<u8>, String> {
    let missing = || format!("it has no \"{kind}\" in PEM");
    let (_, rest) = pem
        .split_once(&format!("-----BEGIN {kind}-----"))
        .ok_or_else(missing)?;
    let (text, _) = rest
        .split_once(&format!("-----END {kind}-----"))
        .ok_or_else(missing)?;
    let text: String = text.split_whitespace().collect();
    STANDARD
        .decode(text)
        .map_err(|_| format!("its \"{kind}\" is no base64"))
}

#[cfg(test)]
pub(in crate::audit) mod tests {
    use super::*;

    /// The key of RFC 8410, as `openssl genpkey -algorithm ed25519` would write it, and its public
    /// key.
    pub(in crate::audit) fn pems() -> (String, String) {
        let pem = |kind, text| format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n");
        (
            pem(
                "PRIVATE KEY",
                "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC",
            ),
            pem(
                "PUBLIC KEY",
                "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",
            ),
        )
    }

    fn head(seq: u64) -> ChainHead {
        let hash = "0a".repeat(32);
        ChainHead { seq, hash }
    }

    #[test]
    fn a_signature_is_of_one_head_one_time_and_one_key() {
        let (private, public) = pems();
        let signer = Signer::from_pem(&private).unwrap();
        let key = PublicKey::from_pem(&public).unwrap();
        assert_eq!(signer.kid(), key.kid());
        assert_eq!(key.kid().len(), KID_CHARS);
        let (at, later) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let signature = signer.sign(&head(7), at);
        assert!(key.has_signed(&head(7), at, &signature));
        assert!(!key.has_signed(&head(8), at, &signature));
        assert!(!key.has_signed(&head(7), later, &signature));
        assert!(!key.has_signed(&head(7), at, "nonsense"));
        let other = PublicKey {
            bytes: vec![7; PUBLIC_BYTES],
            ..key
        };
        assert!(!other.has_signed(&head(7), at, &signature));
        assert!(!format!("{signer:?}").contains("pair"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let (private, public) = pems();
        let no_base64 = private.replace("MC4", "!");
        for bad in ["", "x", &public, &no_base64, &private.replace("MC4", "MC5")] {
            assert!(Signer::from_pem(bad).is_err(), "{bad}");
        }
        for bad in ["", &private, &public.replace("MCow", "MCox")] {
            assert!(PublicKey::from_pem(bad).is_err(), "{bad}");
        }
    }
}
