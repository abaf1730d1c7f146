//! JWTs of one issuer: which are good, and whose they are.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{Validation, errors::ErrorKind};
use tokio::time::Instant;

use super::jwks::Jwks;
use crate::limits;

/// What a signature may be made with. Nothing symmetric is in this list, and no `none`: a public
/// key can never pass for a shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Those of RSA keys.
    pub(super) const RSA: [Self; 6] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
    ];
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    fn of(algorithm: jsonwebtoken::Algorithm) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|ours| ours.to_jsonwebtoken() == algorithm)
    }

    fn to_jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as A;
        match self {
            Self::Rs256 => A::RS256,
            Self::Rs384 => A::RS384,
            Self::Rs512 => A::RS512,
            Self::Ps256 => A::PS256,
            Self::Ps384 => A::PS384,
            Self::Ps512 => A::PS512,
            Self::Es256 => A::ES256,
            Self::Es384 => A::ES384,
            Self::EdDsa => A::EdDSA,
        }
    }
}

/// What makes a token of an issuer's good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Its name in the configuration.
    pub name: String,
    /// What its tokens have as `iss`, exactly.
    pub issuer: String,
    /// One of these has to be among a token's `aud`.
    pub audiences: Vec<String>,
    /// What its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// What its tokens may say that they are (`typ`), in lower case. One that does not say is a
    /// `jwt`.
    pub types: Vec<String>,
    /// How long after they are issued, and from now, its tokens may be good; `None` for as long as
    /// they say.
    pub token_life_max: Option<Duration>,
    /// How long its keys are good after they were set last; `None` for as long as they are set.
    pub keys_age_max: Option<Duration>,
}

/// An issuer with the keys that it has now.
#[derive(Debug)]
pub struct Issuer {
    settings: IssuerSettings,
    /// `None` until they were read for the first time, and when they are too old.
    keys: ArcSwapOption<HeldKeys>,
}

/// Keys, and when they were set.
#[derive(Debug)]
struct HeldKeys {
    keys: Jwks,
    set_at: Instant,
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Whose it is.
    pub sub: String,
    /// All else.
    #[serde(flatten)]
    pub others: BTreeMap<String, serde_json::Value>,
}

impl Claims {
    /// Its `jti`, if it has one.
    pub(super) fn jti(&self) -> Option<&str> {
        self.others.get("jti").and_then(|jti| jti.as_str())
    }

    /// What it is told by: its `jti`, or its `sub` if it has none.
    pub(super) fn id(&self) -> &str {
        self.jti().unwrap_or(&self.sub)
    }
}

/// The issuer that a token names, before anything of it is believed.
#[derive(serde::Deserialize)]
struct NamedKey {
    iss: String,
}

/// Why a token is not good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtFault {
    /// Something is wrong with it.
    #[error("{0}")]
    Wrong(&'static str),
    /// Its issuer's keys are not here yet, or could not be read for too long, which is no fault of
    /// the token's.
    #[error("the keys of the issuer {issuer} are not known, or not any more")]
    NoKeys {
        /// The issuer's name in the configuration.
        issuer: String,
    },
    /// It names a key that its issuer did not have when its keys were read last.
    #[error("the token names a key that the issuer {issuer} does not have")]
    UnknownKey {
        /// The issuer's name in the configuration.
        issuer: String,
    },
}

impl Issuer {
    /// An issuer without keys.
    #[must_use]
    pub fn new(settings: IssuerSettings) -> Self {
        Self {
            settings,
            keys: ArcSwapOption::empty(),
        }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// What makes its tokens good.
    #[must_use]
    pub fn settings(&self) -> &IssuerSettings {
        &self.settings
    }

    /// Takes the keys that another one has now, with their age.
    pub fn take_keys_of(&self, other: &Self) {
        self.keys.store(other.keys.load_full());
    }

    /// Whether its keys are not known, or too old to be believed.
    pub(super) fn lacks_keys(&self) -> bool {
        !self
            .keys
            .load()
            .as_ref()
            .is_some_and(|held| self.believes(held))
    }

    fn believes(&self, held: &HeldKeys) -> bool {
        let age_max = self.settings.keys_age_max;
        age_max.is_none_or(|max| held.set_at.elapsed() <= max)
    }

    /// Takes new keys in place of the old ones.
    pub fn set_keys(&self, keys: Jwks) {
        let set_at = Instant::now();
        self.keys.store(Some(Arc::new(HeldKeys { keys, set_at })));
    }

    /// Believes nothing that it has signed, until keys are set again.
    pub fn forget_keys(&self) {
        self.keys.store(None);
    }

    /// What a token says, if it is good.
    fn verify(&self, token: &str, header: &jsonwebtoken::Header) -> Result<Claims, JwtFault> {
        let settings = &self.settings;
        let algorithm = Algorithm::of(header.alg)
            .filter(|algorithm| settings.algorithms.contains(algorithm))
            .ok_or(JwtFault::Wrong(
                "the token is signed with an algorithm that is not allowed",
            ))?;
        let kind = header.typ.as_deref().unwrap_or("jwt").to_ascii_lowercase();
        // RFC 7515, section 4.1.9: what has no other slash may leave this out.
        let kind = kind.strip_prefix("application/").unwrap_or(&kind);
        if !settings.types.iter().any(|allowed| allowed == kind) {
            return Err(JwtFault::Wrong(
                "the token is of a kind that is not allowed (typ)",
            ));
        }
        if header.crit.is_some() {
            return Err(JwtFault::Wrong(
                "the token has an extension that has to be understood (crit), and none is",
            ));
        }
        let issuer = || settings.name.clone();
        let keys = self.keys.load();
        let keys = keys
            .as_ref()
            .filter(|held| self.believes(held))
            .map(|held| &held.keys)
            .ok_or_else(|| JwtFault::NoKeys { issuer: issuer() })?;
        if let Some(kid) = &header.kid
            && !keys.has(kid)
        {
            return Err(JwtFault::UnknownKey { issuer: issuer() });
        }
        let mut validation = Validation::new(algorithm.to_jsonwebtoken());
        // Its reader of times knows no fractions, where numbers are kept as they are written.
        validation.validate_exp = false;
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&settings.audiences);
        validation.set_required_spec_claims(&["iss", "aud", "sub"]);
        let mut fault = JwtFault::Wrong("the token's key cannot have made its signature");
        for key in keys.candidates(header.kid.as_deref(), algorithm) {
            match jsonwebtoken::decode::<Claims>(token, key, &validation) {
                Ok(good) => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH);
                    let now = now.unwrap_or_default().as_secs_f64();
                    Times::of(&good.claims)
                        .and_then(|times| times.check(now, settings.token_life_max))
                        .map_err(JwtFault::Wrong)?;
                    return Ok(good.claims);
                }
                Err(error) => fault = JwtFault::Wrong(told(error.kind())),
            }
            // A signature that fits one key fits no other.
            if fault != JwtFault::Wrong(SIGNATURE) {
                break;
            }
        }
        Err(fault)
    }
}

