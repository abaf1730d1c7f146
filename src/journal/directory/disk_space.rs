//! Room on the journal's disk. While less is free than the reserve, nothing new is admitted, so
//! that what was admitted can still be settled; when space returns, so do admissions.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Tells how many bytes this process can still write to the disk that a directory is on.
#[derive(Clone)]
pub struct FreeSpace(Arc<Probe>);

type Probe = dyn Fn(&Path) -> io::Result<u64> + Send + Sync;

impl FreeSpace {
    /// What the system says.
    #[must_use]
    pub fn system() -> Self {
        Self::from_fn(|dir| {
            let disk = rustix::fs::statvfs(dir)?;
            Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
        })
    }

    /// What this says; it is asked once for each group of writes and should be quick.
    #[must_use]
    pub fn from_fn(probe: impl Fn(&Path) -> io::Result<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(probe))
    }

    pub(in crate::journal) fn bytes(&self, dir: &Path) -> io::Result<u64> {
        (self.0)(dir)
    }
}

impl fmt::Debug for FreeSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreeSpace")
    }
}

/// The disk has less room than is kept for what was admitted before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the journal's disk is full: {} has {free_bytes} bytes left, and {free_bytes_min} are kept for \
     what is admitted already (journal.free_bytes_min); make room on that disk or enlarge it, no \
     restart is needed",
    dir.display()
)]
pub struct DiskFull {
    /// The journal's directory.
    pub dir: PathBuf,
    /// Bytes that are free there.
    pub free_bytes: u64,
    /// Bytes that have to be.
    pub free_bytes_min: u64,
}

/// The audit has no room for more lines of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the audit has {held} bytes of this caller's lines, and no room for more of them \
     (audit.bytes_max)"
)]
pub struct Overfull {
    /// Bytes of the caller's lines.
    pub held: u64,
}

/// Watches the room on a journal's disk.
#[derive(Debug)]
pub(in crate::journal) struct DiskSpace {
    dir: PathBuf,
    free_bytes_min: u64,
    free_space: FreeSpace,
    is_full: bool,
}

impl DiskSpace {
    pub(in crate::journal) fn new(dir: &Path, free_bytes_min: u64, free_space: FreeSpace) -> Self {
        Self {
            dir: dir.to_owned(),
            free_bytes_min,
            free_space,
            is_full: false,
        }
    }

    /// Whether something new may be admitted. A disk that cannot be asked is not taken for a full
    /// one: a write that fails is noticed without this.
    pub(in crate::journal) fn check(&mut self) -> Result<(), DiskFull> {
        let free_bytes = match self.free_space.bytes(&self.dir) {
            Ok(free_bytes) => free_bytes,
            Err(error) => {
                tracing::debug!(%error, "the journal's disk does not say how full it is");
                return Ok(());
            }
        };
        let no_room = DiskFull {
            dir: self.dir.clone(),
            free_bytes,
            free_bytes_min: self.free_bytes_min,
        };
        let is_full = free_bytes < self.free_bytes_min;
        match (self.is_full, is_full) {
            (false, true) => tracing::error!(reason = %no_room, "nothing more is admitted"),
            (true, false) => tracing::info!(free_bytes, "the journal's disk has room again"),
            (false, false) | (true, true) => {}
        }
        self.is_full = is_full;
        if is_full { Err(no_room) } else { Ok(()) }
    }
}
