//! The journal's directory: who holds it, what it is said to hold, and that nothing is ever taken
//! for an empty journal which is not.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;

use self::{
    ballast::BALLAST,
    commit_watermark::{CommitWatermark, HIGH_WATER},
    lock::{DirectoryLock, LockError},
    manifest::{FRESH, MARKER, Manifest, StoreName},
};
use super::{
    error::StorageError,
    format::{
        key::{Span, StoreKey},
        record::{self, FORMAT, FORMATS_READ, Meta, Naming},
    },
    read::reader::Reader,
    store::{
        sled_store::{OpenFailed, SledStore},
        swap::Stores,
        table::WriteBatch,
    },
};
use crate::{
    domain::{ids::BatchId, personal::digests::DigestKey},
    limits,
};

/// Why a journal did not open. Nothing was changed in what it holds.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process works on it.
    #[error(
        "the journal's lock file {} is held by {}; one journal has one process: stop the other \
         one, or give this one a directory of its own",
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
    /// There is a database, and nothing says that it is ours.
    #[error(
        "{} holds a database that is not marked as a journal of Cancelot; give the journal a \
         directory of its own, or restore the file CANCELOT from the backup that the rest is from",
        dir.display()
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// There was a journal, and its database is gone.
    #[error(
        "{} was the directory of journal {store}, and that is not in it any more; restore a \
         backup, or, to begin without what was recorded, move the directory away",
        dir.display()
    )]
    Emptied {
        /// The directory.
        dir: PathBuf,
        /// The journal's name.
        store: String,
    },
    /// It was written by a program that is newer than this one, or by none of ours.
    #[error(
        "the journal in {} has format version {found}, and this program reads {FORMATS_READ:?}; \
         use the version of Cancelot that wrote it, or a newer one",
        dir.display()
    )]
    Format {
        /// The directory.
        dir: PathBuf,
        /// The version that it has.
        found: String,
    },
    /// The end of its database cannot be read, and what was there was acknowledged.
    #[error(
        "the journal in {} ends with commit {found}, and {expected} were acknowledged: the end of \
         its database is lost; restore a backup, or, to go on without what is lost, remove its \
         file {HIGH_WATER}",
        dir.display()
    )]
    Shortened {
        /// The directory.
        dir: PathBuf,
        /// Commits in the database.
        found: u64,
        /// Commits that were acknowledged.
        expected: u64,
    },
    /// Its content makes no sense.
    #[error(
        "the journal in {} does not open: {why}; keep a copy of the directory and restore a \
         backup (`cancelot journal verify` lists what is wrong if the database itself opens)",
        dir.display()
    )]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What makes no sense.
        why: String,
    },
}

/// What a journal is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To work on it; it is made if there never was one.
    Serve,
    /// To look at it.
    Look,
}

/// An open journal's directory. Other processes are kept out until it is dropped.
pub(super) struct JournalDir {
    pub(super) store: Arc<Stores>,
    pub(super) meta: Meta,
    /// The key of its digests.
    pub(super) secret: DigestKey,
    /// The version of the format in which it says what it is.
    pub(super) format: u8,
    pub(super) marker: Manifest,
    pub(super) high_water: CommitWatermark,
    /// Commits that were acknowledged, as far as is known.
    pub(super) acknowledged: u64,
    pub(super) lock: DirectoryLock,
}

