//! Secrets: where they are kept, and what they may look like. They are read once, are never
//! written down in the configuration, and no error or `Debug` shows one.

use std::path::PathBuf;

use secrecy::SecretString;

use crate::config::{
    error::{Problem, SettingSource},
    permissions,
    schema::{
        setting::{Described as _, Setting, ValueType as _, keyed, quoted, variable},
        text_format::SECRET_CHARS_MAX,
        value_type::Text,
    },
    source::{file::read_text, reader::SettingsReader},
};

/// Bytes of a secret's file that are read.
pub const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The settings that say where a secret is; exactly one of them has to be given.
pub(in crate::config) struct SecretSources {
    /// The secret itself, in an environment variable of ours.
    pub(in crate::config) inline: &'static Setting<Option<Text>>,
    /// A file.
    pub(in crate::config) file: &'static Setting<Option<PathBuf>>,
    /// Any environment variable.
    pub(in crate::config) env: &'static Setting<Option<Text>>,
}

/// What a secret's place holds, which is not checked yet.
pub(in crate::config) struct FoundSecret {
    pub(in crate::config) text: String,
    /// The setting that led to it.
    pub(in crate::config) key: String,
    /// The file that it is in, if it is in one.
    pub(in crate::config) file: Option<PathBuf>,
}

/// Whether a secret's place is given at all.
pub(in crate::config) fn is_given(
    reader: &SettingsReader<'_>,
    ways: &SecretSources,
    name: &str,
) -> bool {
    [ways.inline.key, ways.file.key, ways.env.key]
        .iter()
        .any(|key| reader.source(&keyed(key, name)).is_some())
}

/// Finds the secret of an account or caller that was first named at `named`.
pub(in crate::config) fn find(
    reader: &mut SettingsReader<'_>,
    ways: &SecretSources,
    name: &str,
    named: &SettingSource,
) -> Option<FoundSecret> {
    let keys = [ways.inline.key, ways.file.key, ways.env.key].map(|key| keyed(key, name));
    let [inline, file, _] = &keys;
    let ranks = keys
        .clone()
        .map(|key| reader.source(&key).map(|source| source.rank()));
    let highest = ranks.iter().flatten().max();
    let used: Vec<&String> = keys
        .iter()
        .zip(&ranks)
        .filter(|(_, rank)| rank.is_some() && rank.as_ref() == highest)
        .map(|(key, _)| key)
        .collect();
    match used.as_slice() {
        [key] if *key == inline => find_inline(reader, ways, name),
        [key] if *key == file => find_in_file(reader, ways, name),
        [_] => find_in_env(reader, ways, name),
        [] => {
            let problem = Problem::new(
                format!("has no {}", ways.inline.word()),
                format!(
                    "set {}, {}, or the variable {}",
                    ways.file.word(),
                    ways.env.word(),
                    variable(inline)
                ),
            );
            let table = keyed(ways.file.section(), name);
            reader.mistakes.push(Some(named.clone()), table, problem);
            None
        }
        several => {
            for key in several {
                let problem = Problem::new("is one of several places", "keep exactly one");
                reader.refuse(key, problem);
            }
            None
        }
    }
}

fn find_inline(
    reader: &mut SettingsReader<'_>,
    ways: &SecretSources,
    name: &str,
) -> Option<FoundSecret> {
    let (text, source) = reader.given(ways.inline, name)?;
    let key = keyed(ways.inline.key, name);
    // Said as what it amounts to, so that what is printed can be read again.
    let toml = quoted(&variable(&key));
    reader.remember(keyed(ways.env.key, name), Some(toml), Some(source));
    Some(FoundSecret {
        text: text?.0,
        key,
        file: None,
    })
}

fn find_in_file(
    reader: &mut SettingsReader<'_>,
    ways: &SecretSources,
    name: &str,
) -> Option<FoundSecret> {
    let (path, source) = reader.given(ways.file, name)?;
    let key = keyed(ways.file.key, name);
    let path = path?;
    let text = match read_text(&path, FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(why) => {
            let problem = Problem::new(
                format!("names a file that cannot be read ({why})"),
                "give the path of a readable text file",
            );
            reader.refuse(&key, problem);
            return None;
        }
    };
    permissions::private(reader, &key, &path);
    reader.remember(key.clone(), path.toml(), Some(source));
    Some(FoundSecret {
        text,
        key,
        file: Some(path),
    })
}

fn find_in_env(
    reader: &mut SettingsReader<'_>,
    ways: &SecretSources,
    name: &str,
) -> Option<FoundSecret> {
    let (variable, source) = reader.given(ways.env, name)?;
    let key = keyed(ways.env.key, name);
    let variable = variable?;
    let problem = match reader.env.get(&variable.0) {
        Ok(Some(text)) => {
            let text = text.to_owned();
            reader.remember(key.clone(), variable.toml(), Some(source));
            return Some(FoundSecret {
                text,
                key,
                file: None,
            });
        }
        Ok(None) => Problem::new(
            "names a variable that is not set",
            "set it, or give the name of one that is",
        ),
        Err(not_utf8) => Problem::new(
            format!("names a variable that {not_utf8}"),
            "give it a value of printable ASCII characters",
        ),
    };
    reader.refuse(&key, problem);
    None
}

/// A provider's credential in a text, as a file holds it.
///
/// # Errors
/// What is wrong with it, without the text.
pub fn credential(text: &str) -> Result<SecretString, String> {
    parse(text).map_err(|problem| format!("{}; {}", problem.problem, problem.remedy))
}

/// Checks that a text can be sent as a secret in a header, and trims it.
pub(in crate::config) fn parse(text: &str) -> Result<SecretString, Problem> {
    let text = text.trim();
    let legal = |c: char| c.is_ascii_graphic() || c == ' ';
    if text.is_empty() {
        return Err(Problem::new(
            "leads to nothing: it is empty",
            "put the secret there",
        ));
    }
    if text.len() > SECRET_CHARS_MAX {
        return Err(Problem::new(
            "leads to something too long for a secret",
            format!("give one of at most {SECRET_CHARS_MAX} characters"),
        ));
    }
    if text.contains(['\n', '\r']) {
        return Err(Problem::new(
            "leads to several lines",
            "keep the secret alone on a single line",
        ));
    }
    if !text.chars().all(legal) {
        return Err(Problem::new(
            "leads to characters that no header can have",
            "keep the secret alone, in printable ASCII characters",
        ));
    }
    if text
        .get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case("bearer "))
    {
        return Err(Problem::new(
            "leads to a value that begins with \"Bearer \"",
            "leave that word away: it is added where it belongs",
        ));
    }
    Ok(SecretString::from(text))
}
