//! Requests that reach their provider, at once or long after their sender has given up.

use std::time::Duration;

use bytes::Bytes;

use super::{State, World, wire::http_request};
use crate::{
    domain::http_exchange::{Request, Safety},
    sandbox::Provider,
    simulation::{
        oracle::watch::{Effect, Sighting},
        plan::{
            TIMEOUT,
            conditions::{Lag, believed_at},
        },
    },
};

/// Why a request arrives late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulation) enum Late {
    /// Its sender has given it up, or is gone.
    Given,
    /// It is a duplicate.
    Doubled,
}

/// A request that arrives after its sender has given up, or as a duplicate.
#[derive(Debug)]
pub(in crate::simulation) struct Straggler {
    pub(in crate::simulation) at: Duration,
    pub(in crate::simulation) seen: Sighting,
    request: Request,
    late: Late,
}

impl World {
    /// A request reaches its provider.
    pub(in crate::simulation) fn deliver(
        &self,
        seen: &Sighting,
        request: &Request,
        late: Option<(Late, Duration)>,
    ) -> http::Response<Bytes> {
        if late.is_none() {
            self.deliver_stragglers();
        }
        let of = &self.plan.accounts[seen.account];
        let mut state = self.state();
        let at = late.map_or_else(|| state.now(), |(_, at)| at);
        self.set_providers_clock_to(&mut state, at);
        let before = seen.target.map(|target| self.effects_on(target));
        let response = self
            .providers
            .carry_out(of.provider, http_request(&of.account, request));
        if response.status().is_success() && seen.target.is_some() {
            state.watch.described.insert(seen.account);
        }
        let after = seen.target.map(|target| self.effects_on(target));
        if let (Some(target), true) = (seen.target, late.is_some() && before == after) {
            state.watch.comes_to_nothing(target, seen);
        }
        if let (Some(target), Some(before), Some(after)) = (seen.target, before, after)
            && after > before
        {
            let count = after - before;
            state.trace(format_args!("effect {count} on {target} {:?}", seen.tag));
            state.met(match late {
                Some(_) => "an effect of a straggler",
                None => "an effect",
            });
            state.watch.effects.push(Effect {
                target,
                tag: seen.tag.clone(),
                count,
                late: late.map(|(late, _)| late),
            });
            self.check_effects(&mut state, target, seen);
        }
        response
    }

    /// Draws when a request arrives that is given up or answered before.
    pub(in crate::simulation) fn late(
        &self,
        account: usize,
        sent: Duration,
        soonest: Duration,
        given_up: Duration,
    ) -> Duration {
        let lag = self.plan.accounts[account].off.looks_lag;
        let latest = match self.plan.lag {
            Lag::Believed => {
                let seen = believed_at(sent, given_up).saturating_sub(lag);
                seen.saturating_sub(Duration::from_millis(20))
            }
            Lag::Beyond => sent + TIMEOUT * 3,
        };
        let room = latest.saturating_sub(soonest).as_millis();
        let mut state = self.state();
        soonest + state.ms(0..=u64::try_from(room).unwrap())
    }

    /// Lets a request arrive later.
    pub(in crate::simulation) fn straggles(
        &self,
        seen: &Sighting,
        request: Request,
        at: Duration,
        late: Late,
    ) {
        let mut state = self.state();
        state.stragglers.push(Straggler {
            at,
            seen: seen.clone(),
            request,
            late,
        });
        state.stragglers.sort_by_key(|straggler| straggler.at);
    }

    /// Delivers all requests that are due. Has to run before the providers are inspected, and
    /// before anything sent or published is judged.
    pub(in crate::simulation) fn deliver_stragglers(&self) {
        loop {
            let next = {
                let mut state = self.state();
                let now = state.now();
                match state.stragglers.first() {
                    Some(first) if first.at <= now => state.stragglers.remove(0),
                    _ => return,
                }
            };
            self.deliver(&next.seen, &next.request, Some((next.late, next.at)));
        }
    }
}

impl State {
    /// Whether a cancellation of a target, with this tag or without one, may still arrive after its
    /// sender has given up.
    pub(in crate::simulation) fn may_arrive(&self, target: usize, tag: Option<&str>) -> bool {
        self.stragglers.iter().any(|straggler| {
            let seen = &straggler.seen;
            straggler.late == Late::Given
                && seen.is_effect
                && straggler.request.operation.0 != "set_timing"
                && seen.target == Some(target)
                && tag.is_none_or(|tag| seen.tag.as_deref().is_none_or(|of| of == tag))
        })
    }

    /// Whether a request that is sent now should have waited for one that may still arrive: of
    /// another key, or its own unless the provider makes a repeat safe.
    pub(in crate::simulation) fn has_to_wait(
        &self,
        provider: Provider,
        target: usize,
        seen: &Sighting,
        request: &Request,
    ) -> bool {
        // At Rebilly the client's own id makes a repeat safe.
        let is_safe = request.safety != Safety::Once || provider == Provider::Rebilly;
        request.operation.0 != "set_timing"
            && self.stragglers.iter().any(|straggler| {
                let earlier = &straggler.seen;
                straggler.late == Late::Given
                    && earlier.is_effect
                    && straggler.request.operation.0 != "set_timing"
                    && earlier.target == Some(target)
                    && (!is_safe || earlier.tag != seen.tag)
            })
    }
}
