//! What is counted of the journal.

use super::counters::{Counter, Histogram};

/// What is counted of the journal.
#[derive(Debug)]
pub struct JournalMeters {
    /// From taking a group of writes to having it on the disk.
    pub commit_time: Histogram,
    /// Admissions, outcomes and other changes that were made durable together.
    pub group_size: Histogram,
    /// Settled batches that are put aside: their records cannot be read.
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
