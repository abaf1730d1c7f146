//! Limits of a read: whether a caller still waits for it, and how much it may read.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    journal::{error::StorageError, format::key::Span, store::table::Table},
    limits,
};

/// The limits of a read. By default its caller waits for ever. Clones share the limits.
#[derive(Debug, Clone)]
pub struct ReadLimits(Arc<ReadInterest>);

#[derive(Debug)]
struct ReadInterest {
    over: CancellationToken,
    /// Store entries read so far.
    read: AtomicUsize,
    entries_max: usize,
    bytes_max: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self::bounded(limits::PAGE_ENTRIES_READ_MAX, limits::PAGE_BYTES_READ_MAX)
    }
}

impl ReadLimits {
    /// A read whose pages end once this many store entries, or bytes of them, were read.
    #[must_use]
    pub fn bounded(entries_max: usize, bytes_max: usize) -> Self {
        Self(Arc::new(ReadInterest {
            over: CancellationToken::new(),
            read: AtomicUsize::new(0),
            entries_max,
            bytes_max,
        }))
    }

    /// The same read with other limits and a counter of its own. It is over when this one is.
    #[must_use]
    pub fn rebounded(&self, entries_max: usize, bytes_max: usize) -> Self {
        Self(Arc::new(ReadInterest {
            over: self.0.over.clone(),
            read: AtomicUsize::new(0),
            entries_max,
            bytes_max,
        }))
    }

    /// Whether the caller has gone. The read stops soon then.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.over.is_cancelled()
    }

    /// Resolves when the caller has gone.
    pub async fn over(&self) {
        self.0.over.cancelled().await;
    }

    /// A guard that ends the read when it is dropped.
    #[must_use]
    pub fn waiter(&self) -> DropGuard {
        self.0.over.clone().drop_guard()
    }

    /// Store entries read so far.
    #[must_use]
    pub fn entries_read(&self) -> usize {
        self.0.read.load(Ordering::Relaxed)
    }
}

/// Entries between two checks whether the caller still waits.
const ENTRIES_UNWATCHED: usize = 64;

/// A table that is read within limits.
pub(in crate::journal) struct Watched<'t, T> {
    table: &'t T,
    question: &'t ReadLimits,
    entries: AtomicUsize,
    bytes: AtomicUsize,
}

impl<'t, T: Table> Watched<'t, T> {
    pub(in crate::journal) fn new(table: &'t T, question: &'t ReadLimits) -> Self {
        Self {
            table,
            question,
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Whether the page has read as much as it may.
    pub(in crate::journal) fn has_read_enough(&self) -> bool {
        let ReadInterest {
            entries_max,
            bytes_max,
            ..
        } = *self.question.0;
        self.entries.load(Ordering::Relaxed) >= entries_max
            || self.bytes.load(Ordering::Relaxed) >= bytes_max
    }

    fn read(&self, bytes: usize) -> Result<(), StorageError> {
        self.question.0.read.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let before = self.entries.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(ENTRIES_UNWATCHED) && self.question.is_over() {
            return Err(StorageError::Abandoned);
        }
        Ok(())
    }
}

impl<T: Table> Table for Watched<'_, T> {
    type Bytes = T::Bytes;

    fn get(&self, key: &[u8]) -> Result<Option<Self::Bytes>, StorageError> {
        let value = self.table.get(key)?;
        self.read(value.as_ref().map_or(0, |value| value.as_ref().len()))?;
        Ok(value)
    }

    fn scan(
        &self,
        span: Span,
    ) -> impl DoubleEndedIterator<Item = Result<(Self::Bytes, Self::Bytes), StorageError>> {
        self.table.scan(span).map(|entry| {
            let (key, value) = entry?;
            self.read(key.as_ref().len().saturating_add(value.as_ref().len()))?;
            Ok((key, value))
        })
    }

    fn unpacked(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn write(&self, _: crate::journal::store::table::WriteBatch) -> Result<(), StorageError> {
        Err(StorageError::Misused("a question writes".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{memory_journal::MemoryTable, store::table::WriteBatch};

    #[test]
    fn what_is_being_read_ends_soon_after_nobody_waits() {
        let table = MemoryTable::default();
        let mut writes = WriteBatch::default();
        for n in 0..10_000_u32 {
            writes.put(n.to_be_bytes().to_vec(), vec![0; 10]);
        }
        table.write(writes).unwrap();
        let question = ReadLimits::default();
        let waiter = question.waiter();
        let watched = Watched::new(&table, &question);
        let mut entries = watched.scan(Span::all());
        for _ in 0..1_000 {
            entries.next().unwrap().unwrap();
        }
        drop(waiter);
        let fault = entries.find_map(Result::err);
        assert_eq!(fault, Some(StorageError::Abandoned));
        let read = question.entries_read() - 1_000;
        assert!(read <= ENTRIES_UNWATCHED, "{read}");
        drop(entries);
        // Reading single keys ends too.
        let fault = (0..=ENTRIES_UNWATCHED).find_map(|_| watched.get(b"key").err());
        assert_eq!(fault, Some(StorageError::Abandoned));
    }
}
