//! Checks what may be sent: for which item, when, with which id, and one at a time per target; and
//! records which replies leave or resolve a doubt.

use std::time::Duration;

use super::watch::Sighting;
use crate::{
    domain::http_exchange::{Request, Safety},
    sandbox::Provider,
    simulation::{
        model::Recorded,
        plan::{AccountPlan, Plan, conditions::Lag},
        world::{State, World},
    },
};

impl State {
    /// A request is sent.
    pub(in crate::simulation) fn request_starts(
        &mut self,
        world: &World,
        seen: &Sighting,
        request: &Request,
    ) {
        let plan = &world.plan;
        let now = self.now();
        let of = &plan.accounts[seen.account];
        self.check_limits(of, seen.account, now);
        if let Some(target) = seen.target {
            self.watch.sent_at.insert(target, now);
        }
        self.check_clearance(plan, seen, request);
        if !seen.is_effect {
            return;
        }
        self.check_effect_id(of, seen, request);
        let Some(target) = seen.target else { return };
        // A target that has ended cannot be ended twice.
        let runs = world.runs(target);
        let count = self.watch.at_work.entry(target).or_default();
        *count += 1;
        if *count > 1 && of.provider != Provider::Sequenzy {
            self.broken("one command on a target at a time", request.path.as_str());
        }
        if plan.lag == Lag::Believed
            && of.provider != Provider::Sequenzy
            && runs
            && self.has_to_wait(of.provider, target, seen, request)
        {
            let path = request.path.as_str();
            self.broken("nothing is sent while an earlier request may act", path);
        }
        self.check_permission(plan, seen, target, request);
    }

    /// An item that is not cleared on disk sends neither requests nor lookups.
    fn check_clearance(&mut self, plan: &Plan, seen: &Sighting, request: &Request) {
        let Some(target) = seen.target else { return };
        if plan.aimed_at(target).1 {
            // A preview needs no clearance, and looks like a lookup of others.
            return;
        }
        let life = self.life;
        let mut open = self.model.items.values().filter(|item| {
            let tag = seen.tag.as_ref();
            item.open && item.target == target && tag.is_none_or(|tag| plan.tag_of(item) == *tag)
        });
        let is_cleared = open.any(|item| match seen.is_effect {
            true => item.cleared_in == Some(life),
            false => item.may_be_sent,
        });
        if !is_cleared {
            let path = request.path.as_str();
            self.broken("nothing is sent before its clearance", path);
        }
    }

    /// Each key has one effect id, however often it is sent, and no two keys share one.
    fn check_effect_id(&mut self, of: &AccountPlan, seen: &Sighting, request: &Request) {
        let id = match of.provider {
            Provider::Rebilly => request.path.as_str().rsplit('/').next(),
            Provider::Solidgate => request
                .headers
                .iter()
                .find_map(|(name, value)| (*name == "idempotency-key").then_some(value.as_str())),
            Provider::FunnelFox | Provider::Revolv3 | Provider::Sequenzy => return,
        };
        let (Some(id), Some(tag)) = (id, &seen.tag) else {
            self.broken("an effect has an id", request.path.as_str());
            return;
        };
        let mut bind = |a: String, b: &str| {
            let bound = self
                .watch
                .effect_ids
                .entry(a)
                .or_insert_with(|| b.to_owned());
            *bound == b
        };
        let ids_tag = bind(format!("{} {id}", of.account.name), tag);
        let tags_id = bind(format!("{} {tag}", of.account.name), id);
        if !ids_tag || !tags_id {
            self.broken("one key, one effect id", format_args!("{tag} as {id}"));
        }
    }

