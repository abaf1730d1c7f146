//! What is taken back before its time: single tokens, JWTs and certificates, whoever issued them. A
//! line names one of them as the audit tells it, or by what its issuer calls it.

use std::collections::HashSet;

use super::{certificate::Certificate, jwt::Claims, proof, token::TokenDigest};
use crate::limits;

/// The proofs that are good no more.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Revoked(HashSet<Entry>);

/// One line. Digests are in lower-case hexadecimal, whole or their beginnings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Entry {
    /// A static token, or a JWT as a whole.
    Token(String),
    /// A JWT by the digest of its id.
    Jwt(String),
    /// A certificate.
    Certificate(String),
    /// A JWT by its issuer's name in the configuration and its `jti`.
    Jti(String, String),
    /// All JWTs of a subject, by the same.
    Sub(String, String),
    /// Certificates with this number, whichever authority gave it.
    Serial(String),
}

/// Digits of the digests in the audit, and of whole ones.
const TOKEN_DIGITS: usize = 8;
const DIGITS: usize = 16;
const WHOLE_DIGITS: usize = 64;

impl Revoked {
    /// Reads a list: an entry on each line, but for empty lines and those that begin with `#`.
    ///
    /// # Errors
    /// The first line that is no entry, without its text; or that there is nothing in it at all,
    /// not even a comment: what was emptied by mistake would make everything good again.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err(
                "is empty, which would make everything good again; a list with nothing on it has \
                 a line that begins with #"
                    .to_owned(),
            );
        }
        let mut entries = HashSet::new();
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || format!("has a line {number} that names no proof; {FORMS}");
            entries.insert(entry(line).ok_or_else(wrong)?);
            if entries.len() > limits::REVOKED_MAX {
                return Err(format!(
                    "has more than {} entries; leave out what has ended by itself",
                    limits::REVOKED_MAX
                ));
            }
        }
        Ok(Self(entries))
    }

    /// How many proofs are on it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn token(&self, digest: &TokenDigest) -> bool {
        !self.is_empty() && self.has(&digest.hex(), TOKEN_DIGITS, Entry::Token)
    }

    pub(super) fn jwt(&self, issuer: &str, claims: &Claims) -> bool {
        if self.is_empty() {
            return false;
        }
        let named = |entry: fn(String, String) -> Entry, id: &str| {
            self.0.contains(&entry(issuer.to_owned(), id.to_owned()))
        };
        let digest = proof::digest(claims.id().as_bytes(), 32);
        self.has(&digest, DIGITS, Entry::Jwt)
            || claims.jti().is_some_and(|jti| named(Entry::Jti, jti))
            || named(Entry::Sub, &claims.sub)
    }

    pub(super) fn certificate(&self, certificate: &Certificate) -> bool {
        !self.is_empty()
            && (self.has(certificate.digest(), DIGITS, Entry::Certificate)
                || self
                    .0
                    .contains(&Entry::Serial(certificate.serial().to_owned())))
    }

    fn has(&self, digest: &str, digits: usize, entry: fn(String) -> Entry) -> bool {
        let beginning = digest.get(..digits).unwrap_or(digest);
        [beginning, digest]
            .into_iter()
            .any(|digest| self.0.contains(&entry(digest.to_owned())))
    }
}

const FORMS: &str = "write token:, jwt: or certificate: with the digits that the audit has or the \
                     whole SHA-256, jti: or sub: with an issuer's name and the claim, as in \
                     sub:cluster:system:serviceaccount:billing:worker, or serial: with a \
                     certificate's number in hexadecimal";

fn entry(line: &str) -> Option<Entry> {
    let (kind, rest) = line.split_once(':')?;
    let claim = || {
        let (issuer, claim) = rest.split_once(':')?;
        let is_whole = !issuer.is_empty() && !claim.is_empty();
        is_whole.then(|| (issuer.to_owned(), claim.to_owned()))
    };
    match kind {
        "token" => digest(rest, TOKEN_DIGITS).map(Entry::Token),
        "jwt" => digest(rest, DIGITS).map(Entry::Jwt),
        "certificate" => digest(rest, DIGITS).map(Entry::Certificate),
        "jti" => claim().map(|(issuer, jti)| Entry::Jti(issuer, jti)),
        "sub" => claim().map(|(issuer, sub)| Entry::Sub(issuer, sub)),
        "serial" => serial(rest).map(Entry::Serial),
        _ => None,
    }
}

fn digest(text: &str, digits: usize) -> Option<String> {
    let is_digest = [digits, WHOLE_DIGITS].contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| text.to_ascii_lowercase())
}

/// As programs write them: with colons or without, with leading zeros or without.
fn serial(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digits = digits.trim_start_matches('0').to_ascii_lowercase();
    let padding = if digits.len() % 2 == 1 { "0" } else { "" };
    is_number.then(|| format!("{padding}{digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(sub: &str, jti: Option<&str>) -> Claims {
        let mut claims = serde_json::json!({"iss": "https://issuer", "sub": sub});
        if let Some(jti) = jti {
            claims["jti"] = jti.into();
        }
        serde_json::from_value(claims).unwrap()
    }

    fn list(text: &str) -> Revoked {
        Revoked::parse(text).unwrap()
    }

    #[test]
    fn a_jwt_is_revoked_by_its_id_its_subject_and_its_fingerprint_at_its_issuer_alone() {
        let (ours, without) = (claims("s:1", Some("j")), claims("s:1", None));
        assert!(list("jti:test:j").jwt("test", &ours));
        assert!(list("sub:test:s:1").jwt("test", &ours));
        assert!(list("sub:test:s:1").jwt("test", &without));
        for other in ["jti:else:j", "sub:else:s:1", "sub:test:s", "jti:test:k"] {
            assert!(!list(other).jwt("test", &ours), "{other}");
        }
        for (claims, id) in [(&ours, "j"), (&without, "s:1")] {
            for digits in [8, 32] {
                let line = format!("jwt:{}", proof::digest(id.as_bytes(), digits));
                assert!(list(&line).jwt("test", claims), "{line}");
            }
        }
    }

    #[test]
    fn a_certificate_is_revoked_by_its_number_however_it_is_written() {
        let der = rcgen::generate_simple_self_signed(["a.test".to_owned()]);
        let der = der.unwrap().cert.der().to_vec();
        let certificate = Certificate::read(&der).unwrap();
        let serial = certificate.serial().to_owned();
        for written in [serial.clone(), format!("00{serial}"), serial.to_uppercase()] {
            assert!(list(&format!("serial:{written}")).certificate(&certificate));
        }
        assert!(
            list(&format!("certificate:{}", certificate.fingerprint())).certificate(&certificate)
        );
        assert!(!list("serial:01").certificate(&certificate));
        assert_eq!(super::serial("0A:0b"), Some("0a0b".to_owned()));
        assert_eq!(super::serial("7"), Some("07".to_owned()));
    }

    #[test]
    fn what_is_no_list_is_refused_and_a_comment_is_a_list_with_nothing_on_it() {
        assert!(list("# nothing\n\n").is_empty());
        let mistakes = [
            "",
            " \n",
            "token",
            "token:12",
            "token:zzzzzzzz",
            "jwt:b46c0967",
            "sub:test",
            "jti::j",
            "serial:",
            "serial:xyz",
            "caller:billing",
        ];
        for bad in mistakes {
            assert!(Revoked::parse(bad).is_err(), "{bad:?}");
        }
        let error = Revoked::parse("# a\nsecret-of-somebody").unwrap_err();
        assert!(
            error.contains("line 2") && !error.contains("secret"),
            "{error}"
        );
    }
}
