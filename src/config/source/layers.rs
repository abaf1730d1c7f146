//! What was given where, before anything is read: the file's values, then the environment's,
//! then the command line's. Whatever is no setting is a mistake here.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::env::{Env, PREFIX};
use crate::config::{
    error::{Mistakes, Problem, SettingSource},
    schema::{
        names::{
            Group, check_name, check_word, name_of, settings_in, unknown_section, unknown_variable,
            variables_of,
        },
        setting::{Described, NAME, RawSetting, keyed, variable},
        settings::{self, ALL},
    },
};

/// A value and where it stood.
#[derive(Clone)]
pub(in crate::config) struct RawValue {
    pub(in crate::config) raw: RawSetting,
    pub(in crate::config) source: SettingSource,
}

/// All that was given.
#[derive(Default)]
pub(in crate::config) struct Layers {
    /// By key, from the lowest layer to the highest.
    given: BTreeMap<String, Vec<RawValue>>,
    /// The accounts and callers that were named, and where first.
    names: BTreeMap<(Group, String), SettingSource>,
}

impl Layers {
    /// What was given for a key, from the lowest layer to the highest.
    pub(in crate::config) fn given(&self, key: &str) -> &[RawValue] {
        self.given.get(key).map_or(&[], Vec::as_slice)
    }

    /// The names in a group, and where each was first seen.
    pub(in crate::config) fn names(&self, group: Group) -> Vec<(String, SettingSource)> {
        self.names
            .iter()
            .filter(|((of, _), _)| *of == group)
            .map(|((_, name), source)| (name.clone(), source.clone()))
            .collect()
    }

    fn give(&mut self, key: String, raw: RawSetting, source: SettingSource) {
        self.given
            .entry(key)
            .or_default()
            .push(RawValue { raw, source });
    }

