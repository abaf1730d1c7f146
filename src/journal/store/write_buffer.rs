//! Write buffer of a commit, read through as an overlay on the table. The store needs two fsyncs
//! per batch, so a commit passes it one batch.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::table::{Table, WriteBatch};
use crate::journal::{error::StorageError, format::key::Span};

/// A table with buffered writes.
#[derive(Debug)]
pub(in crate::journal) struct WriteBuffer<T> {
    base: Arc<T>,
    // Used by the writer thread only, so the lock is never contended.
    waiting: Mutex<Waiting>,
}

type Waiting = BTreeMap<Vec<u8>, Option<Arc<[u8]>>>;

/// Changes per batch at most: larger batches cost the store memory.
const BATCH_CHANGES: usize = 1_000;

impl<T: Table> WriteBuffer<T> {
    pub(in crate::journal) fn over(base: Arc<T>) -> Self {
        Self {
            base,
            waiting: Mutex::default(),
        }
    }

    /// Passes the buffered writes to the table.
    pub(in crate::journal) fn hand_over(&self) -> Result<(), StorageError> {
        let waiting = std::mem::take(&mut *self.waiting());
        if waiting.is_empty() {
            return Ok(());
        }
        self.base.write(WriteBatch(waiting.into_iter().collect()))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes from the table or from the buffer.
#[derive(Debug)]
pub(in crate::journal) enum StagedValue<B> {
    Base(B),
    Waiting(Arc<[u8]>),
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for StagedValue<B> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Base(bytes) => bytes.as_ref(),
            Self::Waiting(bytes) => bytes,
        }
    }
}

impl<T: Table> Table for WriteBuffer<T> {
    type Bytes = StagedValue<T::Bytes>;

    fn get(&self, key: &[u8]) -> Result<Option<Self::Bytes>, StorageError> {
        if let Some(value) = self.waiting().get(key) {
            return Ok(value.clone().map(StagedValue::Waiting));
        }
        Ok(self.base.get(key)?.map(StagedValue::Base))
    }

    fn scan(
        &self,
        span: Span,
    ) -> impl DoubleEndedIterator<Item = Result<(Self::Bytes, Self::Bytes), StorageError>> {
        let waiting = self.waiting();
        let mut changes = waiting.range(span.from.clone()..span.to.clone()).peekable();
        let base = || self.base.scan(span.clone());
        if changes.peek().is_none() {
            let base = base().map(|entry| {
                entry.map(|(key, value)| (StagedValue::Base(key), StagedValue::Base(value)))
            });
            return Entries::Untouched(base);
        }
        // The buffer has a few batches at most, so the merged entries are few too.
        let mut merged = BTreeMap::new();
        for entry in base() {
            match entry {
                Ok((key, value)) => merged.insert(key.as_ref().to_vec(), StagedValue::Base(value)),
                Err(fault) => return Entries::Merged(vec![Err(fault)].into_iter()),
            };
        }
        for (key, value) in changes {
            match value {
                Some(value) => merged.insert(key.clone(), StagedValue::Waiting(Arc::clone(value))),
                None => merged.remove(key),
            };
        }
        let merged = merged.into_iter();
        let merged = merged.map(|(key, value)| Ok((StagedValue::Waiting(key.into()), value)));
        Entries::Merged(merged.collect::<Vec<_>>().into_iter())
    }

    /// Writes are never split: they go into one batch with earlier or later ones.
    fn write(&self, writes: WriteBatch) -> Result<(), StorageError> {
        let is_large = {
            let mut waiting = self.waiting();
            waiting.extend(writes.0);
            waiting.len() >= BATCH_CHANGES
        };
        if is_large { self.hand_over() } else { Ok(()) }
    }
}

/// Entries of the table alone, or merged with the buffer.
enum Entries<U, M> {
    Untouched(U),
    Merged(M),
}

impl<I, U: Iterator<Item = I>, M: Iterator<Item = I>> Iterator for Entries<U, M> {
    type Item = I;

    fn next(&mut self) -> Option<I> {
        match self {
            Self::Untouched(entries) => entries.next(),
            Self::Merged(entries) => entries.next(),
        }
    }
}

impl<I, U, M> DoubleEndedIterator for Entries<U, M>
where
    U: DoubleEndedIterator<Item = I>,
    M: DoubleEndedIterator<Item = I>,
{
    fn next_back(&mut self) -> Option<I> {
        match self {
            Self::Untouched(entries) => entries.next_back(),
            Self::Merged(entries) => entries.next_back(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        domain::ids::BatchId,
        journal::{format::key::StoreKey, memory_journal::MemoryTable},
    };

    fn entries(table: &impl Table, batch: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
        let forward: Vec<_> = table
            .scan(Span::targets(BatchId(batch)))
            .map(|entry| entry.unwrap())
            .map(|(key, value)| (key.as_ref().to_vec(), value.as_ref().to_vec()))
            .collect();
        let backward = table.scan(Span::targets(BatchId(batch))).rev();
        let backward = backward.map(|entry| entry.unwrap().0.as_ref().to_vec());
        assert!(
            forward
                .iter()
                .map(|(key, _)| key.clone())
                .rev()
                .eq(backward)
        );
        for (key, value) in &forward {
            assert_eq!(table.get(key).unwrap().unwrap().as_ref(), value);
        }
        forward
    }

    proptest! {
        #[test]
        fn what_waits_reads_as_if_it_were_handed_over(
            steps in proptest::collection::vec((0_u64..3, 0_u16..5, any::<Option<u8>>(), any::<bool>()), 0..40),
        ) {
            let (base, plain) = (Arc::new(MemoryTable::default()), MemoryTable::default());
            let staged = WriteBuffer::over(Arc::clone(&base));
            for (batch, part, value, hands_over) in steps {
                let key = StoreKey::Targets { batch: BatchId(batch), part }.encode();
                put(&staged, &key, value);
                put(&plain, &key, value);
                if hands_over {
                    staged.hand_over().unwrap();
                }
                for batch in 0..3 {
                    prop_assert_eq!(entries(&staged, batch), entries(&plain, batch));
                }
            }
            staged.hand_over().unwrap();
            for batch in 0..3 {
                prop_assert_eq!(entries(&*base, batch), entries(&plain, batch));
            }
        }
    }

    fn put(table: &impl Table, key: &[u8], value: Option<u8>) {
        let mut writes = WriteBatch::default();
        match value {
            Some(value) => writes.put(key.to_vec(), vec![value]),
            None => writes.remove(key.to_vec()),
        }
        table.write(writes).unwrap();
    }
}
