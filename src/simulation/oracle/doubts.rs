//! Claims of an outcome about doubt: that no request can act any more, and who caused the end.

use jiff::SignedDuration;

use super::truth::Claims;
use crate::{
    domain::outcome::{Outcome, Settled},
    sandbox::{Provider, Standing},
    simulation::{
        model::Recorded,
        plan::conditions::{Boots, Lag},
        world::{State, World},
    },
};

/// Tolerance besides the difference of clocks: a minute, plus the time of the writes and of a
/// reply.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(60 + 10);

/// See the module docs.
pub(in crate::simulation) fn claims(
    world: &World,
    state: &State,
    item: &Recorded,
    settled: &Settled,
) -> Claims {
    let mut claims = vec![
        (
            !is_others(world, state, item, settled),
            "it had ended before it was cleared",
        ),
        (
            !is_expired(world, state, item, settled),
            "it ended by itself",
        ),
    ];
    if world.plan.lag == Lag::Believed && says_undone(settled) {
        let tag = world.plan.tag_of(item);
        let may_act = state.may_arrive(item.target, Some(&tag));
        // Revolv3's requests do not show their item.
        let of = &world.plan.targets[item.target];
        let is_nobodys = world.plan.accounts[of.account].provider == Provider::Revolv3
            && world.plan.aimed_at(item.target).0 > 1;
        claims.push((!may_act || is_nobodys, "a request of it may still act"));
    }
    claims
}

/// Whether it says, finally or without doubt, that nothing was done.
fn says_undone(settled: &Settled) -> bool {
    match settled.conclusion.outcome {
        Outcome::Rejected | Outcome::NotFound => true,
        Outcome::Stopped | Outcome::Unavailable => {
            !settled.doubt.as_ref().is_some_and(|doubt| doubt.may_act)
        }
        _ => false,
    }
}

fn claims_it(settled: &Settled) -> bool {
    let outcome = settled.conclusion.outcome;
    matches!(outcome, Outcome::Canceled | Outcome::Scheduled)
}

/// Whether it is unknowable how long ago something was: the wall clock was set back, and no other
/// clock runs across the restart.
pub(in crate::simulation) fn is_clock_lost(world: &World) -> bool {
    world.plan.boots != Boots::One && world.plan.jumps.iter().any(|(_, by)| *by < 0)
}

/// Whether it claims an end that others caused before it could be sent, where the provider says
/// when.
fn is_others(world: &World, state: &State, item: &Recorded, settled: &Settled) -> bool {
    let target = &world.plan.targets[item.target];
    let of = &world.plan.accounts[target.account];
    let is_told = !of.off.no_date
        && !is_clock_lost(world)
        && !state.watch.cached.contains(&item.target)
        && matches!(
            of.provider,
            Provider::Rebilly | Provider::Solidgate | Provider::FunnelFox
        );
    let was_ended = matches!(target.born, Some(Standing::Canceled | Standing::Scheduled));
    let untouched = state.watch.effects_of(item.target, None) == 0;
    let Some(earliest) = item.earliest else {
        return claims_it(settled) && was_ended && untouched;
    };
    let apart = |ms: i64| SignedDuration::from_millis(ms.abs());
    let jumps = world.plan.jumps.iter().map(|(_, by)| apart(by * 1_000));
    let apart = jumps.fold(apart(of.off.skew_ms), |sum, jump| sum + jump);
    let before = SignedDuration::try_from(earliest).unwrap()
        + SignedDuration::from_millis(target.canceled_ms_ago);
    claims_it(settled) && was_ended && untouched && is_told && before > TOLERANCE + apart
}

/// Whether it claims a target that expired.
fn is_expired(world: &World, state: &State, item: &Recorded, settled: &Settled) -> bool {
    let target = &world.plan.targets[item.target];
    let provider = world.plan.accounts[target.account].provider;
    claims_it(settled)
        && target.born == Some(Standing::Expired)
        && !matches!(provider, Provider::Revolv3 | Provider::Sequenzy)
        && state.watch.effects_of(item.target, None) == 0
}