    /// A request with an effect belongs to an item that is open on disk, within its window, and not
    /// stopped before it was started.
    fn check_permission(&mut self, plan: &Plan, seen: &Sighting, target: usize, request: &Request) {
        let wall = self.wall();
        let items = self.model.items.values();
        let mut open = items.filter(|item| {
            item.open
                && item.target == target
                && seen
                    .tag
                    .as_ref()
                    .is_none_or(|tag| plan.tag_of(item) == *tag)
        });
        let (Some(item), more) = (open.next(), open.next()) else {
            self.broken(
                "nothing is sent before its admission or after its end",
                request.path.as_str(),
            );
            return;
        };
        if more.is_some() {
            // Without a comment the item of the request is unknown.
            return;
        }
        let (must_not_start, retry_until) = (item.must_not_start, item.retry_until);
        // A repeatable request is repeated until a reply resolves it; and a request may wait for
        // its token after it was decided.
        let stopped = item.stopped_at.filter(|_| request.safety == Safety::Once);
        if stopped.is_some_and(|at| at + Duration::from_secs(3) < self.now()) {
            let path = request.path.as_str();
            self.broken("what is stopped has no further effect", path);
        }
        // A run's window starts when its admission is acknowledged, and a request may wait for its
        // token after it was found to be in time.
        let slack = jiff::SignedDuration::from_secs(12);
        if must_not_start {
            self.broken(
                "what was stopped before it was sent is not sent",
                request.path.as_str(),
            );
        }
        if plan.jumps.is_empty() && wall > retry_until + slack {
            let how = format!("{} at {wall}, {retry_until}", request.path.as_str());
            self.broken("nothing is sent after the window", how);
        }
    }

    /// A request is over for the service, answered or not.
    pub(in crate::simulation) fn request_ends(&mut self, seen: &Sighting) {
        if let Some(account) = self.watch.accounts.get_mut(&seen.account) {
            account.in_flight = account.in_flight.saturating_sub(1);
        }
        if let (true, Some(target)) = (seen.is_effect, seen.target)
            && let Some(count) = self.watch.at_work.get_mut(&target)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// A clear reply to a request sent at this time resolves all earlier doubts.
    pub(in crate::simulation) fn clear(
        &mut self,
        plan: &Plan,
        seen: &Sighting,
        path: &str,
        sent: Duration,
    ) {
        let of = &plan.accounts[seen.account];
        let last = path.rsplit('/').next().unwrap_or_default();
        let target = match of.provider {
            // Its subscription does not show who cancelled it; the cancellation does.
            Provider::Rebilly if !seen.is_effect => {
                let id = format!("{} {last}", of.account.name);
                let tag = self.watch.effect_ids.get(&id);
                let mut items = plan.requests.iter().flat_map(|asked| &asked.items);
                tag.and_then(|tag| items.find(|item| item.tag == *tag))
                    .map(|item| item.target)
            }
            _ => seen.target,
        };
        let Some(target) = target else { return };
        let items = self.model.items.values();
        let mut open = items.filter(|item| item.open && item.target == target);
        // An earlier lookup proves nothing.
        if seen.is_effect || open.all(|item| item.believed_from <= sent) {
            self.watch.clear_at.insert(target, sent);
        }
    }

    /// The reply to a request with an effect was lost, or says nothing.
    pub(in crate::simulation) fn doubted(
        &mut self,
        plan: &Plan,
        seen: &Sighting,
        believed_at: Duration,
    ) {
        self.doubts(plan, seen, believed_at, |_| true);
    }

    /// A request was rejected, possibly because of an earlier one whose reply was lost.
    pub(in crate::simulation) fn doubted_again(
        &mut self,
        plan: &Plan,
        seen: &Sighting,
        believed_at: Duration,
    ) {
        self.doubts(plan, seen, believed_at, |item| item.doubt_since.is_some());
    }

    fn doubts(
        &mut self,
        plan: &Plan,
        seen: &Sighting,
        believed_at: Duration,
        is_meant: impl Fn(&Recorded) -> bool,
    ) {
        let now = self.now();
        let Some(target) = seen.target.filter(|_| seen.is_effect) else {
            return;
        };
        for item in self.model.items.values_mut() {
            let same = seen
                .tag
                .as_ref()
                .is_none_or(|tag| plan.tag_of(item) == *tag);
            if item.target == target && item.open && same && is_meant(item) {
                item.doubt_since = Some(now);
                item.believed_from = item.believed_from.max(believed_at);
            }
        }
    }
}
