//! Checks the outbox against the writes: every admission and settlement once, in order, and the
//! same from the cache and from the records.

use std::collections::BTreeMap;

use crate::{
    domain::{ids::ItemId, outcome::Outcome},
    journal::{Event, EventContent, ItemEvent, Journal as _, memory_journal::MemoryJournal},
    simulation::world::World,
};

/// What happened to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Admitted,
    Opened,
    Settled(Outcome),
}

/// The events that a life left for the audit; `None` if its store failed.
pub(in crate::simulation) fn read(disk: &MemoryJournal) -> Option<Vec<Event>> {
    disk.trail().read(0, usize::MAX).ok()
}

/// Checks the events after a life against the writes, and against the events `before` the store was
/// reopened.
pub(in crate::simulation) fn check(
    world: &World,
    before: Option<&Vec<Event>>,
    disk: &MemoryJournal,
) {
    let mut state = world.state();
    let Some(told) = read(disk) else {
        state.broken("the audit can be told", "the trail cannot be read");
        return;
    };
    if before.is_some_and(|before| *before != told) {
        let how = format!("{before:?}, and from the records {told:?}");
        state.broken("the audit is told the same from memory", how);
    }
    let mut items = BTreeMap::<ItemId, Vec<Step>>::new();
    for happened in told.into_iter().flat_map(|entry| entry.happened) {
        match happened {
            ItemEvent::ToItems {
                batch, items: told, ..
            } => {
                for (subject, what) in told {
                    let index = subject.index;
                    let step = match what {
                        EventContent::Admitted(_) => Step::Admitted,
                        EventContent::Opened(_) => Step::Opened,
                        EventContent::Settled(ended) => Step::Settled(ended.conclusion.outcome),
                    };
                    items.entry(ItemId { batch, index }).or_default().push(step);
                }
            }
            ItemEvent::Stopped { .. } => {}
            ItemEvent::Unreadable { .. } | ItemEvent::Off { .. } => {
                state.broken("the audit can be told", format!("{happened:?}"));
            }
        }
    }
    let expected = state.model.items.iter().map(|(id, item)| {
        let mut steps = vec![Step::Admitted];
        for (settled, _) in &item.settled {
            if steps.len() > 1 {
                steps.push(Step::Opened);
            }
            steps.push(Step::Settled(settled.conclusion.outcome));
        }
        if item.open && steps.len() > 1 {
            steps.push(Step::Opened);
        }
        (*id, steps)
    });
    let expected: BTreeMap<_, _> = expected.collect();
    if items != expected {
        let differs = expected
            .iter()
            .find(|(id, steps)| items.get(id) != Some(steps));
        let how = format!("{differs:?} was written, of {} told", items.len());
        state.broken("the audit is told each thing once", how);
    }
}
