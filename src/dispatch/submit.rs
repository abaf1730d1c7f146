//! From a parsed request to running items and a feed of their news.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    Dispatch,
    budget::Share,
    feed::{Feed, Update},
    readers::Hangup,
    recovery::history_after,
    run::{self, Origin, Run},
};
use crate::{
    domain::{
        command::Command,
        ids::{AccountName, BatchId, ItemId, Key, Scope},
        quota::{Exhausted, Hourly},
    },
    egress::gate::Pass,
    journal::{
        Admission, AdmitError, Admitted, AdmittedItem, Behind, Conflict, NoRoom, Slot, Unavailable,
    },
    observe::{self, Refusal},
    providers::{EffectId, Mode},
};

/// A parsed and checked request.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Whose keys.
    pub scope: Scope,
    /// The request's key.
    pub key: Key,
    /// Its items, in order.
    pub items: Vec<Item>,
    /// How long to keep trying; `None` for the service's default.
    pub retry_window: Option<Duration>,
    /// Whether replayed outcomes have the providers' answers.
    pub with_answers: bool,
    /// What its new items are counted against; `None` for no limit.
    pub quota: Option<Arc<Hourly>>,
    /// Ends the connection that its results are sent on, if there is one that can be ended.
    pub hangup: Option<Hangup>,
    /// Which request of the caller's it is.
    pub from: observe::Origin,
}

/// One item of a request.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its own key; `None` for the derived one.
    pub key: Option<Key>,
    /// What to do.
    pub command: Arc<Command>,
    /// Whether to do it.
    pub mode: Mode,
}

impl Item {
    /// Its key in a request with this key, at this place.
    #[must_use]
    pub fn key_at(&self, request_key: &Key, place: u32) -> Key {
        self.key
            .clone()
            .unwrap_or_else(|| request_key.derive(place))
    }
}

/// Why a request was not taken on. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Keys were used before with other content.
    #[error("keys were used before with other content")]
    Conflict(Vec<Conflict>),
    /// Too much is open.
    #[error("the service is full: {0}")]
    Full(String),
    /// The caller has no room for so many new items in this hour.
    #[error(transparent)]
    OverQuota(#[from] Exhausted),
    /// The journal's disk is full.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The audit is too far behind.
    #[error(transparent)]
    Behind(#[from] Behind),
    /// It would take more bytes than all that is open may take.
    #[error("the request would take {0} bytes of memory, more than the service may hold")]
    Oversized(usize),
    /// The service is about to stop.
    #[error("the service is draining; send the same request again in a moment")]
    Draining,
    /// The journal cannot write or read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl SubmitError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Conflict(_) => Refusal::Conflict,
            Self::Full(_) => Refusal::Full,
            Self::OverQuota(_) => Refusal::OverQuota,
            Self::Behind(_) => Refusal::AuditBehind,
            Self::NoRoom(_) => Refusal::DiskFull,
            Self::Oversized(_) => Refusal::Oversized,
            Self::Draining => Refusal::Draining,
            Self::Unavailable(_) => Refusal::JournalFailed,
        }
    }
}

/// A request that was taken on.
#[derive(Debug)]
pub struct Ticket {
    /// Its batch; `None` if all of it is a dry run.
    pub batch: Option<BatchId>,
    /// The news of its items.
    pub feed: Arc<Feed>,
    /// Its share of what streams may hold.
    _held: [Share; 2],
}

/// What is open of the whole service, as a request's share.
struct Room {
    items: usize,
    bytes: Share,
}

impl Dispatch {
    /// Admits a request and starts what is new in it. Once called, it goes to its end even if
    /// the caller stops waiting.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing was admitted or sent.
    pub async fn submit(self: &Arc<Self>, submission: Submission) -> Result<Ticket, SubmitError> {
        let dispatch = Arc::clone(self);
        let work = async move { dispatch.take_on(submission).await };
        tokio::spawn(work.in_current_span())
            .await
            .unwrap_or_else(|error| Err(Unavailable(format!("the engine failed: {error}")).into()))
            .inspect_err(|error| self.refusals.inc(error.refusal()))
    }

