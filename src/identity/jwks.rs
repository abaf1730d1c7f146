//! An issuer's public keys (JWKS, RFC 7517), as far as they can check a signature.

use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};

use super::jwt::Algorithm;
use crate::limits;

/// The keys that an issuer signs with.
#[derive(Clone)]
pub struct Jwks(Vec<JwksKey>);

#[derive(Clone)]
struct JwksKey {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|key| &key.kid))
            .finish()
    }
}

/// The envelope alone: one key of a kind that we do not know must not spoil the others.
#[derive(serde::Deserialize)]
struct Envelope {
    keys: Vec<serde_json::Value>,
}

impl Jwks {
    /// Reads a JWKS. Keys that sign nothing we allow are left out: those for encryption, shared
    /// secrets, and curves that we do not know. One without any key takes all of them back: nothing
    /// that the issuer has signed is good any more.
    ///
    /// # Errors
    /// If it is no JWKS, or has keys and none of use, or more than [`limits::JWKS_KEYS_MAX`].
    pub fn parse(text: &str) -> Result<Self, String> {
        let envelope: Envelope = serde_json::from_str(text).map_err(|error| {
            // Not its display: it may quote what somebody put there by mistake.
            format!(
                "is no JWKS (a JSON object with keys) at line {}",
                error.line()
            )
        })?;
        if envelope.keys.len() > limits::JWKS_KEYS_MAX {
            let (count, max) = (envelope.keys.len(), limits::JWKS_KEYS_MAX);
            return Err(format!("has {count} keys, and {max} is the most"));
        }
        let is_emptied = envelope.keys.is_empty();
        let usable: Vec<_> = envelope.keys.into_iter().filter_map(key).collect();
        if usable.is_empty() && !is_emptied {
            return Err("has no public key that signs".to_owned());
        }
        Ok(Self(usable))
    }

    /// The keys that may have signed a token with this header.
    pub(super) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        self.0
            .iter()
            // A kid is compared and never looked up anywhere, so what is in it does not matter.
            .filter(move |key| kid.is_none() || key.kid.as_deref() == kid)
            .filter(move |key| key.algorithms.contains(&algorithm))
            .map(|key| &key.key)
    }

    /// Whether a key has this id.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Whether one of them signs by one of these.
    #[must_use]
    pub fn sign_by_any(&self, algorithms: &[Algorithm]) -> bool {
        let mut signable = self.0.iter().flat_map(|key| &key.algorithms);
        signable.any(|algorithm| algorithms.contains(algorithm))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

fn key(value: serde_json::Value) -> Option<JwksKey> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let signs = jwk
        .common
        .public_key_use
        .as_ref()
        .is_none_or(|word| *word == PublicKeyUse::Signature);
    let operations = jwk.common.key_operations.as_ref();
    let signs = signs && operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
    let mut algorithms: Vec<_> = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RSA.to_vec(),
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => vec![Algorithm::Es256],
            EllipticCurve::P384 => vec![Algorithm::Es384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDsa]
        }
        // A shared secret in a public document proves nothing.
        _ => return None,
    };
    if let Some(named) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| key_algorithm(*algorithm) == named);
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    (signs && !algorithms.is_empty()).then_some(JwksKey {
        kid: jwk.common.key_id,
        algorithms,
        key,
    })
}

fn key_algorithm(algorithm: Algorithm) -> KeyAlgorithm {
    match algorithm {
        Algorithm::Rs256 => KeyAlgorithm::RS256,
        Algorithm::Rs384 => KeyAlgorithm::RS384,
        Algorithm::Rs512 => KeyAlgorithm::RS512,
        Algorithm::Ps256 => KeyAlgorithm::PS256,
        Algorithm::Ps384 => KeyAlgorithm::PS384,
        Algorithm::Ps512 => KeyAlgorithm::PS512,
        Algorithm::Es256 => KeyAlgorithm::ES256,
        Algorithm::Es384 => KeyAlgorithm::ES384,
        Algorithm::EdDsa => KeyAlgorithm::EdDSA,
    }
}
