//! How many commits were acknowledged, kept beside the database. A database whose end is unreadable
//! opens as if that had never been written; this is what tells the difference.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::Path,
};

use super::private_files;

/// The file's name.
pub(in crate::journal) const HIGH_WATER: &str = "commits";

/// The number of acknowledged commits on disk.
#[derive(Debug)]
pub(in crate::journal) struct CommitWatermark {
    file: File,
}

impl CommitWatermark {
    /// Opens or makes the file; says what it holds, which is 0 if that makes no sense.
    pub(in crate::journal) fn open(dir: &Path) -> io::Result<(Self, u64)> {
        let mut file = private_files::open_or_make(&dir.join(HIGH_WATER))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let commits = text.trim().parse().unwrap_or(0);
        Ok((Self { file }, commits))
    }

    /// Forgets the number of a journal that was here before.
    pub(in crate::journal) fn remove(dir: &Path) -> io::Result<()> {
        match fs::remove_file(dir.join(HIGH_WATER)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Notes a commit that is durable. Not synced: it may lag behind the database, where it costs
    /// some of its use, and is never ahead of it, where it would do harm.
    pub(in crate::journal) fn advance(&mut self, commits: u64) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(format!("{commits:020}\n").as_bytes())
    }
}
