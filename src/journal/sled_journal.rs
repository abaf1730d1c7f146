//! The journal on disk, put together: its directory, the one thread that writes, and readers
//! that tell nothing that is not durable.

mod outbox_reader;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use jiff::Timestamp;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::outbox_reader::SledOutbox;
use super::{
    Admission, AdmitError, Admitted, Batch, DoubtfulTarget, Filter, FreeSpace, Group, Intake,
    Journal, OpenItem, OutboxReader, Page, Pending, ReadLimits, Record, Stopper, Unavailable,
    Vitals,
    directory::{
        JournalDir, OpenError, Purpose,
        ballast::Ballast,
        compaction::{Compactor, Rules},
        damaged,
        disk_space::DiskSpace,
        lock::DirectoryLock,
    },
    error::StorageError,
    outbox::{self, cache::EventCache, read},
    read::{query, reader::Reader, replay},
    store::swap::Stores,
    write::{
        durability_barrier::DurabilityBarrier,
        encoded::{EncodedAdmission, EncodedGroup, StoredFields},
        ledger::Ledger,
        queue::Queue,
        redaction::Removal,
        writer_thread::{Done, QueuedWrite, SyncDisk, Work, WriterThread},
    },
};
use crate::{
    domain::{
        doubt::{AccountState, Moment},
        ids::{AccountName, BatchId, CallerId, ItemId, Key, Scope},
        opaque::Names,
    },
    limits,
    observe::JournalMeters,
};

/// Where a journal is and how it works.
#[derive(Debug, Clone)]
pub struct SledJournalOptions {
    /// Its directory, which it has to itself.
    pub dir: PathBuf,
    /// Bytes of the store's cache. The store takes up to three times as much.
    pub cache_bytes: u64,
    /// Bytes of its disk that admissions leave free, so that what was admitted can be settled.
    pub free_bytes_min: u64,
    /// How many are free.
    pub free_space: FreeSpace,
    /// Bytes of a file that is given up when it does not open because its disk is full; 0 for
    /// none.
    pub ballast_bytes: u64,
    /// Bytes of the store's file above which it is replaced when most of it is empty.
    pub compact_bytes_min: u64,
    /// Lines that its audit may lack before nothing more is admitted; `None` if it has none.
    pub audit_lag_max: Option<u64>,
    /// What is written of outcomes.
    pub keep: StoredFields,
}

impl SledJournalOptions {
    /// A journal in this directory, with a cache of 64 MiB, that may fill its disk and has
    /// neither ballast nor audit.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            cache_bytes: 64 * 1024 * 1024,
            free_bytes_min: 0,
            free_space: FreeSpace::system(),
            ballast_bytes: 0,
            compact_bytes_min: limits::STORE_FILE_BYTES_MIN,
            audit_lag_max: None,
            keep: StoredFields::default(),
        }
    }
}

impl SledJournalOptions {
    fn ballast(&self) -> Ballast {
        let free_space = self.free_space.clone();
        Ballast::new(
            &self.dir,
            self.ballast_bytes,
            self.free_bytes_min,
            free_space,
        )
    }
}

/// The journal on disk. Dropping it writes what waits and closes it.
pub struct SledJournal {
    shared: Arc<JournalShared>,
    committer: Option<thread::JoinHandle<()>>,
}

struct JournalShared {
    store: Arc<Stores>,
    queue: Arc<Queue<QueuedWrite>>,
    gate: Arc<DurabilityBarrier>,
    lookups: Semaphore,
    meters: Arc<JournalMeters>,
    options: SledJournalOptions,
    name: String,
    names: Arc<Names>,
    keep: StoredFields,
    trail: Arc<outbox::OutboxState>,
    // Only the audit uses it, so nobody ever waits for this lock.
    trailed: Mutex<read::BatchCache>,
    given_back: CancellationToken,
    // After all else is closed, so that the next one gets in only then: a read that nobody waits
    // for any more may be the last to hold it.
    _lock: DirectoryLock,
    // Last.
    _tell_given_back: DropGuard,
}

/// Requests that are read and prepared at a time; there are no more cores to use, and each may
/// take tens of megabytes.
const LOOKUPS_MAX: usize = 8;

/// Times that a read is begun again that found what was half changed under its eyes.
const READS_MAX: usize = 5;

