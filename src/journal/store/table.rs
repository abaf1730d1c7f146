//! What the journal asks of an ordered store of bytes. The store on disk is one; tests have one
//! in memory, under the same logic.

use std::sync::Arc;

use crate::journal::{error::StorageError, format::key::Span};

/// An ordered store of bytes.
pub(in crate::journal) trait Table: Send + Sync {
    /// Bytes as the store holds them.
    type Bytes: AsRef<[u8]>;

    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Self::Bytes>, StorageError>;

    /// Keys and values in order. Not a snapshot: what is written meanwhile may show up in part,
    /// and what shows up may be in part older on the left than on the right.
    fn scan(
        &self,
        span: Span,
    ) -> impl DoubleEndedIterator<Item = Result<(Self::Bytes, Self::Bytes), StorageError>>;

    /// Notes that what was read has been unpacked to so many bytes.
    fn unpacked(&self, _bytes: usize) {}

    /// Applies all of it or nothing, now and after a crash.
    fn write(&self, writes: WriteBatch) -> Result<(), StorageError>;
}

/// Changes that belong together: `None` removes.
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
