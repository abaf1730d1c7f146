//! The store on disk: the only file that uses sled 0.34, with the rules that make it safe.
//!
//! - Its `flush` does not reach the disk, so the file is synced through a handle of our own.
//! - A kill during opening leaves a torn snapshot that it fails on, so that is removed first, under
//!   a lock of our own.
//! - Values above some 8 KiB go to files that are never synced, so no value is that large.
//! - Its settings file is written once and never synced, so it is synced here.
//! - Deletes free space inside its file, which never shrinks: see `compaction`.

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::table::WriteBatch;
use crate::{
    journal::{error::StorageError, format::key::Span},
    limits,
};

/// An open database.
pub(in crate::journal) struct SledStore {
    db: sled::Db,
    file: File,
    dir: PathBuf,
}

/// Bytes as the database returns them.
pub(in crate::journal) type Bytes = sled::IVec;
/// A key and its value.
pub(in crate::journal) type StoreEntry = (Bytes, Bytes);

impl SledStore {
    /// Opens or creates the database in a directory. The caller holds the directory's lock and
    /// knows which of both it will be.
    pub(in crate::journal) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, OpenFailed> {
        remove_torn_snapshots(dir)?;
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::LowSpace)
            .use_compression(false)
            // The writer thread flushes and syncs every commit.
            .flush_every_ms(None);
        // Inconsistent files can make it panic where it should return an error.
        let db = catch_unwind(AssertUnwindSafe(|| open_when_free(&config)))
            .map_err(|_| OpenFailed::Damaged("it panicked while it opened".to_owned()))?
            .map_err(|error| match error {
                sled::Error::Io(error) => OpenFailed::Io(error),
                sled::Error::Corruption { .. }
                | sled::Error::CollectionNotFound(_)
                | sled::Error::Unsupported(_)
                | sled::Error::ReportableBug(_) => OpenFailed::Damaged(error.to_string()),
            })?;
        let file = File::options().write(true).open(dir.join(FILE))?;
        let dir = dir.to_owned();
        Ok(Self { db, file, dir })
    }

    /// Whether a directory has a database.
    pub(in crate::journal) fn exists(dir: &Path) -> bool {
        fs::metadata(dir.join(FILE)).is_ok_and(|file| file.len() > 0)
    }

    pub(in crate::journal) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The size of its file.
    pub(in crate::journal) fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub(in crate::journal) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.db.get(key).map_err(failed)
    }

    /// Keys and values of a span, in order.
    pub(in crate::journal) fn scan(
        &self,
        span: Span,
    ) -> impl DoubleEndedIterator<Item = Result<StoreEntry, StorageError>> + use<> {
        let entries = self.db.range(span.from..span.to);
        entries.map(|entry| entry.map_err(failed))
    }

    /// Applies a batch atomically, also across a crash.
    pub(in crate::journal) fn write(&self, writes: &WriteBatch) -> Result<(), StorageError> {
        let mut batch = sled::Batch::default();
        for (key, value) in &writes.0 {
            match value {
                Some(value) if value.len() > limits::STORE_VALUE_BYTES_MAX => {
                    return Err(StorageError::Misused(format!(
                        "a value has {} bytes",
                        value.len()
                    )));
                }
                Some(value) => batch.insert(key.as_slice(), &**value),
                None => batch.remove(key.as_slice()),
            }
        }
        self.db.apply_batch(batch).map_err(failed)
    }

    /// Makes all writes durable.
    pub(in crate::journal) fn sync(&self) -> io::Result<()> {
        self.db.flush()?;
        self.file.sync_data()
    }

    /// Makes a new database durable: its settings, which sled never syncs, and the names of its
    /// files. Until then a crash may lose any of them.
    pub(in crate::journal) fn sync_made(&self) -> io::Result<()> {
        self.sync()?;
        File::open(self.dir.join("conf"))?.sync_all()?;
        File::open(self.dir.join("blobs"))?.sync_all()?;
        File::open(&self.dir)?.sync_all()
    }
}

/// The file name of the database.
const FILE: &str = "db";

/// Why a database did not open.
#[derive(Debug)]
pub(in crate::journal) enum OpenFailed {
    Io(io::Error),
    Damaged(String),
}

impl From<io::Error> for OpenFailed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// How long a database closed by this process may take to release its file.
const LETTING_GO: Duration = Duration::from_secs(10);
/// How often to retry.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Opens the database. Our own lock on the directory is held, so if the database's lock is taken,
/// it is by threads of a database that this process has just closed: sled does not wait for them.
fn open_when_free(config: &sled::Config) -> sled::Result<sled::Db> {
    let begun = Instant::now();
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock")
                    && begun.elapsed() < LETTING_GO =>
            {
                thread::sleep(LOOK_INTERVAL);
            }
            opened => return opened,
        }
    }
}

fn remove_torn_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of map_err")]
fn failed(error: sled::Error) -> StorageError {
    match error {
        sled::Error::Corruption { .. } => StorageError::Damaged(error.to_string()),
        sled::Error::Io(_)
        | sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_) => StorageError::Store(error.to_string()),
    }
}
