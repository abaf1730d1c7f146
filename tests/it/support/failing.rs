//! A wrapper of the real journal that fails when a test says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, mpsc::Sender},
};

use cancelot::{
    domain::{
        doubt::{AccountState, Moment},
        ids::{AccountName, BatchId, CallerId, ItemId, Key, Scope},
        opaque::Names,
    },
    journal::{
        Admission, AdmitError, Admitted, Batch, DoubtfulTarget, Filter, Group, Intake, Journal,
        OpenItem, OutboxReader, Page, Pending, ReadLimits, Record, Removal, Stopper, Unavailable,
        Vitals,
    },
};
use jiff::Timestamp;

use crate::support::Builder;

/// When a journal fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fails {
    /// Instead of writing a stop.
    BeforeTheStop,
    /// When a stop is on the disk, before anybody knows.
    AfterTheStop,
    /// Instead of writing outcomes.
    WhenItSettles,
    /// It panics instead of admitting.
    PanicsWhenItAdmits,
    /// It panics instead of writing outcomes.
    PanicsWhenItSettles,
    /// It panics instead of writing a stop.
    PanicsWhenItStops,
    /// It panics instead of purging.
    PanicsWhenItPurges,
}

/// Stands between a question and the journal's own list.
type AroundList = dyn Fn(&ReadLimits, &OwnList<'_>) -> Result<Page, Unavailable> + Send + Sync;

/// The journal's own list, for a question.
pub(crate) type OwnList<'a> = dyn Fn(&ReadLimits) -> Result<Page, Unavailable> + 'a;

/// What a test puts around the journal's lists.
#[derive(Clone)]
struct Around(Arc<AroundList>);

impl std::fmt::Debug for Around {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Around")
    }
}

impl Builder {
    /// Puts something around the journal's lists, such as a wait.
    pub(crate) fn around_lists(
        self,
        around: impl Fn(&ReadLimits, &OwnList<'_>) -> Result<Page, Unavailable> + Send + Sync + 'static,
    ) -> Self {
        let around = Around(Arc::new(around));
        self.over_journal(move |disk| {
            Arc::new(Failing {
                disk,
                armed: Arc::default(),
                failure: Arc::default(),
                purges: None,
                around_lists: Some(around.clone()),
            })
        })
    }

    /// Says of each purge by which time it was.
    pub(crate) fn purges(self, told: Sender<Timestamp>) -> Self {
        let told = Arc::new(Mutex::new(told));
        self.over_journal(move |disk| {
            Arc::new(Failing {
                disk,
                armed: Arc::default(),
                failure: Arc::default(),
                purges: Some(Arc::clone(&told)),
                around_lists: None,
            })
        })
    }

    /// Has the journal fail once. After a restart it works.
    pub(crate) fn journal_fails(self, fails: Fails) -> Self {
        let armed = Arc::new(Mutex::new(Some(fails)));
        self.over_journal(move |disk| {
            Arc::new(Failing {
                disk,
                armed: Arc::clone(&armed),
                failure: Arc::default(),
                purges: None,
                around_lists: None,
            })
        })
    }
}

#[derive(Debug, Clone)]
struct Failing {
    disk: Arc<dyn Journal>,
    /// When it is to fail; `None` once it has.
    armed: Arc<Mutex<Option<Fails>>>,
    failure: Arc<OnceLock<Unavailable>>,
    purges: Option<Arc<Mutex<Sender<Timestamp>>>>,
    around_lists: Option<Around>,
}

impl Failing {
    /// Fails from here on, if this is the moment.
    fn fails(&self, now: Fails) {
        if self
            .armed
            .lock()
            .unwrap()
            .take_if(|at| *at == now)
            .is_some()
        {
            let gone = Unavailable("the disk is gone".to_owned());
            self.failure.set(gone).unwrap();
        }
    }

    /// Panics, if this is the moment.
    fn panics(&self, now: Fails) {
        let taken = self.armed.lock().unwrap().take_if(|at| *at == now);
        assert_eq!(taken, None, "out of its mind");
    }

    fn whole(&self) -> Result<&Arc<dyn Journal>, Unavailable> {
        self.failure
            .get()
            .map_or(Ok(&self.disk), |why| Err(why.clone()))
    }

