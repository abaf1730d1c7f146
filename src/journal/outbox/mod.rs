//! Transactional outbox: what the audit has not acknowledged. Each commit adds an entry that names
//! its admissions and log steps, in the same atomic write. The audit reads the named records, and
//! acknowledges the entries once it has written them durably.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use self::cache::{CachedEvent, EventCache};
use super::{
    error::StorageError,
    format::{
        key::{Span, StoreKey},
        record,
    },
    read::reader::Reader,
    store::table::{Table, WriteBatch},
};
use crate::{domain::ids::BatchId, limits};

/// What the audit has acknowledged, as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// The last outbox entry that it has completely.
    #[serde(rename = "t")]
    pub trail: u64,
    /// The number of its last line.
    #[serde(rename = "s")]
    pub seq: u64,
    /// The hash of that line, in hex.
    #[serde(rename = "h")]
    pub hash: String,
}

/// The audit lags too far behind for new admissions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the audit cannot keep up: {lines} lines wait to be written to it, and {lines_max} is the most \
     (audit.lag_max); if its disk is full or its directory cannot be written, the log says so; \
     no restart is needed"
)]
pub struct OutboxFull {
    /// Lines that wait.
    pub lines: u64,
    /// Lines that may wait while requests are admitted.
    pub lines_max: u64,
}

/// A reference in an outbox entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventRef {
    pub(super) of: EventKind,
    /// Approximate audit lines for it.
    pub(super) lines: u32,
}

/// The kinds of audited events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum EventKind {
    /// The admission of a batch.
    Admission(BatchId),
    /// A step of a batch's log.
    Step(BatchId, u32),
    /// The audit was switched off after this commit, and later events are missing.
    Off(u64),
}

/// Stored instead of a step's number: no log ever gets this long.
const ADMISSION: u32 = u32::MAX;
const OFF: u32 = u32::MAX - 1;

/// Bytes of a reference: batch, step, lines.
const MARK_BYTES: usize = 8 + 4 + 4;
/// References per entry.
const MARKS_MAX: usize = (limits::STORE_VALUE_BYTES_MAX - 1) / MARK_BYTES;

/// Encodes an entry.
fn value(marks: &[EventRef]) -> Vec<u8> {
    let mut value = record::marker();
    for mark in marks {
        let (number, step) = match mark.of {
            EventKind::Admission(batch) => (batch.0, ADMISSION),
            EventKind::Step(batch, step) => (batch.0, step),
            EventKind::Off(commits) => (commits, OFF),
        };
        value.extend(number.to_be_bytes());
        value.extend(step.to_be_bytes());
        value.extend(mark.lines.to_be_bytes());
    }
    value
}

/// Decodes an entry.
pub(super) fn marks_in(value: &[u8]) -> Result<Vec<EventRef>, String> {
    let (format, rest) = value.split_first().ok_or("it is empty")?;
    record::check_format(*format)?;
    let (marks, rest) = rest.as_chunks::<MARK_BYTES>();
    if !rest.is_empty() {
        return Err("it is cut short".to_owned());
    }
    let marks = marks.iter().map(|mark| {
        let (number, rest) = mark.split_first_chunk()?;
        let (step, lines) = rest.split_first_chunk()?;
        let number = u64::from_be_bytes(*number);
        Some(EventRef {
            of: match u32::from_be_bytes(*step) {
                ADMISSION => EventKind::Admission(BatchId(number)),
                OFF => EventKind::Off(number),
                step => EventKind::Step(BatchId(number), step),
            },
            lines: u32::from_be_bytes(lines.try_into().ok()?),
        })
    });
    let marks: Option<Vec<_>> = marks.collect();
    marks.ok_or_else(|| "it is cut short".to_owned())
}

/// The outbox as the writer knows it.
#[derive(Debug)]
pub(super) struct Outbox {
    is_on: bool,
    entries: VecDeque<OutboxEntry>,
    next: u64,
    lines: u64,
    /// Lines acknowledged since the start of the process.
    told: u64,
    /// Events of the open group, so that the audit need not read them back.
    recent: EventCache,
    /// Whether the journal has ever been audited.
    is_known: bool,
    /// The commit number when the audit was switched off, if it was.
    off: Option<u64>,
}

