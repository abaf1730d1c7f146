//! A journal in memory for tests of what stands on it. The logic is the real one, only the table
//! differs. Nothing waits for a thread, so paused time stays where it is, and a restart is a call.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use jiff::Timestamp;

use super::{
    Admission, AdmitError, Admitted, Audited, Batch, DoubtfulTarget, Event, Filter, Group, Intake,
    Journal, OpenItem, OutboxReader, Page, Pending, ReadLimits, Record, Stopper, Unavailable,
    error::StorageError,
    format::key::Span,
    outbox::{self, read},
    read::{query, reader::Reader},
    store::table::{Table, WriteBatch},
    write::{
        encoded::{EncodedAdmission, EncodedGroup, StoredFields},
        ledger::Ledger,
        redaction::Removal,
    },
};
use crate::domain::{
    doubt::{AccountState, Moment},
    ids::{AccountName, BatchId, CallerId, ItemId, Key, Scope},
    opaque::{KEY_BYTES, Names},
};

/// In an `impl Journal` over a field `disk`, a [`MemoryJournal`]: the methods that tests do not
/// interfere with.
macro_rules! rest_on_disk {
    () => {
        fn purge(
            &self,
            before: jiff::Timestamp,
            batches_max: usize,
        ) -> $crate::journal::Pending<Result<usize, $crate::journal::Unavailable>> {
            self.disk.purge(before, batches_max)
        }

        fn redact(
            &self,
            removal: $crate::journal::Removal,
            before: jiff::Timestamp,
            batches_max: usize,
        ) -> $crate::journal::Pending<Result<usize, $crate::journal::Unavailable>> {
            self.disk.redact(removal, before, batches_max)
        }

        fn vacate(&self) -> $crate::journal::Pending<Result<(), $crate::journal::Unavailable>> {
            self.disk.vacate()
        }

        fn account_states(
            &self,
        ) -> Result<
            std::collections::BTreeMap<
                $crate::domain::ids::AccountName,
                $crate::domain::doubt::AccountState,
            >,
            $crate::journal::Unavailable,
        > {
            self.disk.account_states()
        }

        fn doubtful_targets(
            &self,
        ) -> Result<Vec<$crate::journal::DoubtfulTarget>, $crate::journal::Unavailable> {
            self.disk.doubtful_targets()
        }

        fn find(
            &self,
            scope: &$crate::domain::ids::Scope,
            key: &$crate::domain::ids::Key,
            question: &$crate::journal::ReadLimits,
        ) -> Result<Option<$crate::journal::Record>, $crate::journal::Unavailable> {
            self.disk.find(scope, key, question)
        }

        fn list(
            &self,
            filter: &$crate::journal::Filter,
            after: Option<$crate::domain::ids::ItemId>,
            records_max: usize,
            question: &$crate::journal::ReadLimits,
        ) -> Result<$crate::journal::Page, $crate::journal::Unavailable> {
            self.disk.list(filter, after, records_max, question)
        }

        fn admitted_since(
            &self,
            from: jiff::Timestamp,
            callers: &std::collections::BTreeSet<$crate::domain::ids::CallerId>,
        ) -> Result<Vec<$crate::journal::Intake>, $crate::journal::Unavailable> {
            self.disk.admitted_since(from, callers)
        }

        fn names(&self) -> std::sync::Arc<$crate::domain::opaque::Names> {
            $crate::journal::Journal::names(&self.disk)
        }

        fn trail(&self) -> std::sync::Arc<dyn $crate::journal::OutboxReader> {
            self.disk.trail()
        }

        fn failure(&self) -> Option<$crate::journal::Unavailable> {
            self.disk.failure()
        }
    };
}
pub(crate) use rest_on_disk;

/// A journal in memory.
#[derive(Debug, Clone)]
pub(crate) struct MemoryJournal {
    table: Arc<MemoryTable>,
    writer: Arc<Mutex<Writer>>,
}

#[derive(Debug)]
struct Writer {
    ledger: Ledger<MemoryTable>,
    failure: Option<Unavailable>,
}

#[derive(Debug, Default)]
pub(super) struct MemoryTable(RwLock<BTreeMap<Vec<u8>, Arc<[u8]>>>);