    /// Adds a file's values.
    pub(in crate::config) fn add_file(&mut self, file: &str, text: &str, mistakes: &mut Mistakes) {
        let at = |offset: usize| SettingSource::File {
            file: file.to_owned(),
            line: line_of(text, offset),
        };
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            // The error's own display repeats the line, which may hold a secret.
            let source = error.span().map(|span| at(span.start));
            let problem = Problem::new(error.message(), "write TOML (https://toml.io)");
            mistakes.push(source, "", problem);
        }
        if !errors.is_empty() {
            // What could be recovered lacks what could not, and would only add mistakes.
            return;
        }
        for (word, value) in document.get_ref() {
            let source = at(word.span().start);
            let section = word.get_ref().as_ref();
            let known = Group::of(section).is_some() || settings_in(section).next().is_some();
            match value.get_ref() {
                _ if !known => mistakes.push(Some(source), section, unknown_section(section)),
                DeValue::Table(table) => match Group::of(section) {
                    Some(group) => self.add_group(group, table, &at, mistakes),
                    None => self.add_table(section, section, table, &at, mistakes),
                },
                _ => {
                    let remedy = format!("write [{section}] on a line above its settings");
                    let problem = Problem::new("is a section, not a setting", remedy);
                    mistakes.push(Some(source), section, problem);
                }
            }
        }
    }

    fn add_group(
        &mut self,
        group: Group,
        table: &DeTable<'_>,
        at: &impl Fn(usize) -> SettingSource,
        mistakes: &mut Mistakes,
    ) {
        for (name, value) in table {
            let source = at(name.span().start);
            let name = name.get_ref().as_ref();
            let key = format!("{}.{name}", group.word());
            let DeValue::Table(table) = value.get_ref() else {
                let remedy = format!("write [{}.some-name] above its settings", group.word());
                let problem = Problem::new("stands outside of any name", remedy);
                mistakes.push(Some(source), key, problem);
                continue;
            };
            if let Err(problem) = check_name(group, name) {
                mistakes.push(Some(source), key, problem);
                continue;
            }
            self.names.entry((group, name.to_owned())).or_insert(source);
            let section = format!("{}.{NAME}", group.word());
            self.add_table(&section, &key, table, at, mistakes);
        }
    }

    /// Adds the values of a table of settings, which is called `path` in this file.
    fn add_table(
        &mut self,
        section: &str,
        path: &str,
        table: &DeTable<'_>,
        at: &impl Fn(usize) -> SettingSource,
        mistakes: &mut Mistakes,
    ) {
        for (word, value) in table {
            let source = at(word.span().start);
            let word = word.get_ref().as_ref();
            let key = format!("{path}.{word}");
            match check_word(section, word) {
                Ok(()) => self.give(key, raw(value.get_ref()), source),
                Err(problem) => mistakes.push(Some(source), key, problem),
            }
        }
    }

    /// Adds the variables that are addressed to this program.
    pub(in crate::config) fn add_env(&mut self, env: &Env, mistakes: &mut Mistakes) {
        // Accounts that variables name beyond doubt, before those that depend on it.
        let named = self.named_by(env);
        for (name, text) in env.ours() {
            let source = SettingSource::Env(name.to_owned());
            let Ok(text) = text else {
                let problem = Problem::new("is not valid UTF-8", "give text");
                mistakes.push(Some(source), "", problem);
                continue;
            };
            match self.key_of(name, &named) {
                Ok((key, named)) => {
                    if let Some(named) = named {
                        self.names.entry(named).or_insert_with(|| source.clone());
                    }
                    self.give(key, RawSetting::Plain(text.to_owned()), source);
                }
                Err(problem) => mistakes.push(Some(source), "", problem),
            }
        }
    }

    fn named_by(&self, env: &Env) -> Vec<(Group, String)> {
        let provider = format!("_{}", settings::PROVIDER.word().to_ascii_uppercase());
        let by_env = env.ours().filter_map(|(variable, _)| {
            let tail = variable.strip_prefix(PREFIX)?.strip_prefix("ACCOUNTS_")?;
            Some((Group::Accounts, name_of(tail.strip_suffix(&provider)?)))
        });
        self.names.keys().cloned().chain(by_env).collect()
    }

    /// The key that a variable sets, and the account or caller it belongs to.
    fn key_of(
        &self,
        name: &str,
        named: &[(Group, String)],
    ) -> Result<(String, Option<(Group, String)>), Problem> {
        let fixed = || ALL.iter().filter(|s| !s.key().contains(NAME));
        if let Some(setting) = fixed().find(|s| variable(s.key()) == name) {
            return Ok((setting.key().to_owned(), None));
        }
        let tail = name.strip_prefix(PREFIX).unwrap_or_default();
        let of_group = Group::ALL.into_iter().find_map(|group| {
            let tail = tail.strip_prefix(&group.word().to_ascii_uppercase())?;
            Some((group, tail.strip_prefix('_')?))
        });
        let Some((group, tail)) = of_group else {
            let known: Vec<_> = fixed().map(|s| variable(s.key())).collect();
            return Err(unknown_variable(name, &known));
        };
        let mut readings: Vec<(&'static dyn Described, String)> = group
            .settings()
            .filter_map(|setting| {
                let suffix = format!("_{}", setting.word().to_ascii_uppercase());
                Some((setting, name_of(tail.strip_suffix(&suffix)?)))
            })
            .filter(|(_, name)| check_name(group, name).is_ok())
            .collect();
        // A_CONNECT_TIMEOUT_MS may be a-connect's timeout or a's time to connect.
        let is_named = |name: &String| named.contains(&(group, name.clone()));
        if readings.iter().filter(|(_, name)| is_named(name)).count() > 1 {
            return Err(Problem::new(
                "can be read in two ways, as two names fit",
                "set it in the file or rename one of them",
            ));
        }
        readings.sort_by_key(|(setting, name)| (is_named(name), setting.word().len()));
        match readings.pop() {
            Some((setting, name)) => Ok((keyed(setting.key(), &name), Some((group, name)))),
            None => Err(unknown_variable(name, &variables_of(group, named))),
        }
    }

    /// Adds what the command line overrides: keys with their values.
    pub(in crate::config) fn add_overrides(
        &mut self,
        overrides: &[(String, String)],
        mistakes: &mut Mistakes,
    ) {
        for (key, text) in overrides {
            let source = SettingSource::CommandLine;
            let (head, word) = key.rsplit_once('.').unwrap_or(("", key));
            let named = head
                .split_once('.')
                .and_then(|(group, name)| Some((Group::of(group)?, name.to_owned())));
            let checked = match &named {
                Some((group, name)) => check_name(*group, name)
                    .and_then(|()| check_word(&format!("{}.{NAME}", group.word()), word)),
                None if settings_in(head).next().is_none() => Err(unknown_section(key)),
                None => check_word(head, word),
            };
            match checked {
                Ok(()) => {
                    if let Some(named) = named {
                        self.names.entry(named).or_insert_with(|| source.clone());
                    }
                    self.give(key.clone(), RawSetting::Plain(text.clone()), source);
                }
                Err(problem) => mistakes.push(Some(source), key.clone(), problem),
            }
        }
    }
}

fn raw(value: &DeValue<'_>) -> RawSetting {
    match value {
        DeValue::String(text) => RawSetting::Text(text.as_ref().to_owned()),
        // What is too large for an i128 is too large for every setting.
        DeValue::Integer(number) => RawSetting::Whole(
            i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX),
        ),
        DeValue::Float(number) => RawSetting::Decimal(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => RawSetting::Bool(*truth),
        DeValue::Array(items) => {
            RawSetting::List(items.iter().map(|item| raw(item.get_ref())).collect())
        }
        DeValue::Datetime(_) | DeValue::Table(_) => RawSetting::Other(value.type_str()),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}
