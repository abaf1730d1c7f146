//! Simulated clients: they send, read, hang up, repeat, stop batches, and reconnect after a crash.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{model::Recorded, plan::Act, world::World};
use crate::{
    domain::ids::ItemId,
    engine::{Engine, SubmitError, results::feed::Update},
};

/// The result of sending a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The stream was read to its end, or the request was rejected for good.
    Over,
    /// The service is at capacity.
    Full,
    /// The service is about to end.
    Gone,
}

/// Continues a client's actions; false if the service is about to end.
pub(super) async fn act(world: Arc<World>, engine: Arc<Engine>, client: usize) -> bool {
    loop {
        let at = world.state().model.next_act[client];
        let Some(act) = world.plan.clients[client].get(at).copied() else {
            return true;
        };
        let lives = match act {
            Act::Wait(time) => {
                sleep(time).await;
                true
            }
            Act::Send {
                request,
                leaves_after,
            } => {
                let sending = send_until_taken(&world, &engine, request);
                match leaves_after {
                    None => sending.await,
                    Some(time) => timeout(time, sending).await.unwrap_or_else(|_| {
                        world.state().met("a client hangs up");
                        true
                    }),
                }
            }
            Act::Stop(request) => stop(&world, &engine, request).await,
        };
        if !lives {
            return false;
        }
        world.state().model.next_act[client] = at + 1;
    }
}

async fn send_until_taken(world: &World, engine: &Arc<Engine>, request: usize) -> bool {
    loop {
        match send(world, engine, request).await {
            Sent::Over => return true,
            Sent::Gone => return false,
            Sent::Full => sleep(Duration::from_secs(2)).await,
        }
    }
}

/// Sends a request and reads its results.
pub(super) async fn send(world: &World, engine: &Arc<Engine>, request: usize) -> Sent {
    world.step().await;
    let asked = &world.plan.requests[request];
    let submitted_at = world.submitted(request);
    let is_calm = world.state().calm;
    let ticket = match engine.submit(asked.submission(is_calm)).await {
        Ok(ticket) => ticket,
        Err(why) => {
            world.step().await;
            world.refused(request, &why);
            return match why {
                SubmitError::Conflict(_) => Sent::Over,
                SubmitError::Full(_)
                | SubmitError::NoRoom(_)
                | SubmitError::OverQuota(_)
                | SubmitError::Behind(_)
                | SubmitError::Overfull(_)
                | SubmitError::Oversized(_) => Sent::Full,
                SubmitError::Draining | SubmitError::Unavailable(_) | SubmitError::Damaged(_) => {
                    Sent::Gone
                }
            };
        }
    };
    world.step().await;
    world.taken_on(request, &ticket);
    let mut told = vec![false; asked.items.len()];
    loop {
        let Ok(updates) = ticket.feed.take(32).await else {
            return Sent::Gone;
        };
        world.step().await;
        let Some(mut updates) = updates else { break };
        updates.sort_by_key(|(place, _)| *place);
        for (place, update) in updates {
            let place = usize::try_from(place).unwrap();
            match update {
                Update::Settled { settled, replayed } => {
                    world.told(request, place, &settled, replayed, submitted_at);
                    if std::mem::replace(&mut told[place], true) {
                        world
                            .state()
                            .broken("an item is told once", asked.key_at(place));
                    }
                }
                Update::Progress { .. } => world.state().met("progress"),
            }
        }
    }
    if told.contains(&false) {
        world.state().broken("every item is told", &asked.key);
    }
    Sent::Over
}

async fn stop(world: &World, engine: &Arc<Engine>, request: usize) -> bool {
    world.step().await;
    let (batch, meant, asked_at) = {
        let mut state = world.state();
        let Some(batch) = state.model.batches.get(&request).copied() else {
            return true;
        };
        state.model.stop_asked.insert(batch);
        state.trace(format_args!("client stops {batch}"));
        let open = |(id, item): &(&ItemId, &Recorded)| id.batch == batch && item.open && item.known;
        let items = state.model.items.iter();
        let meant: Vec<_> = items.filter(open).map(|(id, _)| *id).collect();
        (batch, meant, state.now())
    };
    let by = world.plan.requests[request].scope.caller.clone();
    if engine.stop_batch(batch, by).await.is_err() {
        return false;
    }
    world.step().await;
    let mut state = world.state();
    let state = &mut *state;
    state.met("a batch is stopped");
    state.trace(format_args!("stopped {batch}"));
    let now = state.now();
    for id in meant {
        let item = state.model.items.get_mut(&id);
        // Items that were reopened in the meantime do not count.
        let Some(item) = item.filter(|item| item.open && item.opened_at < asked_at) else {
            continue;
        };
        item.stopped_at = Some(now);
        let sent = state.watch.was_sent_since(item.target, item.opened_at);
        item.must_not_start |= item.doubt_since.is_none() && !sent;
    }
    true
}
