//! Bounded queue between many async callers and the writer thread.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A queue with a maximum of entries. Callers wait for space without blocking a thread.
#[derive(Debug)]
pub(in crate::journal) struct Queue<T> {
    state: Mutex<QueueState<T>>,
    arrived: Condvar,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct QueueState<T> {
    entries: VecDeque<(T, OwnedSemaphorePermit)>,
    is_closed: bool,
}

impl<T> Queue<T> {
    pub(in crate::journal) fn new(entries_max: usize) -> Self {
        Self {
            state: Mutex::new(QueueState {
                entries: VecDeque::with_capacity(entries_max),
                is_closed: false,
            }),
            arrived: Condvar::new(),
            room: Arc::new(Semaphore::new(entries_max)),
        }
    }

    /// Appends an entry when there is space; returns it if the queue is closed.
    pub(in crate::journal) async fn put(&self, entry: T) -> Result<(), T> {
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
            return Err(entry);
        };
        let mut state = self.state();
        if state.is_closed {
            return Err(entry);
        }
        state.entries.push_back((entry, permit));
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes waiting entries up to a weight, at least one. Blocks until there is one; empty once
    /// the queue is closed and empty.
    pub(in crate::journal) fn take(
        &self,
        weight_max: usize,
        weight: impl Fn(&T) -> usize,
    ) -> Vec<T> {
        let waits = |state: &mut QueueState<T>| state.entries.is_empty() && !state.is_closed;
        let state = self.arrived.wait_while(self.state(), waits);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::with_capacity(state.entries.len());
        let mut room = weight_max;
        while let Some((entry, _permit)) = state.entries.pop_front() {
            room = room.saturating_sub(weight(&entry));
            taken.push(entry);
            if room == 0 {
                break;
            }
        }
        taken
    }

    /// Whether the queue is empty and open.
    pub(in crate::journal) fn is_idle(&self) -> bool {
        let state = self.state();
        state.entries.is_empty() && !state.is_closed
    }

    /// Closes the queue to new entries; waiting ones can still be taken.
    pub(in crate::journal) fn close(&self) {
        self.state().is_closed = true;
        self.room.close();
        self.arrived.notify_all();
    }

    /// The number of waiting entries.
    #[cfg(test)]
    pub(in crate::journal) fn waiting(&self) -> usize {
        self.state().entries.len()
    }

    fn state(&self) -> MutexGuard<'_, QueueState<T>> {
        // Nothing panics while it holds this lock, and the state is always consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
