//! Enters what reaches the disk into the model, and checks it against what was there before.

use std::{sync::Arc, time::Duration};

use super::truth;
use crate::{
    domain::outcome::Outcome,
    journal::{Admission, Admitted, AdmittedItem, Clearance, Note, Settlement, Slot},
    sandbox::Standing,
    simulation::{model::Recorded, plan::conditions::believed_after_start, world::World},
};

/// A request's items are on disk from now on.
pub(in crate::simulation) fn admitted_now(world: &World, asked: &Admission, admitted: &Admitted) {
    let mut state = world.state();
    let state = &mut *state;
    let (now, life) = (state.now(), state.life);
    for (place, (slot, item)) in (0..).zip(asked.slots.iter().zip(&admitted.items)) {
        let (
            Slot::Item { key, command },
            AdmittedItem::Opened {
                id,
                previous,
                cleared,
            },
        ) = (slot, item)
        else {
            continue;
        };
        let key = key.clone().unwrap_or_else(|| asked.key.derive(place));
        let target = world.plan.target_of(command);
        let was_doubt = previous.as_ref().is_some_and(|settled| {
            settled.conclusion.outcome == Outcome::InDoubt || settled.doubt.is_some()
        });
        let of = state.model.items.entry(*id).or_insert_with(|| Recorded {
            scope: asked.scope.clone(),
            key: key.clone(),
            command: Arc::clone(command),
            target,
            open: false,
            opened_at: now,
            retry_until: asked.retry_until,
            doubt_since: None,
            believed_from: Duration::ZERO,
            earliest: None,
            may_be_sent: false,
            cleared_in: None,
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
        of.believed_from = believed_after_start(now);
        of.may_be_sent = was_doubt || *cleared;
        of.cleared_in = cleared.then_some(life);
        if *cleared {
            of.earliest.get_or_insert(now);
        }
        (of.must_not_start, of.known) = (false, false);
        of.stopped_at = None;
        let again = !of.settled.is_empty();
        let was_final = of
            .settled
            .last()
            .is_some_and(|(settled, _)| settled.conclusion.is_final());
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
        let of = &world.plan.targets[target];
        match of.born {
            None => state.met("what nobody knows is cancelled"),
            Some(Standing::Canceled | Standing::Expired) => {
                state.met("what had ended before is cancelled");
            }
            Some(_) => {}
        }
        if world.plan.aimed_at(target).0 > 1 {
            state.met("several keys on a target");
        }
    }
}

/// Clearances are on disk from now on.
pub(in crate::simulation) fn cleared_now(world: &World, clearance: &Clearance) {
    let mut state = world.state();
    let state = &mut *state;
    let (now, life) = (state.now(), state.life);
    state.trace(format_args!("cleared {:?}", clearance.items));
    for id in &clearance.items {
        // Items that have settled in the meantime are not meant.
        if let Some(item) = state.model.items.get_mut(id).filter(|item| item.open) {
            item.earliest.get_or_insert(now);
            (item.may_be_sent, item.cleared_in) = (true, Some(life));
        }
    }
}

/// The notes of an orderly stop are on disk from now on.
pub(in crate::simulation) fn noted_now(world: &World, note: &Note) {
    let mut state = world.state();
    state.trace(format_args!("noted {} {:?}", note.id, note.doubt));
    let Some(item) = state.model.items.get_mut(&note.id).filter(|item| item.open) else {
        return;
    };
    item.cleared_in = None;
    item.may_be_sent = note.doubt.is_some();
    state.met(if note.doubt.is_some() {
        "a stop leaves a doubt"
    } else {
        "a stop withdraws a clearance"
    });
}

/// An outcome is on disk from now on.
pub(in crate::simulation) fn settled_now(world: &World, settlement: &Settlement) {
    world.deliver_stragglers();
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