impl SledJournal {
    /// Opens the journal in a directory, or makes a new one in an empty directory.
    ///
    /// # Errors
    /// Says what is wrong and what to do about it. Never begins anew where a journal was.
    pub fn open(options: &SledJournalOptions) -> Result<Self, OpenError> {
        let home = options
            .ballast()
            .open(|| JournalDir::open(&options.dir, options.cache_bytes, Purpose::Serve))?;
        let disk = home.store.disk();
        Self::start(options, home, Box::new(disk))
    }

    /// As [`Self::open`], with something else to make writes durable.
    pub(super) fn start(
        options: &SledJournalOptions,
        mut home: JournalDir,
        disk: Box<dyn SyncDisk>,
    ) -> Result<Self, OpenError> {
        let is_audited = options.audit_lag_max.is_some();
        let ledger = Ledger::load(Arc::clone(&home.store), is_audited);
        let mut ledger = ledger.map_err(damaged(&options.dir))?;
        if ledger.commits() < home.acknowledged {
            return Err(OpenError::Shortened {
                dir: options.dir.clone(),
                found: ledger.commits(),
                expected: home.acknowledged,
            });
        }
        // Only what opens is raised, so that the version which wrote it can still look at the rest.
        let next = ledger.next();
        options.ballast().open(|| home.raise(&options.dir, next))?;
        let JournalDir {
            store,
            meta,
            secret,
            marker,
            high_water,
            lock,
            ..
        } = home;
        ledger.set_secret(secret);
        let trail = Arc::new(outbox::OutboxState::default());
        trail.set_end(ledger.trail().end(), EventCache::default());
        trail.set_progress(ledger.trail().progress());
        let queue = Arc::new(Queue::new(limits::COMMIT_GROUP_MAX));
        let gate = Arc::new(DurabilityBarrier::default());
        let rules = Rules {
            dir: options.dir.clone(),
            cache_bytes: options.cache_bytes,
            file_bytes_min: options.compact_bytes_min,
            free_bytes_min: options.free_bytes_min,
            free_space: options.free_space.clone(),
            entries_max: limits::STORE_COPY_ENTRIES,
        };
        let compactor = Compactor::new(rules, marker, Arc::clone(&store));
        let ballast = options.ballast();
        ballast.keep();
        let meters = Arc::<JournalMeters>::default();
        meters.damaged.add(ledger.damaged());
        let committer = WriterThread {
            meters: Arc::clone(&meters),
            ledger,
            ballast,
            disk,
            room: DiskSpace::new(
                &options.dir,
                options.free_bytes_min,
                options.free_space.clone(),
            ),
            compactor,
            high_water,
            trail: Arc::clone(&trail),
            audit_lag_max: options.audit_lag_max.unwrap_or(u64::MAX),
            queue: Arc::clone(&queue),
            gate: Arc::clone(&gate),
        };
        let thread = thread::Builder::new().name("journal".to_owned());
        let committer = thread.spawn(move || committer.run());
        let committer = committer.map_err(|source| OpenError::Io {
            doing: "starting the thread that writes to",
            path: options.dir.clone(),
            source,
        })?;
        let lookups = Semaphore::new(LOOKUPS_MAX);
        let given_back = CancellationToken::new();
        let shared = JournalShared {
            store,
            queue,
            gate,
            lookups,
            meters,
            options: options.clone(),
            names: meta.names(),
            name: meta.store,
            keep: options.keep,
            trail,
            trailed: Mutex::default(),
            _lock: lock,
            _tell_given_back: given_back.clone().drop_guard(),
            given_back,
        };
        Ok(Self {
            shared: Arc::new(shared),
            committer: Some(committer),
        })
    }

    /// The name that this journal was given when it was made.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Whether it is looking for disk space to give back, or giving it back. It serves meanwhile.
    #[must_use]
    pub fn is_compacting(&self) -> bool {
        self.shared.store.is_compacting()
    }

    /// Bytes of what is in the store.
    #[cfg(test)]
    pub(super) fn live_bytes(&self) -> u64 {
        use super::{format::key::Span, store::table::Table as _};
        let entries = self.shared.store.scan(Span::all());
        let bytes = entries.map(|entry| entry.map_or(0, |(key, value)| key.len() + value.len()));
        bytes.map(|bytes| u64::try_from(bytes).unwrap_or(0)).sum()
    }

