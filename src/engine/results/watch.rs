//! The subscriptions of one stream. They end with the stream, so no updates are kept without a
//! reader.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
};

use super::{feed::Feed, subscriptions::Subscriptions};
use crate::domain::ids::{BatchId, ItemId};

/// The subscription of a stream to one batch.
#[derive(Debug)]
pub(in crate::engine) struct Watcher {
    pub(in crate::engine) feed: Weak<Feed>,
    pub(in crate::engine) places: IndexMap,
}

impl Watcher {
    /// The stream, and the item's index in it; `None` if it is not in it.
    pub(in crate::engine) fn of(&self, index: u32) -> Option<(Arc<Feed>, u32)> {
        Some((self.feed.upgrade()?, self.places.of(index)?))
    }
}

/// Maps the indexes of a batch's items to those in the subscribed request.
#[derive(Debug)]
pub(in crate::engine) enum IndexMap {
    /// The same indexes.
    Same,
    /// Only these items.
    Mapped(HashMap<u32, u32>),
}

impl IndexMap {
    pub(in crate::engine) fn of(&self, index: u32) -> Option<u32> {
        match self {
            Self::Same => Some(index),
            Self::Mapped(map) => map.get(&index).copied(),
        }
    }
}

impl From<&[(ItemId, u32)]> for IndexMap {
    fn from(items: &[(ItemId, u32)]) -> Self {
        Self::Mapped(items.iter().map(|(id, place)| (id.index, *place)).collect())
    }
}

/// Items of other requests and their indexes in this one, by batch.
pub(in crate::engine) type Joined = BTreeMap<BatchId, Vec<(ItemId, u32)>>;

/// All subscriptions of one stream. Dropping it removes them.
#[derive(Debug)]
pub(in crate::engine) struct Subscription {
    live: Arc<Subscriptions>,
    feed: Weak<Feed>,
    /// The batches, each with the number of its watcher.
    watched: Vec<(BatchId, u64)>,
}

impl Subscription {
    /// No subscriptions yet.
    pub(in crate::engine) fn new(live: &Arc<Subscriptions>, feed: &Arc<Feed>) -> Self {
        Self {
            live: Arc::clone(live),
            feed: Arc::downgrade(feed),
            watched: Vec::new(),
        }
    }

    /// Subscribes to items of a batch.
    pub(in crate::engine) fn listen(&mut self, batch: BatchId, places: IndexMap) {
        let feed = Weak::clone(&self.feed);
        let number = self.live.watch(batch, Watcher { feed, places });
        self.watched.push((batch, number));
    }

    /// Subscribes to items that other requests opened. Returns those that are not open in this
    /// process: either they settled after the admission was read, or they are about to be
    /// registered. Only the journal knows which. Outcomes from now on reach the feed.
    #[must_use]
    pub(in crate::engine) fn join(&mut self, joined: &[(ItemId, u32)]) -> Joined {
        let mut by_batch = Joined::new();
        for (id, place) in joined {
            by_batch.entry(id.batch).or_default().push((*id, *place));
        }
        for (batch, items) in &mut by_batch {
            self.listen(*batch, IndexMap::from(items.as_slice()));
            self.live.retain_unknown(*batch, items);
        }
        by_batch.retain(|_, items| !items.is_empty());
        by_batch
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.live.forget(&self.watched);
    }
}
