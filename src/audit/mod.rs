//! The audit: an append-only record of every admission, settlement, refusal and stop, a line of
//! JSON each, in files of their own beside the journal.
//!
//! It follows the journal and adds nothing to the way of a request: the ledger leaves a trail in
//! the same write as what happened, and a task reads that trail, writes the lines, makes them
//! durable, and says so to the journal, which then forgets the trail and remembers the last line.
//! So a crash neither loses a line nor writes one twice, and a cut end shows.

pub mod chain;
mod entry;
pub mod erase;
mod rejections;
mod segment_log;
pub mod segments;
mod task;
mod usage;
mod writer;

use std::{io, path::PathBuf, time::Duration};

pub use self::{
    chain::{
        ChainHead,
        signature::{PublicKey, Signer},
    },
    entry::{Shown, noted::Noted},
    rejections::{Full, Rejection, RejectionWord, Sink},
    task::{AuditOptions, AuditTask},
    usage::Usage,
};
use crate::journal::{Unavailable, directory::lock};

/// What lines say that happened.
pub const EVENTS: [&str; 15] = [
    "admitted",
    "opened",
    "settled",
    "stopped",
    "refused",
    "read",
    "dry_run",
    "reloaded",
    "reload_failed",
    "given_up",
    "started",
    "gap",
    "dropped",
    "erased",
    "signed",
];

/// Why the audit cannot be written. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another service writes there: two would fork the chain.
    #[error(
        "the audit's lock file {} is held by {}; one audit has one service: stop the other one, or \
         give this one a directory of its own (audit.dir)",
        lock.display(),
        lock::holder(*pid)
    )]
    Locked {
        /// The lock file.
        lock: PathBuf,
        /// The other process, if it could write its id.
        pid: Option<u32>,
    },
    /// Reading or writing failed.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// Time was over before all of it was written.
    #[error(
        "it was not written to its end within {patience:?}: the next start goes on from there, \
         and refusals of the last moments are not in it"
    )]
    Unfinished {
        /// How long that was waited for.
        patience: Duration,
    },
    /// Whatever writes it panicked.
    #[error("what writes it panicked")]
    Panicked,
    /// A line cannot be written as JSON.
    #[error("a line cannot be written as JSON: {0}")]
    Line(String),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] Unavailable),
}
