//! What the audit still has to tell. Each group of writes leaves an entry that names the
//! admissions and the steps of logs that it brought, in the same atomic write as these. The
//! audit reads what they name from the records, and when it has it durably, the entries go.

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

/// How far the audit has got, as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// The last entry of the trail that it has whole.
    #[serde(rename = "t")]
    pub trail: u64,
    /// Its last line's number.
    #[serde(rename = "s")]
    pub seq: u64,
    /// That line's hash, in hex.
    #[serde(rename = "h")]
    pub hash: String,
}

/// The audit is too far behind for anything new to be admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the audit cannot keep up: {lines} lines wait to be written to it, and {lines_max} is the most \
     (audit.lag_max); if its disk is full or its directory cannot be written, the log says so; \
     no restart is needed"
)]
pub struct OutboxFull {
    /// Lines that wait.
    pub lines: u64,
    /// Lines that may wait while more is admitted.
    pub lines_max: u64,
}

/// What an entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventRef {
    pub(super) of: EventKind,
    /// Lines that the audit gets from it, about.
    pub(super) lines: u32,
}

/// One of the things that happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum EventKind {
    /// The admission of a batch.
    Admission(BatchId),
    /// A step of a batch's log.
    Step(BatchId, u32),
    /// The audit was switched off after so many commits, and what came then is not in it.
    Off(u64),
}

/// Stand where a step's number would: a log never grows so long.
const ADMISSION: u32 = u32::MAX;
const OFF: u32 = u32::MAX - 1;

/// Bytes of a mark in a value: a batch, a step, lines.
const MARK_BYTES: usize = 8 + 4 + 4;
/// Marks of one entry.
const MARKS_MAX: usize = (limits::STORE_VALUE_BYTES_MAX - 1) / MARK_BYTES;

/// The value of an entry.
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

/// Reads the value of an entry back.
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

/// The trail as the one who writes knows it.
#[derive(Debug)]
pub(super) struct Outbox {
    is_on: bool,
    entries: VecDeque<OutboxEntry>,
    next: u64,
    lines: u64,
    /// Lines that the audit has told of, since the start.
    told: u64,
    /// What the group of writes brings, for an audit that comes soon.
    recent: EventCache,
    /// Whether the journal has ever been audited.
    is_known: bool,
    /// Commits when it was switched off, if it was.
    off: Option<u64>,
}

#[derive(Debug)]
struct OutboxEntry {
    number: u64,
    marks: Vec<EventRef>,
    is_written: bool,
    /// Nothing is added to it any more.
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

    /// Adds what the next write brings.
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

    /// As [`Self::note`], with what the audit is going to ask for.
    pub(super) fn tell(&mut self, of: EventKind, lines: u32, told: impl FnOnce() -> CachedEvent) {
        self.note(of, lines);
        if self.is_on {
            self.recent.add(of, told());
        }
    }

    /// What the last group of writes brought.
    pub(super) fn take_recent(&mut self) -> EventCache {
        std::mem::take(&mut self.recent)
    }

    /// Adds to a write what it brings. `commits` is how many there were before its group.
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

    /// The group of writes is complete.
    pub(super) fn close(&mut self) {
        for entry in self.entries.iter_mut().rev() {
            if entry.is_closed {
                break;
            }
            entry.is_closed = true;
            entry.marks.shrink_to_fit();
        }
    }

    /// The last entry.
    pub(super) fn end(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Removes what the audit has.
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

    /// How far the audit is.
    pub(super) fn progress(&self) -> Progress {
        Progress {
            waiting: self.lines,
            told: self.told,
        }
    }

    /// Whether more may be admitted.
    pub(super) fn check(&self, lines_max: u64) -> Result<(), OutboxFull> {
        let lines = self.lines;
        if lines <= lines_max {
            Ok(())
        } else {
            Err(OutboxFull { lines, lines_max })
        }
    }

    /// Batches whose records the audit still has to read.
    pub(super) fn batches(&self) -> HashSet<BatchId> {
        let marks = self.entries.iter().flat_map(|entry| &entry.marks);
        let batches = marks.filter_map(|mark| match mark.of {
            EventKind::Admission(batch) | EventKind::Step(batch, _) => Some(batch),
            EventKind::Off(_) => None,
        });
        batches.collect()
    }
}

/// How far an audit is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Lines that it still has to tell.
    pub waiting: u64,
    /// Lines that it has told since the start.
    pub told: u64,
}

fn lines(marks: &[EventRef]) -> u64 {
    marks.iter().map(|mark| u64::from(mark.lines)).sum()
}

/// An entry as the store has it.
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

/// What the one who writes and the one who reads the trail tell each other.
#[derive(Debug, Default)]
pub(super) struct OutboxState {
    end: AtomicU64,
    waiting: AtomicU64,
    told: AtomicU64,
    noted: Mutex<Option<Audited>>,
    recent: Mutex<EventCache>,
}

impl OutboxState {
    /// The last entry that is durable, and does not change any more.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// All up to this entry is durable. `recent` is what it and those before it brought.
    pub(super) fn set_end(&self, end: u64, recent: EventCache) {
        self.recent().append(recent);
        self.end.store(end, Ordering::Release);
    }

    /// What was written, if that is still known: to be told once.
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

    /// How far the audit is, as of the last write.
    pub(super) fn progress(&self) -> Progress {
        Progress {
            waiting: self.waiting.load(Ordering::Relaxed),
            told: self.told.load(Ordering::Relaxed),
        }
    }

    /// To be recorded with a later write.
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
