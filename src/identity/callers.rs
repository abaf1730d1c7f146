//! The configured callers, and which of them a call is from.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;

use super::{
    auth_error::{AuthError, REVOKED_CERTIFICATE, REVOKED_JWT, REVOKED_TOKEN},
    certificate::{Authority, Certificate, San},
    jwt::{self, Claims, Issuer},
    policy::Policy,
    proof::Proof,
    revoked::Revoked,
    token::TokenDigest,
};
use crate::{
    domain::{access::hourly_quota::HourlyQuota, ids::CallerId},
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
    /// Who vouches for them. A certificate with the same name of another authority is not its.
    pub authority: Authority,
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
    pub quota: Option<Arc<HourlyQuota>>,
    claims: Vec<(String, String)>,
    requires_both: bool,
}

impl Caller {
    /// What it had before is kept: the hour that it is in is counted on.
    fn new(settings: &CallerSettings, before: Option<&Self>) -> Self {
        let kept = before.and_then(|before| before.quota.as_ref());
        let quota = settings.policy.hourly_items_max.map(|max| match kept {
            Some(kept) => Arc::clone(kept),
            None => Arc::new(HourlyQuota::new(max)),
        });
        Self {
            id: settings.id.clone(),
            policy: settings.policy.clone(),
            quota,
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
pub struct Credentials<'a> {
    /// The `authorization` header; an error if it is no text.
    pub authorization: Option<Result<&'a str, ()>>,
    /// The connection's certificate, which a configured authority vouches for.
    pub certificate: Option<&'a Certificate>,
}

/// All configured callers. They, their tokens and keys, and what is revoked, change while calls
/// come in; each call sees all of them as of one moment.
#[derive(Debug)]
pub struct Callers {
    anonymous: Arc<Caller>,
    known: ArcSwap<Known>,
    revoked: ArcSwap<Revoked>,
    /// Held while some of it is replaced.
    replacing: Mutex<()>,
}

/// Who is known by what.
#[derive(Debug, Default, Clone)]
struct Known {
    by_id: BTreeMap<CallerId, Arc<Caller>>,
    tokens: HashMap<TokenDigest, Arc<Caller>>,
    /// By who has to vouch for the name.
    sans: HashMap<(Authority, San), Arc<Caller>>,
    /// By the issuer's place in the list.
    subjects: HashMap<(usize, String), Arc<Caller>>,
    issuers: Vec<Arc<Issuer>>,
}

impl Default for Callers {
    /// None, so that everybody may call.
    fn default() -> Self {
        Self {
            anonymous: Arc::new(Caller::anonymous()),
            known: ArcSwap::default(),
            revoked: ArcSwap::default(),
            replacing: Mutex::default(),
        }
    }
}

/// A token is another caller's too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a token is one of callers.{0} too; give each caller tokens of its own")]
pub struct DuplicateToken(pub CallerId);

/// Why the last caller is not taken out.
const NONE_LEFT: &str = "callers: none is left, which would let everybody call; that takes a restart \
                         and, beyond this machine, server.insecure";

impl Known {
    fn new(settings: &[CallerSettings], issuers: Vec<Arc<Issuer>>, before: &Self) -> Self {
        let place = |name: &str| issuers.iter().position(|issuer| issuer.name() == name);
        let mut known = Self::default();
        for settings in settings {
            let before = before.by_id.get(&settings.id);
            let caller = Arc::new(Caller::new(settings, before.map(|before| &**before)));
            for token in &settings.tokens {
                known.tokens.insert(*token, Arc::clone(&caller));
            }
            for san in &settings.sans {
                let name = (settings.authority.clone(), san.clone());
                known.sans.insert(name, Arc::clone(&caller));
            }
            for subject in &settings.subjects {
                if let Some(issuer) = place(&subject.issuer) {
                    let subject = (issuer, subject.subject.clone());
                    known.subjects.insert(subject, Arc::clone(&caller));
                }
            }
            known.by_id.insert(caller.id.clone(), caller);
        }
        known.issuers = issuers;
        known
    }
}

impl Callers {
    /// Callers that have no proof in common: the configuration saw to that.
    #[must_use]
    pub fn new(settings: &[CallerSettings], issuers: Vec<Arc<Issuer>>) -> Self {
        let known = Known::new(settings, issuers, &Known::default());
        Self {
            known: ArcSwap::from_pointee(known),
            ..Self::default()
        }
    }

    /// Takes these callers and issuers in place of those before. Who is not among them is not let
    /// in any more; who is keeps what it has used of its hour. `count` is asked to count what those
    /// have used whose hour was not counted before.
    ///
    /// # Errors
    /// If none would be left of those there were, or their hours cannot be counted; then all stays
    /// as it was.
    pub fn replace(
        &self,
        settings: &[CallerSettings],
        issuers: Vec<Arc<Issuer>>,
        count: impl FnOnce(&[Arc<Caller>]) -> Result<(), String>,
    ) -> Result<(), String> {
        let _replacing = self.replacing();
        let before = self.known.load_full();
        if settings.is_empty() && !before.by_id.is_empty() {
            return Err(NONE_LEFT.to_owned());
        }
        let known = Known::new(settings, issuers, &before);
        let is_new = |caller: &&Arc<Caller>| {
            let before = before.by_id.get(&caller.id);
            let was_counted = before.is_some_and(|before| before.quota.is_some());
            caller.quota.is_some() && !was_counted
        };
        let begun: Vec<_> = known.by_id.values().filter(is_new).cloned().collect();
        count(&begun)?;
        for caller in known.by_id.values() {
            if let (Some(quota), Some(max)) = (&caller.quota, caller.policy.hourly_items_max) {
                quota.set_max(max);
            }
        }
        self.known.store(Arc::new(known));
        Ok(())
    }

    /// Takes what is revoked from now on, in place of what was before.
    pub fn revoke(&self, revoked: Revoked) {
        self.revoked.store(Arc::new(revoked));
    }

    /// A caller as it is now, if it still is one.
    #[must_use]
    pub fn now(&self, id: &CallerId) -> Option<Arc<Caller>> {
        let known = self.known.load();
        if known.by_id.is_empty() {
            return Some(Arc::clone(&self.anonymous)).filter(|anonymous| anonymous.id == *id);
        }
        known.by_id.get(id).cloned()
    }

    /// Each of them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Caller>> {
        self.known.load().by_id.values().cloned().collect()
    }

    /// An issuer, by its name in the configuration.
    #[must_use]
    pub fn issuer(&self, name: &str) -> Option<Arc<Issuer>> {
        let known = self.known.load();
        let issuer = known.issuers.iter().find(|issuer| issuer.name() == name);
        issuer.cloned()
    }

    /// Whether the keys of some issuer are not known. Then no JWT is refused for good that proves
    /// nobody, whosever it says it is: else a stranger could tell which issuers there are.
    #[must_use]
    pub fn lacks_keys(&self) -> bool {
        let known = self.known.load();
        known.issuers.iter().any(|issuer| issuer.lacks_keys())
    }

    fn replacing(&self) -> MutexGuard<'_, ()> {
        self.replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a caller's new tokens in place of its old ones.
    ///
    /// # Errors
    /// If one of them is another caller's; then the old ones stay.
    pub fn replace_tokens(&self, id: &CallerId, new: &[TokenDigest]) -> Result<(), DuplicateToken> {
        let _replacing = self.replacing();
        let mut known = Known::clone(&self.known.load());
        let Some(caller) = known.by_id.get(id) else {
            return Ok(());
        };
        known.tokens.retain(|_, owner| owner.id != *id);
        for token in new {
            if let Some(owner) = known.tokens.insert(*token, Arc::clone(caller))
                && owner.id != *id
            {
                return Err(DuplicateToken(owner.id.clone()));
            }
        }
        self.known.store(Arc::new(known));
        Ok(())
    }

    /// Whose a call is. Everything that is shown has to hold, and what names a caller has to name
    /// the same one: a token that was stolen is worth nothing over another caller's connection,
    /// and a certificate does not help a token that has expired. A certificate alone has to be a
    /// caller's; beside a token it may be of somebody in between, such as a proxy.
    ///
    /// # Errors
    /// Why nobody knows.
    pub fn identify(&self, proofs: Credentials<'_>) -> Result<Arc<Caller>, AuthError> {
        self.identify_shown(proofs).0
    }

    /// As [`Self::identify`], with what was shown, whether it proved anybody or not. While no
    /// caller is configured nothing is looked at.
    pub fn identify_shown(
        &self,
        proofs: Credentials<'_>,
    ) -> (Result<Arc<Caller>, AuthError>, Vec<Proof>) {
        let mut shown = Vec::new();
        (self.look_at(proofs, &mut shown), shown)
    }

    fn look_at(
        &self,
        proofs: Credentials<'_>,
        shown: &mut Vec<Proof>,
    ) -> Result<Arc<Caller>, AuthError> {
        let known = self.known.load();
        if known.by_id.is_empty() {
            return Ok(Arc::clone(&self.anonymous));
        }
        let revoked = self.revoked.load();
        let by_certificate = match proofs.certificate {
            Some(certificate) => {
                shown.push(Proof::certificate(certificate.fingerprint()));
                if revoked.certificate(certificate) {
                    Err(AuthError::Revoked(REVOKED_CERTIFICATE))
                } else {
                    known.by_certificate(certificate)
                }
            }
            None => Ok(None),
        };
        let by_token = match proofs.authorization {
            // What is wrong with the certificate is told first.
            Some(header) => known.by_header(header, &revoked, shown).map(Some),
            None => Ok(None),
        };
        match (by_certificate?, by_token?) {
            (Some(a), Some(b)) if a.id != b.id => {
                Err(AuthError::TwoCallers(a.id.clone(), b.id.clone()))
            }
            (None, Some(caller)) if caller.requires_both => {
                Err(AuthError::Incomplete("the certificate"))
            }
            (Some(caller), None) if caller.requires_both => Err(AuthError::Incomplete("the token")),
            (_, Some(caller)) | (Some(caller), None) => Ok(caller),
            (None, None) if proofs.certificate.is_some() => Err(AuthError::UnknownCertificate),
            (None, None) if known.sans.is_empty() => Err(AuthError::Nothing("")),
            (None, None) => Err(AuthError::Nothing(", or a client certificate")),
        }
    }
}

impl Known {
    /// A name counts for the caller alone whose authority vouches for it.
    fn by_certificate(&self, certificate: &Certificate) -> Result<Option<Arc<Caller>>, AuthError> {
        let mut found: Option<&Arc<Caller>> = None;
        for authority in certificate.vouched_by() {
            for name in certificate.names() {
                let Some(caller) = self.sans.get(&(authority.clone(), name.clone())) else {
                    continue;
                };
                match found {
                    Some(other) if other.id != caller.id => {
                        let two = (other.id.clone(), caller.id.clone());
                        return Err(AuthError::TwoCallers(two.0, two.1));
                    }
                    _ => found = Some(caller),
                }
            }
        }
        Ok(found.cloned())
    }