    async fn take_on(&self, submission: Submission) -> Result<Ticket, SubmitError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(SubmitError::Draining);
        }
        let count = submission.items.len();
        let weights = submission.items.iter().map(|i| run::weight(&i.command));
        let bytes: usize = weights.sum();
        if bytes > self.open_bytes.max().min(self.results_bytes_held.max()) {
            return Err(SubmitError::Oversized(bytes));
        }
        let shares = (
            self.results_held.take(count),
            self.results_bytes_held.take(bytes),
        );
        let (Some(held), Some(bytes_held)) = shares else {
            self.readers.make_room();
            return Err(SubmitError::Full(
                "too many results wait for their readers".to_owned(),
            ));
        };
        let room = match self.room(count, bytes) {
            Ok(room) => room,
            Err(full) => {
                if !self.is_known(&submission).await? {
                    return Err(full);
                }
                // Its items are open already or settled: whoever resumes is not turned away for
                // being part of what fills the service.
                self.shared.open_items.fetch_add(count, Ordering::AcqRel);
                Room {
                    items: count,
                    bytes: self.open_bytes.force(bytes),
                }
            }
        };
        let _entering = self.entering.read().await;
        let at = self.shared.clock.now();
        let retry_until = self.retry_until(at, submission.retry_window);
        let admitted = match self.admit(&submission, at, retry_until).await {
            Ok(admitted) => admitted,
            Err(error) => {
                self.give_back(room.items);
                return Err(error);
            }
        };
        if admitted.as_ref().is_some_and(meets_others) {
            // What was recorded before this admission is told before its items are entered, so
            // that an outcome from before they were taken up again is no news of theirs.
            // If it cannot be recorded, the feed ends.
            let _ = self.flush().await;
        }
        let feed = self.shared.live.feed(count);
        if let Some(hangup) = &submission.hangup {
            self.readers.enter(&feed, hangup.clone());
        }
        let batch = admitted.as_ref().map(|admitted| admitted.batch);
        self.start_items(&submission, admitted, &feed, room.bytes, retry_until)?;
        Ok(Ticket {
            batch,
            feed,
            _held: [held, bytes_held],
        })
    }

    /// Room for so many items with so many bytes, or why there is none.
    fn room(&self, items: usize, bytes: usize) -> Result<Room, SubmitError> {
        let Some(bytes) = self.open_bytes.take(bytes) else {
            return Err(SubmitError::Full(format!(
                "open items take {} bytes and {} is the most",
                self.open_bytes.taken(),
                self.open_bytes.max()
            )));
        };
        let taken =
            self.shared
                .open_items
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
                    open.checked_add(items)
                        .filter(|sum| *sum <= self.open_items_max)
                });
        match taken {
            Ok(_) => Ok(Room { items, bytes }),
            Err(open) => Err(SubmitError::Full(format!(
                "{open} items are open and {} is the most",
                self.open_items_max
            ))),
        }
    }

    /// Whether the request was taken on before.
    async fn is_known(&self, submission: &Submission) -> Result<bool, SubmitError> {
        let Some(first) = submission.items.first() else {
            return Ok(false);
        };
        let key = first.key_at(&submission.key, 0);
        let (journal, scope) = (Arc::clone(&self.journal), submission.scope.clone());
        Ok(super::blocking(move || journal.find(&scope, &key))
            .await?
            .is_some())
    }

    fn give_back(&self, count: usize) {
        self.shared.open_items.fetch_sub(count, Ordering::AcqRel);
    }

    /// Admits what is not a dry run; `None` if everything is.
    async fn admit(
        &self,
        submission: &Submission,
        at: Timestamp,
        retry_until: Timestamp,
    ) -> Result<Option<Admitted>, SubmitError> {
        let slots: Vec<Slot> = submission
            .items
            .iter()
            .map(|item| match item.mode {
                Mode::DryRun => Slot::Vacant,
                Mode::Cancel => Slot::Item {
                    key: item.key.clone(),
                    command: Arc::clone(&item.command),
                },
            })
            .collect();
        if slots.iter().all(|slot| matches!(slot, Slot::Vacant)) {
            return Ok(None);
        }
        let admission = Admission {
            scope: submission.scope.clone(),
            key: submission.key.clone(),
            slots,
            at,
            retry_until,
            with_answers: submission.with_answers,
            quota: submission.quota.clone(),
        };
        match self.journal.admit(admission).await {
            Ok(admitted) => Ok(Some(admitted)),
            Err(AdmitError::Conflict(conflicts)) => Err(SubmitError::Conflict(conflicts)),
            Err(AdmitError::Unavailable(unavailable)) => {
                self.journal_refused();
                Err(unavailable.into())
            }
            Err(AdmitError::NoRoom(no_room)) => Err(no_room.into()),
            Err(AdmitError::OverQuota(exhausted)) => Err(exhausted.into()),
            Err(AdmitError::Behind(behind)) => Err(behind.into()),
        }
    }

    fn retry_until(&self, at: Timestamp, window: Option<Duration>) -> Timestamp {
        at.checked_add(window.unwrap_or(self.retry_window))
            .unwrap_or(Timestamp::MAX)
    }

    fn start_items(
        &self,
        submission: &Submission,
        admitted: Option<Admitted>,
        feed: &Arc<Feed>,
        mut bytes: Share,
        retry_until: Timestamp,
    ) -> Result<(), SubmitError> {
        let batch = admitted
            .as_ref()
            .map_or(BatchId(0), |admitted| admitted.batch);
        let fates = admitted.map_or_else(
            || vec![AdmittedItem::Vacant; submission.items.len()],
            |a| a.items,
        );
        let mut start = Start::default();
        for (place, (item, fate)) in (0..).zip(submission.items.iter().zip(fates)) {
            match fate {
                AdmittedItem::Vacant => start.planned.push((place, item)),
                AdmittedItem::Opened { id, previous } => start.opened.push((place, id, previous)),
                AdmittedItem::Running { id } => start.joined.push((id, place)),
                AdmittedItem::Settled { settled, .. } => {
                    start.told.push((
                        place,
                        Update::Settled {
                            settled,
                            replayed: true,
                        },
                    ));
                }
            }
        }
        self.give_back(start.joined.len() + start.told.len());
        feed.push(std::mem::take(&mut start.told));
        self.join(&start.joined, feed)?;
        let stops = self.watch(&start, submission.items.len(), batch, feed);
        let mut lanes: BTreeMap<(AccountName, BatchId), Vec<Run>> = BTreeMap::new();
        let mut line_up = |item: &Item, run: Run| {
            lanes
                .entry((item.command.account().clone(), run.batch))
                .or_default()
                .push(run);
        };
        let mut new_run = |item: &Item, place, origin, batch| {
            let key = item.key_at(&submission.key, place);
            let bytes = bytes.split(run::weight(&item.command));
            new_run(submission, item, &key, origin, batch, retry_until, bytes)
        };
        for (place, item) in start.planned {
            let origin = Origin::Planned(Arc::downgrade(feed), place);
            line_up(item, new_run(item, place, origin, batch));
        }
        for (place, id, previous) in start.opened {
            let at = usize::try_from(place)
                .ok()
                .and_then(|place| submission.items.get(place));
            let Some(item) = at else { continue };
            let mut run = new_run(item, place, Origin::Recorded(id), id.batch);
            run.history = history_after(previous.as_ref().map(|p| p.conclusion.outcome));
            run.previous = previous;
            run.stop = stops.get(&id.batch).map(Arc::clone).unwrap_or_default();
            line_up(item, run);
        }
        for ((account, batch), runs) in lanes {
            match self.lanes.get(&account) {
                Some(lane) => lane.enqueue(&submission.scope.caller, batch, runs),
                // The request was checked against the accounts, which do not change.
                None => tracing::error!(%account, "a checked request names an unknown account"),
            }
        }
        Ok(())
    }

    /// Enters what is opened, and lets the feed hear of it.
    fn watch(
        &self,
        start: &Start<'_>,
        total: usize,
        batch: BatchId,
        feed: &Arc<Feed>,
    ) -> HashMap<BatchId, Arc<AtomicBool>> {
        let mut by_batch: HashMap<BatchId, Vec<(ItemId, u32)>> = HashMap::new();
        for (place, id, _) in &start.opened {
            by_batch.entry(id.batch).or_default().push((*id, *place));
        }
        let mut stops = HashMap::new();
        for (of, items) in by_batch {
            let stop = self
                .shared
                .live
                .open(of, items.iter().map(|(id, _)| id.index));
            stops.insert(of, stop);
            if of == batch && items.len() == total {
                self.shared.live.watch_same(of, feed);
            } else {
                self.shared.live.watch(of, &items, feed);
            }
        }
        stops
    }

    /// Lets the feed hear of items that other requests opened.
    fn join(&self, joined: &[(ItemId, u32)], feed: &Arc<Feed>) -> Result<(), Unavailable> {
        if joined.is_empty() {
            return Ok(());
        }
        self.shared
            .live
            .join(joined, feed, |batch| self.journal.batch(batch))
    }
}

