//! The audit's files as the one who writes sees them: lines are added, made durable together,
//! and taken back together if that fails. A file is never changed but at its end, where a crash
//! may have left what nobody was promised.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Error,
    chain::{self, ChainHead, Sealed},
    entry::AuditEntry,
    segments::Segment,
    usage::{self, Synced, Tally},
};
use crate::{
    journal::directory::{
        lock::{self, DirectoryLock, LockError},
        make_dirs, private_files,
    },
    limits,
};

/// Where the log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) head: ChainHead,
    /// The last entry of the trail of which it has lines.
    pub(super) trail: u64,
    /// How many of them.
    pub(super) part: u32,
}

/// A log that is written to.
#[derive(Debug)]
pub(super) struct SegmentLog {
    dir: PathBuf,
    /// Keeps every other writer out. Who only reads needs no lock.
    _lock: DirectoryLock,
    /// `None` until there is a line for it.
    segment: Option<Open>,
    at: Position,
    /// What was durable last.
    durable: Position,
    /// Lines that are not in the file yet.
    buffer: Vec<u8>,
    is_dirty: bool,
    /// What all that is not durable takes.
    written: Tally,
    /// The same of what became durable, until somebody asks.
    synced: Vec<Synced>,
}

/// The file that is written to.
#[derive(Debug)]
struct Open {
    /// The number of its first line.
    first: u64,
    file: File,
    path: PathBuf,
    bytes: u64,
    bytes_durable: u64,
    /// When its first line was written; `None` while there is none.
    begun: Option<Timestamp>,
}

/// Bytes that are gathered before they go to the file.
const BUFFER_BYTES: usize = 256 * 1024;

/// What the end of a log was found to be.
#[derive(Debug)]
pub(super) struct FoundSegments {
    pub(super) log: SegmentLog,
    /// Why what was there is not the end that the journal knows, if it is not.
    pub(super) gap: Option<String>,
}

impl SegmentLog {
    /// Opens the log in a directory, or makes one. `known` is its head as the journal knows it,
    /// with the last entry of the trail that is in it.
    pub(super) fn open(dir: &Path, known: Option<&Position>) -> Result<FoundSegments, Error> {
        make_dir(dir)?;
        // Before anything is read: another writer may be adding to what is there.
        let lock = take_lock(dir)?;
        let is_ours =
            |name: &str| name == lock::LOCK || Segment::is_name(name) || usage::is_name(name);
        private_files::tighten(dir, is_ours).map_err(io_error("closing to other users", dir))?;
        let last = last_segment(dir)?;
        let mut log = Self {
            dir: dir.to_owned(),
            _lock: lock,
            segment: None,
            at: Position {
                head: ChainHead::empty(),
                trail: 0,
                part: 0,
            },
            durable: Position {
                head: ChainHead::empty(),
                trail: 0,
                part: 0,
            },
            buffer: Vec::new(),
            is_dirty: false,
            written: Tally::default(),
            synced: Vec::new(),
        };
        let mut gap = None;
        if let Some(segment) = last {
            gap = log.take_up(&segment, known)?;
        }
        if let Some(known) = known
            && gap.is_none()
            && log.at.head.seq < known.head.seq
        {
            gap = Some(format!(
                "the journal knows of line {}, and the log ended with line {}",
                known.head.seq, log.at.head.seq
            ));
        }
        if let Some(known) = known
            && gap.is_some()
        {
            // The lines that follow belong after the one that the journal knows, in a file of
            // their own: so what is missing shows, and what is there stays as it is.
            log.segment = None;
            log.at = known.clone();
        }
        log.durable = log.at.clone();
        Ok(FoundSegments { log, gap })
    }