impl JournalDir {
    /// Opens the journal in a directory.
    pub(super) fn open(dir: &Path, cache_bytes: u64, purpose: Purpose) -> Result<Self, OpenError> {
        match purpose {
            Purpose::Serve => make_dir(dir)?,
            Purpose::Look => match Manifest::read(dir)? {
                Some(marker) if !marker.is_being_made() => {}
                Some(_) | None => {
                    let source = io::ErrorKind::NotFound.into();
                    return Err(io_error("finding a journal in", dir)(source));
                }
            },
        }
        let lock = lock(dir)?;
        let mut format = FORMAT;
        let (store, meta, marker) = match Manifest::read(dir)? {
            Some(marker) if !marker.is_being_made() => {
                let (store, meta, found) = reopen(dir, cache_bytes, &marker)?;
                format = found;
                (store, meta, marker)
            }
            Some(_) => {
                // A crash cut its making short, so it never held anything.
                remove_stores(dir, None)?;
                make(dir, cache_bytes, Manifest::being_made())?
            }
            None if SledStore::exists(dir) || !stores_in(dir)?.is_empty() => {
                return Err(OpenError::Foreign {
                    dir: dir.to_owned(),
                });
            }
            None => make(dir, cache_bytes, Manifest::being_made())?,
        };
        if purpose == Purpose::Serve {
            // What a compaction left behind: what the marker does not name is not the journal.
            remove_stores(dir, Some(&marker.store))?;
            private_files::tighten(dir, is_ours)
                .map_err(io_error("closing to other users", dir))?;
        }
        let (high_water, acknowledged) = CommitWatermark::open(dir)
            .map_err(io_error("reading the number of commits in", dir))?;
        for made_in in [dir, store.dir()] {
            // In a container root may not be able to: then it is as it was before.
            if let Err(error) = private_files::give_to_owner(made_in) {
                let dir = made_in.display();
                tracing::warn!(%dir, %error, "what was made belongs to root, and not to the directory's owner");
            }
        }
        let store = Arc::new(Stores::new(store));
        let secret = match Reader(&*store).secret().map_err(damaged(dir))? {
            Some(secret) => secret,
            None if format < FORMAT_KEYED => new_secret(dir)?,
            None => {
                let why = "the key of its digests is gone".to_owned();
                return Err(damaged(dir)(StorageError::Damaged(why)));
            }
        };
        Ok(Self {
            store,
            meta,
            secret,
            format,
            marker,
            high_water,
            acknowledged,
            lock,
        })
    }

    /// Raises a journal of an earlier format to the one that is written, before anything is
    /// written in it. Programs that do not know the format refuse the journal from the first of
    /// the two writes on; this one opens it between them, and goes on. One without a key for the
    /// names of batches gets it: `next` is the first that is named by it.
    pub(super) fn raise(&mut self, dir: &Path, next: BatchId) -> Result<(), OpenError> {
        if self.marker.format != FORMAT {
            let raised = Manifest {
                format: FORMAT,
                ..self.marker.clone()
            };
            raised.write(dir)?;
            self.marker = raised;
        }
        let was_named = self.meta.naming.is_some();
        // Nothing is named by a key before it is on disk.
        let mut meta = self.meta.clone();
        if !was_named {
            meta.naming = Some(Naming::make(next).map_err(damaged(dir))?);
        }
        if self.format != FORMAT || !was_named {
            let mut writes = WriteBatch::default();
            let value = record::whole(&meta).map_err(damaged(dir))?;
            writes.put(StoreKey::Meta.encode(), value);
            if self.format < FORMAT_KEYED {
                let secret = record::whole(&self.secret).map_err(damaged(dir))?;
                writes.put(StoreKey::Secret.encode(), secret);
                // What was digested without a key is gone through again.
                writes.remove(StoreKey::EmailsRemoved.encode());
            }
            let store = self.store.current();
            store.write(&writes).map_err(damaged(dir))?;
            let synced = store.sync();
            synced.map_err(io_error("syncing", store.dir()))?;
            self.meta = meta;
        }
        if self.format != FORMAT {
            tracing::info!(
                from = self.format,
                to = FORMAT,
                "raised the journal's format; earlier versions of Cancelot refuse it now"
            );
            self.format = FORMAT;
        }
        Ok(())
    }
}

