//! The configured callers, and which of them a call is from.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

use super::{
    certificate::{Certificate, San},
    issuer::{self, Claims, Issuer, JwtFault},
    policy::Policy,
    shown::Proof,
    token::TokenDigest,
};
use crate::{
    domain::{ids::CallerId, quota::Hourly},
    limits,
};

/// A caller as it is configured.
#[derive(Debug, Clone)]
pub struct CallerSettings {
    /// Its name.
    pub id: CallerId,
    /// The digests of its static tokens.
    pub tokens: Vec<TokenDigest>,
    /// The names that its certificates have.
    pub sans: Vec<San>,
    /// The subjects that its JWTs have.
    pub subjects: Vec<Subject>,
    /// Claims that each of its JWTs has to have, with their values.
    pub claims: Vec<(String, String)>,
    /// Whether a call has to show a certificate and a token, and not any one of them.
    pub requires_both: bool,
    /// What it may do.
    pub policy: Policy,
}

/// Whose a JWT is: a subject means something at its issuer alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The issuer's name in the configuration.
    pub issuer: String,
    /// Its `sub`, exactly.
    pub subject: String,
}

/// An authenticated client.
#[derive(Debug)]
pub struct Caller {
    /// Its name.
    pub id: CallerId,
    /// What it may do.
    pub policy: Policy,
    /// Its count of items, if there is a limit to it.
    pub quota: Option<Arc<Hourly>>,
    claims: Vec<(String, String)>,
    requires_both: bool,
}

impl Caller {
    fn new(settings: &CallerSettings) -> Self {
        let quota = settings.policy.hourly_items_max;
        Self {
            id: settings.id.clone(),
            policy: settings.policy.clone(),
            quota: quota.map(|max| Arc::new(Hourly::new(max))),
            claims: settings.claims.clone(),
            requires_both: settings.requires_both,
        }
    }

    /// One that may do everything.
    #[cfg(test)]
    pub fn named(name: &str) -> Self {
        Self {
            id: name.try_into().unwrap(),
            ..Self::anonymous()
        }
    }

    /// Whoever calls while no caller is configured.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            id: CallerId::anonymous(),
            policy: Policy::default(),
            quota: None,
            claims: Vec::new(),
            requires_both: false,
        }
    }
}

/// What a call shows of whose it is.
#[derive(Debug, Default, Clone, Copy)]
pub struct Proofs<'a> {
    /// The `authorization` header; an error if it is no text.
    pub authorization: Option<Result<&'a str, ()>>,
    /// The connection's certificate, which a configured authority vouches for.
    pub certificate: Option<&'a Certificate>,
}

/// Why nobody knows whose a call is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// It shows nothing.
    #[error("show who calls: a token as metadata `authorization: Bearer <token>`{0}")]
    Nothing(&'static str),
    /// Its header holds no bearer token.
    #[error("the authorization metadata is not `Bearer <token>`")]
    NoBearer,
    /// Its token is longer than any token is.
    #[error("the token is longer than {} bytes", limits::TOKEN_BYTES_MAX)]
    LongToken,
    /// Its token is no configured caller's.
    #[error("the token is not one of a configured caller")]
    UnknownToken,
    /// Its JWT is not good.
    #[error(transparent)]
    Jwt(#[from] JwtFault),
    /// Its JWT is good, and of nobody who is configured.
    #[error("the token's subject is no configured caller's")]
    UnknownSubject,
    /// Its JWT lacks what that caller's have to have.
    #[error("the token's claim {0} is not what this caller's has to be")]
    OtherClaim(String),
    /// Its certificate is good, and of nobody who is configured.
    #[error("the certificate's names are no configured caller's")]
    UnknownCertificate,
    /// Its proof is good, and this caller has to show another one beside it.
    #[error("this caller has to show its certificate and its token, and {0} is missing")]
    Incomplete(&'static str),
    /// Two proofs, or two names of a certificate, are of two callers.
    #[error("what is shown is of two callers, {0} and {1}")]
    TwoCallers(CallerId, CallerId),
}

/// The word for [`JwtFault::NoKeys`]: it is not the caller's fault.
pub const KEYS_UNAVAILABLE: &str = "KEYS_UNAVAILABLE";

impl Unproven {
    /// A stable word for it, in `SCREAMING_SNAKE_CASE`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Nothing(_) => "CREDENTIALS_MISSING",
            Self::NoBearer | Self::LongToken | Self::UnknownToken => "TOKEN_INVALID",
            Self::Jwt(JwtFault::NoKeys { .. }) => KEYS_UNAVAILABLE,
            Self::Jwt(_) | Self::OtherClaim(_) => "JWT_INVALID",
            Self::UnknownSubject => "SUBJECT_UNKNOWN",
            Self::UnknownCertificate => "CERTIFICATE_UNKNOWN",
            Self::Incomplete(_) => "CREDENTIALS_INCOMPLETE",
            Self::TwoCallers(..) => "CREDENTIALS_CONTRADICT",
        }
    }
}