    /// Goes to the end of a file; says what is wrong with it if it is not what a crash leaves.
    fn take_up(
        &mut self,
        segment: &Segment,
        known: Option<&Position>,
    ) -> Result<Option<String>, Error> {
        let mut lines = segment
            .lines()
            .map_err(io_error("opening", &segment.path))?;
        let mut end = 0_u64;
        let mut begun = None;
        let mut last: Option<Sealed> = None;
        let mut torn = None;
        let mut reader = chain::LineReader::default();
        while let Some(line) = lines
            .next_line()
            .map_err(io_error("reading", &segment.path))?
        {
            let sealed = reader
                .read(line)
                .and_then(|sealed| follow(last.as_ref(), segment, sealed));
            match sealed {
                Ok(sealed) => {
                    if let Some(known) = known.map(|known| &known.head)
                        && sealed.seq == known.seq
                        && sealed.hash != known.hash
                    {
                        return Ok(Some(format!(
                            "line {} is not the one that the journal knows",
                            known.seq
                        )));
                    }
                    end += u64::try_from(line.len()).unwrap_or(u64::MAX);
                    begun.get_or_insert(sealed.time);
                    last = Some(sealed);
                }
                Err(why) => {
                    torn = Some((why, line.ends_with(b"\n")));
                    break;
                }
            }
        }
        let seq = last
            .as_ref()
            .map_or_else(|| segment.first.saturating_sub(1), |last| last.seq);
        if let Some(last) = &last {
            self.at = Position {
                head: last.head(),
                trail: last.trail,
                part: last.part,
            };
        }
        if let Some((why, is_whole)) = torn {
            // What the journal knows was durable. Without its word, half a line is all that a
            // crash is believed to have left.
            if known.map_or(is_whole, |known| seq < known.head.seq) {
                return Ok(Some(format!(
                    "line {} is not as it was written: {why}",
                    seq.saturating_add(1)
                )));
            }
            tracing::warn!(
                file = %segment.path.display(),
                kept_bytes = end,
                "the audit ended with a line that was not whole; it is written again"
            );
        }
        let mut options = File::options();
        let file = private_files::open(&segment.path, options.append(true));
        let file = file.map_err(io_error("opening", &segment.path))?;
        let cut = file.set_len(end).and_then(|()| file.sync_all());
        cut.map_err(io_error("cutting the end of", &segment.path))?;
        match last {
            Some(last) => {
                self.segment = Some(Open {
                    first: segment.first,
                    file,
                    path: segment.path.clone(),
                    bytes: end,
                    bytes_durable: end,
                    begun: begun.or(Some(last.time)),
                });
                Ok(None)
            }
            // It was begun and nothing of it promised: the end is that of the file before.
            None => {
                drop(file);
                fs::remove_file(&segment.path).map_err(io_error("removing", &segment.path))?;
                match last_segment(&self.dir)? {
                    Some(before) => self.take_up(&before, known),
                    None => Ok(None),
                }
            }
        }
    }

    /// Where it stands.
    pub(super) fn at(&self) -> &Position {
        &self.at
    }

    /// Lines that are added from here on are of this entry of the trail, or of later ones,
    /// whatever the lines before them say.
    pub(super) fn set_trail(&mut self, trail: u64) {
        for at in [&mut self.at, &mut self.durable] {
            (at.trail, at.part) = (trail, u32::MAX);
        }
    }

    /// What of it is durable.
    pub(super) fn durable(&self) -> &ChainHead {
        &self.durable.head
    }

    /// Adds a line, as the next of an entry of the trail or of none.
    pub(super) fn add(
        &mut self,
        mut line: AuditEntry<'_>,
        trail: Option<(u64, u32)>,
    ) -> Result<(), Error> {
        if let Some((trail, part)) = trail {
            (self.at.trail, self.at.part) = (trail, part);
        }
        (line.trail, line.part) = (self.at.trail, self.at.part);
        let (before, caller) = (self.buffer.len(), line.caller);
        let personal = line.personal();
        chain::add(&mut self.at.head, &line, personal, &mut self.buffer)?;
        let bytes = self.buffer.len().saturating_sub(before);
        self.written.add(caller, bytes);
        self.is_dirty = true;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what was gathered to the file.
    fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let Some(open) = &mut self.segment else {
            let first = self.durable.head.seq.saturating_add(1);
            self.segment = Some(Open::make(&self.dir, first)?);
            return self.flush();
        };
        let written = open.file.write_all(&self.buffer);
        written.map_err(io_error("writing", &open.path))?;
        open.bytes += u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        self.buffer.clear();
        Ok(())
    }

    /// Makes all that was added durable; whether there was anything.
    pub(super) fn sync(&mut self, now: Timestamp) -> Result<bool, Error> {
        if !self.is_dirty {
            return Ok(false);
        }
        self.flush()?;
        if let Some(open) = &mut self.segment {
            open.file
                .sync_data()
                .map_err(io_error("syncing", &open.path))?;
            open.bytes_durable = open.bytes;
            let age = now.duration_since(*open.begun.get_or_insert(now));
            let first = open.first;
            let is_closed = open.bytes >= limits::AUDIT_SEGMENT_BYTES
                || age >= SignedDuration::from_secs(limits::AUDIT_SEGMENT_SECONDS);
            if is_closed {
                self.segment = None;
            }
            self.synced.push(Synced {
                first,
                tally: std::mem::take(&mut self.written),
                is_closed,
            });
        }
        self.durable = self.at.clone();
        self.is_dirty = false;
        Ok(true)
    }

