//! Keeps what is written and not yet on the disk from being told: readers look first and then
//! wait here until all that they can have seen is durable. Also where a failed store shows.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::journal::Unavailable;

/// What is written and what is durable, in numbers of commits.
#[derive(Debug, Default)]
pub(in crate::journal) struct DurabilityBarrier {
    state: Mutex<BarrierState>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct BarrierState {
    begun: u64,
    durable: u64,
    failure: Option<Unavailable>,
}

impl DurabilityBarrier {
    /// Something is about to be written.
    pub(in crate::journal) fn begin(&self) {
        self.state().begun += 1;
    }

    /// All that was begun is durable.
    pub(in crate::journal) fn finish(&self) {
        let mut state = self.state();
        state.durable = state.begun;
        drop(state);
        self.moved.notify_all();
    }

    /// The store failed, for good. The first reason is kept.
    pub(in crate::journal) fn fail(&self, why: Unavailable) {
        self.state().failure.get_or_insert(why);
        self.moved.notify_all();
    }

    /// Why the store failed, if it did.
    pub(in crate::journal) fn failure(&self) -> Option<Unavailable> {
        self.state().failure.clone()
    }

    /// Waits until all that was begun by now is durable. What a reader saw before can be told
    /// after. It takes no longer than the commit under way.
    pub(in crate::journal) fn pass(&self) -> Result<(), Unavailable> {
        let state = self.state();
        let begun = state.begun;
        let waits = |state: &mut BarrierState| state.failure.is_none() && state.durable < begun;
        let state = self.moved.wait_while(state, waits);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.failure.clone().map_or(Ok(()), Err)
    }

    fn state(&self) -> MutexGuard<'_, BarrierState> {
        // Nothing panics while it holds this lock, and the state is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