    /// Entries in the queue.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.shared.queue.waiting()
    }
}

impl Drop for SledJournal {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(committer) = self.committer.take() {
            // If it panicked, everyone who asked it was told.
            committer.join().ok();
        }
    }
}

impl JournalShared {
    /// Reads, and tells it once it is durable.
    fn read<R>(
        &self,
        read: impl Fn(Reader<'_, Stores>) -> Result<R, StorageError>,
    ) -> Result<R, Unavailable> {
        Ok(self.read_or_fault(read)??)
    }

    /// As [`Self::read`], and says what cannot be read apart from a journal that failed.
    fn read_or_fault<R>(
        &self,
        read: impl Fn(Reader<'_, Stores>) -> Result<R, StorageError>,
    ) -> Result<Result<R, StorageError>, Unavailable> {
        let mut reads = 1;
        loop {
            let result = read(Reader(&*self.store));
            self.gate.pass()?;
            match result {
                // Several looks are no snapshot; damage is there every time.
                Err(StorageError::Damaged(_)) if reads < READS_MAX => reads += 1,
                result => return Ok(result),
            }
        }
    }

    async fn write(&self, work: Work) -> Result<Done, Unavailable> {
        let (answer, done) = oneshot::channel();
        let closed = || {
            let why = self.gate.failure();
            why.unwrap_or_else(|| Unavailable("the journal is closed".to_owned()))
        };
        if self.queue.put(QueuedWrite { work, answer }).await.is_err() {
            return Err(closed());
        }
        done.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn write_only(&self, work: Work) -> Result<(), Unavailable> {
        match self.write(work).await? {
            Done::Written => Ok(()),
            other @ (Done::Admitted(_) | Done::Purged(_)) => Err(mistaken(&other)),
        }
    }

    async fn admit(self: Arc<Self>, admission: Admission) -> Result<Admitted, AdmitError> {
        let prepared = {
            let turn = self.lookups.acquire().await;
            let _turn = turn.map_err(|_| Unavailable("the journal is closed".to_owned()))?;
            let shared = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || shared.look(admission)).await;
            match looked.map_err(|error| Unavailable(format!("reading the journal: {error}")))?? {
                LookedUp::Replay(admitted) => return Ok(admitted),
                LookedUp::New(prepared) => prepared,
            }
        };
        match self.write(Work::Admit(prepared)).await? {
            Done::Admitted(Ok(admitted)) => Ok(admitted),
            Done::Admitted(Err(refusal)) => Err(refusal.into()),
            other @ (Done::Written | Done::Purged(_)) => Err(mistaken(&other).into()),
        }
    }

    /// What of an admission needs no write.
    fn look(&self, admission: Admission) -> Result<LookedUp, AdmitError> {
        let prepared = EncodedAdmission::new(admission).map_err(Unavailable::from)?;
        let damaged = |fault| match fault {
            StorageError::Damaged(_) => AdmitError::Damaged(fault.into()),
            StorageError::Store(_) | StorageError::Misused(_) | StorageError::Abandoned => {
                AdmitError::Unavailable(fault.into())
            }
        };
        let is_known = {
            let admission = &prepared.admission;
            let reader = Reader(&*self.store);
            let known = reader.request(&admission.scope, &admission.key);
            known.map_err(damaged)?
        };
        if is_known.is_some() {
            let replayed = self.read_or_fault(|reader| replay::replay(reader, &prepared))?;
            if let Some(admitted) = replayed.map_err(damaged)? {
                return Ok(LookedUp::Replay(admitted));
            }
        }
        Ok(LookedUp::New(Box::new(prepared)))
    }
}

enum LookedUp {
    Replay(Admitted),
    New(Box<EncodedAdmission>),
}

fn mistaken(done: &Done) -> Unavailable {
    StorageError::Misused(format!("an answer to another question: {done:?}")).into()
}

impl std::fmt::Debug for SledJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SledJournal")
    }
}

impl Journal for SledJournal {
    fn admit(&self, admission: Admission) -> Pending<Result<Admitted, AdmitError>> {
        Box::pin(Arc::clone(&self.shared).admit(admission))
    }

