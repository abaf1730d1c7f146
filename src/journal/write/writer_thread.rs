//! The writer thread: takes all waiting writes, applies them, makes them durable with one sync, and
//! then answers (group commit). Any error ends it for good, because after a failed write the disk's
//! content is unknown.

use std::{io, sync::Arc, time::Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    durability_barrier::DurabilityBarrier,
    encoded::{EncodedAdmission, EncodedGroup},
    ledger::{AdmissionRefusal, Ledger},
    queue::Queue,
    redaction::Removal,
};
use crate::{
    domain::{doubt::Moment, ids::BatchId},
    journal::{
        Admitted, Audited, Stopper, Unavailable,
        directory::{
            ballast::Ballast, commit_watermark::CommitWatermark, compaction::Compactor,
            disk_space::DiskSpace,
        },
        error::StorageError,
        outbox,
        store::swap::Stores,
    },
    limits,
    observe::JournalMeters,
};

/// Makes writes durable.
pub(in crate::journal) trait SyncDisk: Send {
    /// Returns once all writes are durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A write.
#[derive(Debug)]
pub(in crate::journal) enum Work {
    Admit(Box<EncodedAdmission>),
    Begin(Moment),
    Settle(EncodedGroup),
    Stop(BatchId, Stopper, Timestamp),
    Purge {
        before: Timestamp,
        batches_max: usize,
    },
    Redact {
        removal: Removal,
        before: Timestamp,
        batches_max: usize,
    },
    Audited(Audited),
    Vacate,
}

/// The result of a write.
#[derive(Debug)]
pub(in crate::journal) enum Done {
    Admitted(Result<Admitted, AdmissionRefusal>),
    Written,
    /// The number of batches.
    Purged(usize),
}

/// A write and its reply channel. The caller may have gone.
#[derive(Debug)]
pub(in crate::journal) struct QueuedWrite {
    pub(in crate::journal) work: Work,
    pub(in crate::journal) answer: oneshot::Sender<Result<Done, Unavailable>>,
}

/// The state of the writer thread.
pub(in crate::journal) struct WriterThread {
    pub(in crate::journal) ledger: Ledger<Stores>,
    pub(in crate::journal) disk: Box<dyn SyncDisk>,
    pub(in crate::journal) room: DiskSpace,
    pub(in crate::journal) compactor: Compactor,
    pub(in crate::journal) ballast: Ballast,
    pub(in crate::journal) high_water: CommitWatermark,
    pub(in crate::journal) trail: Arc<outbox::OutboxState>,
    /// Events that the audit may lag behind while requests are admitted.
    pub(in crate::journal) audit_lag_max: u64,
    pub(in crate::journal) queue: Arc<Queue<QueuedWrite>>,
    pub(in crate::journal) gate: Arc<DurabilityBarrier>,
    pub(in crate::journal) meters: Arc<JournalMeters>,
}

impl WriterThread {
    /// Runs until the queue is closed and empty.
    pub(in crate::journal) fn run(mut self) {
        let _end = End(Arc::clone(&self.gate), Arc::clone(&self.queue));
        self.compactor.look();
        loop {
            // Waiting writes come first; compaction gets one step after each group.
            while self.queue.is_idle() && self.compact() {}
            // The queue never holds more entries than a group may have.
            let group = self
                .queue
                .take(limits::BATCH_ITEMS_MAX, QueuedWrite::weight);
            if group.is_empty() {
                return;
            }
            let done = match self.gate.failure() {
                Some(why) => Err(why),
                None => self.commit(&group),
            };
            match done {
                Ok(done) => {
                    if done.iter().any(|done| matches!(done, Done::Purged(_))) {
                        self.compactor.look();
                        self.ballast.keep();
                    }
                    for (entry, done) in group.into_iter().zip(done) {
                        entry.answer.send(Ok(done)).ok();
                    }
                }
                Err(why) => {
                    for entry in group {
                        entry.answer.send(Err(why.clone())).ok();
                    }
                }
            }
            self.compact();
        }
    }

    /// Takes a step of compaction; whether there was one.
    fn compact(&mut self) -> bool {
        if !self.compactor.is_busy() || self.gate.failure().is_some() {
            return false;
        }
        if let Err(fault) = self.compactor.step() {
            self.fail(&fault.into());
        }
        true
    }

    fn fail(&self, why: &Unavailable) {
        tracing::error!(reason = %why, "journal failed");
        self.gate.fail(why.clone());
    }

    fn commit(&mut self, group: &[QueuedWrite]) -> Result<Vec<Done>, Unavailable> {
        self.gate.begin();
        match self.apply(group) {
            Ok(done) => {
                self.gate.finish();
                Ok(done)
            }
            Err(fault) => {
                let why = Unavailable::from(fault);
                self.fail(&why);
                Err(why)
            }
        }
    }

