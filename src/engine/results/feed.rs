//! The buffer of one result stream. Publishers push and never wait. The reader takes everything at
//! once, so a slow client gets fuller messages and does not slow the service down.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use crate::domain::outcome::{Detail, Settled};

/// An update of one item of a request.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "progress is rare, and never many at a time"
)]
pub enum Update {
    /// The item settled.
    Settled {
        /// The outcome.
        settled: Arc<Settled>,
        /// It had settled before this request.
        replayed: bool,
    },
    /// The item made progress.
    Progress {
        /// The counts so far.
        detail: Detail,
        /// HTTP requests so far.
        attempts: u32,
        /// A reply was lost on the way, so the counts are lower bounds.
        lost: bool,
    },
}

/// Why a stream ended before all items settled. The items go on, in this process or after a
/// restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamClosed {
    /// The service is stopping.
    Draining,
    /// The journal failed.
    Failed,
    /// Outcomes of items that other requests run cannot be read.
    Unread,
}

#[derive(Debug, Default)]
struct FeedState {
    settled: Vec<(u32, Update)>,
    /// Only the latest progress of each item, so that the buffer never outgrows the request.
    running: BTreeMap<u32, Update>,
    /// Whether each item has still to settle for this stream. An item that another request reopens
    /// settles again, which is not published here.
    waits: Vec<bool>,
    outstanding: usize,
    /// Indexes of items that are resolving a doubt.
    settling: HashSet<u32>,
    /// The number of them that the client knows, and when a message was last sent for that alone.
    settling_told: (usize, Option<Instant>),
    /// Since when the reader has been busy sending; `None` while it waits in `take`.
    away_since: Option<Instant>,
    /// Why this stream alone ends early.
    ended: Option<StreamClosed>,
    /// Since when there is an update that a waiting reader has not taken.
    news_since: Option<Instant>,
}

/// How often a client learns the number of items that are resolving a doubt, if there are no other
/// updates: each such message is sent for that alone.
const SETTLING_TOLD_INTERVAL: Duration = Duration::from_secs(1);

impl FeedState {
    /// When the client should learn that number; `None` if it knows it.
    fn settling_due(&self, now: Instant) -> Option<Instant> {
        let (told, last) = self.settling_told;
        (told != self.settling.len())
            .then(|| last.map_or(now, |last| last + SETTLING_TOLD_INTERVAL))
    }
}

/// A reader that waits in `take`. When it returns or is dropped, it counts as busy.
struct WaitingResult<'a>(&'a Feed);

impl Drop for WaitingResult<'_> {
    fn drop(&mut self) {
        self.0.state().away_since = Some(Instant::now());
    }
}

/// The buffered updates of one result stream.
#[derive(Debug)]
pub struct Feed {
    state: Mutex<FeedState>,
    news: Notify,
    /// Ends all streams, if that comes before this one's own end.
    ended: watch::Receiver<Option<StreamClosed>>,
}