impl MemoryJournal {
    /// An empty journal.
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(MemoryTable::default()))
    }

    /// What a restarted service finds. The old one should be dropped.
    pub(crate) fn restarted(&self) -> Self {
        Self::over(Arc::clone(&self.table))
    }

    /// The processes whose beginnings it remembers.
    pub(super) fn lives(&self) -> Vec<u64> {
        let lives = Reader(&*self.table).lives().unwrap();
        lives.into_keys().collect()
    }

    /// Entries that it has.
    pub(crate) fn entries(&self) -> usize {
        self.table.0.read().unwrap().len()
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        let table = self.table.0.read().unwrap();
        table
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum()
    }

    /// From now on it fails, as a store with a full disk does.
    pub(crate) fn fail(&self, why: &str) {
        let mut writer = self.writer();
        writer
            .failure
            .get_or_insert_with(|| Unavailable(why.to_owned()));
    }

    fn over(table: Arc<MemoryTable>) -> Self {
        let ledger = Ledger::load(Arc::clone(&table), true).unwrap();
        let failure = None;
        let writer = Writer { ledger, failure };
        Self {
            table,
            writer: Arc::new(Mutex::new(writer)),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<R: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Ledger<MemoryTable>) -> Result<R, StorageError> + Send + 'static,
    ) -> Pending<Result<R, Unavailable>> {
        let journal = self.clone();
        Box::pin(async move {
            let mut writer = journal.writer();
            if let Some(why) = &writer.failure {
                return Err(why.clone());
            }
            let ledger = &mut writer.ledger;
            let result = write(ledger).and_then(|result| {
                ledger.close_group()?;
                Ok(result)
            });
            let result = result.map_err(Unavailable::from);
            if let Err(why) = &result {
                writer.failure = Some(why.clone());
            }
            result
        })
    }

    fn read<R>(
        &self,
        read: impl FnOnce(Reader<'_, MemoryTable>) -> Result<R, StorageError>,
    ) -> Result<R, Unavailable> {
        match &self.writer().failure {
            Some(why) => Err(why.clone()),
            None => Ok(read(Reader(&*self.table))?),
        }
    }
}

#[test]
fn a_failed_journal_refuses_everything_until_it_is_restarted() {
    let journal = MemoryJournal::new();
    journal.fail("the disk is full");
    let why = Unavailable("the disk is full".to_owned());
    assert_eq!(journal.failure(), Some(why.clone()));
    assert_eq!(journal.open_items().unwrap_err(), why);
    assert!(journal.restarted().open_items().unwrap().is_empty());
}

impl Table for MemoryTable {
    type Bytes = Arc<[u8]>;

    fn get(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, StorageError> {
        Ok(self.0.read().unwrap().get(key).cloned())
    }

    fn scan(
        &self,
        span: Span,
    ) -> impl DoubleEndedIterator<Item = Result<(Arc<[u8]>, Arc<[u8]>), StorageError>> {
        let table = self.0.read().unwrap();
        let range = table.range(span.from..span.to);
        let entries = range.map(|(key, value)| Ok((Arc::from(&**key), Arc::clone(value))));
        entries.collect::<Vec<_>>().into_iter()
    }

    fn write(&self, writes: WriteBatch) -> Result<(), StorageError> {
        let mut table = self.0.write().unwrap();
        for (key, value) in writes.0 {
            match value {
                Some(value) => table.insert(key, value),
                None => table.remove(&key),
            };
        }
        Ok(())
    }
}

impl Journal for MemoryJournal {
    fn admit(&self, admission: Admission) -> Pending<Result<Admitted, AdmitError>> {
        let admitted =
            self.write(move |ledger| ledger.admit(&EncodedAdmission::new(admission)?, Ok(())));
        Box::pin(async move { Ok(admitted.await??) })
    }

    fn begin(&self, at: Moment) -> Pending<Result<(), Unavailable>> {
        self.write(move |ledger| ledger.begin(at))
    }

    fn settle(&self, group: Group) -> Pending<Result<(), Unavailable>> {
        self.write(move |ledger| {
            let prepared = EncodedGroup::new(group, StoredFields::default())?;
            ledger.settle([&prepared].into_iter())
        })
    }