/// All configured callers. Tokens and keys change while calls come in.
#[derive(Debug)]
pub struct Callers {
    anonymous: Arc<Caller>,
    by_id: BTreeMap<CallerId, Arc<Caller>>,
    tokens: ArcSwap<HashMap<TokenDigest, Arc<Caller>>>,
    sans: HashMap<San, Arc<Caller>>,
    /// By the issuer's place in the list.
    subjects: HashMap<(usize, String), Arc<Caller>>,
    issuers: Vec<Arc<Issuer>>,
    /// Held while tokens are replaced.
    replacing: Mutex<()>,
}

impl Default for Callers {
    /// None, so that everybody may call.
    fn default() -> Self {
        Self {
            anonymous: Arc::new(Caller::anonymous()),
            by_id: BTreeMap::new(),
            tokens: ArcSwap::default(),
            sans: HashMap::new(),
            subjects: HashMap::new(),
            issuers: Vec::new(),
            replacing: Mutex::default(),
        }
    }
}

/// A token is another caller's too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a token is one of callers.{0} too; give each caller tokens of its own")]
pub struct Shared(pub CallerId);

impl Callers {
    /// Callers that have no proof in common: the configuration saw to that.
    #[must_use]
    pub fn new(settings: &[CallerSettings], issuers: Vec<Arc<Issuer>>) -> Self {
        let place = |name: &str| issuers.iter().position(|issuer| issuer.name() == name);
        let mut callers = Self::default();
        let mut tokens = HashMap::new();
        for settings in settings {
            let caller = Arc::new(Caller::new(settings));
            for token in &settings.tokens {
                tokens.insert(*token, Arc::clone(&caller));
            }
            for san in &settings.sans {
                callers.sans.insert(san.clone(), Arc::clone(&caller));
            }
            for subject in &settings.subjects {
                if let Some(issuer) = place(&subject.issuer) {
                    let subject = (issuer, subject.subject.clone());
                    callers.subjects.insert(subject, Arc::clone(&caller));
                }
            }
            callers.by_id.insert(caller.id.clone(), caller);
        }
        callers.tokens = ArcSwap::from_pointee(tokens);
        callers.issuers = issuers;
        callers
    }

