//! The file that says that a directory is a journal's, which one's, and which of the databases in
//! it holds the journal. Replacing it is what switches to another database.

use std::{
    fmt, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{OpenError, io_error, private_files, sync_dir};
use crate::journal::format::record::{FORMAT, FORMATS_READ};

/// The file's name.
pub(in crate::journal) const MARKER: &str = "CANCELOT";
/// The name of one that is to replace it.
pub(in crate::journal) const FRESH: &str = "CANCELOT.fresh";
/// Stands for the journal's name while it is being made: nothing was ever acknowledged by it.
const BEING_MADE: &str = "new";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::journal) struct Manifest {
    /// The journal's name.
    pub(in crate::journal) journal: String,
    /// Where its database is.
    pub(in crate::journal) store: StoreName,
    /// The version of its format.
    pub(in crate::journal) format: u8,
}

/// The name of a directory with a database, by its number. Each new one has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::journal) struct StoreName(u64);

impl StoreName {
    pub(in crate::journal) fn parse(text: &str) -> Option<Self> {
        text.strip_prefix("store-")?.parse().ok().map(Self)
    }

    pub(in crate::journal) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    pub(in crate::journal) fn within(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store-{}", self.0)
    }
}

impl Manifest {
    /// Of a journal that is about to be made.
    pub(in crate::journal) fn being_made() -> Self {
        Self {
            journal: BEING_MADE.to_owned(),
            store: StoreName(1),
            format: FORMAT,
        }
    }

    pub(in crate::journal) fn is_being_made(&self) -> bool {
        self.journal == BEING_MADE
    }

    /// Reads the file, if there is one.
    pub(in crate::journal) fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(MARKER);
        // Bytes that are no text belong to no format of ours, which is what is said of them.
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("reading", &path)(source)),
        };
        let word = |wanted: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines
                .find(|(word, _)| *word == wanted)
                .map(|(_, rest)| rest)
        };
        let found = word("format").unwrap_or("unknown");
        let format = FORMATS_READ
            .iter()
            .find(|format| format.to_string() == found);
        let format = format.ok_or_else(|| OpenError::Format {
            dir: dir.to_owned(),
            found: found.to_owned(),
        })?;
        let damaged = |why: String| OpenError::Damaged {
            dir: dir.to_owned(),
            why,
        };
        let journal = word("journal")
            .ok_or_else(|| damaged(format!("{MARKER} does not say which journal this is")))?;
        let store = word("database").and_then(StoreName::parse).ok_or_else(|| {
            damaged(format!(
                "{MARKER} does not say where its database is, as it did not before the first \
                 release"
            ))
        })?;
        Ok(Some(Self {
            journal: journal.to_owned(),
            store,
            format: *format,
        }))
    }

    /// Replaces the file as a whole.
    pub(in crate::journal) fn write(&self, dir: &Path) -> Result<(), OpenError> {
        let written = self.stage(dir).and_then(|()| Self::replace(dir));
        written.map_err(io_error("writing", &dir.join(MARKER)))?;
        sync_dir(dir)
    }

    /// Writes the file that is to replace it. Nothing has changed if that fails.
    pub(in crate::journal) fn stage(&self, dir: &Path) -> io::Result<()> {
        let text = format!(
            "This directory is the journal of a Cancelot service. Keep all of it or nothing.\n\
             format {}\njournal {}\ndatabase {}\n",
            self.format, self.journal, self.store
        );
        let path = dir.join(FRESH);
        // What a crash left of an earlier one.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = private_files::make(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    /// Puts the staged file in its place.
    pub(in crate::journal) fn replace(dir: &Path) -> io::Result<()> {
        fs::rename(dir.join(FRESH), dir.join(MARKER))
    }
}
