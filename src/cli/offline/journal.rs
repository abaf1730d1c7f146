//! `cancelot journal`: inspects a journal that no service has open.

mod erase;

use std::{
    io::{self, BufWriter, Write as _},
    path::PathBuf,
};

use clap::{Args, Subcommand};

use crate::{
    cli::{
        Exit,
        terminal::{self, say},
    },
    domain::ids::BatchName,
    journal::{
        offline::{Offline, OfflineError},
        sled_journal::SledJournalOptions,
    },
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the batches; with --batch, one batch and everything that happened to it.
    Inspect {
        #[command(flatten)]
        place: Place,
        /// The batch, such as bx9f86d081884c7d65, or its number, such as b000000000042.
        #[arg(long)]
        batch: Option<BatchName>,
    },
    /// Write every item as a line of JSON, oldest first.
    Export(Place),
    /// Read everything and check that it fits together; exits with 1 if something does not.
    Verify(Place),
    /// Erase one person's data from the journal and its audit, and from their files. What is open
    /// has to be stopped before. How it ended, counts and times stay, and digests of keys and
    /// commands, so that a request that is sent again is still answered by its outcome.
    Erase(erase::Arguments),
}

#[derive(Debug, Args)]
struct Place {
    /// The journal's directory.
    #[arg(long)]
    dir: PathBuf,
}

pub(in crate::cli) fn run(arguments: Arguments) -> Exit {
    let place = match &arguments.action {
        Action::Inspect { place, .. } | Action::Export(place) | Action::Verify(place) => place,
        Action::Erase(arguments) => return erase::run(arguments),
    };
    let journal = match Offline::open(&SledJournalOptions::new(&place.dir)) {
        Ok(journal) => journal,
        Err(error) => {
            say(format!("cancelot: {error}"));
            return Exit::Failure;
        }
    };
    let mut out = BufWriter::new(terminal::json_lines());
    let done = match arguments.action {
        Action::Inspect { batch, .. } => journal.inspect(batch.as_ref(), &mut out).map(|()| true),
        Action::Export(_) => journal.export(&mut out).map(|()| true),
        Action::Verify(_) => journal.verify(&mut out).map(|report| report.problems == 0),
        Action::Erase(_) => Ok(true),
    };
    let flushed = out.flush().map_err(OfflineError::from);
    match done.and_then(|sound| flushed.map(|()| sound)) {
        Ok(true) => Exit::Success,
        Ok(false) => Exit::Failure,
        // With `cancelot journal export | head` the reader ends first.
        Err(OfflineError::Out(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(error) => {
            say(format!("cancelot: {error}"));
            Exit::Failure
        }
    }
}
