//! What the network saw of requests and effects.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    domain::http_exchange::{Request, Response, Safety},
    simulation::{plan::Plan, world::arrival::Late},
};

/// See the module docs.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Watch {
    pub(in crate::simulation) accounts: BTreeMap<usize, Seen>,
    /// The last failed request that is known to belong to one item, by target.
    pub(in crate::simulation) failed: BTreeMap<usize, Failed>,
    /// Requests with an effect that are under way, by target.
    pub(in crate::simulation) at_work: BTreeMap<usize, usize>,
    /// When a request naming the target was last sent, and the last clear reply.
    pub(in crate::simulation) sent_at: BTreeMap<usize, Duration>,
    pub(in crate::simulation) clear_at: BTreeMap<usize, Duration>,
    /// Targets of accepted requests that no effect follows.
    pub(in crate::simulation) in_vain: BTreeSet<usize>,
    /// Accepted requests that are still to be executed.
    pub(in crate::simulation) promised: BTreeSet<(usize, Option<String>)>,
    /// Accounts that have described a requested target.
    pub(in crate::simulation) described: BTreeSet<usize>,
    /// Accounts that did so in a reply that the service got in this life.
    pub(in crate::simulation) proven: BTreeSet<usize>,
    /// Accounts whose provider has answered the service in its own format.
    pub(in crate::simulation) spoken: BTreeSet<usize>,
    /// Accounts whose provider did so in this life.
    pub(in crate::simulation) heard_from: BTreeSet<usize>,
    /// Targets of requests that had their effect but were answered by an intermediary, before
    /// anything had proved the address to be the provider's.
    pub(in crate::simulation) blocked: BTreeSet<usize>,
    /// Targets of requests with an effect that an intermediary answered, in a life in which the
    /// provider had not answered yet.
    pub(in crate::simulation) strangers: BTreeSet<usize>,
    /// Targets that a lookup found in a cache.
    pub(in crate::simulation) cached: BTreeSet<usize>,
    /// Replies to lookups, by account and request.
    pub(in crate::simulation) cache: BTreeMap<(usize, String), Response>,
    /// Enrollments that replies of this life report as cancelled, by target and tag.
    pub(in crate::simulation) heard: BTreeMap<(usize, Option<String>), u64>,
    /// Effects by target, with their tags.
    pub(in crate::simulation) effects: Vec<Effect>,
    /// The tag of each effect id, and the reverse.
    pub(in crate::simulation) effect_ids: BTreeMap<String, String>,
}

/// A failed request.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulation) struct Failed {
    pub(in crate::simulation) at: Duration,
    /// It, or one before it, was to have an effect: a repeat is a retry after any number of
    /// lookups.
    pub(in crate::simulation) is_effect: bool,
}

/// An effect at a provider.
#[derive(Debug)]
pub(in crate::simulation) struct Effect {
    pub(in crate::simulation) target: usize,
    pub(in crate::simulation) tag: Option<String>,
    pub(in crate::simulation) count: u64,
    /// Why its request arrived late, if it did.
    pub(in crate::simulation) late: Option<Late>,
}

/// Figures of an account in this life of the service.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Seen {
    pub(in crate::simulation) in_flight: usize,
    pub(in crate::simulation) starts: VecDeque<Duration>,
    pub(in crate::simulation) paused_until: Option<Duration>,
    pub(in crate::simulation) in_pause: usize,
    /// First requests, and failed retries.
    pub(in crate::simulation) firsts: u32,
    pub(in crate::simulation) failed_retries: u32,
}

/// A request as the network understands it.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct Sighting {
    pub(in crate::simulation) account: usize,
    pub(in crate::simulation) target: Option<usize>,
    pub(in crate::simulation) tag: Option<String>,
    pub(in crate::simulation) is_effect: bool,
}

impl Sighting {
    pub(in crate::simulation) fn of(plan: &Plan, account: usize, request: &Request) -> Self {
        let body = request.body.as_ref().map_or("", |body| body.text.as_str());
        let names = |id: &str| request.path.as_str().contains(id) || body.contains(id);
        let target = plan
            .targets
            .iter()
            .position(|target| target.account == account && names(&target.id));
        let tag = plan
            .requests
            .iter()
            .flat_map(|asked| &asked.items)
            .map(|item| &item.tag)
            // The longest, since "other" content has the tag of the first and more.
            .filter(|tag| body.contains(tag.as_str()))
            .max_by_key(|tag| tag.len());
        let is_dry = tag.is_some_and(|tag| tag.starts_with("[dry"));
        let dry_operation = ["draft", "discard", "count"].contains(&request.operation.0);
        Self {
            account,
            target,
            tag: tag.cloned(),
            is_effect: request.safety != Safety::Look && !is_dry && !dry_operation,
        }
    }
}

impl Watch {
    pub(in crate::simulation) fn begin_life(&mut self) {
        self.accounts.clear();
        self.at_work.clear();
        self.failed.clear();
        self.proven.clear();
        self.heard.clear();
        self.heard_from.clear();
    }

    /// The service gets a reply to a request with an effect.
    pub(in crate::simulation) fn answered(&mut self, seen: &Sighting, response: &Response) {
        let canceled = response
            .json
            .as_ref()
            .and_then(|body| body.get("cancelledCount"));
        let canceled = canceled.and_then(serde_json::Value::as_u64);
        if let (true, Some(target), Some(canceled)) = (seen.is_effect, seen.target, canceled) {
            *self.heard.entry((target, seen.tag.clone())).or_default() += canceled;
        }
    }

    /// A request is executed late, without an effect.
    pub(in crate::simulation) fn comes_to_nothing(&mut self, target: usize, seen: &Sighting) {
        if self.promised.contains(&(target, seen.tag.clone())) {
            self.in_vain.insert(target);
        }
    }

    /// Whether a request naming the target was sent since then.
    pub(in crate::simulation) fn was_sent_since(&self, target: usize, since: Duration) -> bool {
        self.sent_at.get(&target).is_some_and(|at| *at >= since)
    }

    /// Whether a duplicated request had an effect on a target.
    pub(in crate::simulation) fn was_doubled(&self, target: usize) -> bool {
        let mut of = self.effects.iter();
        of.any(|effect| effect.target == target && effect.late == Some(Late::Doubled))
    }

    /// Whether a late request had an effect on a target.
    pub(in crate::simulation) fn was_late(&self, target: usize) -> bool {
        let mut of = self.effects.iter();
        of.any(|effect| effect.target == target && effect.late.is_some())
    }

    /// Effects on a target with one of these tags; all of them without tags.
    pub(in crate::simulation) fn effects_of(&self, target: usize, tags: Option<&[String]>) -> u64 {
        let of = self.effects.iter().filter(|effect| {
            effect.target == target
                && tags.is_none_or(|tags| effect.tag.as_ref().is_some_and(|t| tags.contains(t)))
        });
        of.map(|effect| effect.count).sum()
    }
}