    /// Whether the audit lags too far behind.
    fn check_lag(&self) -> Result<(), AdmissionRefusal> {
        let behind = self.ledger.trail().check(self.audit_lag_max);
        behind.map_err(AdmissionRefusal::Behind)
    }

    /// Applies a group and makes it durable. Returns the result of each write.
    fn apply(&mut self, group: &[QueuedWrite]) -> Result<Vec<Done>, StorageError> {
        let begun = Instant::now();
        // Settled items were open before this group. Settling first puts all outcomes of a batch
        // into one record, and lets the group's admissions see them.
        self.ledger
            .settle(group.iter().filter_map(|entry| match &entry.work {
                Work::Settle(group) => Some(group),
                Work::Admit(_)
                | Work::Begin(_)
                | Work::Stop(..)
                | Work::Purge { .. }
                | Work::Redact { .. }
                | Work::Audited(_)
                | Work::Vacate => None,
            }))?;
        let admits = |entry: &QueuedWrite| matches!(entry.work, Work::Admit(_));
        let room = if group.iter().any(admits) {
            self.room
                .check()
                .map_err(AdmissionRefusal::NoRoom)
                .and_then(|()| self.check_lag())
        } else {
            Ok(())
        };
        let mut done = Vec::with_capacity(group.len());
        for entry in group {
            done.push(match &entry.work {
                Work::Admit(prepared) => {
                    Done::Admitted(self.ledger.admit(prepared, room.as_ref().copied())?)
                }
                Work::Begin(at) => {
                    self.ledger.begin(*at)?;
                    Done::Written
                }
                Work::Settle(_) => Done::Written,
                Work::Stop(batch, by, at) => {
                    self.ledger.stop(*batch, by.clone(), *at)?;
                    Done::Written
                }
                Work::Purge {
                    before,
                    batches_max,
                } => Done::Purged(self.ledger.purge(*before, *batches_max)?),
                Work::Redact {
                    removal,
                    before,
                    batches_max,
                } => Done::Purged(self.ledger.redact(*removal, *before, *batches_max)?),
                Work::Audited(audited) => {
                    self.ledger.audited(audited)?;
                    Done::Written
                }
                Work::Vacate => {
                    self.compactor.vacate();
                    Done::Written
                }
            });
        }
        if self.ledger.has_written()
            && let Some(audited) = self.trail.take_noted()
        {
            self.ledger.audited(&audited)?;
        }
        let damaged = self.ledger.damaged();
        let counted = self.meters.damaged.get();
        self.meters.damaged.add(damaged.saturating_sub(counted));
        if let Some(commits) = self.ledger.close_group()? {
            let synced = self.disk.sync();
            synced
                .and_then(|()| self.high_water.advance(commits))
                .map_err(|error| StorageError::Store(format!("making it durable: {error}")))?;
            self.meters.commit_time.time(begun.elapsed());
            let changes = group.iter().map(QueuedWrite::changes).sum();
            if changes > 0 {
                self.meters.group_size.count(changes);
            }
            // The outbox offers only durable events, so its end moves after the sync.
            let recent = self.ledger.take_recent();
            self.trail.set_end(self.ledger.trail().end(), recent);
            self.trail.set_progress(self.ledger.trail().progress());
        }
        Ok(done)
    }
}

impl QueuedWrite {
    /// Items that it admits or settles, for the metric of group sizes.
    fn changes(&self) -> usize {
        match &self.work {
            Work::Admit(prepared) => prepared.admission.slots.len(),
            Work::Settle(group) => group.settlements.len(),
            Work::Stop(..) | Work::Purge { .. } | Work::Redact { .. } => 1,
            Work::Begin(_) | Work::Audited(_) | Work::Vacate => 0,
        }
    }

    /// The approximate amount to write. Without it, a group of large entries would keep the first
    /// one waiting for all.
    fn weight(&self) -> usize {
        match &self.work {
            Work::Admit(prepared) => prepared.admission.slots.len(),
            // A clearance is stored as ranges, however many items it has.
            Work::Settle(group) => {
                let items = group.settlements.len().saturating_add(group.notes.len());
                items.max(1)
            }
            Work::Begin(_) | Work::Stop(..) | Work::Audited(_) | Work::Vacate => 1,
            Work::Purge { .. } | Work::Redact { .. } => limits::BATCH_ITEMS_MAX,
        }
    }
}

/// Fails all waiting callers, however the thread ends.
struct End(Arc<DurabilityBarrier>, Arc<Queue<QueuedWrite>>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.fail(Unavailable("the journal is closed".to_owned()));
        self.1.close();
        self.1.take(usize::MAX, |_| 1);
    }
}
