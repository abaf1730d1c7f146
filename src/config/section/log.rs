//! Settings of the log.

use crate::config::{
    schema::{
        settings::{LOG_FILTER, LOG_FORMAT},
        value_type::Choice,
    },
    source::reader::SettingsReader,
};

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The form of a line.
    pub format: Format,
    /// Directives that tracing-subscriber's `EnvFilter` takes.
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object.
    Json,
}

impl Choice for Format {
    const CHOICES: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

pub(in crate::config) fn read(reader: &mut SettingsReader<'_>) -> LogConfig {
    LogConfig {
        format: reader.get(&LOG_FORMAT),
        filter: reader.get(&LOG_FILTER).0,
    }
}