/// Whether something in a journal's directory is the journal's own, by its name. The audit looks
/// after its own files.
fn is_ours(name: &str) -> bool {
    let files = [
        MARKER,
        FRESH,
        HIGH_WATER,
        lock::LOCK,
        BALLAST,
        limits::AUDIT_DIR,
    ];
    files.contains(&name) || StoreName::parse(name).is_some()
}

/// The directories in a journal's that have a database, or had or were to have one.
fn stores_in(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let listed = fs::read_dir(dir).and_then(|entries| {
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            if StoreName::parse(&entry.file_name().to_string_lossy()).is_some() {
                found.push(entry.path());
            }
        }
        Ok(found)
    });
    listed.map_err(io_error("listing", dir))
}

/// Removes all databases but one.
fn remove_stores(dir: &Path, kept: Option<&StoreName>) -> Result<(), OpenError> {
    let kept = kept.map(|kept| kept.within(dir));
    for store in stores_in(dir)? {
        if Some(&store) != kept.as_ref() {
            fs::remove_dir_all(&store).map_err(io_error("removing", &store))?;
        }
    }
    Ok(())
}

/// Makes the directory, with its name on the disk.
fn make_dir(dir: &Path) -> Result<(), OpenError> {
    let made = make_dirs(dir, |dir| File::open(dir).and_then(|dir| dir.sync_all()));
    made.map_err(io_error("making", dir))
}

/// Makes a directory with all above it, open to this user alone, each with its name on the disk:
/// syncs the one that each new name is in, up to the one that was there.
pub(crate) fn make_dirs(dir: &Path, sync: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut names = Vec::new();
    let mut at = dir;
    while let Some(parent) = at.parent() {
        // What a relative path begins with is in the current directory.
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        names.push((parent, at.exists()));
        if at.exists() || parent == Path::new(".") {
            break;
        }
        at = parent;
    }
    private_files::make_dirs(dir)?;
    for (parent, was_there) in names {
        match sync(parent) {
            // Not ours, so it may be unreadable; then the name in it has been there before.
            Err(_) if was_there => {}
            synced => synced?,
        }
    }
    Ok(())
}

fn make(
    dir: &Path,
    cache_bytes: u64,
    mut marker: Manifest,
) -> Result<(SledStore, Meta, Manifest), OpenError> {
    marker.write(dir)?;
    CommitWatermark::remove(dir).map_err(io_error("clearing", dir))?;
    let store = marker.store.within(dir);
    private_files::make_dir(&store).map_err(io_error("making", &store))?;
    let store = open_store(dir, &store, cache_bytes)?;
    let meta = Meta {
        store: format!("{:016x}", fastrand::u64(..)),
        created: Timestamp::now(),
        naming: Some(Naming::make(BatchId(1)).map_err(damaged(dir))?),
    };
    let mut writes = WriteBatch::default();
    let value = record::whole(&meta).map_err(damaged(dir))?;
    writes.put(StoreKey::Meta.encode(), value);
    let secret = record::whole(&new_secret(dir)?).map_err(damaged(dir))?;
    writes.put(StoreKey::Secret.encode(), secret);
    store.write(&writes).map_err(damaged(dir))?;
    let synced = store.sync_made();
    synced.map_err(io_error("syncing", store.dir()))?;
    sync_dir(dir)?;
    marker.journal.clone_from(&meta.store);
    marker.write(dir)?;
    Ok((store, meta, marker))
}

/// The first format that has a key for its digests.
const FORMAT_KEYED: u8 = 3;

/// A key for digests that nobody else knows.
fn new_secret(dir: &Path) -> Result<DigestKey, OpenError> {
    let mut bytes = [0; DigestKey::BYTES];
    let drawn = aws_lc_rs::rand::fill(&mut bytes);
    drawn.map_err(|_| {
        let source = io::Error::other("the system gives no random bytes");
        io_error("making a key for the digests of", dir)(source)
    })?;
    Ok(DigestKey::new(bytes))
}