    fn by_header(
        &self,
        header: Result<&str, ()>,
        revoked: &Revoked,
        shown: &mut Vec<Proof>,
    ) -> Result<Arc<Caller>, AuthError> {
        let token = header
            .ok()
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty())
            .ok_or(AuthError::NoBearer)?;
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(AuthError::LongToken);
        }
        shown.push(Proof::token(token));
        let digest = TokenDigest::of(token);
        if let Some(caller) = self.tokens.get(&digest) {
            return match revoked.token(&digest) {
                true => Err(AuthError::Revoked(REVOKED_TOKEN)),
                false => Ok(Arc::clone(caller)),
            };
        }
        let is_jwt = token.bytes().filter(|b| *b == b'.').count() == 2;
        if self.issuers.is_empty() || !is_jwt {
            return Err(AuthError::UnknownToken);
        }
        let (issuer, claims) = jwt::verify(&self.issuers, token)?;
        shown.pop();
        shown.push(Proof::jwt(&claims));
        let named = self.issuers.get(issuer).map_or("", |issuer| issuer.name());
        if revoked.token(&digest) || revoked.jwt(named, &claims) {
            return Err(AuthError::Revoked(REVOKED_JWT));
        }
        self.by_claims(issuer, claims)
    }

    fn by_claims(&self, issuer: usize, claims: Claims) -> Result<Arc<Caller>, AuthError> {
        let caller = self
            .subjects
            .get(&(issuer, claims.sub))
            .ok_or(AuthError::UnknownSubject)?;
        for (name, value) in &caller.claims {
            let shown = claims.others.get(name).and_then(|shown| shown.as_str());
            if shown != Some(value) {
                return Err(AuthError::OtherClaim(name.clone()));
            }
        }
        Ok(Arc::clone(caller))
    }
}
