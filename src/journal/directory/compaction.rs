//! Gives disk space back: the store reuses room inside its file and never shrinks it, so a file
//! that is mostly empty is replaced by a fresh one with what is alive. The thread that writes does
//! it between its groups, a bounded piece at a time.
//!
//! The marker decides which database is the journal. Until it is replaced a crash leaves a copy
//! that the next start removes; from then on it leaves the old database, which is removed too.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use super::{
    disk_space::FreeSpace,
    manifest::{Manifest, StoreName},
    private_files, sync_dir,
};
use crate::{
    journal::{
        error::StorageError,
        format::key::{Span, StoreKey},
        store::{
            sled_store::{OpenFailed, SledStore},
            swap::Stores,
            table::WriteBatch,
        },
    },
    limits,
};

/// When a database is replaced, and by what.
#[derive(Debug, Clone)]
pub(in crate::journal) struct Rules {
    pub(in crate::journal) dir: PathBuf,
    pub(in crate::journal) cache_bytes: u64,
    /// Smaller files are left as they are.
    pub(in crate::journal) file_bytes_min: u64,
    /// What admissions leave free. A copy may take half of it: that is how a disk becomes free
    /// again which the journal itself has filled.
    pub(in crate::journal) free_bytes_min: u64,
    pub(in crate::journal) free_space: FreeSpace,
    /// Entries that are copied in one go.
    pub(in crate::journal) entries_max: usize,
}

/// Replaces a database that is mostly empty.
pub(in crate::journal) struct Compactor {
    rules: Rules,
    marker: Manifest,
    /// The highest name that was given to a copy, whatever became of it.
    last: StoreName,
    stores: Arc<Stores>,
    state: CompactionState,
    /// Entries that were alive when they were last counted.
    counted: u64,
    /// Closes and deletes what was replaced or given up.
    closing: Option<JoinHandle<()>>,
}

/// A file that is as many times as large as what is alive in it is replaced. A fresh one is some
/// two times as large, and in use levels off at two and a half.
const FILE_FACTOR: u64 = 3;
const FRESH_FACTOR: u64 = 2;

/// What it is at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum CompactionState {
    Idle,
    /// Counts what is alive.
    Counting(Count),
    /// Fills a copy.
    Copying,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Count {
    upto: Vec<u8>,
    entries: u64,
    bytes: u64,
    /// Whether the file is replaced however large it is.
    is_asked_for: bool,
}

/// Why a copy was given up. The database that serves is as it was.
#[derive(Debug, thiserror::Error)]
enum GivenUp {
    #[error("there is not enough room for it")]
    NoRoom,
    #[error("{0}")]
    Failed(String),
}

impl From<StorageError> for GivenUp {
    fn from(fault: StorageError) -> Self {
        Self::Failed(fault.to_string())
    }
}

impl From<io::Error> for GivenUp {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Compactor {
    pub(in crate::journal) fn new(rules: Rules, marker: Manifest, stores: Arc<Stores>) -> Self {
        Self {
            rules,
            last: marker.store,
            marker,
            stores,
            state: CompactionState::Idle,
            counted: 0,
            closing: None,
        }
    }

    /// Whether there is a next step.
    pub(in crate::journal) fn is_busy(&self) -> bool {
        self.state != CompactionState::Idle
    }

    /// Looks whether the file may have become too large. Counting what is alive in it costs a
    /// read of everything, so that is done once a quarter of it was removed since the last time.
    pub(in crate::journal) fn look(&mut self) {
        let is_closing = self.closing.as_ref().is_some_and(|c| !c.is_finished());
        if self.is_busy() || is_closing || self.stores.removed() < self.counted / 4 {
            return;
        }
        // A file whose size cannot be learned is left alone.
        let file_bytes = self.stores.current().file_bytes().unwrap_or(0);
        if file_bytes >= self.rules.file_bytes_min {
            self.stores.take_removed();
            self.state = CompactionState::Counting(Count::default());
            self.stores.set_compacting(true);
        }
    }

    /// Replaces the file if something was taken out that may still be in it, however large it is.
    pub(in crate::journal) fn vacate(&mut self) {
        let is_closing = self.closing.as_ref().is_some_and(|c| !c.is_finished());
        // What is under way may have copied it already, so that does not count.
        if self.is_busy() || is_closing || !self.stores.has_taken_out() {
            return;
        }
        self.stores.take_removed();
        let is_asked_for = true;
        self.state = CompactionState::Counting(Count {
            is_asked_for,
            ..Count::default()
        });
        self.stores.set_compacting(true);
    }

    /// Does the next bounded piece of work.
    ///
    /// # Errors
    /// Nobody knows which database is the journal. What goes wrong before that point is logged,
    /// and tried again after a later purge.
    pub(in crate::journal) fn step(&mut self) -> Result<(), StorageError> {
        let stepped = self.next_step();
        self.stores.set_compacting(self.is_busy());
        stepped
    }

    fn next_step(&mut self) -> Result<(), StorageError> {
        let went = match std::mem::replace(&mut self.state, CompactionState::Idle) {
            CompactionState::Idle => Ok(()),
            CompactionState::Counting(count) => self.count(count),
            CompactionState::Copying => match self.copy() {
                Ok(true) => return self.switch(),
                Ok(false) => Ok(()),
                Err(given_up) => Err(given_up),
            },
        };
        if let Err(given_up) = went {
            self.give_up(&given_up);
        }
        Ok(())
    }

    fn count(&mut self, mut count: Count) -> Result<(), GivenUp> {
        let current = self.stores.current();
        let mut entries = current.scan(Span::after(&count.upto));
        for _ in 0..limits::STORE_COUNT_ENTRIES {
            let Some((key, value)) = entries.next().transpose()? else {
                return self.decide(&count);
            };
            let bytes = key.len().saturating_add(value.len());
            count.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
            count.entries += 1;
            count.upto = key.to_vec();
        }
        self.state = CompactionState::Counting(count);
        Ok(())
    }