/// When a token is good, in seconds since 1970, which may have fractions (RFC 7519, section 2).
struct Times {
    end: f64,
    begin: Option<f64>,
    issued: Option<f64>,
}

impl Times {
    fn of(claims: &Claims) -> Result<Self, &'static str> {
        let time = |name: &str| match claims.others.get(name) {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|time| time.is_finite()) {
                Some(time) => Ok(Some(time)),
                None => Err("one of the token's exp, nbf and iat is no time"),
            },
        };
        Ok(Self {
            end: time("exp")?.ok_or("the token lacks one of exp, iss, aud and sub")?,
            begin: time("nbf")?,
            issued: time("iat")?,
        })
    }

    /// The clocks of issuers are not ours.
    fn check(&self, now: f64, life_max: Option<Duration>) -> Result<(), &'static str> {
        let leeway = Duration::from_secs(limits::JWT_LEEWAY_SECONDS).as_secs_f64();
        if self.end + leeway < now {
            return Err("the token has expired");
        }
        if self.begin.is_some_and(|begin| begin - leeway > now) {
            return Err("the token is not valid yet");
        }
        let since = self.issued.map_or(now, |issued| issued.min(now));
        if life_max.is_some_and(|max| self.end - since > max.as_secs_f64() + leeway) {
            return Err("the token is good for longer than is allowed");
        }
        Ok(())
    }
}

const SIGNATURE: &str = "the token's signature does not fit";

fn told(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => SIGNATURE,
        ErrorKind::InvalidAudience => "the token is meant for another audience",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::MissingRequiredClaim(_) => "the token lacks one of exp, iss, aud and sub",
        ErrorKind::InvalidAlgorithm => "the token's algorithm does not fit its key",
        _ => "the token cannot be read",
    }
}

/// What a token says, if it is a good one of an issuer's; with the issuer's place in the list.
pub(super) fn verify(issuers: &[Arc<Issuer>], token: &str) -> Result<(usize, Claims), JwtFault> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| {
        JwtFault::Wrong("the token's header cannot be read, or its algorithm is not allowed")
    })?;
    let named: NamedKey = jsonwebtoken::dangerous::insecure_decode_claims(token)
        .map_err(|_| JwtFault::Wrong("the token cannot be read"))?;
    let (place, issuer) = issuers
        .iter()
        .enumerate()
        .find(|(_, issuer)| issuer.settings.issuer == named.iss)
        .ok_or(JwtFault::Wrong(
            "the token is of an issuer that is not configured",
        ))?;
    issuer.verify(token, &header).map(|claims| (place, claims))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keys_are_good_for_no_longer_than_they_may_be_old() {
        let age_max = Duration::from_secs(60);
        let issuer = Issuer::new(IssuerSettings {
            name: "test".to_owned(),
            issuer: "https://issuer".to_owned(),
            audiences: vec!["cancelot".to_owned()],
            algorithms: vec![Algorithm::EdDsa],
            types: vec!["jwt".to_owned()],
            token_life_max: None,
            keys_age_max: Some(age_max),
        });
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
        header.kid = Some("k".to_owned());
        let fault = || issuer.verify("a.b.c", &header).unwrap_err();
        let name = || "test".to_owned();
        let unknown = JwtFault::UnknownKey { issuer: name() };
        let none = JwtFault::NoKeys { issuer: name() };
        assert_eq!(fault(), none);
        for _ in 0..2 {
            issuer.set_keys(Jwks::parse("{\"keys\":[]}").unwrap());
            tokio::time::advance(age_max).await;
            assert_eq!(fault(), unknown);
        }
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(fault(), none);
    }
}
