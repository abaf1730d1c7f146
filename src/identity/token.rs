//! Static tokens, of which only the digest is ever kept.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// What a digest is written with where a token may stand.
const PREFIX: &str = "sha256:";

/// The SHA-256 of a token. Tokens are long and random, so neither a salt nor a slow hash would
/// add anything; and comparing digests tells nothing of the tokens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of a token that was shown.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Its bytes, in hexadecimal.
    pub(super) fn hex(&self) -> String {
        super::proof::hex(&self.0)
    }

    /// A digest as it is written: `sha256:` and 64 hexadecimal digits. `None` for what does not
    /// begin like that, which is a token itself.
    ///
    /// # Errors
    /// If what follows is no digest.
    pub fn written(text: &str) -> Option<Result<Self, NoDigest>> {
        let hex = text.strip_prefix(PREFIX)?;
        Some(decode(hex).map(Self).ok_or(NoDigest))
    }
}

/// What follows `sha256:` is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no sha256: and 64 hexadecimal digits")]
pub struct NoDigest;

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
}

fn decode(hex: &str) -> Option<[u8; 32]> {
    let mut digits = hex.chars().map(|c| c.to_digit(16));
    let mut bytes = [0; 32];
    for byte in &mut bytes {
        let (high, low) = (digits.next()??, digits.next()??);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_digest_is_that_of_its_token() {
        // printf %s t0ken | sha256sum
        let written = "sha256:3b7d77f16ed9eb7ab2b4cd8e1f8b4ea4c6b4d2bb0d8c6f4f5ddf0d7b7d0a0b51";
        assert!(TokenDigest::written(written).unwrap().is_ok());
        let hex: String = Sha256::digest(b"t0ken")
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect();
        let digest = TokenDigest::written(&format!("sha256:{hex}")).unwrap();
        assert_eq!(digest, Ok(TokenDigest::of("t0ken")));
    }

    #[test]
    fn what_is_no_digest_is_refused_and_what_is_a_token_is_none() {
        for bad in [
            "sha256:",
            "sha256:00",
            &format!("sha256:{}", "g".repeat(64)),
        ] {
            assert_eq!(TokenDigest::written(bad), Some(Err(NoDigest)), "{bad}");
        }
        let long = format!("sha256:{}", "0".repeat(65));
        assert_eq!(TokenDigest::written(&long), Some(Err(NoDigest)));
        assert_eq!(TokenDigest::written("SHA256:00"), None);
        assert_eq!(TokenDigest::written("0123456789abcdef"), None);
    }

    #[test]
    fn who_shows_the_digest_does_not_show_the_token() {
        let token = "0123456789abcdef";
        let digest = Sha256::digest(token.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_ne!(
            TokenDigest::of(&format!("sha256:{hex}")),
            TokenDigest::of(token)
        );
    }
}
