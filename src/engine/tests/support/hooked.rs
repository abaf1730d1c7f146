//! An in-memory journal with a hook before each read of a batch, and a switch that holds back the
//! recording of outcomes.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    domain::{doubt::Moment, ids::BatchId},
    journal::{
        Admission, AdmitError, Admitted, Batch, Group, Journal, OpenItem, Pending, ReadLimits,
        Stopper, Unavailable, memory_journal::MemoryJournal,
    },
};

type Hook = Arc<dyn Fn() -> Result<(), Unavailable> + Send + Sync>;

/// The journal.
#[derive(Clone)]
pub(in crate::engine::tests) struct Hooked {
    pub(in crate::engine::tests) disk: MemoryJournal,
    before_batch: Arc<Mutex<Hook>>,
    /// Whether outcomes are recorded.
    settles: watch::Sender<bool>,
    /// The contents of each write of outcomes.
    written: Arc<Mutex<Vec<Written>>>,
}

/// The contents of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::tests) struct Written {
    pub(in crate::engine::tests) outcomes: usize,
    pub(in crate::engine::tests) cleared: usize,
}

impl Hooked {
    pub(in crate::engine::tests) fn new() -> Self {
        Self::over(MemoryJournal::new())
    }

    pub(in crate::engine::tests) fn over(disk: MemoryJournal) -> Self {
        Self {
            disk,
            written: Arc::default(),
            before_batch: Arc::new(Mutex::new(Arc::new(|| Ok(())))),
            settles: watch::Sender::new(true),
        }
    }

    /// Sets the hook that runs before a batch is read.
    pub(in crate::engine::tests) fn before_batch(
        &self,
        hook: impl Fn() -> Result<(), Unavailable> + Send + Sync + 'static,
    ) {
        *self.before_batch.lock().unwrap() = Arc::new(hook);
    }
}

impl Hooked {
    /// Holds back the recording of outcomes, or resumes it.
    pub(in crate::engine::tests) fn settles(&self, settles: bool) {
        self.settles.send_replace(settles);
    }

    /// The writes since the last call.
    pub(in crate::engine::tests) fn written(&self) -> Vec<Written> {
        std::mem::take(&mut *self.written.lock().unwrap())
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl Journal for Hooked {
    crate::journal::memory_journal::rest_on_disk!();

    fn batch(&self, batch: BatchId, question: &ReadLimits) -> Result<Option<Batch>, Unavailable> {
        let hook = Arc::clone(&*self.before_batch.lock().unwrap());
        hook()?;
        self.disk.batch(batch, question)
    }

    fn admit(&self, admission: Admission) -> Pending<Result<Admitted, AdmitError>> {
        self.disk.admit(admission)
    }

    fn begin(&self, at: Moment) -> Pending<Result<(), Unavailable>> {
        self.disk.begin(at)
    }

    fn settle(&self, group: Group) -> Pending<Result<(), Unavailable>> {
        let (disk, mut settles) = (self.disk.clone(), self.settles.subscribe());
        let written = Arc::clone(&self.written);
        let cleared = group
            .clearances
            .iter()
            .map(|clearance| clearance.items.len());
        let had = Written {
            outcomes: group.settlements.len(),
            cleared: cleared.sum(),
        };
        Box::pin(async move {
            settles.wait_for(|settles| *settles).await.unwrap();
            written.lock().unwrap().push(had);
            disk.settle(group).await
        })
    }

    fn stop(&self, batch: BatchId, by: Stopper, at: Timestamp) -> Pending<Result<(), Unavailable>> {
        self.disk.stop(batch, by, at)
    }

    fn open_items(&self) -> Result<Vec<OpenItem>, Unavailable> {
        self.disk.open_items()
    }
}