/// Whether other requests have had items of this one under way.
fn meets_others(admitted: &Admitted) -> bool {
    admitted.items.iter().any(|item| match item {
        AdmittedItem::Running { .. } => true,
        AdmittedItem::Opened { previous, .. } => previous.is_some(),
        AdmittedItem::Vacant | AdmittedItem::Settled { .. } => false,
    })
}

/// A request's items by what is to be done with them.
#[derive(Default)]
struct Start<'a> {
    planned: Vec<(u32, &'a Item)>,
    opened: Vec<(u32, ItemId, Option<Arc<crate::domain::outcome::Settled>>)>,
    joined: Vec<(ItemId, u32)>,
    told: Vec<(u32, Update)>,
}

fn new_run(
    submission: &Submission,
    item: &Item,
    key: &Key,
    origin: Origin,
    batch: BatchId,
    retry_until: Timestamp,
    bytes: Share,
) -> Run {
    Run {
        origin,
        from: submission.from.clone(),
        since: Instant::now(),
        caller: submission.scope.caller.clone(),
        batch,
        command: Arc::clone(&item.command),
        effect_id: EffectId::derive(&submission.scope, key, &item.command),
        history: Vec::new(),
        previous: None,
        retry_until,
        stop: Arc::default(),
        attempts: 0,
        tries: 0,
        sends: 0,
        rested: false,
        unseen: None,
        retry_at: None,
        holds_target: false,
        retries: false,
        pass: Pass::default(),
        paid: false,
        _bytes: bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dispatch::{Clock, Options},
        domain::{
            command::{SubscriptionCommand, When},
            ids::Kind,
        },
        journal::memory::MemoryJournal,
    };

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn dispatch(journal: MemoryJournal) -> Arc<Dispatch> {
        let options = Options {
            lanes: Vec::new(),
            open_items_max: 10,
            open_bytes_max: 1_000_000,
            results_held_max: 1,
            reader_patience: PATIENCE,
            retry_window: Duration::from_secs(1),
            clock: Clock::system(),
            seed: 1,
        };
        Dispatch::start(Arc::new(journal), options).await.unwrap()
    }

    fn submission(key: &str) -> Submission {
        let command = Command::Subscription(SubscriptionCommand {
            account: "a".try_into().unwrap(),
            subscription_id: "s".try_into().unwrap(),
            when: When::Now,
            reason: None,
            comment: None,
            initiated_by: None,
            prorate: None,
            line_items: Vec::new(),
            options: None,
        });
        Submission {
            scope: Scope {
                caller: "ann".try_into().unwrap(),
                kind: Kind::Subscription,
            },
            key: key.try_into().unwrap(),
            items: vec![Item {
                key: None,
                command: Arc::new(command),
                mode: Mode::Cancel,
            }],
            retry_window: None,
            with_answers: false,
            quota: None,
            hangup: Some(Hangup::new()),
            from: observe::Origin::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_journal_that_fails_while_nothing_is_open_ends_the_engine_too() {
        let journal = MemoryJournal::new();
        let dispatch = dispatch(journal.clone()).await;
        journal.fail("the disk is full");
        let why = Unavailable("the disk is full".to_owned());
        let refused = dispatch.submit(submission("k")).await.unwrap_err();
        assert_eq!(refused, SubmitError::Unavailable(why.clone()));
        let failed = tokio::time::timeout(Duration::from_secs(1), dispatch.failed());
        assert_eq!(failed.await, Ok(why));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_sleeps_makes_room_when_there_is_none_and_one_that_waits_does_not() {
        let dispatch = dispatch(MemoryJournal::new()).await;
        let first = submission("a");
        let hangup = first.hangup.clone().unwrap();
        let ticket = dispatch.submit(first).await.unwrap();
        let full = |sent: Result<Ticket, SubmitError>| matches!(sent, Err(SubmitError::Full(_)));

        let feed = Arc::clone(&ticket.feed);
        let reading = tokio::spawn(async move { feed.take(10).await });
        tokio::time::sleep(2 * PATIENCE).await;
        assert!(full(dispatch.submit(submission("b")).await));
        assert!(!hangup.is_cancelled(), "it waits for news");

        reading.abort();
        assert!(reading.await.is_err());
        assert!(full(dispatch.submit(submission("b")).await));
        assert!(!hangup.is_cancelled(), "it has only just gone");
        tokio::time::sleep(PATIENCE).await;
        assert!(full(dispatch.submit(submission("b")).await));
        assert!(hangup.is_cancelled());

        drop(ticket);
        assert!(dispatch.submit(submission("b")).await.is_ok());
    }
}