    fn write<T: Send + 'static, E: From<Unavailable> + Send + 'static>(
        &self,
        write: impl FnOnce(&dyn Journal) -> Pending<Result<T, E>>,
    ) -> Pending<Result<T, E>> {
        match self.whole() {
            Ok(disk) => write(&**disk),
            Err(why) => Box::pin(async { Err(why.into()) }),
        }
    }
}

impl Journal for Failing {
    fn admit(&self, admission: Admission) -> Pending<Result<Admitted, AdmitError>> {
        self.panics(Fails::PanicsWhenItAdmits);
        self.write(|disk| disk.admit(admission))
    }

    fn begin(&self, at: Moment) -> Pending<Result<(), Unavailable>> {
        self.write(|disk| disk.begin(at))
    }

    fn settle(&self, group: Group) -> Pending<Result<(), Unavailable>> {
        self.fails(Fails::WhenItSettles);
        self.panics(Fails::PanicsWhenItSettles);
        self.write(|disk| disk.settle(group))
    }

    fn stop(&self, batch: BatchId, by: Stopper, at: Timestamp) -> Pending<Result<(), Unavailable>> {
        self.fails(Fails::BeforeTheStop);
        self.panics(Fails::PanicsWhenItStops);
        let stopped = self.write(|disk| disk.stop(batch, by, at));
        let failing = self.clone();
        Box::pin(async move {
            stopped.await?;
            failing.fails(Fails::AfterTheStop);
            failing.whole().map(drop)
        })
    }

    fn purge(&self, before: Timestamp, batches_max: usize) -> Pending<Result<usize, Unavailable>> {
        self.panics(Fails::PanicsWhenItPurges);
        let purged = self.write(|disk| disk.purge(before, batches_max));
        let told = self.purges.clone();
        Box::pin(async move {
            let purged = purged.await;
            if let Some(told) = told {
                // The test may be over.
                let _ = told.lock().unwrap().send(before);
            }
            purged
        })
    }

    fn redact(
        &self,
        removal: Removal,
        before: Timestamp,
        batches_max: usize,
    ) -> Pending<Result<usize, Unavailable>> {
        self.write(|disk| disk.redact(removal, before, batches_max))
    }

    fn vacate(&self) -> Pending<Result<(), Unavailable>> {
        self.write(|disk| disk.vacate())
    }

    fn open_items(&self) -> Result<Vec<OpenItem>, Unavailable> {
        self.whole()?.open_items()
    }

    fn account_states(&self) -> Result<BTreeMap<AccountName, AccountState>, Unavailable> {
        self.whole()?.account_states()
    }

    fn doubtful_targets(&self) -> Result<Vec<DoubtfulTarget>, Unavailable> {
        self.whole()?.doubtful_targets()
    }

    fn find(
        &self,
        scope: &Scope,
        key: &Key,
        question: &ReadLimits,
    ) -> Result<Option<Record>, Unavailable> {
        self.whole()?.find(scope, key, question)
    }

    fn batch(&self, batch: BatchId, question: &ReadLimits) -> Result<Option<Batch>, Unavailable> {
        self.whole()?.batch(batch, question)
    }

    fn list(
        &self,
        filter: &Filter,
        after: Option<ItemId>,
        records_max: usize,
        question: &ReadLimits,
    ) -> Result<Page, Unavailable> {
        let disk = self.whole()?;
        let list = |question: &ReadLimits| disk.list(filter, after, records_max, question);
        match &self.around_lists {
            Some(Around(around)) => around(question, &list),
            None => list(question),
        }
    }

    fn admitted_since(
        &self,
        from: Timestamp,
        callers: &BTreeSet<CallerId>,
    ) -> Result<Vec<Intake>, Unavailable> {
        self.whole()?.admitted_since(from, callers)
    }

    fn vitals(&self) -> Vitals {
        self.disk.vitals()
    }

    fn names(&self) -> Arc<Names> {
        self.disk.names()
    }

    fn trail(&self) -> Arc<dyn OutboxReader> {
        self.disk.trail()
    }

    fn failure(&self) -> Option<Unavailable> {
        self.failure.get().cloned()
    }
}
