//! Holds back reads until what they may have seen is durable: a reader reads first and then waits
//! here. Also publishes a failure of the store.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::journal::Unavailable;

/// Numbers of commits that were started, and that are durable.
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
    /// A commit is about to be written.
    pub(in crate::journal) fn begin(&self) {
        self.state().begun += 1;
    }

    /// All commits so far are durable.
    pub(in crate::journal) fn finish(&self) {
        let mut state = self.state();
        state.durable = state.begun;
        drop(state);
        self.moved.notify_all();
    }

    /// The store has failed for good. The first reason is kept.
    pub(in crate::journal) fn fail(&self, why: Unavailable) {
        self.state().failure.get_or_insert(why);
        self.moved.notify_all();
    }

    /// Why the store has failed, if it has.
    pub(in crate::journal) fn failure(&self) -> Option<Unavailable> {
        self.state().failure.clone()
    }

    /// Waits until all commits started so far are durable, at most for the one under way. What the
    /// reader saw before may be published then.
    pub(in crate::journal) fn pass(&self) -> Result<(), Unavailable> {
        let state = self.state();
        let begun = state.begun;
        let waits = |state: &mut BarrierState| state.failure.is_none() && state.durable < begun;
        let state = self.moved.wait_while(state, waits);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.failure.clone().map_or(Ok(()), Err)
    }

    fn state(&self) -> MutexGuard<'_, BarrierState> {
        // Nothing panics while it holds this lock, and the state is always consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
