//! Who may call: names, what proves them, and what each may do.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use super::{
    identity::Require,
    secret::{self, SecretSources},
};
use crate::{
    config::{
        did_you_mean::did_you_mean,
        error::{Problem, SettingSource},
        schema::{
            names::Group,
            setting::{Described as _, keyed, variable},
            settings::{self, TOKEN, TOKEN_ENV, TOKEN_FILE},
        },
        source::reader::SettingsReader,
    },
    domain::ids::CallerId,
    identity::{Authority, CallerSettings, Policy, Subject, TokenDigest},
};

/// Shorter tokens could be guessed.
const TOKEN_CHARS_MIN: usize = 16;
/// Different characters of a token. Sixteen that are drawn at random from the ten digits have more
/// in all but one of ten thousand.
const TOKEN_VARIETY_MIN: usize = 5;

const WAYS: SecretSources = SecretSources {
    inline: &TOKEN,
    file: &TOKEN_FILE,
    env: &TOKEN_ENV,
};

/// A client that may call.
#[derive(Debug, Clone)]
pub struct CallerConfig {
    /// Its name, what proves it, and what it may do. No other caller has any proof of its.
    pub settings: CallerSettings,
    /// The file that its tokens came from, if they came from one.
    pub token_file: Option<PathBuf>,
}

/// Reads all callers.
pub(in crate::config) fn read_all(reader: &mut SettingsReader<'_>) -> Vec<CallerConfig> {
    let mut callers = Vec::new();
    for (name, named) in reader.layers.names(Group::Callers) {
        callers.extend(read(reader, &name, &named));
    }
    refuse_shared_proofs(reader, &callers);
    callers
}

fn read(
    reader: &mut SettingsReader<'_>,
    name: &str,
    named: &SettingSource,
) -> Option<CallerConfig> {
    let (subjects, claims) = jwt(reader, name);
    let sans = reader.get_of(&settings::TLS_SANS, name).unwrap_or_default();
    let authority = authority(reader, name);
    let policy = policy(reader, name);
    let (tokens, token_file) = match secret::is_given(reader, &WAYS, name) {
        true => tokens_of(reader, name, named),
        false => (Vec::new(), None),
    };
    let proofs = [
        settings::JWT_ISSUER.key,
        settings::JWT_SUBJECTS.key,
        settings::TLS_SANS.key,
        TOKEN.key,
        TOKEN_FILE.key,
        TOKEN_ENV.key,
    ];
    let requires_both = reader.get_of(&settings::REQUIRE, name) == Require::All;
    let is_given = |key: &str| reader.source(&keyed(key, name)).is_some();
    let has_token = secret::is_given(reader, &WAYS, name) || is_given(settings::JWT_ISSUER.key);
    if requires_both && !(has_token && is_given(settings::TLS_SANS.key)) {
        let problem = Problem::new(
            "asks for a certificate and a token, and one of them has nothing that proves it",
            "set tls_sans, and a token or jwt_issuer",
        );
        reader.refuse(&keyed(settings::REQUIRE.key, name), problem);
    }
    // One that was given is there, and the mistake in it is noted.
    if proofs
        .iter()
        .all(|key| reader.source(&keyed(key, name)).is_none())
    {
        let inline = keyed(TOKEN.key, name);
        let problem = Problem::new(
            "has nothing that proves it",
            format!(
                "set {}, {}, the variable {}, {} with {}, or {}",
                TOKEN_FILE.word(),
                TOKEN_ENV.word(),
                variable(&inline),
                settings::JWT_ISSUER.word(),
                settings::JWT_SUBJECTS.word(),
                settings::TLS_SANS.word(),
            ),
        );
        let table = keyed(TOKEN.section(), name);
        reader.mistakes.push(Some(named.clone()), table, problem);
    }
    Some(CallerConfig {
        settings: CallerSettings {
            // The name has the form of an account's, which is narrower than a caller's.
            id: CallerId::try_from(name).ok()?,
            tokens,
            sans,
            authority,
            subjects,
            claims,
            requires_both,
            policy,
        },
        token_file,
    })
}

fn tokens_of(
    reader: &mut SettingsReader<'_>,
    name: &str,
    named: &SettingSource,
) -> (Vec<TokenDigest>, Option<PathBuf>) {
    let Some(found) = secret::find(reader, &WAYS, name, named) else {
        return (Vec::new(), None);
    };
    let mut digests = Vec::new();
    // One that was emptied takes all tokens back, and the others' callers are served.
    if found.file.is_some() && found.text.trim().is_empty() {
        return (digests, found.file);
    }
    for token in parse_tokens(&found.text) {
        match token {
            Ok(digest) => digests.push(digest),
            Err(problem) => reader.refuse(&found.key, problem),
        }
    }
    (digests, found.file)
}

