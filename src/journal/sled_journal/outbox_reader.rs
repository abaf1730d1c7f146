//! The journal on disk as an audit follows it.

use std::sync::{Arc, PoisonError};

use super::JournalShared;
use crate::{
    domain::opaque::Names,
    journal::{
        Audited, Event, OutboxReader, Pending, Unavailable, outbox::read, read::reader::Reader,
        write::writer_thread::Work,
    },
};

/// What an audit follows of the journal on disk.
pub(super) struct SledOutbox(pub(super) Arc<JournalShared>);

impl std::fmt::Debug for SledOutbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SledTrail")
    }
}

impl OutboxReader for SledOutbox {
    fn journal(&self) -> String {
        self.0.name.clone()
    }

    fn names(&self) -> Arc<Names> {
        Arc::clone(&self.0.names)
    }

    fn end(&self) -> u64 {
        self.0.trail.end()
    }

    fn audited(&self) -> Result<Option<Audited>, Unavailable> {
        self.0.read(|reader| reader.audited())
    }

    fn read(&self, after: u64, entries_max: usize) -> Result<Vec<Event>, Unavailable> {
        // All up to here is durable, so there is nothing to wait for.
        let upto = self.0.trail.end();
        let cache = self.0.trailed.lock();
        let mut cache = cache.unwrap_or_else(PoisonError::into_inner);
        let reader = Reader(&*self.0.store);
        Ok(read::read(
            reader,
            &self.0.trail,
            // Of a journal that failed nothing is read any more.
            || drop(self.0.gate.pass()),
            &mut cache,
            (after, upto),
            entries_max,
        )?)
    }

    fn note(&self, audited: Audited) {
        self.0.trail.note(audited);
    }

    fn is_noted(&self) -> bool {
        self.0.trail.is_noted()
    }

    fn record(&self, audited: Audited) -> Pending<Result<(), Unavailable>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            shared.trail.take_noted();
            shared.write_only(Work::Audited(audited)).await
        })
    }
}
