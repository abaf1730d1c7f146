//! What can go wrong inside the journal, in words that say what to do.

use std::fmt::Display;

use super::Unavailable;

/// Why the store could not do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StorageError {
    /// Reading or writing failed.
    #[error("the journal's store failed: {0}")]
    Store(String),
    /// What was read cannot be right.
    #[error(
        "the journal is damaged: {0}; stop the service, run `cancelot journal verify`, and \
         restore a backup"
    )]
    Damaged(String),
    /// The caller broke a promise. A told outcome is not changed; the store stops instead.
    #[error("the journal was used wrongly: {0}; this is a bug, restart the service and report it")]
    Misused(String),
    /// The question was over before it was answered.
    #[error("nobody waits for the answer any more")]
    Abandoned,
}

impl StorageError {
    /// Something of this batch cannot be right.
    pub(super) fn damaged(what: impl Display, why: impl Display) -> Self {
        Self::Damaged(format!("{what}: {why}"))
    }
}

impl From<StorageError> for Unavailable {
    fn from(fault: StorageError) -> Self {
        Self(fault.to_string())
    }
}
