//! The configured callers, and which of them a call is from.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;

use super::{
    certificate::{Authority, Certificate, San},
    issuer::{self, Claims, Issuer, JwtFault},
    policy::Policy,
    revoked::Revoked,
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
    pub quota: Option<Arc<Hourly>>,
    claims: Vec<(String, String)>,
    requires_both: bool,
}

impl Caller {
    /// What it had before is kept: the hour that it is in is counted on.
    fn new(settings: &CallerSettings, before: Option<&Self>) -> Self {
        let kept = before.and_then(|before| before.quota.as_ref());
        let quota = settings.policy.hourly_items_max.map(|max| match kept {
            Some(kept) => Arc::clone(kept),
            None => Arc::new(Hourly::new(max)),
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
    /// Its proof was good and is on the list of those that are revoked.
    #[error("the {0} is revoked (server.revoked_file)")]
    Revoked(&'static str),
    /// Its caller was taken out of the configuration while its request arrived.
    #[error("{0} is a caller no more")]
    Gone(CallerId),
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
            Self::Revoked(_) => "CREDENTIALS_REVOKED",
            Self::Gone(_) => "CALLER_GONE",
            Self::TwoCallers(..) => "CREDENTIALS_CONTRADICT",
        }
    }

    /// Whether it is a JWT that does not prove anybody. Such calls are answered alike, whatever is
    /// wrong: see [`Callers::lacks_keys`].
    #[must_use]
    pub fn is_of_a_jwt(&self) -> bool {
        match self {
            Self::Jwt(_) | Self::UnknownSubject | Self::OtherClaim(_) => true,
            Self::Revoked(what) => *what == REVOKED_JWT,
            _ => false,
        }
    }
}

/// What [`Unproven::Revoked`] calls the kinds of proofs.
const REVOKED_TOKEN: &str = "token";
const REVOKED_JWT: &str = "JWT";
const REVOKED_CERTIFICATE: &str = "certificate";

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
pub struct Shared(pub CallerId);

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

    /// Takes these callers and issuers in place of those before. Who is not among them is not let in
    /// any more; who is keeps what it has used of its hour. `count` is asked to count what those have
    /// used whose hour was not counted before.
    ///
    /// # Errors
    /// If none would be left of those there were, or their hours cannot be counted; then all stays as
    /// it was.
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
    pub fn replace_tokens(&self, id: &CallerId, new: &[TokenDigest]) -> Result<(), Shared> {
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
                return Err(Shared(owner.id.clone()));
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
        let known = self.known.load();
        if known.by_id.is_empty() {
            return Ok(Arc::clone(&self.anonymous));
        }
        let revoked = self.revoked.load();
        let by_certificate = match proofs.certificate {
            Some(certificate) => {
                shown.push(Proof::certificate(certificate.fingerprint()));
                if revoked.certificate(certificate) {
                    Err(Unproven::Revoked(REVOKED_CERTIFICATE))
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
                Err(Unproven::TwoCallers(a.id.clone(), b.id.clone()))
            }
            (None, Some(caller)) if caller.requires_both => {
                Err(Unproven::Incomplete("the certificate"))
            }
            (Some(caller), None) if caller.requires_both => Err(Unproven::Incomplete("the token")),
            (_, Some(caller)) | (Some(caller), None) => Ok(caller),
            (None, None) if proofs.certificate.is_some() => Err(Unproven::UnknownCertificate),
            (None, None) if known.sans.is_empty() => Err(Unproven::Nothing("")),
            (None, None) => Err(Unproven::Nothing(", or a client certificate")),
        }
    }
}

impl Known {
    /// A name counts for the caller alone whose authority vouches for it.
    fn by_certificate(&self, certificate: &Certificate) -> Result<Option<Arc<Caller>>, Unproven> {
        let mut found: Option<&Arc<Caller>> = None;
        for authority in certificate.vouched_by() {
            for name in certificate.names() {
                let Some(caller) = self.sans.get(&(authority.clone(), name.clone())) else {
                    continue;
                };
                match found {
                    Some(other) if other.id != caller.id => {
                        let two = (other.id.clone(), caller.id.clone());
                        return Err(Unproven::TwoCallers(two.0, two.1));
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
        let digest = TokenDigest::of(token);
        if let Some(caller) = self.tokens.get(&digest) {
            return match revoked.token(&digest) {
                true => Err(Unproven::Revoked(REVOKED_TOKEN)),
                false => Ok(Arc::clone(caller)),
            };
        }
        let is_jwt = token.bytes().filter(|b| *b == b'.').count() == 2;
        if self.issuers.is_empty() || !is_jwt {
            return Err(Unproven::UnknownToken);
        }
        let (issuer, claims) = issuer::verify(&self.issuers, token)?;
        shown.pop();
        shown.push(Proof::jwt(&claims));
        let named = self.issuers.get(issuer).map_or("", |issuer| issuer.name());
        if revoked.token(&digest) || revoked.jwt(named, &claims) {
            return Err(Unproven::Revoked(REVOKED_JWT));
        }
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
            authority: Authority::default(),
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

    fn is(callers: &Callers, token: &str) -> Option<String> {
        let called = callers.identify(shown(&format!("Bearer {token}"))).ok()?;
        Some(called.id.to_string())
    }

    #[test]
    fn who_is_taken_out_is_nobody_and_who_stays_keeps_the_hour_that_was_used() {
        let counted = |max, name, token| {
            let mut caller = caller(name, &[token], &[]);
            caller.policy.hourly_items_max = max;
            caller
        };
        let callers = Callers::new(
            &[counted(Some(10), "a", "one"), counted(None, "b", "two")],
            Vec::new(),
        );
        let quota = |token: &str| {
            let called = callers.identify(shown(&format!("Bearer {token}")));
            called.unwrap().quota.clone()
        };
        let now = jiff::Timestamp::UNIX_EPOCH;
        quota("one").unwrap().take(8, now).unwrap();
        let new = [
            counted(Some(9), "a", "three"),
            counted(Some(5), "c", "four"),
        ];
        let failed = callers.replace(&new, Vec::new(), |_| Err("no".to_owned()));
        assert_eq!(failed, Err("no".to_owned()));
        assert_eq!(quota("one").unwrap().take(3, now).unwrap_err().max, 10);
        let mut begun = Vec::new();
        let count = |callers: &[Arc<Caller>]| {
            begun.extend(callers.iter().map(|caller| caller.id.to_string()));
            Ok(())
        };
        callers.replace(&new, Vec::new(), count).unwrap();
        assert_eq!(begun, ["c"], "its hour is counted from here on");
        assert_eq!((is(&callers, "one"), is(&callers, "two")), (None, None));
        assert_eq!(is(&callers, "three").as_deref(), Some("a"));
        let quota = quota("three").unwrap();
        assert_eq!(quota.take(2, now).unwrap_err().max, 9);
        quota.take(1, now).unwrap();
    }

    #[test]
    fn the_last_caller_is_not_taken_out_as_that_would_let_everybody_in() {
        let callers = Callers::new(&[caller("a", &["one"], &[])], Vec::new());
        assert!(callers.replace(&[], Vec::new(), |_| Ok(())).is_err());
        assert_eq!(is(&callers, "one").as_deref(), Some("a"));
        assert!(callers.identify(Proofs::default()).is_err());
    }

    #[test]
    fn a_token_that_is_revoked_is_good_no_more_until_it_is_off_the_list() {
        let callers = Callers::new(&[caller("a", &["t0ken", "two"], &[])], Vec::new());
        // As the audit tells it: see above.
        callers.revoke(Revoked::parse("token:b46c0967\n").unwrap());
        let refused = callers.identify(shown("Bearer t0ken")).unwrap_err();
        assert_eq!(refused, Unproven::Revoked(REVOKED_TOKEN));
        assert_eq!(is(&callers, "two").as_deref(), Some("a"));
        callers.revoke(Revoked::parse("# none\n").unwrap());
        assert_eq!(is(&callers, "t0ken").as_deref(), Some("a"));
    }
}