    fn stop(&self, batch: BatchId, by: Stopper, at: Timestamp) -> Pending<Result<(), Unavailable>> {
        self.write(move |ledger| ledger.stop(batch, by, at))
    }

    fn purge(&self, before: Timestamp, batches_max: usize) -> Pending<Result<usize, Unavailable>> {
        self.write(move |ledger| ledger.purge(before, batches_max))
    }

    fn redact(
        &self,
        removal: Removal,
        before: Timestamp,
        batches_max: usize,
    ) -> Pending<Result<usize, Unavailable>> {
        self.write(move |ledger| ledger.redact(removal, before, batches_max))
    }

    fn vacate(&self) -> Pending<Result<(), Unavailable>> {
        // It has no files.
        Box::pin(async { Ok(()) })
    }

    fn open_items(&self) -> Result<Vec<OpenItem>, Unavailable> {
        self.read(query::open_items)
    }

    fn account_states(&self) -> Result<BTreeMap<AccountName, AccountState>, Unavailable> {
        self.read(|reader| reader.accounts())
    }

    fn doubtful_targets(&self) -> Result<Vec<DoubtfulTarget>, Unavailable> {
        self.read(query::doubtful_targets)
    }

    fn find(
        &self,
        scope: &Scope,
        key: &Key,
        question: &ReadLimits,
    ) -> Result<Option<Record>, Unavailable> {
        self.read(|reader| query::find(reader, scope, key, question))
    }

    fn known(&self, scope: &Scope, request: &Key, keys: &[Key]) -> Result<Vec<bool>, Unavailable> {
        self.read(|reader| query::known(reader, scope, request, keys))
    }

    fn whose(&self, batch: BatchId, question: &ReadLimits) -> Result<Option<Scope>, Unavailable> {
        self.read(|reader| query::whose(reader, batch, question))
    }

    fn batch(&self, batch: BatchId, question: &ReadLimits) -> Result<Option<Batch>, Unavailable> {
        self.read(|reader| query::batch(reader, batch, question))
    }

    fn list(
        &self,
        filter: &Filter,
        after: Option<ItemId>,
        records_max: usize,
        question: &ReadLimits,
    ) -> Result<Page, Unavailable> {
        self.read(|reader| query::list(reader, filter, after, records_max, question))
    }

    fn admitted_since(
        &self,
        from: Timestamp,
        callers: &BTreeSet<CallerId>,
    ) -> Result<Vec<Intake>, Unavailable> {
        self.read(|reader| query::admitted_since(reader, from, callers))
    }

    fn names(&self) -> Arc<Names> {
        Arc::new(Names::new([7; KEY_BYTES], BatchId(1)))
    }

    fn trail(&self) -> Arc<dyn OutboxReader> {
        Arc::new(self.clone())
    }

    fn failure(&self) -> Option<Unavailable> {
        self.writer().failure.clone()
    }
}

impl OutboxReader for MemoryJournal {
    fn journal(&self) -> String {
        "memory".to_owned()
    }

    fn names(&self) -> Arc<Names> {
        Journal::names(self)
    }

    fn end(&self) -> u64 {
        self.writer().ledger.trail().end()
    }

    fn audited(&self) -> Result<Option<Audited>, Unavailable> {
        self.read(|reader| reader.audited())
    }

    fn read(&self, after: u64, entries_max: usize) -> Result<Vec<Event>, Unavailable> {
        let range = (after, u64::MAX);
        let (shared, mut cache) = (outbox::OutboxState::default(), read::BatchCache::default());
        let recent = self.writer().ledger.take_recent();
        shared.set_end(self.end(), recent);
        self.read(|reader| read::read(reader, &shared, || {}, &mut cache, range, entries_max))
    }

    /// Nothing has to be saved here: it is recorded at once.
    fn note(&self, audited: Audited) {
        let mut writer = self.writer();
        writer.ledger.audited(&audited).unwrap();
        writer.ledger.close_group().unwrap();
    }

    fn is_noted(&self) -> bool {
        false
    }

    fn record(&self, audited: Audited) -> Pending<Result<(), Unavailable>> {
        self.write(move |ledger| ledger.audited(&audited))
    }
}
