//! Journal reads of RPCs. They have threads of their own, so that reads take none from admissions.
//! Each kind has its own, so that a Get does not wait for Lists, and callers share them fairly. A
//! read is abandoned soon after its caller is gone.

use std::{sync::Arc, time::Duration};

use super::fair_threads::FairThreads;
use crate::{
    domain::ids::{BatchId, CallerId, ItemId, Key, Scope},
    engine::{Engine, blocking},
    journal::{Batch, Filter, Journal, Page, ReadLimits, Record, Unavailable},
    limits,
    observe::Refusal,
    shared_budget::{Members, Reservation, ShareRefused, SharedBudget},
};

/// Limits and threads, by kind of read.
#[derive(Debug)]
pub(in crate::engine) struct Reads {
    scans: ReadKind,
    gets: ReadKind,
    stops: FairThreads,
    known: FairThreads,
}

/// One kind of read.
#[derive(Debug)]
struct ReadKind {
    /// Budget for reads that run or wait.
    places: SharedBudget,
    threads: FairThreads,
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The caller runs as many ListCancellations as it may, or all callers together do.
    #[error("{0}")]
    Scans(String),
    /// Too many reads of this kind run or wait.
    #[error("{0}")]
    Full(String),
    /// The journal cannot be read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Reads {
    /// `scanners` has the lists that each caller may run at once.
    pub(in crate::engine) fn new(scanners: &Members) -> Self {
        Self {
            scans: ReadKind {
                places: SharedBudget::shared(limits::SCANS_MAX, scanners),
                threads: FairThreads::new(limits::SCAN_THREADS),
            },
            gets: ReadKind {
                places: SharedBudget::shared(limits::GETS_MAX, &scanners.unbounded()),
                threads: FairThreads::new(limits::GET_THREADS),
            },
            stops: FairThreads::new(limits::STOP_THREADS),
            known: FairThreads::new(limits::KNOWN_THREADS),
        }
    }

    /// As [`Self::new`], for what is asked from now on.
    pub(in crate::engine) fn share_anew(&self, scanners: &Members) {
        self.scans.places.share_anew(scanners);
        self.gets.places.share_anew(&scanners.unbounded());
    }

    /// A turn at a thread for lists.
    #[cfg(test)]
    pub(in crate::engine) async fn scan_turn(&self, by: &str) -> super::fair_threads::ThreadTurn {
        let by = by.try_into().unwrap();
        self.scans.threads.turn(&by).await
    }

    /// The budget for ListCancellations.
    pub(in crate::engine) fn scans(&self) -> &SharedBudget {
        &self.scans.places
    }

    /// The budget for GetCancellation.
    pub(in crate::engine) fn gets(&self) -> &SharedBudget {
        &self.gets.places
    }
}

impl Engine {
    /// The record of a key, read for the caller `by`.
    ///
    /// # Errors
    /// If too many reads run or wait, or the journal cannot be read.
    pub async fn find(
        &self,
        scope: Scope,
        key: Key,
        by: &CallerId,
    ) -> Result<Option<Record>, ReadError> {
        let find = move |journal: &dyn Journal, question: &ReadLimits| {
            journal.find(&scope, &key, question)
        };
        let found = self.ask(&self.questions.gets, by, find).await;
        found.map_err(|error| self.unanswered(error, ReadError::Full))
    }

    /// A page of records, read for the caller `by`.
    ///
    /// # Errors
    /// If too many lists run or wait, or the journal cannot be read.
    pub async fn list(
        &self,
        filter: Filter,
        after: Option<ItemId>,
        records_max: usize,
        by: &CallerId,
    ) -> Result<Page, ReadError> {
        let list = move |journal: &dyn Journal, question: &ReadLimits| {
            journal.list(&filter, after, records_max, question)
        };
        let page = self.ask(&self.questions.scans, by, list).await;
        page.map_err(|error| self.unanswered(error, ReadError::Scans))
    }

    /// Whose a batch is that this caller wants to stop: as little is read as that takes, since it
    /// may be another's, and anybody can make batches' ids up.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn whose_to_stop(
        &self,
        id: BatchId,
        by: &CallerId,
    ) -> Result<Option<Scope>, Unavailable> {
        let turn = self.questions.stops.turn(by).await;
        let whose = move |journal: &dyn Journal, question: &ReadLimits| journal.whose(id, question);
        self.answer(turn, whose).await
    }

    /// A batch that this caller stops. However much is asked for, a stop is not refused.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn batch_to_stop(
        &self,
        id: BatchId,
        by: &CallerId,
    ) -> Result<Option<Batch>, Unavailable> {
        let turn = self.questions.stops.turn(by).await;
        let batch = move |journal: &dyn Journal, question: &ReadLimits| journal.batch(id, question);
        self.answer(turn, batch).await
    }

    /// Whether keys have records: see [`Journal::known`].
    pub(in crate::engine) async fn known(
        &self,
        scope: Scope,
        request: Key,
        keys: Vec<Key>,
    ) -> Result<Vec<bool>, Unavailable> {
        let turn = self.questions.known.turn(&scope.caller).await;
        let known =
            move |journal: &dyn Journal, _: &ReadLimits| journal.known(&scope, &request, &keys);
        self.answer(turn, known).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        kind: &ReadKind,
        by: &CallerId,
        read: impl FnOnce(&dyn Journal, &ReadLimits) -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Abandoned> {
        let place: Reservation = kind.places.take(by, 1)?;
        let longest = Duration::from_millis(limits::TURN_MS_MAX);
        let turn = tokio::time::timeout(longest, kind.threads.turn(by)).await;
        let turn = turn.map_err(|_| Abandoned::NoTurn)?;
        Ok(self.answer((place, turn), read).await?)
    }

    /// Reads on a blocking thread. `held` is released when the read ends, which may be shortly
    /// after its caller is gone.
    async fn answer<T: Send + 'static>(
        &self,
        held: impl Send + 'static,
        read: impl FnOnce(&dyn Journal, &ReadLimits) -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let question = ReadLimits::default();
        let _waiter = question.waiter();
        let journal = Arc::clone(&self.journal);
        blocking(move || {
            let _held = held;
            read(&*journal, &question)
        })
        .await
    }

    fn unanswered(&self, error: Abandoned, full: fn(String) -> ReadError) -> ReadError {
        let why = match error {
            Abandoned::Unavailable(unavailable) => return unavailable.into(),
            Abandoned::Refused(ShareRefused::Own { max, .. }) => {
                format!("this caller may have {max} of these calls at a time, and has them")
            }
            Abandoned::Refused(ShareRefused::Whole { held }) => format!(
                "this caller has {held} of these calls; the others that there may be are others', \
                 or are kept for them"
            ),
            Abandoned::NoTurn => format!(
                "the call waited for {} s, and reads of this kind take longer now",
                limits::TURN_MS_MAX / 1_000
            ),
        };
        self.refusals.inc(Refusal::Reading);
        full(why)
    }
}

/// Why a read was not finished.
enum Abandoned {
    Refused(ShareRefused),
    NoTurn,
    Unavailable(Unavailable),
}

impl From<ShareRefused> for Abandoned {
    fn from(refused: ShareRefused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Unavailable> for Abandoned {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}
