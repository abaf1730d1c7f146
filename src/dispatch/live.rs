//! What is open right now, and which streams want to hear of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{sync::watch, time::Instant};

use super::feed::{Ended, Feed, Update};
use crate::{
    domain::ids::{BatchId, ItemId},
    journal::{Batch, Settlement, Unavailable},
    providers::Progress,
};

/// A stream's interest in items of one batch.
#[derive(Debug)]
struct Watcher {
    feed: Weak<Feed>,
    places: Places,
}

/// Where a batch's items stand in the watching request.
#[derive(Debug)]
enum Places {
    /// At the same index.
    Same,
    /// Elsewhere, and only these.
    Mapped(HashMap<u32, u32>),
}

impl Places {
    fn of(&self, index: u32) -> Option<u32> {
        match self {
            Self::Same => Some(index),
            Self::Mapped(map) => map.get(&index).copied(),
        }
    }
}

#[derive(Debug)]
struct LiveBatch {
    open: HashSet<u32>,
    /// Those of them that settle a doubt.
    settling: HashSet<u32>,
    since: Instant,
    /// Raised by StopBatch for every run that shares it; items taken up later get a new one.
    stop: Arc<AtomicBool>,
    watchers: Vec<Watcher>,
}

impl Default for LiveBatch {
    fn default() -> Self {
        Self {
            open: HashSet::new(),
            settling: HashSet::new(),
            since: Instant::now(),
            stop: Arc::default(),
            watchers: Vec::new(),
        }
    }
}

impl LiveBatch {
    /// Lets a feed hear what comes, and which items settle a doubt already.
    fn add(&mut self, feed: &Arc<Feed>, places: Places) {
        if !self.settling.is_empty() {
            let settling = self.settling.iter();
            feed.settling(settling.filter_map(|index| Some((places.of(*index)?, true))));
        }
        self.watchers.push(Watcher {
            feed: Arc::downgrade(feed),
            places,
        });
    }
}

/// The open items of the service.
#[derive(Debug, Default)]
pub(super) struct Live {
    batches: Mutex<HashMap<BatchId, LiveBatch>>,
    /// Ends every feed, those of dry runs and those still to come too.
    ended: watch::Sender<Option<Ended>>,
}

impl Live {
    fn batches(&self) -> MutexGuard<'_, HashMap<BatchId, LiveBatch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters items that are going to run; gives the flag that stops them.
    pub(super) fn open(
        &self,
        batch: BatchId,
        items: impl IntoIterator<Item = u32>,
    ) -> Arc<AtomicBool> {
        let mut batches = self.batches();
        let live = batches.entry(batch).or_default();
        live.open.extend(items);
        Arc::clone(&live.stop)
    }

    /// Sends the news of a whole batch to the feed of the request that opened it.
    pub(super) fn watch_same(&self, batch: BatchId, feed: &Arc<Feed>) {
        let mut batches = self.batches();
        batches.entry(batch).or_default().add(feed, Places::Same);
    }

    /// Sends the news of some open items of a batch, each at its place, to a feed.
    pub(super) fn watch(&self, batch: BatchId, items: &[(ItemId, u32)], feed: &Arc<Feed>) {
        let map = items.iter().map(|(id, place)| (id.index, *place)).collect();
        let mut batches = self.batches();
        let live = batches.entry(batch).or_default();
        live.add(feed, Places::Mapped(map));
    }

    /// Sends the news of some items, each at its place, to the feed of another request.
    ///
    /// An item that is not open here may have settled since the caller asked, or be about to be
    /// entered: `read` asks the journal, under the lock that settling takes too, so that no news
    /// falls between.
    pub(super) fn join(
        &self,
        items: &[(ItemId, u32)],
        feed: &Arc<Feed>,
        read: impl Fn(BatchId) -> Result<Option<Batch>, Unavailable>,
    ) -> Result<(), Unavailable> {
        let mut by_batch: BTreeMap<BatchId, Vec<(ItemId, u32)>> = BTreeMap::new();
        for (id, place) in items {
            by_batch.entry(id.batch).or_default().push((*id, *place));
        }
        let mut told = Vec::new();
        let mut batches = self.batches();
        for (batch, items) in by_batch {
            let live = batches.entry(batch).or_default();
            let mut recorded = None;
            let mut map = HashMap::new();
            for (id, place) in items {
                if !live.open.contains(&id.index) {
                    if recorded.is_none() {
                        recorded = Some(read(batch)?);
                    }
                    let settled = recorded
                        .as_ref()
                        .and_then(Option::as_ref)
                        .and_then(|batch| {
                            let at = usize::try_from(id.index).ok()?;
                            batch.items.get(at)?.as_ref()?.settled.clone()
                        });
                    if let Some(settled) = settled {
                        told.push((
                            place,
                            Update::Settled {
                                settled,
                                replayed: false,
                            },
                        ));
                        continue;
                    }
                    live.open.insert(id.index);
                }
                map.insert(id.index, place);
            }
            live.add(feed, Places::Mapped(map));
            if live.open.is_empty() {
                batches.remove(&batch);
            }
        }
        drop(batches);
        feed.push(told);
        Ok(())
    }

