//! Requests that reach their provider, at once or long after their sender has given up on them.

use std::time::Duration;

use super::{
    watch::{Effect, Sighting},
    wire::{http_request, read},
    world::World,
};
use crate::domain::exchange::{Request, Response};

/// A request that arrives when its sender has given up on it, or for a second time.
#[derive(Debug)]
pub(super) struct Straggler {
    pub(super) at: Duration,
    account: usize,
    request: Request,
}

impl World {
    /// A request reaches its provider.
    pub(super) fn deliver(
        &self,
        account: usize,
        request: &Request,
        seen: &Sighting,
        straggler: bool,
    ) -> Response {
        if !straggler {
            self.deliver_stragglers();
        }
        let of = &self.plan.accounts[account];
        let mut state = self.state();
        self.set_providers_clock(&mut state);
        let before = seen.target.map(|target| self.effects_on(target));
        let response = self
            .providers
            .carry_out(of.provider, http_request(&of.account, request));
        let after = seen.target.map(|target| self.effects_on(target));
        if let (Some(target), Some(before), Some(after)) = (seen.target, before, after)
            && after > before
        {
            let count = after - before;
            state.trace(format_args!("effect {count} on {target} {:?}", seen.tag));
            state.met(if straggler {
                "an effect of a straggler"
            } else {
                "an effect"
            });
            state.watch.effects.push(Effect {
                target,
                tag: seen.tag.clone(),
                count,
                straggler,
            });
            self.check_effects(&mut state, target, seen);
        }
        read(&response)
    }

    /// Lets a request arrive later, after this time at least.
    pub(super) fn straggles(&self, account: usize, request: Request, after: Duration) {
        let mut state = self.state();
        let at = state.now() + after + state.ms(1..=30_000);
        state.stragglers.push(Straggler {
            at,
            account,
            request,
        });
        state.stragglers.sort_by_key(|straggler| straggler.at);
    }

    /// Lets what is due by now arrive. Nobody looks at the providers without this.
    pub(super) fn deliver_stragglers(&self) {
        loop {
            let next = {
                let mut state = self.state();
                let now = state.now();
                match state.stragglers.first() {
                    Some(first) if first.at <= now => state.stragglers.remove(0),
                    _ => return,
                }
            };
            let seen = Sighting::of(&self.plan, next.account, &next.request);
            self.deliver(next.account, &next.request, &seen, true);
        }
    }
}