    fn begin(&self, at: Moment) -> Pending<Result<(), Unavailable>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.write_only(Work::Begin(at)).await })
    }

    fn settle(&self, group: Group) -> Pending<Result<(), Unavailable>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let prepared = EncodedGroup::new(group, shared.keep)?;
            shared.write_only(Work::Settle(prepared)).await
        })
    }

    fn stop(&self, batch: BatchId, by: Stopper, at: Timestamp) -> Pending<Result<(), Unavailable>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.write_only(Work::Stop(batch, by, at)).await })
    }

    fn purge(&self, before: Timestamp, batches_max: usize) -> Pending<Result<usize, Unavailable>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let work = Work::Purge {
                before,
                batches_max,
            };
            match shared.write(work).await? {
                Done::Purged(batches) => Ok(batches),
                other @ (Done::Admitted(_) | Done::Written) => Err(mistaken(&other)),
            }
        })
    }

    fn redact(
        &self,
        removal: Removal,
        before: Timestamp,
        batches_max: usize,
    ) -> Pending<Result<usize, Unavailable>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let work = Work::Redact {
                removal,
                before,
                batches_max,
            };
            match shared.write(work).await? {
                Done::Purged(batches) => Ok(batches),
                other @ (Done::Admitted(_) | Done::Written) => Err(mistaken(&other)),
            }
        })
    }

    fn vacate(&self) -> Pending<Result<(), Unavailable>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.write_only(Work::Vacate).await })
    }

    fn open_items(&self) -> Result<Vec<OpenItem>, Unavailable> {
        self.shared.read(query::open_items)
    }

    fn account_states(&self) -> Result<BTreeMap<AccountName, AccountState>, Unavailable> {
        self.shared.read(|reader| reader.accounts())
    }

    fn doubtful_targets(&self) -> Result<Vec<DoubtfulTarget>, Unavailable> {
        self.shared.read(query::doubtful_targets)
    }

    fn find(
        &self,
        scope: &Scope,
        key: &Key,
        question: &ReadLimits,
    ) -> Result<Option<Record>, Unavailable> {
        self.shared
            .read(|reader| query::find(reader, scope, key, question))
    }

    fn known(&self, scope: &Scope, request: &Key, keys: &[Key]) -> Result<Vec<bool>, Unavailable> {
        self.shared
            .read(|reader| query::known(reader, scope, request, keys))
    }

    fn whose(&self, batch: BatchId, question: &ReadLimits) -> Result<Option<Scope>, Unavailable> {
        self.shared
            .read(|reader| query::whose(reader, batch, question))
    }

    fn batch(&self, batch: BatchId, question: &ReadLimits) -> Result<Option<Batch>, Unavailable> {
        self.shared
            .read(|reader| query::batch(reader, batch, question))
    }

    fn list(
        &self,
        filter: &Filter,
        after: Option<ItemId>,
        records_max: usize,
        question: &ReadLimits,
    ) -> Result<Page, Unavailable> {
        self.shared
            .read(|reader| query::list(reader, filter, after, records_max, question))
    }

    fn admitted_since(
        &self,
        from: Timestamp,
        callers: &BTreeSet<CallerId>,
    ) -> Result<Vec<Intake>, Unavailable> {
        self.shared
            .read(|reader| query::admitted_since(reader, from, callers))
    }

    fn vitals(&self) -> Vitals {
        let SledJournalOptions {
            dir,
            free_space,
            free_bytes_min,
            ..
        } = &self.shared.options;
        Vitals {
            meters: Arc::clone(&self.shared.meters),
            free_bytes: free_space.bytes(dir).ok(),
            free_bytes_min: *free_bytes_min,
            file_bytes: self.shared.store.current().file_bytes().ok(),
            is_compacting: self.is_compacting(),
            audit: self.shared.trail.progress(),
        }
    }

    fn names(&self) -> Arc<Names> {
        Arc::clone(&self.shared.names)
    }

    fn trail(&self) -> Arc<dyn OutboxReader> {
        Arc::new(SledOutbox(Arc::clone(&self.shared)))
    }

    fn given_back(&self) -> CancellationToken {
        self.shared.given_back.clone()
    }

    fn failure(&self) -> Option<Unavailable> {
        self.shared.gate.failure()
    }
}
