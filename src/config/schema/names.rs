//! Which words are settings, sections and names, and what a word that is none was meant to be.

use super::{
    setting::{Described, NAME, keyed, variable},
    settings::{self, ALL, INLINE_SECRETS},
};
use crate::{
    config::{did_you_mean::nearest, error::Problem, source::env::PREFIX},
    domain::ids::AccountName,
};

/// Sections whose tables have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::config) enum Group {
    Accounts,
    Authorities,
    Callers,
    Issuers,
}

impl Group {
    pub(in crate::config) const ALL: [Self; 4] = [
        Self::Accounts,
        Self::Authorities,
        Self::Callers,
        Self::Issuers,
    ];

    pub(in crate::config) fn word(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Authorities => "authorities",
            Self::Callers => "callers",
            Self::Issuers => "issuers",
        }
    }

    pub(in crate::config) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.word() == word)
    }

    pub(in crate::config) fn settings(
        self,
    ) -> impl Iterator<Item = &'static dyn Described> + Clone {
        let section = format!("{}.{NAME}", self.word());
        ALL.iter().copied().filter(move |s| s.section() == section)
    }
}

pub(in crate::config) fn settings_in(
    section: &str,
) -> impl Iterator<Item = &'static dyn Described> {
    ALL.iter().copied().filter(move |s| s.section() == section)
}

pub(in crate::config) fn unknown_section(word: &str) -> Problem {
    let sections = ALL
        .iter()
        .filter_map(|s| s.section().split('.').next())
        .chain(std::iter::empty());
    let meant = nearest(word, sections).map(str::to_owned).or_else(|| {
        let last = word.rsplit('.').next().unwrap_or(word);
        elsewhere(last).map(str::to_owned)
    });
    let remedy = match meant {
        Some(meant) => format!("did you mean {meant}?"),
        None => "known are accounts, authorities, callers, issuers, server, journal, audit, engine, log and telemetry"
            .to_owned(),
    };
    Problem::new("is no setting", remedy)
}

/// The key whose last word this is most likely meant to be.
fn elsewhere(word: &str) -> Option<&'static str> {
    let meant = nearest(word, ALL.iter().map(|s| s.word()))?;
    ALL.iter().find(|s| s.word() == meant).map(|s| s.key())
}

/// Whether a section has a setting of this name that may stand in a file or a command line.
pub(in crate::config) fn check_word(section: &str, word: &str) -> Result<(), Problem> {
    let secret = [&settings::CREDENTIAL, &settings::TOKEN]
        .into_iter()
        .find(|secret| secret.section() == section);
    let known = settings_in(section).find(|setting| setting.word() == word);
    if let Some(secret) = secret
        && (secret.word() == word || (known.is_none() && is_inline_secret(word)))
    {
        let noun = secret.word();
        return Err(Problem::new(
            "would be a secret in plain sight",
            format!(
                "name where it is kept: {noun}_file = \"a path\" or {noun}_env = \"A_VARIABLE\""
            ),
        ));
    }
    if known.is_some() {
        return Ok(());
    }
    let words = settings_in(section).map(|setting| setting.word());
    let remedy = match (nearest(word, words), elsewhere(word)) {
        (Some(meant), _) => format!("did you mean {meant}?"),
        (None, Some(key)) => format!("did you mean {key}?"),
        (None, None) => {
            let words: Vec<_> = settings_in(section).map(|setting| setting.word()).collect();
            format!("known are {}", words.join(", "))
        }
    };
    Err(Problem::new("is no setting", remedy))
}

fn is_inline_secret(word: &str) -> bool {
    let word = word.to_ascii_lowercase().replace('-', "_");
    INLINE_SECRETS.contains(&word.as_str())
}

/// Accounts and callers have names of one form, so that variables can carry them.
pub(in crate::config) fn check_name(group: Group, name: &str) -> Result<(), Problem> {
    if group == Group::Callers && name == "anonymous" {
        return Err(Problem::new(
            "is what those are called who show no token",
            "choose another name",
        ));
    }
    if AccountName::try_from(name).is_ok() {
        return Ok(());
    }
    let lower = name.to_ascii_lowercase().replace(['_', ' ', '.'], "-");
    let remedy = match AccountName::try_from(lower) {
        Ok(legal) => format!("call it {legal}: lower-case letters, digits and dashes"),
        Err(_) => {
            "give 1-63 lower-case letters, digits and dashes, beginning with a letter".to_owned()
        }
    };
    Err(Problem::new("is not a legal name", remedy))
}

/// The name that is written `SOME_NAME` in a variable.
pub(in crate::config) fn name_of(upper: &str) -> String {
    upper.to_ascii_lowercase().replace('_', "-")
}

pub(in crate::config) fn variables_of(group: Group, named: &[(Group, String)]) -> Vec<String> {
    let names = named.iter().filter(|(of, _)| *of == group);
    names
        .flat_map(|(_, name)| {
            group
                .settings()
                .map(move |s| variable(&keyed(s.key(), name)))
        })
        .collect()
}

pub(in crate::config) fn unknown_variable(name: &str, known: &[String]) -> Problem {
    let remedy = match nearest(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!(
            "unset it, or see the settings' names in docs/configuration.md; variables that \
             begin with {PREFIX} are this program's"
        ),
    };
    Problem::new("is no setting", remedy)
}
