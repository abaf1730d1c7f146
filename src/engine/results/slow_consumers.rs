//! Streams that hold results. When there is no room for more, the one whose reader has taken
//! nothing for the longest time makes room: its connection ends, and the caller goes on by sending
//! the same request again.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;

/// Ends the connection that a stream is sent on. No other way frees what a stream holds: one
/// whose reader does not read is never asked for anything.
pub type Hangup = CancellationToken;

#[derive(Debug)]
struct Consumer {
    feed: Weak<Feed>,
    hangup: Hangup,
}

/// Streams whose connections can be ended.
#[derive(Debug)]
pub(in crate::engine) struct SlowConsumers {
    readers: Mutex<Vec<Consumer>>,
    /// How long a reader may be away before it counts as asleep.
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
            // It would have to grow: those that are gone make room, if there are any.
            readers.retain(|reader| reader.feed.strong_count() > 0);
        }
        readers.push(Consumer {
            feed: Arc::downgrade(feed),
            hangup,
        });
    }

    /// Hangs up on the reader that has been asleep for the longest time. Says whether there was
    /// one.
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
