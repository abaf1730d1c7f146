//! The open items of the service, and the streams that are subscribed to each batch.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::{sync::watch, time::Instant};

use super::{
    feed::{Feed, StreamClosed, Update},
    watch::Watcher,
};
use crate::{
    domain::ids::{BatchId, ItemId},
    journal::Settlement,
    providers::Progress,
};

#[derive(Debug)]
struct LiveBatch {
    open: HashSet<u32>,
    /// Open items that are resolving a doubt.
    settling: HashSet<u32>,
    since: Instant,
    /// Set by StopBatch for all items that share it. Items that are reopened later get a new flag.
    stop: Arc<AtomicBool>,
    /// Subscribed streams by number. There may be some before the first item is registered.
    watchers: BTreeMap<u64, Watcher>,
}

impl Default for LiveBatch {
    fn default() -> Self {
        Self {
            open: HashSet::new(),
            settling: HashSet::new(),
            since: Instant::now(),
            stop: Arc::default(),
            watchers: BTreeMap::new(),
        }
    }
}

impl LiveBatch {
    /// Nothing is open, and no stream waits for items that are about to be registered.
    fn is_over(&self) -> bool {
        self.open.is_empty() && self.watchers.is_empty()
    }
}

/// Registry of open items and subscriptions.
#[derive(Debug, Default)]
pub(in crate::engine) struct Subscriptions {
    batches: Mutex<HashMap<BatchId, LiveBatch>>,
    /// The number of the last watcher.
    watchers: AtomicU64,
    /// Ends every feed, including those of dry runs and future ones.
    ended: watch::Sender<Option<StreamClosed>>,
}

impl Subscriptions {
    fn batches(&self) -> MutexGuard<'_, HashMap<BatchId, LiveBatch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers items as open; returns their batch's stop flag.
    pub(in crate::engine) fn open(
        &self,
        batch: BatchId,
        items: impl IntoIterator<Item = u32>,
    ) -> Arc<AtomicBool> {
        let mut batches = self.batches();
        let live = batches.entry(batch).or_default();
        if live.open.is_empty() {
            live.since = Instant::now();
        }
        live.open.extend(items);
        Arc::clone(&live.stop)
    }

    /// Subscribes to a batch: its updates from now on, and the items that are resolving a doubt
    /// already. Returns the number for [`Subscriptions::forget`].
    pub(in crate::engine) fn watch(&self, batch: BatchId, watcher: Watcher) -> u64 {
        let number = self.watchers.fetch_add(1, Ordering::AcqRel);
        let mut batches = self.batches();
        let live = batches.entry(batch).or_default();
        if !live.settling.is_empty()
            && let Some(feed) = watcher.feed.upgrade()
        {
            let settling = live.settling.iter();
            feed.settling(settling.filter_map(|index| Some((watcher.places.of(*index)?, true))));
        }
        live.watchers.insert(number, watcher);
        number
    }

    /// Removes subscriptions.
    pub(in crate::engine) fn forget(&self, watchers: &[(BatchId, u64)]) {
        // Their maps can be large, so they are freed after the lock is released.
        let mut gone = Vec::with_capacity(watchers.len());
        let mut batches = self.batches();
        for (batch, number) in watchers {
            let hash_map::Entry::Occupied(mut entry) = batches.entry(*batch) else {
                continue;
            };
            gone.extend(entry.get_mut().watchers.remove(number));
            if entry.get().is_over() {
                entry.remove();
            }
        }
    }

    /// Keeps only the items that are not open here.
    pub(in crate::engine) fn retain_unknown(&self, batch: BatchId, items: &mut Vec<(ItemId, u32)>) {
        if let Some(live) = self.batches().get(&batch) {
            items.retain(|(id, _)| !live.open.contains(&id.index));
        }
    }

    /// Publishes recorded outcomes, and removes their items.
    pub(in crate::engine) fn settled(&self, settlements: &[Settlement]) {
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
            for watcher in live.watchers.values() {
                let Some(feed) = watcher.feed.upgrade() else {
                    continue;
                };
                feed.push(settlements.iter().filter_map(|settlement| {
                    let place = watcher.places.of(settlement.id.index)?;
                    let settled = Arc::clone(&settlement.settled);
                    let replayed = false;
                    Some((place, Update::Settled { settled, replayed }))
                }));
            }
            if live.is_over() {
                batches.remove(&batch);
            }
        }
    }

    /// Publishes the progress of an item.
    pub(in crate::engine) fn progress(&self, id: ItemId, progress: &Progress, attempts: u32) {
        let batches = self.batches();
        let Some(live) = batches.get(&id.batch) else {
            return;
        };
        for watcher in live.watchers.values() {
            if let Some((feed, place)) = watcher.of(id.index) {
                let update = Update::Progress {
                    detail: progress.detail.clone(),
                    attempts,
                    lost: progress.lost,
                };
                feed.push([(place, update)]);
            }
        }
    }

    /// Marks an open item as resolving a doubt or not, and publishes that. Its outcome ends it too.
    pub(in crate::engine) fn settling(&self, id: ItemId, is_settling: bool) {
        let mut batches = self.batches();
        let live = batches.get_mut(&id.batch);
        let Some(live) = live.filter(|live| live.open.contains(&id.index)) else {
            return;
        };
        // Repeats change nothing and are not published.
        let is_news = if is_settling {
            live.settling.insert(id.index)
        } else {
            live.settling.remove(&id.index)
        };
        if !is_news {
            return;
        }
        for watcher in live.watchers.values() {
            if let Some((feed, place)) = watcher.of(id.index) {
                feed.settling([(place, is_settling)]);
            }
        }
    }

    /// Whether an open item is resolving a doubt.
    pub(in crate::engine) fn is_settling(&self, id: ItemId) -> bool {
        let batches = self.batches();
        let live = batches.get(&id.batch);
        live.is_some_and(|live| live.settling.contains(&id.index))
    }

    /// The open items of a batch that are resolving a doubt.
    pub(in crate::engine) fn settling_of(&self, batch: BatchId) -> HashSet<u32> {
        let batches = self.batches();
        batches
            .get(&batch)
            .map(|live| live.settling.clone())
            .unwrap_or_default()
    }

    /// Stops the open items of a batch. Items that are reopened later run again.
    pub(in crate::engine) fn stop(&self, batch: BatchId) {
        if let Some(live) = self.batches().get_mut(&batch) {
            std::mem::take(&mut live.stop).store(true, Ordering::Release);
        }
    }

    /// The number of batches with open items, and since when the oldest of them has had some.
    pub(in crate::engine) fn oldest(&self) -> (usize, Option<Instant>) {
        let batches = self.batches();
        let open = || batches.values().filter(|live| !live.open.is_empty());
        (open().count(), open().map(|live| live.since).min())
    }

    pub(in crate::engine) fn open_count(&self, batch: BatchId) -> usize {
        self.batches().get(&batch).map_or(0, |live| live.open.len())
    }

    /// The number of subscriptions.
    #[cfg(test)]
    pub(in crate::engine) fn watcher_count(&self) -> usize {
        self.batches()
            .values()
            .map(|live| live.watchers.len())
            .sum()
    }

    /// A feed that ends once this many items have settled, or with all feeds.
    pub(in crate::engine) fn feed(&self, items: usize) -> Arc<Feed> {
        Feed::new(items, self.ended.subscribe())
    }

    /// Ends every feed, including future ones.
    pub(in crate::engine) fn end(&self, why: StreamClosed) {
        self.ended.send_replace(Some(why));
    }
}