    /// Takes back all that is not durable.
    pub(super) fn roll_back(&mut self) -> Result<(), Error> {
        self.buffer.clear();
        self.written = Tally::default();
        self.at = self.durable.clone();
        if let Some(open) = &mut self.segment {
            let cut = open.file.set_len(open.bytes_durable);
            cut.map_err(io_error("cutting the end of", &open.path))?;
            open.bytes = open.bytes_durable;
        }
        self.is_dirty = false;
        Ok(())
    }

    /// What became durable since this was asked last.
    pub(super) fn take_synced(&mut self) -> Vec<Synced> {
        std::mem::take(&mut self.synced)
    }

    /// Bytes that are not durable.
    pub(super) fn bytes_waiting(&self) -> u64 {
        let buffered = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        let open = self.segment.as_ref();
        let written = open.map_or(0, |open| open.bytes.saturating_sub(open.bytes_durable));
        buffered.saturating_add(written)
    }

    /// Files all of whose lines are older than this, but for the one that is written to, with
    /// the last line of them. They are to be removed once a line says so.
    pub(super) fn expired(
        &self,
        before: Timestamp,
    ) -> Result<Option<(Vec<Segment>, ChainHead)>, Error> {
        let segments = Segment::list(&self.dir).map_err(io_error("listing", &self.dir))?;
        let mut expired = Vec::new();
        let mut last = None;
        for pair in segments.windows(2) {
            let [segment, next] = pair else { continue };
            let line = next.first_line().map_err(io_error("reading", &next.path))?;
            let next = line.and_then(|line| chain::read(&line).ok());
            match next {
                Some(next) if next.time < before => {
                    last = Some(ChainHead {
                        seq: next.seq.saturating_sub(1),
                        hash: next.prev,
                    });
                    expired.push(segment.clone());
                }
                Some(_) | None => break,
            }
        }
        Ok(last.map(|last| (expired, last)))
    }

    /// Removes files.
    pub(super) fn remove(&self, segments: &[Segment]) -> Result<(), Error> {
        for segment in segments {
            fs::remove_file(&segment.path).map_err(io_error("removing", &segment.path))?;
        }
        sync_dir(&self.dir)
    }
}

impl Open {
    fn make(dir: &Path, first: u64) -> Result<Self, Error> {
        let path = Segment::new(dir, first).path;
        let file = match private_files::make_to_append(&path) {
            // Begun by us and then given up: nothing of it was promised.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_empty(&path) => {
                fs::remove_file(&path).and_then(|()| private_files::make_to_append(&path))
            }
            made => made,
        };
        let file = file.map_err(io_error("making", &path))?;
        sync_dir(dir)?;
        Ok(Self {
            first,
            file,
            path,
            bytes: 0,
            bytes_durable: 0,
            begun: None,
        })
    }
}

/// Whether a path is a file without content, and no link to one.
fn is_empty(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0)
}

/// Whether a line comes after another one, or begins its file.
fn follow(last: Option<&Sealed>, segment: &Segment, sealed: Sealed) -> Result<Sealed, String> {
    let follows = match last {
        Some(last) => sealed.seq == last.seq.saturating_add(1) && sealed.prev == last.hash,
        None => sealed.seq == segment.first,
    };
    if follows {
        Ok(sealed)
    } else {
        Err("it does not follow the line before it".to_owned())
    }
}

fn last_segment(dir: &Path) -> Result<Option<Segment>, Error> {
    let mut segments = Segment::list(dir).map_err(io_error("listing", dir))?;
    Ok(segments.pop())
}

fn take_lock(dir: &Path) -> Result<DirectoryLock, Error> {
    DirectoryLock::take(dir).map_err(|why| match why {
        LockError::Held(pid) => Error::Locked {
            lock: lock::path_in(dir),
            pid,
        },
        LockError::Io { doing, source } => io_error(doing, &lock::path_in(dir))(source),
    })
}

fn make_dir(dir: &Path) -> Result<(), Error> {
    let made = make_dirs(dir, |dir| File::open(dir).and_then(|dir| dir.sync_all()));
    made.map_err(io_error("making", dir))
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), Error> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(io_error("syncing", dir))
}

pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        doing,
        path,
        source,
    }
}