    /// Each of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Caller>> {
        self.by_id.values()
    }

    /// An issuer, by its name in the configuration.
    #[must_use]
    pub fn issuer(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.name() == name)
    }

    /// Takes a caller's new tokens in place of its old ones.
    ///
    /// # Errors
    /// If one of them is another caller's; then the old ones stay.
    pub fn replace_tokens(&self, id: &CallerId, new: &[TokenDigest]) -> Result<(), Shared> {
        let Some(caller) = self.by_id.get(id) else {
            return Ok(());
        };
        let _replacing = self
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut tokens = HashMap::clone(&self.tokens.load());
        tokens.retain(|_, owner| owner.id != *id);
        for token in new {
            if let Some(owner) = tokens.insert(*token, Arc::clone(caller))
                && owner.id != *id
            {
                return Err(Shared(owner.id.clone()));
            }
        }
        self.tokens.store(Arc::new(tokens));
        Ok(())
    }

    /// Whose a call is. Everything that is shown has to hold, and what names a caller has to name
    /// the same one: a token that was stolen is worth nothing over another caller's connection,
    /// and a certificate does not help a token that has expired. A certificate alone has to be a
    /// caller's; beside a token it may be of somebody in between, such as a proxy.
    ///
    /// # Errors
    /// Why nobody knows.
    pub fn identify(&self, proofs: Proofs<'_>) -> Result<Arc<Caller>, Unproven> {
        self.identify_shown(proofs).0
    }

    /// As [`Self::identify`], with what was shown, whether it proved anybody or not. While no caller
    /// is configured nothing is looked at.
    pub fn identify_shown(
        &self,
        proofs: Proofs<'_>,
    ) -> (Result<Arc<Caller>, Unproven>, Vec<Proof>) {
        let mut shown = Vec::new();
        (self.look_at(proofs, &mut shown), shown)
    }

    fn look_at(&self, proofs: Proofs<'_>, shown: &mut Vec<Proof>) -> Result<Arc<Caller>, Unproven> {
        if self.by_id.is_empty() {
            return Ok(Arc::clone(&self.anonymous));
        }
        let by_certificate = match proofs.certificate {
            Some(certificate) => {
                shown.push(Proof::certificate(certificate.fingerprint()));
                self.by_certificate(certificate)
            }
            None => Ok(None),
        };
        let by_token = match proofs.authorization {
            // What is wrong with the certificate is told first.
            Some(header) => self.by_header(header, shown).map(Some),
            None => Ok(None),
        };
        match (by_certificate?, by_token?) {
            (Some(a), Some(b)) if a.id != b.id => {
                Err(Unproven::TwoCallers(a.id.clone(), b.id.clone()))
            }
            (None, Some(caller)) if caller.requires_both => {
                Err(Unproven::Incomplete("the certificate"))
            }
            (Some(caller), None) if caller.requires_both => Err(Unproven::Incomplete("the token")),
            (_, Some(caller)) | (Some(caller), None) => Ok(caller),
            (None, None) if proofs.certificate.is_some() => Err(Unproven::UnknownCertificate),
            (None, None) if self.sans.is_empty() => Err(Unproven::Nothing("")),
            (None, None) => Err(Unproven::Nothing(", or a client certificate")),
        }
    }

    fn by_certificate(&self, certificate: &Certificate) -> Result<Option<Arc<Caller>>, Unproven> {
        let mut found: Option<&Arc<Caller>> = None;
        for name in certificate.names() {
            let Some(caller) = self.sans.get(name) else {
                continue;
            };
            match found {
                Some(other) if other.id != caller.id => {
                    return Err(Unproven::TwoCallers(other.id.clone(), caller.id.clone()));
                }
                _ => found = Some(caller),
            }
        }
        Ok(found.cloned())
    }

    fn by_header(
        &self,
        header: Result<&str, ()>,
        shown: &mut Vec<Proof>,
    ) -> Result<Arc<Caller>, Unproven> {
        let token = header
            .ok()
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty())
            .ok_or(Unproven::NoBearer)?;
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(Unproven::LongToken);
        }
        shown.push(Proof::token(token));
        if let Some(caller) = self.tokens.load().get(&TokenDigest::of(token)) {
            return Ok(Arc::clone(caller));
        }
        let is_jwt = token.bytes().filter(|b| *b == b'.').count() == 2;
        if self.issuers.is_empty() || !is_jwt {
            return Err(Unproven::UnknownToken);
        }
        let (issuer, claims) = issuer::verify(&self.issuers, token)?;
        shown.pop();
        shown.push(Proof::jwt(&claims));
        self.by_claims(issuer, claims)
    }

    fn by_claims(&self, issuer: usize, claims: Claims) -> Result<Arc<Caller>, Unproven> {
        let caller = self
            .subjects
            .get(&(issuer, claims.sub))
            .ok_or(Unproven::UnknownSubject)?;
        for (name, value) in &caller.claims {
            let shown = claims.others.get(name).and_then(|shown| shown.as_str());
            if shown != Some(value) {
                return Err(Unproven::OtherClaim(name.clone()));
            }
        }
        Ok(Arc::clone(caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, tokens: &[&str], sans: &[&str]) -> CallerSettings {
        CallerSettings {
            id: CallerId::try_from(name).unwrap(),
            tokens: tokens.iter().map(|token| TokenDigest::of(token)).collect(),
            sans: sans.iter().map(|san| san.parse().unwrap()).collect(),
            subjects: Vec::new(),
            claims: Vec::new(),
            requires_both: false,
            policy: Policy::default(),
        }
    }

    fn shown<'a>(authorization: &'a str) -> Proofs<'a> {
        Proofs {
            authorization: Some(Ok(authorization)),
            certificate: None,
        }
    }

    #[test]
    fn a_token_names_its_caller_and_nothing_else_does() {
        let callers = Callers::new(&[caller("billing", &["t0ken"], &[])], Vec::new());
        let name = |header| callers.identify(shown(header)).map(|c| c.id.to_string());
        assert_eq!(name("Bearer t0ken"), Ok("billing".to_owned()));
        assert_eq!(name("bearer t0ken"), Ok("billing".to_owned()));
        for (wrong, why) in [
            ("t0ken", Unproven::NoBearer),
            ("Bearer other", Unproven::UnknownToken),
            ("Bearer a.b.c", Unproven::UnknownToken),
            ("Basic t0ken", Unproven::NoBearer),
            ("Bearer  ", Unproven::NoBearer),
            ("", Unproven::NoBearer),
        ] {
            assert_eq!(name(wrong), Err(why), "{wrong:?}");
        }
        let long = format!("Bearer {}", "x".repeat(limits::TOKEN_BYTES_MAX + 1));
        assert_eq!(name(&long), Err(Unproven::LongToken));
        let nothing = callers
            .identify(Proofs::default())
            .map(|c| c.id.to_string());
        assert_eq!(nothing, Err(Unproven::Nothing("")));
    }

    #[test]
    fn what_is_shown_is_told_by_its_fingerprint_whether_it_is_good_or_not() {
        let callers = Callers::new(&[caller("billing", &["t0ken"], &[])], Vec::new());
        let told = |header| {
            let (_, proofs) = callers.identify_shown(shown(header));
            proofs.iter().map(Proof::told).collect::<Vec<_>>()
        };
        // printf %s t0ken | sha256sum
        assert_eq!(told("Bearer t0ken"), ["token:b46c0967"]);
        assert_eq!(told("Bearer a.b.c"), ["token:845e3044"]);
        assert_eq!(told("Basic t0ken"), [""; 0]);
    }

    #[test]
    fn without_callers_everybody_is_anonymous_and_without_tokens_nobody_is() {
        let open = Callers::default();
        let anonymous = open.identify(shown("whatever")).unwrap();
        assert_eq!(anonymous.id, CallerId::anonymous());

        let callers = Callers::new(&[caller("billing", &["t0ken"], &[])], Vec::new());
        let billing = CallerId::try_from("billing").unwrap();
        callers.replace_tokens(&billing, &[]).unwrap();
        assert!(callers.identify(shown("Bearer t0ken")).is_err());
        assert!(callers.identify(Proofs::default()).is_err());
    }

    #[test]
    fn a_token_of_another_callers_is_not_taken_over() {
        let settings = [caller("a", &["one"], &[]), caller("b", &["two"], &[])];
        let callers = Callers::new(&settings, Vec::new());
        let a = CallerId::try_from("a").unwrap();
        let new = ["three", "two"].map(TokenDigest::of);
        let b = CallerId::try_from("b").unwrap();
        assert_eq!(callers.replace_tokens(&a, &new), Err(Shared(b.clone())));
        assert_eq!(callers.identify(shown("Bearer one")).unwrap().id, a);
        assert_eq!(callers.identify(shown("Bearer two")).unwrap().id, b);
        assert!(callers.identify(shown("Bearer three")).is_err());
    }
}