#[derive(Debug)]
struct OutboxEntry {
    number: u64,
    marks: Vec<EventRef>,
    is_written: bool,
    /// No reference is added any more.
    is_closed: bool,
}

impl Outbox {
    pub(super) fn load(reader: Reader<'_, impl Table>, is_on: bool) -> Result<Self, StorageError> {
        let audited = reader.audited()?;
        let mut trail = Self {
            is_on,
            entries: VecDeque::new(),
            next: audited.as_ref().map_or(0, |audited| audited.trail) + 1,
            lines: 0,
            told: 0,
            recent: EventCache::default(),
            is_known: audited.is_some(),
            off: reader.number(&StoreKey::AuditOff)?,
        };
        for entry in reader.0.scan(Span::trail_after(0)) {
            let (number, marks) = entry_in(entry?)?;
            trail.next = number.saturating_add(1);
            trail.lines += lines(&marks);
            trail.entries.push_back(OutboxEntry {
                number,
                marks,
                is_written: true,
                is_closed: true,
            });
        }
        Ok(trail)
    }

    /// Adds a reference for the next write.
    pub(super) fn note(&mut self, of: EventKind, lines: u32) {
        if !self.is_on {
            return;
        }
        let mark = EventRef { of, lines };
        self.lines += u64::from(lines);
        match self.entries.back_mut() {
            Some(entry) if !entry.is_closed && entry.marks.len() < MARKS_MAX => {
                entry.marks.push(mark);
                entry.is_written = false;
            }
            Some(_) | None => {
                self.entries.push_back(OutboxEntry {
                    number: self.next,
                    marks: vec![mark],
                    is_written: false,
                    is_closed: false,
                });
                self.next += 1;
            }
        }
    }

    /// Like [`Self::note`], with the event for the cache.
    pub(super) fn tell(&mut self, of: EventKind, lines: u32, told: impl FnOnce() -> CachedEvent) {
        self.note(of, lines);
        if self.is_on {
            self.recent.add(of, told());
        }
    }

    /// The cached events of the last group.
    pub(super) fn take_recent(&mut self) -> EventCache {
        std::mem::take(&mut self.recent)
    }

    /// Adds the open entries to a write. `commits` is the number of commits before this group.
    pub(super) fn add_to(&mut self, writes: &mut WriteBatch, commits: u64) {
        if !self.is_on {
            if self.is_known && self.off.is_none() {
                self.off = Some(commits);
                writes.put(StoreKey::AuditOff.encode(), record::number(commits));
            }
            return;
        }
        if let Some(commits) = self.off.take() {
            self.note(EventKind::Off(commits), 1);
            writes.remove(StoreKey::AuditOff.encode());
        }
        for entry in self.entries.iter_mut().rev() {
            if entry.is_written {
                break;
            }
            writes.put(StoreKey::Trail(entry.number).encode(), value(&entry.marks));
            entry.is_written = true;
        }
    }

    /// Closes the entries of a group.
    pub(super) fn close(&mut self) {
        for entry in self.entries.iter_mut().rev() {
            if entry.is_closed {
                break;
            }
            entry.is_closed = true;
            entry.marks.shrink_to_fit();
        }
    }

    /// The number of the last entry.
    pub(super) fn end(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Removes acknowledged entries.
    pub(super) fn audited(
        &mut self,
        audited: &Audited,
        writes: &mut WriteBatch,
    ) -> Result<(), StorageError> {
        self.is_known = true;
        writes.put(StoreKey::Audited.encode(), record::whole(audited)?);
        while let Some(entry) = self.entries.front()
            && entry.number <= audited.trail
            && entry.is_closed
        {
            writes.remove(StoreKey::Trail(entry.number).encode());
            let told = lines(&entry.marks);
            self.lines = self.lines.saturating_sub(told);
            self.told = self.told.saturating_add(told);
            self.entries.pop_front();
        }
        Ok(())
    }

    /// The progress of the audit.
    pub(super) fn progress(&self) -> Progress {
        Progress {
            waiting: self.lines,
            told: self.told,
        }
    }

    /// Whether requests may be admitted.
    pub(super) fn check(&self, lines_max: u64) -> Result<(), OutboxFull> {
        let lines = self.lines;
        if lines <= lines_max {
            Ok(())
        } else {
            Err(OutboxFull { lines, lines_max })
        }
    }

    /// Batches whose records the audit has still to read.
    pub(super) fn batches(&self) -> HashSet<BatchId> {
        let marks = self.entries.iter().flat_map(|entry| &entry.marks);
        let batches = marks.filter_map(|mark| match mark.of {
            EventKind::Admission(batch) | EventKind::Step(batch, _) => Some(batch),
            EventKind::Off(_) => None,
        });
        batches.collect()
    }
}

/// The progress of the audit.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Lines that wait for it.
    pub waiting: u64,
    /// Lines acknowledged since the start of the process.
    pub told: u64,
}