/// The digests of the tokens in a text, as a file holds them: each on a line of its own, as it is
/// or as `sha256:` and its digest. An empty file holds none.
///
/// # Errors
/// The first mistake, without the token.
pub fn tokens(text: &str) -> Result<Vec<TokenDigest>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let tokens: Result<Vec<_>, _> = parse_tokens(text).collect();
    tokens.map_err(|problem| format!("{}; {}", problem.problem, problem.remedy))
}

fn parse_tokens(text: &str) -> impl Iterator<Item = Result<TokenDigest, Problem>> {
    let mut words = text.split_whitespace().peekable();
    // For the mistake that an empty secret is.
    let nothing = words.peek().is_none().then_some("");
    words.chain(nothing).map(parse_token)
}

fn parse_token(word: &str) -> Result<TokenDigest, Problem> {
    if let Some(written) = TokenDigest::written(word) {
        return written.map_err(|_| {
            Problem::new(
                "leads to a sha256: that 64 hexadecimal digits do not follow",
                "make it by `printf %s \"$TOKEN\" | sha256sum`",
            )
        });
    }
    secret::parse(word)?;
    if word.len() < TOKEN_CHARS_MIN {
        return Err(Problem::new(
            format!("leads to a token of fewer than {TOKEN_CHARS_MIN} characters"),
            "make one that cannot be guessed, such as by `openssl rand -hex 32`",
        ));
    }
    let characters: BTreeSet<char> = word.chars().collect();
    if characters.len() < TOKEN_VARIETY_MIN {
        return Err(Problem::new(
            format!("leads to a token of fewer than {TOKEN_VARIETY_MIN} different characters"),
            "make one that cannot be guessed, such as by `openssl rand -hex 32`",
        ));
    }
    Ok(TokenDigest::of(word))
}

