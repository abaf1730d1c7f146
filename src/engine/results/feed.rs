//! What one stream still has to be told. The work pushes and never waits; the reader takes
//! everything that is there at once, so a slow reader gets fuller messages, not a slower service.

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

/// News of one item of a request.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "progress is rare, and never many at a time"
)]
pub enum Update {
    /// It settled.
    Settled {
        /// How.
        settled: Arc<Settled>,
        /// It had settled before the request came.
        replayed: bool,
    },
    /// It went a step further.
    Progress {
        /// How far it is.
        detail: Detail,
        /// HTTP requests so far.
        attempts: u32,
        /// An answer was lost on the way, so counts are lower bounds.
        lost: bool,
    },
}

/// Why a feed ended before everything had settled. The work goes on, here or after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamClosed {
    /// The service stops serving.
    Draining,
    /// The journal failed.
    Failed,
    /// What other requests have under way of its items cannot be read.
    Unread,
}

#[derive(Debug, Default)]
struct FeedState {
    settled: Vec<(u32, Update)>,
    /// Only the latest news of each running item, so that a feed never outgrows its request.
    running: BTreeMap<u32, Update>,
    /// Which items have still to settle. An item that another request takes up again settles
    /// once more, and is no news here.
    waits: Vec<bool>,
    outstanding: usize,
    /// Items that settle a doubt.
    settling: HashSet<u32>,
    /// How many of them the reader knows of, and when that was last all the news there was.
    settling_told: (usize, Option<Instant>),
    /// Since when the reader has been away with what it took; `None` while it waits here.
    away_since: Option<Instant>,
    /// Why it ends alone, before everything has settled.
    ended: Option<StreamClosed>,
    /// Since when there has been news that a waiting reader did not take.
    news_since: Option<Instant>,
}

/// How often a reader hears of items that settle a doubt, if nothing else is new. Each time takes a
/// message of its own.
const SETTLING_TOLD_INTERVAL: Duration = Duration::from_secs(1);

impl FeedState {
    /// When the reader should hear how many items settle a doubt, if it does not know.
    fn settling_due(&self, now: Instant) -> Option<Instant> {
        let (told, last) = self.settling_told;
        (told != self.settling.len())
            .then(|| last.map_or(now, |last| last + SETTLING_TOLD_INTERVAL))
    }
}

/// A reader that waits for news. When it goes, with some or without, it is away.
struct WaitingResult<'a>(&'a Feed);

impl Drop for WaitingResult<'_> {
    fn drop(&mut self) {
        self.0.state().away_since = Some(Instant::now());
    }
}

/// News for one stream.
#[derive(Debug)]
pub struct Feed {
    state: Mutex<FeedState>,
    news: Notify,
    /// The end of all feeds, if it comes before that of this one.
    ended: watch::Receiver<Option<StreamClosed>>,
}

impl Feed {
    /// A feed that ends after this many items have settled.
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

    /// Since when its reader has been asleep: sending what it took, or waiting here and not asked
    /// for what is there, since there is no room on the line for it.
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

    /// Notes which items settle a doubt, and which do not any more.
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

    /// Ends it, and no other.
    pub(in crate::engine) fn end(&self, why: StreamClosed) {
        self.state().ended.get_or_insert(why);
        self.news.notify_one();
    }

    /// How many items settle a doubt.
    #[must_use]
    pub fn settling_count(&self) -> usize {
        self.state().settling.len()
    }

    /// Everything that is new, at most `items_max` items, waiting until there is something.
    /// Nothing if only the number of items that settle a doubt has changed. `None` when everything
    /// has settled and was taken.
    ///
    /// # Errors
    /// If the feed ended early, after everything that was there has been taken.
    pub async fn take(&self, items_max: usize) -> Result<Option<Vec<(u32, Update)>>, StreamClosed> {
        let mut ended = self.ended.clone();
        self.state().away_since = None;
        let _waiting = WaitingResult(self);
        loop {
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
                // Without a sender there is no end to come, and no engine to wait for.
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

        // What a message with results has said is no news.
        feed.settling([(1, false)]);
        feed.push([(0, settled(Outcome::Canceled))]);
        assert_eq!(feed.take(10).await.unwrap().unwrap().len(), 1);
        assert_eq!(
            (feed.settling_count(), begun.elapsed()),
            (1, SETTLING_TOLD_INTERVAL)
        );
        let quiet = tokio::time::timeout(Duration::from_secs(60), feed.take(10));
        assert!(quiet.await.is_err());

        // What has settled does not settle again for this reader.
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
