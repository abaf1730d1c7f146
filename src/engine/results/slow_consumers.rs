//! Evicts streams that are not read. If there is no room for more results, the stream that has gone
//! unread longest loses its connection. Its client continues by sending the same request again.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;

/// Closes the connection that a stream is sent on. Nothing else frees its buffer: the stream of a
/// client that does not read is never polled.
pub type Hangup = CancellationToken;

#[derive(Debug)]
struct Consumer {
    feed: Weak<Feed>,
    hangup: Hangup,
}

/// Streams that can be evicted.
#[derive(Debug)]
pub(in crate::engine) struct SlowConsumers {
    readers: Mutex<Vec<Consumer>>,
    /// How long a stream may go unread before it can be evicted.
    patience: Duration,
}

impl SlowConsumers {
    pub(in crate::engine) fn new(patience: Duration) -> Self {
        Self {
            readers: Mutex::default(),
            patience,
        }
    }

    pub(in crate::engine) fn enter(&self, feed: &Arc<Feed>, hangup: Hangup) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() == readers.capacity() {
            // Before the list grows, the entries of streams that are gone are dropped.
            readers.retain(|reader| reader.feed.strong_count() > 0);
        }
        readers.push(Consumer {
            feed: Arc::downgrade(feed),
            hangup,
        });
    }

    /// Evicts the stream that has gone unread longest. Whether there was one.
    pub(in crate::engine) fn make_room(&self) -> bool {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| reader.feed.strong_count() > 0 && !reader.hangup.is_cancelled());
        let asleep = readers.iter().filter_map(|reader| {
            let since = reader.feed.upgrade()?.asleep_since()?;
            (Instant::now() - since >= self.patience).then_some((since, reader))
        });
        let Some((since, reader)) = asleep.min_by_key(|(since, _)| *since) else {
            return false;
        };
        tracing::warn!(
            asleep_s = since.elapsed().as_secs(),
            "a reader that does not read loses its connection: its results took the room of others"
        );
        reader.hangup.cancel();
        true
    }
}