fn reopen(
    dir: &Path,
    cache_bytes: u64,
    marker: &Manifest,
) -> Result<(SledStore, Meta, u8), OpenError> {
    let expected = &marker.journal;
    let emptied = || OpenError::Emptied {
        dir: dir.to_owned(),
        store: expected.clone(),
    };
    let makes_no_sense = |why: String| OpenError::Damaged {
        dir: dir.to_owned(),
        why,
    };
    let store = marker.store.within(dir);
    if !SledStore::exists(&store) {
        return Err(emptied());
    }
    let store = open_store(dir, &store, cache_bytes)?;
    let value = store.get(&StoreKey::Meta.encode()).map_err(damaged(dir))?;
    let Some(value) = value else {
        return Err(match store.scan(Span::all()).next() {
            None => emptied(),
            Some(_) => makes_no_sense("it does not say what it is".to_owned()),
        });
    };
    let format = value.first().copied().unwrap_or(FORMAT);
    if !FORMATS_READ.contains(&format) {
        return Err(OpenError::Format {
            dir: dir.to_owned(),
            found: format.to_string(),
        });
    }
    let meta: Meta = record::read_whole(&value, "what the journal is").map_err(damaged(dir))?;
    if meta.store == *expected {
        Ok((store, meta, format))
    } else {
        let name = &meta.store;
        Err(makes_no_sense(format!(
            "it is journal {name}, and {MARKER} names {expected}"
        )))
    }
}

fn open_store(dir: &Path, store: &Path, cache_bytes: u64) -> Result<SledStore, OpenError> {
    SledStore::open(store, cache_bytes).map_err(|failed| match failed {
        OpenFailed::Io(source) => io_error("opening the database in", dir)(source),
        OpenFailed::Damaged(why) => OpenError::Damaged {
            dir: dir.to_owned(),
            why,
        },
    })
}

/// Takes the lock of a journal's directory.
fn lock(dir: &Path) -> Result<DirectoryLock, OpenError> {
    DirectoryLock::take(dir).map_err(|why| match why {
        LockError::Held(pid) => OpenError::Locked {
            lock: lock::path_in(dir),
            pid,
        },
        LockError::Io { doing, source } => io_error(doing, &lock::path_in(dir))(source),
    })
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), OpenError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(io_error("syncing", dir))
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io {
        doing,
        path,
        source,
    }
}

/// Turns a fault while opening into an error.
pub(super) fn damaged(dir: &Path) -> impl Fn(StorageError) -> OpenError {
    let dir = dir.to_owned();
    move |fault| OpenError::Damaged {
        dir: dir.clone(),
        why: match fault {
            StorageError::Store(why) | StorageError::Damaged(why) | StorageError::Misused(why) => {
                why
            }
            StorageError::Abandoned => fault.to_string(),
        },
    }
}

pub(super) mod ballast;
pub(super) mod commit_watermark;
pub(super) mod compaction;
pub(super) mod disk_space;
pub(crate) mod lock;
pub(super) mod manifest;
pub(crate) mod private_files;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_that_gets_a_new_name_is_synced_up_to_the_one_that_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let synced = std::cell::RefCell::new(Vec::new());
        let make = |path: &Path| {
            make_dirs(path, |dir| {
                synced.borrow_mut().push(dir.to_owned());
                Ok(())
            })
            .unwrap();
            synced.take()
        };
        let [a, b, c] = ["a", "a/b", "a/b/c"].map(|name| dir.path().join(name));
        // The last is the one in which the first that was there has its name: a crash may have
        // come between its making and its sync.
        let base = dir.path().parent().unwrap();
        assert_eq!(make(&c), [&*b, &*a, dir.path(), base]);
        assert!(c.is_dir());
        assert_eq!(make(&c), std::slice::from_ref(&b));
        // A directory of others that cannot be read keeps nobody from what is there already.
        let unreadable = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        make_dirs(&c, unreadable).unwrap();
        assert!(make_dirs(&c.join("d"), unreadable).is_err());
    }
}
