//! The ordered key-value interface that the journal needs. The store on disk implements it, and
//! tests have one in memory.

use std::sync::Arc;

use crate::journal::{error::StorageError, format::key::Span};

/// An ordered key-value store.
pub(in crate::journal) trait Table: Send + Sync {
    /// Bytes as the store returns them.
    type Bytes: AsRef<[u8]>;

    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Self::Bytes>, StorageError>;

    /// Keys and values of a span, in order. Not a snapshot: concurrent writes may show in part, and
    /// earlier keys may be older than later ones.
    fn scan(
        &self,
        span: Span,
    ) -> impl DoubleEndedIterator<Item = Result<(Self::Bytes, Self::Bytes), StorageError>>;

    /// Notes that values were decompressed to this many bytes.
    fn unpacked(&self, _bytes: usize) {}

    /// Applies a batch atomically, also across a crash.
    fn write(&self, writes: WriteBatch) -> Result<(), StorageError>;
}

/// Changes that belong together; `None` removes a key.
#[derive(Debug, Default)]
pub(in crate::journal) struct WriteBatch(pub(in crate::journal) Vec<Change>);

/// A key and its new value.
pub(in crate::journal) type Change = (Vec<u8>, Option<Arc<[u8]>>);

impl WriteBatch {
    /// Sets a value.
    pub(in crate::journal) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.0.push((key, Some(value.into())));
    }

    /// Removes a key.
    pub(in crate::journal) fn remove(&mut self, key: Vec<u8>) {
        self.0.push((key, None));
    }
}
