//! Checks concurrency, rate, pauses and the retry budget of an account, as counted by the network.

use std::time::Duration;

use super::watch::{Failed, Sighting};
use crate::{
    domain::{http_exchange::Response, ids::ItemId},
    sandbox::Provider,
    simulation::{
        model::Recorded,
        plan::{AccountPlan, Plan},
        world::{State, service::SETTLING},
    },
};

impl State {
    /// A request is sent: checks concurrency, rate and pauses.
    pub(in crate::simulation) fn check_limits(
        &mut self,
        of: &AccountPlan,
        account: usize,
        now: Duration,
    ) {
        let seen = self.watch.accounts.entry(account).or_default();
        seen.in_flight += 1;
        seen.starts.push_back(now);
        seen.firsts += 1;
        let second = Duration::from_secs(1);
        while seen.starts.front().is_some_and(|at| *at + second <= now) {
            seen.starts.pop_front();
        }
        let (at_once, in_second) = (seen.in_flight, seen.starts.len());
        let is_paused = seen.paused_until.is_some_and(|until| now < until);
        seen.in_pause += usize::from(is_paused);
        let in_pause = seen.in_pause;
        if at_once > of.concurrency_max {
            let how = format!("{at_once} at once at {}", of.account.name);
            self.broken("concurrency is never exceeded", how);
        }
        // The burst at once, and one more per interval within the second.
        if in_second > usize::try_from(of.rate + of.burst - 1).unwrap() {
            let how = format!("{in_second} in a second at {}", of.account.name);
            self.broken("the rate is never exceeded", how);
        }
        // Requests that were about to be sent when the provider asked for a pause are tolerated.
        if is_paused && in_pause >= of.concurrency_max {
            let how = format!("{in_pause} requests in a pause of {}", of.account.name);
            self.broken("a throttling provider is left alone", how);
        }
    }

    /// Whether a request follows a failed one of the same item, as far as the network can tell: for
    /// an item that has its target to itself.
    pub(in crate::simulation) fn is_retry(&self, plan: &Plan, seen: &Sighting) -> bool {
        let Some(target) = seen.target else {
            return false;
        };
        let Some(failed) = self.watch.failed.get(&target) else {
            return false;
        };
        let mut items = self.model.items.iter();
        let item = items.find(|(_, item)| item.open && item.target == target);
        let in_time = |id: &ItemId, item: &Recorded| {
            // After the window comes a last lookup, which is no retry; nor are lookups of stopped
            // items.
            self.wall() <= item.retry_until
                && item.opened_at < failed.at
                && !self.model.stop_asked.contains(&id.batch)
        };
        // A lookup that can be believed goes with first requests. If a repeat is safe, it is one of
        // those at a time too.
        let is_spaced = plan.accounts[seen.account].provider == Provider::Sequenzy
            && failed.at + SETTLING <= self.now();
        let may_decide =
            |item: &Recorded| (!seen.is_effect || is_spaced) && item.doubt_since.is_some();
        plan.jumps.is_empty()
            && plan.aimed_at(target) == (1, false)
            && item.is_some_and(|(id, item)| in_time(id, item) && !may_decide(item))
    }

    /// A request is over: checks failed retries against the budget.
    pub(in crate::simulation) fn came_to(
        &mut self,
        plan: &Plan,
        seen: &Sighting,
        is_retry: bool,
        failed: bool,
    ) {
        let now = self.now();
        let Some(target) = seen.target else {
            if !failed {
                // An answered lookup without a target: what follows it is no retry, whosever it
                // was.
                let others = |target: &usize| plan.targets[*target].account != seen.account;
                let failed = &mut self.watch.failed;
                failed.retain(|target, failed| failed.is_effect || others(target));
            }
            return;
        };
        let before = self.watch.failed.get(&target);
        let had_effect = before.is_some_and(|failed| failed.is_effect);
        if failed {
            let is_effect = seen.is_effect || had_effect;
            let failed = Failed { at: now, is_effect };
            self.watch.failed.insert(target, failed);
        } else if seen.is_effect || !had_effect {
            self.watch.failed.remove(&target);
        }
        let life = self.life();
        let is_resend = seen.is_effect;
        let of = &plan.accounts[seen.account];
        let seen = self.watch.accounts.entry(seen.account).or_default();
        // An answered retry counts like a first request.
        if !is_retry || !failed {
            return;
        }
        seen.firsts -= 1;
        seen.failed_retries += 1;
        let share = of.retries;
        let most = share.saved_max
            + share.per_request * f64::from(seen.firsts)
            + share.per_second * life.as_secs_f64();
        let count = seen.failed_retries;
        if is_resend && f64::from(count) + 1.0 > most {
            self.met("resends use up the retry budget");
        }
        if f64::from(count) > most + 0.01 {
            let how = format!("{count} failed at {}, {most} at most", of.account.name);
            self.broken("the retry budget is never exceeded", how);
        }
    }

    /// A throttling provider said when to come back.
    pub(in crate::simulation) fn told_to_wait(
        &mut self,
        plan: &Plan,
        account: usize,
        response: &Response,
        seconds: u64,
    ) {
        let relative = response.header("retry-after").is_some();
        let absolute = response.header("x-ratelimit-retry-after").is_some()
            || response.text.contains("next_try_at");
        let wait = if relative {
            Duration::from_secs(seconds)
        } else if absolute && (!plan.jumps.is_empty() || plan.accounts[account].off.skew_ms != 0) {
            // By another clock.
            Duration::ZERO
        } else if absolute {
            // In whole seconds, and as of before its way back.
            Duration::from_secs(seconds).saturating_sub(Duration::from_secs(3))
        } else {
            // The first wait of our own backoff.
            crate::simulation::world::service::BACKOFF_BASE
        };
        self.paused(account, wait);
    }

    /// The provider asked for a pause.
    fn paused(&mut self, account: usize, wait: Duration) {
        let until = self.now() + wait;
        let seen = self.watch.accounts.entry(account).or_default();
        if seen.paused_until.is_none_or(|before| before <= until) {
            (seen.paused_until, seen.in_pause) = (Some(until), 0);
        }
    }
}
