//! The journal of a process that can die: a write takes time, reaches the disk at one moment, and
//! is acknowledged later. Death before the first moment loses it; death in between keeps it without
//! an acknowledgement. A failing store does either.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{sync::Mutex, time::sleep};

use super::{State, World};
use crate::{
    domain::{doubt::Moment, ids::BatchId},
    journal::{
        Admission, AdmitError, Admitted, Batch, Group, Journal, OpenItem, Pending, ReadLimits,
        Stopper, Unavailable, memory_journal::MemoryJournal,
    },
    simulation::oracle::written::{admitted_now, cleared_now, noted_now, settled_now},
};

#[derive(Debug, Clone)]
pub(in crate::simulation) struct Storage {
    disk: MemoryJournal,
    world: Arc<World>,
    turn: Arc<Mutex<()>>,
}

impl Storage {
    pub(in crate::simulation) fn new(disk: MemoryJournal, world: Arc<World>) -> Self {
        let turn = Arc::default();
        Self { disk, world, turn }
    }

    /// One write at a time, each in its own task like the store's thread: a caller that stops
    /// waiting does not undo it.
    fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        write: impl FnOnce(&MemoryJournal) -> Pending<T> + Send + 'static,
        written: impl FnOnce(&World, &T) + Send + 'static,
        failed: fn(Unavailable) -> T,
    ) -> Pending<T> {
        let storage = self.clone();
        let (done, answered) = tokio::sync::oneshot::channel();
        let work = async move {
            let world = &storage.world;
            let turn = storage.turn.lock().await;
            world.step().await;
            let (before, after, fails) = world.state().draw_write(world.plan.store_fault_share);
            sleep(before).await;
            world.step().await;
            if fails == Some(Fails::Unwritten) {
                storage.disk.fail("the disk is full");
            }
            let had_failed = storage.disk.failure().is_some();
            let result = write(&storage.disk).await;
            if storage.disk.failure().is_none() {
                world.state().trace(format_args!("disk {what}"));
                written(world, &result);
            } else if !had_failed {
                let mut state = world.state();
                state.broken("the journal takes what it is given", what);
            }
            if fails == Some(Fails::Written) {
                storage.disk.fail("the disk is gone");
            }
            drop(turn);
            world.step().await;
            sleep(after).await;
            let result = match fails {
                Some(_) => failed(Unavailable("the disk failed".to_owned())),
                None => result,
            };
            // The caller may have gone.
            let _ = done.send(result);
        };
        Box::pin(async move {
            tokio::spawn(work);
            answered
                .await
                .unwrap_or_else(|_| failed(Unavailable("the process ends".to_owned())))
        })
    }
}

/// How a write breaks the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fails {
    Unwritten,
    Written,
}

impl State {
    fn draw_write(&mut self, share: f64) -> (Duration, Duration, Option<Fails>) {
        if self.calm {
            return (Duration::ZERO, Duration::ZERO, None);
        }
        let wait = |state: &mut Self| match state.rng.u32(0..8) {
            0..4 => Duration::ZERO,
            7 => state.ms(100..=2_000),
            _ => state.ms(1..=30),
        };
        let (before, after) = (wait(self), wait(self));
        let fails = (self.rng.f64() < share).then(|| match self.rng.bool() {
            true => Fails::Unwritten,
            false => Fails::Written,
        });
        match fails {
            Some(Fails::Unwritten) => self.met("the store fails, and has not written"),
            Some(Fails::Written) => self.met("the store fails, and has written"),
            None => {}
        }
        (before, after, fails)
    }
}

impl Journal for Storage {
    crate::journal::memory_journal::rest_on_disk!();

    fn admit(&self, admission: Admission) -> Pending<Result<Admitted, AdmitError>> {
        let asked = admission.clone();
        self.write(
            "admit",
            move |disk| disk.admit(admission),
            move |world, result| {
                if let Ok(admitted) = result {
                    admitted_now(world, &asked, admitted);
                }
            },
            |why| Err(why.into()),
        )
    }

    fn begin(&self, at: Moment) -> Pending<Result<(), Unavailable>> {
        self.write("begin", move |disk| disk.begin(at), |_, _| {}, Err)
    }

    fn settle(&self, group: Group) -> Pending<Result<(), Unavailable>> {
        let written = group.clone();
        self.write(
            "settle",
            move |disk| disk.settle(group),
            move |world, _| {
                for clearance in &written.clearances {
                    cleared_now(world, clearance);
                }
                for settlement in &written.settlements {
                    settled_now(world, settlement);
                }
                for note in &written.notes {
                    noted_now(world, note);
                }
            },
            Err,
        )
    }

    fn stop(&self, batch: BatchId, by: Stopper, at: Timestamp) -> Pending<Result<(), Unavailable>> {
        let write = move |disk: &MemoryJournal| disk.stop(batch, by, at);
        self.write("stop", write, |_, _| {}, Err)
    }

    fn open_items(&self) -> Result<Vec<OpenItem>, Unavailable> {
        let found = self.disk.open_items()?;
        let mut state = self.world.state();
        for item in &found {
            state.trace(format_args!("finds {} open: {:?}", item.id, item.doubt));
        }
        let open: Vec<_> = found.iter().map(|item| item.id).collect();
        let items = state.model.items.iter();
        let expected: Vec<_> = items
            .filter(|(_, item)| item.open)
            .map(|(id, _)| *id)
            .collect();
        if open != expected {
            let how = format!("{open:?} are open after a restart, not {expected:?}");
            state.broken("a restart finds what was open", how);
        }
        Ok(found)
    }

    fn batch(&self, batch: BatchId, question: &ReadLimits) -> Result<Option<Batch>, Unavailable> {
        self.disk.batch(batch, question)
    }
}
