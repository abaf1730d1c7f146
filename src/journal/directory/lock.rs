//! A lock file: who works on a directory, so that nobody else does.

use std::{
    fs::{File, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use super::private_files;

/// A lock that is held, and given back when it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    file: File,
    path: PathBuf,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process has it, with this id if it could write it.
    Held(Option<u32>),
    /// The file cannot be used.
    Io {
        /// What was being done to it.
        doing: &'static str,
        /// How it failed.
        source: io::Error,
    },
}

/// The name of the lock file in its directory.
pub(crate) const LOCK: &str = "lock";

/// The lock file of a directory.
pub(crate) fn path_in(dir: &Path) -> PathBuf {
    dir.join(LOCK)
}

/// The process that holds a lock, in words.
pub(crate) fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

impl DirectoryLock {
    /// Takes the lock of a directory, and leaves the id of this process for whoever finds it taken.
    ///
    /// # Errors
    /// See [`LockError`].
    pub(crate) fn take(dir: &Path) -> Result<Self, LockError> {
        let path = path_in(dir);
        let io_error = |doing| move |source| LockError::Io { doing, source };
        let mut file = private_files::open_or_make(&path).map_err(io_error("opening"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok();
                return Err(LockError::Held(pid.and_then(|_| text.trim().parse().ok())));
            }
            Err(TryLockError::Error(source)) => return Err(io_error("locking")(source)),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(io_error("writing"))?;
        Ok(Self { file, path })
    }
}

impl Drop for DirectoryLock {
    /// Closing the file is not enough: a process that is being started from this one has a copy
    /// of the open file, and with it the lock, until it runs its own program.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(
                lock = %self.path.display(),
                %error,
                "a lock cannot be given back before this process ends"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_just_being_started_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirectoryLock::take(dir.path()).unwrap();
        // What a fork leaves in the child until it runs its program.
        let copy = held.file.try_clone().unwrap();
        let id = std::process::id();
        assert!(
            matches!(DirectoryLock::take(dir.path()), Err(LockError::Held(Some(pid))) if pid == id)
        );
        drop(held);
        drop(DirectoryLock::take(dir.path()).unwrap());
        drop(copy);
    }
}
