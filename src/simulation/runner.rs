//! A run: lives of the service in sequence, up to a last one without faults in which every key has
//! to reach a final outcome.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    clients::{self, Sent},
    model::Recorded,
    oracle::audited,
    plan::End,
    world::{State, World, service::options, storage::Storage},
};
use crate::{
    domain::outcome::{FailureReason, Settled},
    engine::Engine,
    journal::memory_journal::MemoryJournal,
};

/// Far longer than any run takes, in simulated time.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);
/// How often every request is repeated once there are no faults.
const ROUNDS: usize = 3;

/// Runs a seed; returns all that was seen.
pub(super) fn run(seed: u64) -> Arc<World> {
    let world = World::new(seed);
    let mut disk = MemoryJournal::new();
    let mut ends = world.plan.ends.clone().into_iter();
    // The store may fail in any life, so there are several.
    for _ in 0..20 {
        let end = ends.next();
        let dies_at = match end {
            Some(End::Step(step)) => Some(step),
            _ => None,
        };
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let how = runtime.block_on(async {
            world.begin_life(dies_at);
            let how = live(&world, disk.clone(), end).await;
            world.die();
            how
        });
        {
            // Time is the runtime's, which is dropped next.
            let _inside = runtime.enter();
            world.end_life();
        }
        drop(runtime);
        let told = audited::read(&disk);
        disk = disk.restarted();
        audited::check(&world, told.as_ref(), &disk);
        let mut state = world.state();
        state.trace(format_args!("life ends: {how}"));
        state.met(how);
        if how == "the end" || !state.violations.is_empty() {
            break;
        }
    }
    check_end(&world);
    world
}

/// Runs a life of the service; returns how it ended.
async fn live(world: &Arc<World>, disk: MemoryJournal, end: Option<End>) -> &'static str {
    let journal = Storage::new(disk, Arc::clone(world));
    let service = async {
        let options = options(world);
        let Ok(engine) = Engine::start(Arc::new(journal), options).await else {
            return "a start fails";
        };
        world.state().model.all_known();
        tokio::select! {
            biased;
            _ = engine.failed() => "the store failed",
            how = end_by_plan(&engine, end) => how,
            how = work(world, &engine) => how,
        }
    };
    tokio::select! {
        biased;
        () = world.death.notified() => "a crash at a step",
        how = service => how,
        () = sleep(PATIENCE) => {
            world.state().broken("every item settles", "a life did not come to its end");
            "the end"
        }
    }
}

async fn end_by_plan(engine: &Arc<Engine>, end: Option<End>) -> &'static str {
    match end {
        Some(End::Crash(after)) => {
            sleep(after).await;
            "a crash at a time"
        }
        Some(End::Drain(after, patience)) => {
            sleep(after).await;
            engine.drain(patience).await;
            "a drain"
        }
        Some(End::Step(_)) | None => std::future::pending().await,
    }
}

async fn work(world: &Arc<World>, engine: &Arc<Engine>) -> &'static str {
    let mut running = JoinSet::new();
    for client in 0..world.plan.clients.len() {
        running.spawn(clients::act(Arc::clone(world), Arc::clone(engine), client));
    }
    let jumps = tokio::spawn(jump(Arc::clone(world)));
    while let Some(lives) = running.join_next().await {
        if !lives.unwrap() {
            // The end of the service is under way.
            std::future::pending::<()>().await;
        }
    }
    jumps.abort();
    if (0..world.plan.accounts.len()).any(|place| world.is_elsewhere(place)) {
        world.state().is_put_right = true;
        return "an address is put right";
    }
    world.state().is_put_right = true;
    calm(world, engine).await;
    "the end"
}

/// Applies the jumps of the wall clock.
async fn jump(world: Arc<World>) {
    loop {
        let (wait, by) = {
            let state = world.state();
            let Some((at, by)) = world.plan.jumps.get(state.model.jumps_done) else {
                return;
            };
            (at.saturating_sub(state.now()), *by)
        };
        sleep(wait).await;
        let mut state = world.state();
        state.model.jumps_done += 1;
        state.jump += jiff::SignedDuration::from_secs(by);
        state.met(if by < 0 {
            "the clock jumps back"
        } else {
            "the clock jumps ahead"
        });
        state.trace(format_args!("jump by {by} s"));
    }
}

/// Without faults: repeats every request until its keys have final outcomes.
async fn calm(world: &Arc<World>, engine: &Arc<Engine>) {
    // Requests under way arrive.
    sleep(Duration::from_secs(60)).await;
    world.deliver_stragglers();
    world.state().calm = true;
    for _ in 0..ROUNDS {
        for request in 0..world.plan.requests.len() {
            let sending = async {
                while clients::send(world, engine, request).await == Sent::Full {
                    sleep(Duration::from_secs(2)).await;
                }
            };
            if timeout(Duration::from_secs(4 * 60 * 60), sending)
                .await
                .is_err()
            {
                world
                    .state()
                    .broken("every item settles", format_args!("request {request}"));
                return;
            }
        }
    }
}

/// Whether no reply of its account could ever be distinguished from an intermediary's.
fn is_unproven(world: &World, state: &State, item: &Recorded, settled: &Settled) -> bool {
    let account = world.plan.targets[item.target].account;
    let failure = settled.conclusion.failure.as_ref();
    failure.is_some_and(|failure| failure.reason == FailureReason::AccountUnproven)
        && !state.watch.proven.contains(&account)
}

/// At the end of the run nothing is open, and every key has a final outcome.
fn check_end(world: &World) {
    let mut state = world.state();
    if !state.violations.is_empty() {
        return;
    }
    let mut wrong = Vec::new();
    for (id, item) in &state.model.items {
        let last = item.settled.last().map(|(settled, _)| settled);
        let outcome = last.map(|settled| settled.conclusion.outcome);
        let of = &world.plan.targets[item.target];
        let has_ended = last.is_some_and(|settled| {
            settled.conclusion.is_final() || is_unproven(world, &state, item, settled)
        });
        if item.open || !has_ended {
            wrong.push(format!(
                "{id} {} {} is {outcome:?}, open: {}",
                item.key, of.id, item.open
            ));
        }
    }
    for how in wrong {
        state.broken("in the end every key has an end", how);
    }
}
