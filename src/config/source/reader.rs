//! Reads settings from the layers: the highest layer wins, every layer has to be right, and what
//! came of it is remembered for `config print`.

use super::{env::Env, layers::Layers};
use crate::config::{
    error::{Mistakes, Problem, SettingSource},
    schema::setting::{NAME, Setting, ValueType, keyed},
};

/// A setting as it is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct SettingEntry {
    /// Its key.
    pub(in crate::config) key: String,
    /// Its value as TOML; `None` if it is not set. Never a secret.
    pub(in crate::config) toml: Option<String>,
    /// Where it came from; `None` for defaults.
    pub(in crate::config) source: Option<SettingSource>,
}

/// Reads settings and collects mistakes.
pub(in crate::config) struct SettingsReader<'a> {
    pub(in crate::config) env: &'a Env,
    pub(in crate::config) layers: Layers,
    pub(in crate::config) mistakes: Mistakes,
    pub(in crate::config) warnings: Mistakes,
    /// What other users of the machine may read or change.
    pub(in crate::config) loose: Mistakes,
    pub(in crate::config) entries: Vec<SettingEntry>,
}

impl SettingsReader<'_> {
    /// A setting's value. After a mistake it is the default, and the mistake is noted.
    pub(in crate::config) fn get<T: ValueType>(&mut self, setting: &Setting<T>) -> T {
        self.get_of(setting, NAME)
    }

    /// The value of an account's or caller's setting.
    pub(in crate::config) fn get_of<T: ValueType>(
        &mut self,
        setting: &Setting<T>,
        name: &str,
    ) -> T {
        let (value, source) = match self.given(setting, name) {
            Some((value, source)) => (value, Some(source)),
            None => ((setting.default)(), None),
        };
        self.remember(keyed(setting.key, name), value.toml(), source);
        value
    }

    /// The same for a default that depends on something else.
    pub(in crate::config) fn get_or<T: ValueType>(
        &mut self,
        setting: &Setting<Option<T>>,
        name: &str,
        default: T,
    ) -> T {
        let (value, source) = match self.given(setting, name) {
            Some((Some(value), source)) => (value, Some(source)),
            Some((None, _)) | None => (default, None),
        };
        self.remember(keyed(setting.key, name), value.toml(), source);
        value
    }

    /// What was given, if anything was and the last of it is right.
    pub(in crate::config) fn given<T: ValueType>(
        &mut self,
        setting: &Setting<T>,
        name: &str,
    ) -> Option<(T, SettingSource)> {
        let key = keyed(setting.key, name);
        let mut last = None;
        for given in self.layers.given(&key) {
            match T::read(&given.raw, &setting.bounds) {
                Ok(value) => last = Some((value, given.source.clone())),
                Err(problem) => {
                    last = None;
                    self.mistakes
                        .push(Some(given.source.clone()), key.clone(), problem);
                }
            }
        }
        last
    }

    /// Where the value in effect was given.
    pub(in crate::config) fn source(&self, key: &str) -> Option<SettingSource> {
        self.layers
            .given(key)
            .last()
            .map(|given| given.source.clone())
    }

    /// Notes a mistake about a setting.
    pub(in crate::config) fn refuse(&mut self, key: &str, problem: Problem) {
        let source = self.source(key);
        self.mistakes.push(source, key, problem);
    }

    /// Notes that a setting is legal and does nothing.
    pub(in crate::config) fn warn(&mut self, key: &str, problem: Problem) {
        let source = self.source(key);
        self.warnings.push(source, key, problem);
    }

    /// Says for `config print` what a setting comes to that nobody gave.
    pub(in crate::config) fn assume(&mut self, key: &str, value: impl ValueType) {
        let entry = self.entries.iter_mut().rev().find(|entry| entry.key == key);
        if let Some(entry) = entry.filter(|entry| entry.toml.is_none()) {
            entry.toml = value.toml();
        }
    }

    /// Keeps a value for `config print`.
    pub(in crate::config) fn remember(
        &mut self,
        key: String,
        toml: Option<String>,
        source: Option<SettingSource>,
    ) {
        self.entries.push(SettingEntry { key, toml, source });
    }
}
