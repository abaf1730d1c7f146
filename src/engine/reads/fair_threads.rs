//! A few threads that callers share in turns: a caller with many reads delays another by one turn,
//! not by all of them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::domain::ids::CallerId;

/// A pool of threads, as permits. Clones share it.
#[derive(Debug, Clone)]
pub(in crate::engine) struct FairThreads(Arc<Mutex<ThreadsState>>);

#[derive(Debug)]
struct ThreadsState {
    free: usize,
    /// Waiting reads by caller: the next caller first, each with its oldest read first.
    waiting: VecDeque<(CallerId, VecDeque<oneshot::Sender<ThreadTurn>>)>,
}

/// The right to use one thread, until it is dropped.
#[derive(Debug)]
pub(in crate::engine) struct ThreadTurn(Option<FairThreads>);

impl FairThreads {
    pub(in crate::engine) fn new(threads: usize) -> Self {
        Self(Arc::new(Mutex::new(ThreadsState {
            free: threads,
            waiting: VecDeque::new(),
        })))
    }

    /// Waits for a turn. A dropped future gives up its place.
    pub(in crate::engine) async fn turn(&self, caller: &CallerId) -> ThreadTurn {
        let given = {
            let mut state = self.state();
            if let Some(free) = state.free.checked_sub(1) {
                state.free = free;
                return ThreadTurn(Some(self.clone()));
            }
            let (give, given) = oneshot::channel();
            state.wait(caller, give);
            given
        };
        // The sender is dropped only after it has sent, except when the pool is gone.
        given.await.unwrap_or(ThreadTurn(None))
    }

    fn state(&self) -> MutexGuard<'_, ThreadsState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a finished turn to the next read that still waits.
    fn pass_on(&self) {
        let mut turn = ThreadTurn(Some(self.clone()));
        loop {
            let next = {
                let mut state = self.state();
                let next = state.next();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else {
                turn.0 = None;
                return;
            };
            match next.send(turn) {
                Ok(()) => return,
                // Its reader is gone.
                Err(back) => turn = back,
            }
        }
    }
}

impl ThreadsState {
    fn wait(&mut self, caller: &CallerId, give: oneshot::Sender<ThreadTurn>) {
        let line = match self.waiting.iter_mut().find(|(of, _)| of == caller) {
            Some((_, line)) => line,
            None => {
                self.waiting.push_back((caller.clone(), VecDeque::new()));
                match self.waiting.back_mut() {
                    Some((_, line)) => line,
                    None => return,
                }
            }
        };
        if line.len() == line.capacity() {
            // Before the queue grows, the entries of readers that are gone are dropped.
            line.retain(|waits| !waits.is_closed());
        }
        line.push_back(give);
    }

    /// Takes the next read; its caller goes to the end of the round.
    fn next(&mut self) -> Option<oneshot::Sender<ThreadTurn>> {
        while let Some((caller, mut line)) = self.waiting.pop_front() {
            let next = line.pop_front();
            if !line.is_empty() {
                self.waiting.push_back((caller, line));
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }
}

impl Drop for ThreadTurn {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            threads.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn caller(name: &str) -> CallerId {
        name.try_into().unwrap()
    }

    type Waits = std::pin::Pin<Box<dyn Future<Output = ThreadTurn> + Send>>;

    /// A read that waits for a turn.
    fn waits(threads: &FairThreads, name: &'static str) -> Waits {
        let threads = threads.clone();
        let mut waits: Waits = Box::pin(async move { threads.turn(&caller(name)).await });
        assert!((&mut waits).now_or_never().is_none(), "{name} waits");
        waits
    }

    #[test]
    fn who_asks_a_lot_makes_another_wait_for_one_turn() {
        let threads = FairThreads::new(1);
        let first = threads.turn(&caller("ann")).now_or_never().unwrap();
        let mut of_ann: Vec<_> = (0..100).map(|_| waits(&threads, "ann")).collect();
        let mut of_ben = waits(&threads, "ben");
        drop(first);
        let turn = (&mut of_ann[0]).now_or_never().unwrap();
        assert!((&mut of_ben).now_or_never().is_none());
        drop(turn);
        let turn = (&mut of_ben).now_or_never().unwrap();
        assert!((&mut of_ann[1]).now_or_never().is_none());
        drop(turn);
        drop((&mut of_ann[1]).now_or_never().unwrap());
    }

    #[test]
    fn who_has_gone_has_no_turn_and_takes_none_along() {
        let threads = FairThreads::new(2);
        let turns = [(); 2].map(|()| threads.turn(&caller("ann")).now_or_never().unwrap());
        let gone: Vec<_> = (0..10_000).map(|_| waits(&threads, "ann")).collect();
        let mut stays = waits(&threads, "ann");
        let given_and_gone = waits(&threads, "ben");
        drop(gone);
        drop(turns);
        // Its turn came, but its reader was gone.
        drop(given_and_gone);
        drop((&mut stays).now_or_never().unwrap());
        let state = threads.state();
        assert_eq!((state.free, state.waiting.len()), (2, 0));
    }

    #[test]
    fn lines_of_those_who_have_gone_do_not_grow() {
        let threads = FairThreads::new(1);
        let _turn = threads.turn(&caller("ann")).now_or_never().unwrap();
        for _ in 0..10_000 {
            drop(waits(&threads, "ann"));
        }
        assert!(threads.state().waiting[0].1.len() < 10);
    }
}
