//! A few threads that callers take turns at: one that asks a lot makes another wait for one turn of
//! its own, and not for all that it has asked.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::domain::ids::CallerId;

/// The threads. Clones are of the same.
#[derive(Debug, Clone)]
pub(in crate::engine) struct FairThreads(Arc<Mutex<ThreadsState>>);

#[derive(Debug)]
struct ThreadsState {
    free: usize,
    /// Those who wait, the next caller first, and of each the one that came first.
    waiting: VecDeque<(CallerId, VecDeque<oneshot::Sender<ThreadTurn>>)>,
}

/// A thread of one's own until this is dropped.
#[derive(Debug)]
pub(in crate::engine) struct ThreadTurn(Option<FairThreads>);

impl FairThreads {
    pub(in crate::engine) fn new(threads: usize) -> Self {
        Self(Arc::new(Mutex::new(ThreadsState {
            free: threads,
            waiting: VecDeque::new(),
        })))
    }

    /// Waits for a turn. Who does not wait to the end leaves the line.
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
        // Nobody drops what gives before it has given.
        given.await.unwrap_or(ThreadTurn(None))
    }

    fn state(&self) -> MutexGuard<'_, ThreadsState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a turn that has ended to the next one.
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
                // It does not wait any more.
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
            // It would have to grow: those that are gone make room, if there are any.
            line.retain(|waits| !waits.is_closed());
        }
        line.push_back(give);
    }

    /// Takes the next one, and sends its caller to the end of the line.
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

    /// Somebody who waits for a turn, and has asked for it.
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
        // Its turn came, and it went without a look at it.
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
