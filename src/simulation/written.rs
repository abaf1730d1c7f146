//! What is on the disk from a moment on: enters it into the model, and holds it against what was
//! there before.

use std::sync::Arc;

use super::{model::Recorded, truth, world::World};
use crate::{
    domain::outcome::Outcome,
    journal::{Admission, Admitted, AdmittedItem, Settlement, Slot},
};

/// A request's items are on the disk from now on.
pub(super) fn admitted_now(world: &World, asked: &Admission, admitted: &Admitted) {
    let mut state = world.state();
    let state = &mut *state;
    let now = state.now();
    for (place, (slot, item)) in (0..).zip(asked.slots.iter().zip(&admitted.items)) {
        let (Slot::Item { key, command }, AdmittedItem::Opened { id, previous }) = (slot, item)
        else {
            continue;
        };
        let key = key.clone().unwrap_or_else(|| asked.key.derive(place));
        let target = world.plan.target_of(command);
        let was_doubt = previous
            .as_ref()
            .is_some_and(|settled| settled.conclusion.outcome == Outcome::InDoubt);
        let of = state.model.items.entry(*id).or_insert_with(|| Recorded {
            scope: asked.scope.clone(),
            key: key.clone(),
            command: Arc::clone(command),
            target,
            open: false,
            opened_at: now,
            retry_until: asked.retry_until,
            doubt_since: None,
            must_not_start: false,
            known: false,
            stopped_at: None,
            settled: Vec::new(),
        });
        let same = (&of.scope, &of.key, &of.command) == (&asked.scope, &key, command);
        let was_open = std::mem::replace(&mut of.open, true);
        of.opened_at = now;
        of.retry_until = asked.retry_until;
        of.doubt_since = was_doubt.then_some(now);
        (of.must_not_start, of.known) = (false, false);
        of.stopped_at = None;
        let again = !of.settled.is_empty();
        let was_final = of
            .settled
            .last()
            .is_some_and(|(settled, _)| settled.conclusion.outcome.is_final());
        state
            .model
            .by_key
            .insert((asked.scope.clone(), key.clone()), *id);
        if was_open || was_final || !same {
            let how = format!(
                "{id} {key}: open before: {was_open}, final before: {was_final}, the same: {same}"
            );
            state.broken("an open item is not opened again", how);
        }
        state.met(if again { "taken up again" } else { "admitted" });
    }
}

/// An outcome is on the disk from now on.
pub(super) fn settled_now(world: &World, settlement: &Settlement) {
    let mut state = world.state();
    let state = &mut *state;
    let now = state.now();
    let Settlement { id, settled } = settlement;
    let Some(item) = state.model.items.get_mut(id).filter(|item| item.open) else {
        state.broken("an item settles once", id);
        return;
    };
    item.open = false;
    item.settled.push((Arc::clone(settled), now));
    truth::check_settled(world, state, *id, settled);
}
