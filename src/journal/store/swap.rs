//! The live database and, during compaction, its shadow copy. Readers see the live one only. The
//! writer keeps the copy in step: its writes go to both, as far as the copy has got.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    sled_store::{Bytes, SledStore},
    table::{Table, WriteBatch},
};
use crate::journal::{
    error::StorageError,
    format::key::{Span, StoreKey},
    write::writer_thread::SyncDisk,
};

/// The databases of an open journal.
pub(in crate::journal) struct Stores {
    current: RwLock<Arc<SledStore>>,
    // Used by the writer thread only, so the lock is never contended.
    copy: Mutex<Option<Copy>>,
    removed: AtomicU64,
    is_compacting: AtomicBool,
    has_taken_out: AtomicBool,
}

/// A database that is filled with the content of the live one.
struct Copy {
    store: SledStore,
    /// The copy has all keys up to this one, and none after.
    upto: Vec<u8>,
    failure: Option<StorageError>,
}

impl Stores {
    pub(in crate::journal) fn new(current: SledStore) -> Self {
        let taken_out = current.get(&StoreKey::TakenOut.encode());
        Self {
            has_taken_out: AtomicBool::new(taken_out.is_ok_and(|marker| marker.is_some())),
            current: RwLock::new(Arc::new(current)),
            copy: Mutex::default(),
            removed: AtomicU64::new(0),
            is_compacting: AtomicBool::new(false),
        }
    }

    /// The live database.
    pub(in crate::journal) fn current(&self) -> Arc<SledStore> {
        let current = self.current.read();
        Arc::clone(&current.unwrap_or_else(PoisonError::into_inner))
    }

    /// The handle that makes writes durable.
    pub(in crate::journal) fn disk(self: &Arc<Self>) -> StoresDisk {
        StoresDisk(Arc::clone(self))
    }

    /// Removed entries since the last call.
    pub(in crate::journal) fn take_removed(&self) -> u64 {
        self.removed.swap(0, Ordering::Relaxed)
    }

    /// Removed entries since the last `take_removed`.
    pub(in crate::journal) fn removed(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    /// Whether something was taken out that may still be in the file; it is to be replaced then.
    pub(in crate::journal) fn has_taken_out(&self) -> bool {
        self.has_taken_out.load(Ordering::Relaxed)
    }

    /// Says whether it was.
    pub(in crate::journal) fn set_taken_out(&self, has_taken_out: bool) {
        self.has_taken_out.store(has_taken_out, Ordering::Relaxed);
    }

    /// Whether work on its size is under way.
    pub(in crate::journal) fn is_compacting(&self) -> bool {
        self.is_compacting.load(Ordering::Acquire)
    }

    pub(in crate::journal) fn set_compacting(&self, is_compacting: bool) {
        self.is_compacting.store(is_compacting, Ordering::Release);
    }

    /// Starts a copy in this empty database.
    pub(in crate::journal) fn begin_copy(&self, store: SledStore) {
        *self.copy() = Some(Copy {
            store,
            upto: Vec::new(),
            failure: None,
        });
    }

    /// Copies some entries durably. Whether the copy is complete.
    pub(in crate::journal) fn copy_some(
        &self,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<bool, StorageError> {
        let mut copy = self.copy();
        let Some(copy) = copy.as_mut() else {
            return Err(StorageError::Misused("there is no copy to fill".to_owned()));
        };
        if let Some(failure) = copy.failure.take() {
            return Err(failure);
        }
        let mut writes = WriteBatch::default();
        let mut bytes = 0_usize;
        let mut entries = self.current().scan(Span::after(&copy.upto));
        let is_all = loop {
            if writes.0.len() >= entries_max || bytes >= bytes_max {
                break false;
            }
            let Some((key, value)) = entries.next().transpose()? else {
                break true;
            };
            bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
            writes.put(key.to_vec(), value.to_vec());
        };
        if !writes.0.is_empty() {
            copy.store.write(&writes)?;
        }
        copy.store
            .sync()
            .map_err(|error| StorageError::Store(format!("making a copy durable: {error}")))?;
        if let Some((last, _)) = writes.0.pop() {
            copy.upto = last;
        }
        Ok(is_all)
    }

    /// Reads the copy.
    pub(in crate::journal) fn with_copy<R>(
        &self,
        look: impl FnOnce(&SledStore) -> Result<R, StorageError>,
    ) -> Result<R, StorageError> {
        match &*self.copy() {
            Some(copy) => look(&copy.store),
            None => Err(StorageError::Misused("there is no copy".to_owned())),
        }
    }

    /// Makes the copy the live database; returns the old one.
    pub(in crate::journal) fn switch(&self) -> Option<Arc<SledStore>> {
        let copy = self.copy().take()?;
        let current = self.current.write();
        let mut current = current.unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::replace(&mut current, Arc::new(copy.store)))
    }

    /// Gives up the copy and returns it.
    pub(in crate::journal) fn take_copy(&self) -> Option<SledStore> {
        self.copy().take().map(|copy| copy.store)
    }

    fn copy(&self) -> MutexGuard<'_, Option<Copy>> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table for Stores {
    type Bytes = Bytes;

    fn get(&self, key: &[u8]) -> Result<Option<Self::Bytes>, StorageError> {
        self.current().get(key)
    }

    fn scan(
        &self,
        span: Span,
    ) -> impl DoubleEndedIterator<Item = Result<(Self::Bytes, Self::Bytes), StorageError>> {
        self.current().scan(span)
    }

    fn write(&self, mut writes: WriteBatch) -> Result<(), StorageError> {
        let removed = writes.0.iter().filter(|(_, value)| value.is_none()).count();
        let removed = u64::try_from(removed).unwrap_or(u64::MAX);
        self.removed.fetch_add(removed, Ordering::Relaxed);
        let marker = StoreKey::TakenOut.encode();
        if writes
            .0
            .iter()
            .any(|(key, value)| value.is_some() && *key == marker)
        {
            self.set_taken_out(true);
        }
        self.current().write(&writes)?;
        if let Some(copy) = self.copy().as_mut() {
            // Keys ahead of the copy are copied later, in their state of then.
            writes.0.retain(|(key, _)| *key <= copy.upto);
            if !writes.0.is_empty()
                && copy.failure.is_none()
                && let Err(failure) = copy.store.write(&writes)
            {
                copy.failure = Some(failure);
            }
        }
        Ok(())
    }
}

/// Makes writes to the live database durable.
pub(in crate::journal) struct StoresDisk(Arc<Stores>);

impl SyncDisk for StoresDisk {
    fn sync(&mut self) -> io::Result<()> {
        self.0.current().sync()
    }
}
