//! What is wrong with a configuration: where it stands, what is wrong there, and what would be
//! right. A refused value is never shown unless it is a number or a choice: whatever else
//! somebody wrote in the wrong place may be a secret.

use std::fmt;

/// Mistakes that are shown; a file that is no configuration at all has no end of them.
const SHOWN_MAX: usize = 50;

/// Where a value came from. Later ones win over earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingSource {
    /// A line of the file, from 1.
    File {
        /// The file, as it was given.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable, by its name.
    Env(String),
    /// The command line.
    CommandLine,
}

impl SettingSource {
    /// Which layer it is: a higher one wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::File { .. } => 1,
            Self::Env(_) => 2,
            Self::CommandLine => 3,
        }
    }
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands; `None` for what is missing everywhere.
    pub source: Option<SettingSource>,
    /// The setting it is about, such as `server.listen`; empty if about none.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{} ", self.key)?;
        }
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

/// All mistakes of a configuration, in the order of their places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(super) fn push(
        &mut self,
        source: Option<SettingSource>,
        key: impl Into<String>,
        problem: Problem,
    ) {
        self.0.push(Mistake {
            source,
            key: key.into(),
            problem: problem.problem,
            remedy: problem.remedy,
        });
    }

    /// With all of others.
    pub(super) fn add(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// A single mistake that is about no setting.
    pub(super) fn one(source: SettingSource, problem: Problem) -> Self {
        let mut mistakes = Self::default();
        mistakes.push(Some(source), "", problem);
        mistakes
    }

    /// Nothing if there are none, and all of them in order otherwise.
    pub(super) fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Self(self.into_sorted()))
    }

    /// Each of them, in order.
    pub(super) fn into_sorted(mut self) -> Vec<Mistake> {
        self.0
            .sort_by(|a, b| (&a.source, &a.key).cmp(&(&b.source, &b.key)));
        self.0
    }

    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a mistake:")?,
            n => write!(f, "the configuration has {n} mistakes:")?,
        }
        for mistake in self.0.iter().take(SHOWN_MAX) {
            write!(f, "\n  - {mistake}")?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for Mistakes {}

/// What is wrong with a value, before it is known where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl Problem {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}