fn lines(marks: &[EventRef]) -> u64 {
    marks.iter().map(|mark| u64::from(mark.lines)).sum()
}

/// Decodes an entry of the store.
pub(super) fn entry_in(
    (key, value): (impl AsRef<[u8]>, impl AsRef<[u8]>),
) -> Result<(u64, Vec<EventRef>), StorageError> {
    let Some(StoreKey::Trail(number)) = StoreKey::decode(key.as_ref()) else {
        return Err(StorageError::damaged(
            "the audit's trail",
            "it has a key that does not decode",
        ));
    };
    let marks = marks_in(value.as_ref());
    let marks = marks
        .map_err(|why| StorageError::damaged(format_args!("entry {number} of the trail"), why))?;
    Ok((number, marks))
}

/// State shared by the writer and the reader of the outbox.
#[derive(Debug, Default)]
pub(super) struct OutboxState {
    end: AtomicU64,
    waiting: AtomicU64,
    told: AtomicU64,
    noted: Mutex<Option<Audited>>,
    recent: Mutex<EventCache>,
}

impl OutboxState {
    /// The last durable entry. It does not change any more.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Publishes durable entries up to `end`, with the cached events of new ones.
    pub(super) fn set_end(&self, end: u64, recent: EventCache) {
        self.recent().append(recent);
        self.end.store(end, Ordering::Release);
    }

    /// Takes a cached event, if it is still there.
    pub(super) fn take(&self, of: EventKind) -> Option<CachedEvent> {
        self.recent().take(of)
    }

    fn recent(&self) -> MutexGuard<'_, EventCache> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_progress(&self, progress: Progress) {
        self.waiting.store(progress.waiting, Ordering::Relaxed);
        self.told.store(progress.told, Ordering::Relaxed);
    }

    /// The progress of the audit as of the last write.
    pub(super) fn progress(&self) -> Progress {
        Progress {
            waiting: self.waiting.load(Ordering::Relaxed),
            told: self.told.load(Ordering::Relaxed),
        }
    }

    /// Sets an acknowledgement to be recorded with a later write.
    pub(super) fn note(&self, audited: Audited) {
        *self.noted() = Some(audited);
    }

    pub(super) fn take_noted(&self) -> Option<Audited> {
        self.noted().take()
    }

    pub(super) fn is_noted(&self) -> bool {
        self.noted().is_some()
    }

    fn noted(&self) -> MutexGuard<'_, Option<Audited>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) mod cache;
pub(super) mod event;
pub(super) mod read;
pub(super) mod settlement;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_entry_reads_back_and_other_bytes_are_an_error(
            marks in proptest::collection::vec((any::<u64>(), any::<u32>(), 0_u8..3, any::<u32>()), 0..MARKS_MAX),
            cut in 1_usize..MARK_BYTES,
        ) {
            let marks: Vec<_> = marks
                .into_iter()
                .map(|(number, step, of, lines)| EventRef {
                    of: match of {
                        0 => EventKind::Admission(BatchId(number)),
                        1 => EventKind::Off(number),
                        _ => EventKind::Step(BatchId(number), step.min(OFF - 1)),
                    },
                    lines,
                })
                .collect();
            let value = value(&marks);
            prop_assert!(value.len() <= limits::STORE_VALUE_BYTES_MAX);
            prop_assert_eq!(marks_in(&value), Ok(marks.clone()));
            if !marks.is_empty() {
                prop_assert!(marks_in(&value[..value.len() - cut]).is_err());
            }
        }
    }
}
