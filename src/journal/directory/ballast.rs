//! A file that takes up room only to be given up: the store does not open on a disk that is full to
//! the last byte, so without it the service could not come up to settle what is open.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{OpenError, disk_space::FreeSpace, private_files};

/// The file's name.
pub(in crate::journal) const BALLAST: &str = "ballast";

/// The ballast in a journal's directory.
#[derive(Debug, Clone)]
pub(in crate::journal) struct Ballast {
    path: PathBuf,
    dir: PathBuf,
    bytes: u64,
    /// Bytes that have to be free beside it.
    free_bytes_min: u64,
    free_space: FreeSpace,
}

impl Ballast {
    pub(in crate::journal) fn new(
        dir: &Path,
        bytes: u64,
        free_bytes_min: u64,
        free_space: FreeSpace,
    ) -> Self {
        Self {
            path: dir.join(BALLAST),
            dir: dir.to_owned(),
            bytes,
            free_bytes_min,
            free_space,
        }
    }

    /// Opens something that does not open on a full disk; if it fails with one, gives the ballast
    /// up and tries once more.
    pub(in crate::journal) fn open<T>(
        &self,
        mut open: impl FnMut() -> Result<T, OpenError>,
    ) -> Result<T, OpenError> {
        match open() {
            // The store may also assert where it should return an error.
            Err(error) if is_full(&error) || self.has_no_room() => {
                if fs::remove_file(&self.path).is_err() {
                    return Err(error);
                }
                tracing::warn!(
                    reason = %error,
                    "the journal's disk is full; its ballast was given up to open it"
                );
                open()
            }
            opened => opened,
        }
    }

    fn has_no_room(&self) -> bool {
        let free = self.free_space.bytes(&self.dir);
        free.is_ok_and(|free| free < self.bytes)
    }

    /// Makes it, if it is not there and there is room for it and more.
    pub(in crate::journal) fn keep(&self) {
        if self.bytes == 0 || self.path.exists() {
            return;
        }
        let needed = self.bytes.saturating_add(self.free_bytes_min);
        let free = self.free_space.bytes(&self.dir);
        if !free.is_ok_and(|free| free > needed) {
            return;
        }
        if let Err(error) = self.make() {
            tracing::warn!(%error, "the journal has no ballast");
            // Half of one is none.
            fs::remove_file(&self.path).ok();
        }
    }

    fn make(&self) -> io::Result<()> {
        let file = private_files::make(&self.path)?;
        // Blocks are set aside without being written, so this is quick.
        let mode = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, mode, 0, self.bytes)?;
        file.sync_all()
    }
}

fn is_full(error: &OpenError) -> bool {
    matches!(error, OpenError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> OpenError {
        OpenError::Io {
            doing: "opening",
            path: PathBuf::new(),
            source: io::ErrorKind::StorageFull.into(),
        }
    }

    fn ballast(dir: &Path) -> Ballast {
        Ballast::new(dir, 100_000, 1_000, FreeSpace::from_fn(|_| Ok(1_000_000)))
    }

    #[test]
    fn it_is_given_up_once_when_opening_fails_on_a_full_disk() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = ballast(dir.path());
        ballast.keep();
        let path = dir.path().join("ballast");
        assert_eq!(fs::metadata(&path).unwrap().len(), 100_000);
        let opened = ballast.open(|| if path.exists() { Err(full()) } else { Ok(7) });
        assert_eq!(opened.unwrap(), 7);
        assert!(!path.exists());
        assert!(ballast.open(|| Err::<(), _>(full())).is_err());
        ballast.keep();
        assert!(path.exists(), "there is room again");
    }

    #[test]
    fn it_is_kept_when_opening_fails_for_another_reason() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = ballast(dir.path());
        ballast.keep();
        let other = || OpenError::Foreign {
            dir: PathBuf::new(),
        };
        assert!(ballast.open(|| Err::<(), _>(other())).is_err());
        assert!(dir.path().join("ballast").exists());
    }

    #[test]
    fn it_takes_no_room_that_is_needed_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let free_space = FreeSpace::from_fn(|_| Ok(101_000));
        Ballast::new(dir.path(), 100_000, 1_000, free_space).keep();
        assert!(!dir.path().join("ballast").exists());
    }
}