    /// Begins a copy if the file is much larger than what is alive in it.
    fn decide(&mut self, count: &Count) -> Result<(), GivenUp> {
        self.counted = count.entries;
        let file_bytes = self.stores.current().file_bytes()?;
        let worth = count.bytes.saturating_mul(FILE_FACTOR);
        if !count.is_asked_for && file_bytes <= worth.max(self.rules.file_bytes_min) {
            // What was removed while it counted may be what makes the difference.
            if self.stores.removed() > self.counted / 4 {
                self.look();
            }
            return Ok(());
        }
        self.check_room(count.bytes.saturating_mul(FRESH_FACTOR))?;
        self.last = self.last.next();
        let dir = self.last.within(&self.rules.dir);
        private_files::make_dir(&dir)?;
        let copy =
            SledStore::open(&dir, self.rules.cache_bytes).map_err(|failed| match failed {
                OpenFailed::Io(error) => GivenUp::from(error),
                OpenFailed::Damaged(why) => GivenUp::Failed(why),
            })?;
        tracing::info!(
            file_bytes,
            live_bytes = count.bytes,
            "replacing the journal's database"
        );
        // What is taken out from here on may get into the copy's file before.
        self.stores.set_taken_out(false);
        self.stores.begin_copy(copy);
        self.state = CompactionState::Copying;
        Ok(())
    }

    /// Copies some more; says whether that was all.
    fn copy(&mut self) -> Result<bool, GivenUp> {
        self.check_room(0)?;
        let is_all = self
            .stores
            .copy_some(self.rules.entries_max, limits::STORE_COPY_BYTES)?;
        if is_all {
            self.check_copy()?;
            let marker = Manifest {
                store: self.last,
                ..self.marker.clone()
            };
            marker.stage(&self.rules.dir)?;
        } else {
            self.state = CompactionState::Copying;
        }
        Ok(is_all)
    }

    fn check_room(&self, bytes: u64) -> Result<(), GivenUp> {
        let needed = bytes.saturating_add(self.rules.free_bytes_min / 2);
        match self.rules.free_space.bytes(&self.rules.dir) {
            Ok(free) if free < needed => Err(GivenUp::NoRoom),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Makes sure that the copy is what it should be, and on the disk under its name.
    fn check_copy(&self) -> Result<(), GivenUp> {
        let current = self.stores.current();
        self.stores.with_copy(|copy| {
            for key in [StoreKey::Meta, StoreKey::Secret, StoreKey::Commits] {
                let key = key.encode();
                if copy.get(&key)? != current.get(&key)? {
                    return Err(StorageError::Store("it is not a copy".to_owned()));
                }
            }
            let named = copy.sync_made().and_then(|()| {
                let dir = fs::File::open(&self.rules.dir)?;
                dir.sync_all()
            });
            named.map_err(|error| StorageError::Store(format!("syncing the directory: {error}")))
        })?;
        Ok(())
    }

    /// Lets the copy be the journal.
    fn switch(&mut self) -> Result<(), StorageError> {
        let replaced = Manifest::replace(&self.rules.dir)
            .map_err(|error| error.to_string())
            .and_then(|()| sync_dir(&self.rules.dir).map_err(|error| error.to_string()));
        replaced
            .map_err(|why| StorageError::Store(format!("switching to a fresh database: {why}")))?;
        self.marker.store = self.last;
        let file_bytes = self.stores.current().file_bytes().unwrap_or(0);
        if let Some(old) = self.stores.switch() {
            let dir = old.dir().to_owned();
            self.close(move || drop(old), dir);
        }
        if !self.stores.has_taken_out() {
            // If a crash brings it back, the file is replaced once more.
            let mut writes = WriteBatch::default();
            writes.remove(StoreKey::TakenOut.encode());
            self.stores.current().write(&writes)?;
        }
        let fresh_bytes = self.stores.current().file_bytes().unwrap_or(0);
        tracing::info!(file_bytes, fresh_bytes, "replaced the journal's database");
        Ok(())
    }

    fn give_up(&mut self, why: &GivenUp) {
        tracing::warn!(%why, "the journal's database is not replaced; it is tried again later");
        self.state = CompactionState::Idle;
        let marker = self.stores.current().get(&StoreKey::TakenOut.encode());
        let is_marked = marker.is_ok_and(|marker| marker.is_some());
        self.stores.set_taken_out(is_marked);
        // Whatever is removed next is reason enough to look again.
        self.counted = 0;
        let copy = self.stores.take_copy();
        if self.last != self.marker.store {
            let dir = self.last.within(&self.rules.dir);
            self.close(move || drop(copy), dir);
        }
    }

    /// Closing waits for the store's own threads, and deleting a large file for the disk, so
    /// neither is done here. What cannot be deleted is left to the next start.
    fn close(&mut self, close: impl FnOnce() + Send + 'static, dir: PathBuf) {
        let thread = std::thread::Builder::new().name("journal-closing".to_owned());
        let closing = thread.spawn(move || {
            close();
            remove(&dir);
        });
        match closing {
            Ok(closing) => self.closing = Some(closing),
            Err(error) => tracing::warn!(%error, "a database is left to the next start"),
        }
    }

    /// Waits until what was replaced is gone.
    pub(in crate::journal) fn wait_closed(&mut self) {
        if let Some(closing) = self.closing.take() {
            // If it panicked, the next start deletes what it left.
            closing.join().ok();
        }
    }
}

fn remove(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, dir = %dir.display(), "a database is left to the next start");
        }
        Ok(()) | Err(_) => {}
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.wait_closed();
    }
}