/// The subjects of a caller's JWTs, and the claims that they need.
fn jwt(reader: &mut SettingsReader<'_>, name: &str) -> (Vec<Subject>, Vec<(String, String)>) {
    let issuer = reader.get_of(&settings::JWT_ISSUER, name);
    let subjects = reader.get_of(&settings::JWT_SUBJECTS, name);
    let claims = reader
        .get_of(&settings::JWT_CLAIMS, name)
        .unwrap_or_default();
    let key = |setting: &str| keyed(setting, name);
    let issuers = reader.layers.names(Group::Issuers);
    let is_known = |issuer: &str| issuers.iter().any(|(known, _)| known == issuer);
    if let Some(issuer) = &issuer
        && !is_known(&issuer.0)
    {
        let known = issuers.iter().map(|(known, _)| known.as_str());
        let remedy = match issuers.as_slice() {
            [] => "add an [issuers.some-name]".to_owned(),
            _ => did_you_mean(&issuer.0, known),
        };
        let problem = Problem::new("names no [issuers] that there is", remedy);
        reader.refuse(&key(settings::JWT_ISSUER.key), problem);
    }
    let is_given = |setting: &str| reader.source(&key(setting)).is_some();
    let (has_issuer, has_subjects) = (
        is_given(settings::JWT_ISSUER.key),
        is_given(settings::JWT_SUBJECTS.key),
    );
    let has_claims = is_given(settings::JWT_CLAIMS.key);
    if has_issuer && !has_subjects {
        let problem = Problem::new(
            "would let everybody in to whom it issues tokens",
            "set jwt_subjects to those of this caller",
        );
        reader.refuse(&key(settings::JWT_ISSUER.key), problem);
    }
    for (is_given, setting) in [
        (has_subjects, settings::JWT_SUBJECTS.key),
        (has_claims, settings::JWT_CLAIMS.key),
    ] {
        if is_given && !has_issuer {
            let problem = Problem::new("means nothing without an issuer", "set jwt_issuer");
            reader.refuse(&key(setting), problem);
        }
    }
    let claims = claims
        .into_iter()
        .filter_map(|claim| {
            let (name, value) = claim.0.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect();
    let subjects = subjects.unwrap_or_default().into_iter();
    let subjects = issuer.map(|issuer| {
        subjects
            .map(|subject| Subject {
                issuer: issuer.0.clone(),
                subject: subject.0,
            })
            .collect()
    });
    (subjects.unwrap_or_default(), claims)
}

/// Who vouches for a caller's certificates: always one that is said, so that an authority which is
/// added for one caller is never another one's by mistake.
fn authority(reader: &mut SettingsReader<'_>, name: &str) -> Authority {
    let (key, sans) = (
        keyed(settings::CALLER_AUTHORITY.key, name),
        keyed(settings::TLS_SANS.key, name),
    );
    let authority = reader.get_of(&settings::CALLER_AUTHORITY, name);
    let authorities = reader.layers.names(Group::Authorities);
    let has_names = reader.source(&sans).is_some();
    let Some(authority) = authority else {
        let bundle = reader.source(settings::TLS_CLIENT_CA_FILE.key);
        let problem = match authorities.as_slice() {
            _ if !has_names || bundle.is_some() => return Authority::default(),
            [] => Problem::new(
                "names certificates that nobody vouches for",
                "set server.tls_client_ca_file",
            ),
            // With a second authority it would be either one's.
            _ => Problem::new(
                "names certificates and not who vouches for them",
                format!("set authority in callers.{name} to the name of one of [authorities]"),
            ),
        };
        reader.refuse(&sans, problem);
        return Authority::default();
    };
    if !has_names {
        let problem = Problem::new("means nothing without names", "set tls_sans");
        reader.refuse(&key, problem);
    }
    if !authorities.iter().any(|(known, _)| *known == authority.0) {
        let known = authorities.iter().map(|(known, _)| known.as_str());
        let remedy = match authorities.as_slice() {
            [] => "add an [authorities.some-name] with its ca_file".to_owned(),
            _ => did_you_mean(&authority.0, known),
        };
        let problem = Problem::new("names no [authorities] that there is", remedy);
        reader.refuse(&key, problem);
    }
    Authority::named(&authority.0)
}

fn policy(reader: &mut SettingsReader<'_>, name: &str) -> Policy {
    let open_items_max = reader.get_of(&settings::CALLER_OPEN_ITEMS_MAX, name);
    let hourly_items_max = reader.get_of(&settings::HOURLY_ITEMS_MAX, name);
    let batch_items_max = reader.get_of(&settings::BATCH_ITEMS_MAX, name);
    Policy {
        methods: reader
            .get_of(&settings::METHODS, name)
            .into_iter()
            .collect(),
        accounts: reader.get_of(&settings::ACCOUNTS, name),
        // A request that could never be open as a whole is refused as too large, and not as for
        // now.
        batch_items_max: open_items_max.map_or(batch_items_max, |open| batch_items_max.min(open)),
        hourly_items_max,
        open_items_max,
        scans_max: reader.get_of(&settings::SCANS_MAX, name),
        retry_window_max: reader
            .get_of(&settings::RETRY_WINDOW_MAX_MS, name)
            .map(Duration::from_millis),
        matches_max: reader.get_of(&settings::MATCHES_MAX, name),
        // What can match many is nothing that a quota can count, unless its bound is said.
        many_matching: reader
            .get_of(&settings::MANY_MATCHING, name)
            .unwrap_or_else(|| hourly_items_max.is_none()),
        auditor: reader.get_of(&settings::AUDITOR, name),
        auditor_answers: reader.get_of(&settings::AUDITOR_ANSWERS, name),
    }
}

/// What proves two callers proves neither.
fn refuse_shared_proofs(reader: &mut SettingsReader<'_>, callers: &[CallerConfig]) {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Proof<'a> {
        Token(TokenDigest),
        San(&'a Authority, &'a crate::identity::San),
        Subject(&'a Subject),
    }
    let mut owners: BTreeMap<Proof<'_>, &CallerId> = BTreeMap::new();
    for CallerConfig { settings, .. } in callers {
        let tokens = settings.tokens.iter().map(|token| Proof::Token(*token));
        let authority = &settings.authority;
        let sans = settings.sans.iter().map(|san| Proof::San(authority, san));
        let subjects = settings.subjects.iter().map(Proof::Subject);
        for proof in tokens.chain(sans).chain(subjects) {
            let noun = match &proof {
                Proof::Token(_) => "a token",
                Proof::San(..) => "a certificate's name",
                Proof::Subject(_) => "a JWT's subject",
            };
            let owner = *owners.entry(proof).or_insert(&settings.id);
            if owner != &settings.id {
                let kind = noun.rsplit(' ').next().unwrap_or(noun);
                let problem = Problem::new(
                    format!("has {noun} that callers.{owner} has too"),
                    format!("give each caller a {kind} of its own"),
                );
                let key = format!("callers.{}", settings.id);
                reader.mistakes.push(None, key, problem);
            }
        }
    }
}
