//! Metrics of the journal.

use super::counters::{Counter, Histogram};

/// The metrics of the journal.
#[derive(Debug)]
pub struct JournalMeters {
    /// Time from taking a group of writes to having it on disk.
    pub commit_time: Histogram,
    /// Admissions, outcomes and other changes per commit.
    pub group_size: Histogram,
    /// Settled batches that are skipped because their records cannot be read.
    pub damaged: Counter,
}

impl Default for JournalMeters {
    fn default() -> Self {
        Self {
            commit_time: Histogram::of_writes(),
            group_size: Histogram::of_groups(),
            damaged: Counter::default(),
        }
    }
}