    /// Tells everybody who watches what has been recorded.
    pub(super) fn settled(&self, settlements: &[Settlement]) {
        let mut by_batch: BTreeMap<BatchId, Vec<&Settlement>> = BTreeMap::new();
        for settlement in settlements {
            by_batch
                .entry(settlement.id.batch)
                .or_default()
                .push(settlement);
        }
        let mut batches = self.batches();
        for (batch, settlements) in by_batch {
            let Some(live) = batches.get_mut(&batch) else {
                continue;
            };
            for settlement in &settlements {
                live.open.remove(&settlement.id.index);
                live.settling.remove(&settlement.id.index);
            }
            live.watchers.retain(|watcher| {
                let Some(feed) = watcher.feed.upgrade() else {
                    return false;
                };
                feed.push(settlements.iter().filter_map(|settlement| {
                    let settled = Arc::clone(&settlement.settled);
                    let place = watcher.places.of(settlement.id.index)?;
                    Some((
                        place,
                        Update::Settled {
                            settled,
                            replayed: false,
                        },
                    ))
                }));
                true
            });
            if live.open.is_empty() {
                batches.remove(&batch);
            }
        }
    }

    /// Tells everybody who watches how far an item is.
    pub(super) fn progress(&self, id: ItemId, progress: &Progress, attempts: u32) {
        let batches = self.batches();
        let watchers = batches.get(&id.batch).map(|live| live.watchers.as_slice());
        for watcher in watchers.unwrap_or_default() {
            if let (Some(feed), Some(place)) = (watcher.feed.upgrade(), watcher.places.of(id.index))
            {
                feed.push([(
                    place,
                    Update::Progress {
                        detail: progress.detail.clone(),
                        attempts,
                        lost: progress.lost,
                    },
                )]);
            }
        }
    }

    /// Notes that an open item settles a doubt, or does not any more, and tells everybody who
    /// watches. Its outcome ends that too.
    pub(super) fn settling(&self, id: ItemId, is_settling: bool) {
        let mut batches = self.batches();
        let live = batches.get_mut(&id.batch);
        let Some(live) = live.filter(|live| live.open.contains(&id.index)) else {
            return;
        };
        let is_news = if is_settling {
            live.settling.insert(id.index)
        } else {
            live.settling.remove(&id.index)
        };
        if !is_news {
            return;
        }
        for watcher in &live.watchers {
            if let (Some(feed), Some(place)) = (watcher.feed.upgrade(), watcher.places.of(id.index))
            {
                feed.settling([(place, is_settling)]);
            }
        }
    }

    /// Whether an open item settles a doubt.
    pub(super) fn is_settling(&self, id: ItemId) -> bool {
        let batches = self.batches();
        let live = batches.get(&id.batch);
        live.is_some_and(|live| live.settling.contains(&id.index))
    }

    /// Which open items of a batch settle a doubt.
    pub(super) fn settling_of(&self, batch: BatchId) -> HashSet<u32> {
        let batches = self.batches();
        batches
            .get(&batch)
            .map(|live| live.settling.clone())
            .unwrap_or_default()
    }

    /// Stops what is open of a batch; what is taken up later runs again.
    pub(super) fn stop(&self, batch: BatchId) {
        if let Some(live) = self.batches().get_mut(&batch) {
            std::mem::take(&mut live.stop).store(true, Ordering::Release);
        }
    }

    /// How many batches have open items, and since when the oldest of them has had any.
    pub(super) fn oldest(&self) -> (usize, Option<Instant>) {
        let batches = self.batches();
        (batches.len(), batches.values().map(|live| live.since).min())
    }

    /// How many items of a batch are open.
    pub(super) fn open_count(&self, batch: BatchId) -> usize {
        self.batches().get(&batch).map_or(0, |live| live.open.len())
    }

    /// A feed that ends after this many items have settled, or with all others.
    pub(super) fn feed(&self, items: usize) -> Arc<Feed> {
        Feed::new(items, self.ended.subscribe())
    }

    /// Ends every feed.
    pub(super) fn end(&self, why: Ended) {
        self.ended.send_replace(Some(why));
    }
}