impl Feed {
    /// A feed that ends once this many items have settled.
    pub(in crate::engine) fn new(
        items: usize,
        ended: watch::Receiver<Option<StreamClosed>>,
    ) -> Arc<Self> {
        let state = FeedState {
            waits: vec![true; items],
            outstanding: items,
            away_since: Some(Instant::now()),
            ..FeedState::default()
        };
        Arc::new(Self {
            state: Mutex::new(state),
            news: Notify::new(),
            ended,
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the client last consumed anything: blocked while sending, or not polled because its
    /// HTTP/2 window is full.
    pub(in crate::engine) fn asleep_since(&self) -> Option<Instant> {
        let state = self.state();
        state.away_since.or(state.news_since)
    }

    pub(in crate::engine) fn push(&self, updates: impl IntoIterator<Item = (u32, Update)>) {
        let mut guard = self.state();
        let state = &mut *guard;
        for (index, update) in updates {
            let place = usize::try_from(index).ok();
            let Some(waits) = place.and_then(|place| state.waits.get_mut(place)) else {
                continue;
            };
            if !*waits {
                continue;
            }
            match update {
                Update::Settled { .. } => {
                    *waits = false;
                    state.running.remove(&index);
                    state.settling.remove(&index);
                    state.outstanding = state.outstanding.saturating_sub(1);
                    state.settled.push((index, update));
                }
                Update::Progress { .. } => {
                    state.running.insert(index, update);
                }
            }
        }
        if !state.settled.is_empty() || !state.running.is_empty() {
            state.news_since.get_or_insert_with(Instant::now);
        }
        drop(guard);
        self.news.notify_one();
    }

    /// Marks items as resolving a doubt or not.
    pub(in crate::engine) fn settling(&self, items: impl IntoIterator<Item = (u32, bool)>) {
        let mut state = self.state();
        for (index, is_settling) in items {
            let place = usize::try_from(index).ok();
            let waits = place.and_then(|place| state.waits.get(place).copied());
            if is_settling && waits == Some(true) {
                state.settling.insert(index);
            } else {
                state.settling.remove(&index);
            }
        }
        drop(state);
        self.news.notify_one();
    }

    /// Ends this stream early.
    pub(in crate::engine) fn end(&self, why: StreamClosed) {
        self.state().ended.get_or_insert(why);
        self.news.notify_one();
    }

    /// How many items are resolving a doubt.
    #[must_use]
    pub fn settling_count(&self) -> usize {
        self.state().settling.len()
    }

    /// Waits for updates and returns at most `items_max` of them. The list is empty if only the
    /// number of items that are resolving a doubt has changed. `None` when everything has settled
    /// and was taken.
    ///
    /// # Errors
    /// If the feed ended early, after all buffered updates were taken.
    pub async fn take(&self, items_max: usize) -> Result<Option<Vec<(u32, Update)>>, StreamClosed> {
        let mut ended = self.ended.clone();
        // The guard marks the reader as busy again when this future ends or is dropped.
        self.state().away_since = None;
        let _waiting = WaitingResult(self);
        loop {
            // Registered before the state is read, so that a push in between is not missed.
            let news = self.news.notified();
            let why = *ended.borrow_and_update();
            let due = {
                let mut state = self.state();
                let count = state.settled.len().min(items_max);
                let mut updates: Vec<_> = state.settled.drain(..count).collect();
                while updates.len() < items_max
                    && let Some(update) = state.running.pop_first()
                {
                    updates.push(update);
                }
                state.news_since = None;
                if !updates.is_empty() {
                    state.settling_told.0 = state.settling.len();
                    return Ok(Some(updates));
                }
                if state.outstanding == 0 {
                    return Ok(None);
                }
                if let Some(why) = why.or(state.ended) {
                    return Err(why);
                }
                let now = Instant::now();
                let due = state.settling_due(now);
                if due.is_some_and(|due| due <= now) {
                    state.settling_told = (state.settling.len(), Some(now));
                    return Ok(Some(Vec::new()));
                }
                due
            };
            tokio::select! {
                () = news => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                // Without the sender the engine is gone.
                changed = ended.changed() => changed.map_err(|_| StreamClosed::Draining)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::outcome::{Conclusion, Outcome};

    fn settled(outcome: Outcome) -> Update {
        let detail = Detail::Subscription(Default::default());
        let settled = Settled {
            conclusion: Conclusion::success(outcome, detail),
            attempts: 1,
            doubt: None,
            settled_at: Timestamp::UNIX_EPOCH,
        };
        Update::Settled {
            settled: Arc::new(settled),
            replayed: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_hears_how_many_items_settle_a_doubt_at_most_once_a_second() {
        let ended = watch::Sender::new(None);
        let feed = Feed::new(4, ended.subscribe());
        let begun = Instant::now();
        feed.settling([(0, true), (9, true)]);
        assert!(feed.take(10).await.unwrap().unwrap().is_empty());
        assert_eq!(
            (feed.settling_count(), begun.elapsed()),
            (1, Duration::ZERO)
        );

        feed.settling([(1, true), (2, true)]);
        assert!(feed.take(10).await.unwrap().unwrap().is_empty());
        assert_eq!(
            (feed.settling_count(), begun.elapsed()),
            (3, SETTLING_TOLD_INTERVAL)
        );

        // A message with results has the number too, so no other message is due.
        feed.settling([(1, false)]);
        feed.push([(0, settled(Outcome::Canceled))]);
        assert_eq!(feed.take(10).await.unwrap().unwrap().len(), 1);
        assert_eq!(
            (feed.settling_count(), begun.elapsed()),
            (1, SETTLING_TOLD_INTERVAL)
        );
        let quiet = tokio::time::timeout(Duration::from_secs(60), feed.take(10));
        assert!(quiet.await.is_err());

        // An item settles once for this stream.
        feed.settling([(0, true)]);
        assert_eq!(feed.settling_count(), 1);
    }

    #[tokio::test]
    async fn an_item_that_another_request_takes_up_again_is_told_once_and_ends_no_stream_early() {
        let feed = Feed::new(2, watch::Sender::new(None).subscribe());
        feed.push([(0, settled(Outcome::Stopped))]);
        feed.push([(0, settled(Outcome::Canceled))]);
        let told = feed.take(10).await.unwrap().unwrap();
        let places: Vec<_> = told.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [0]);
        assert_eq!(feed.state().outstanding, 1);
        feed.push([(1, settled(Outcome::Canceled))]);
        assert_eq!(feed.take(10).await.unwrap().unwrap().len(), 1);
        assert!(feed.take(10).await.unwrap().is_none());
    }
}
