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
    /// The last request that failed and is known to be of one item, by target.
    pub(in crate::simulation) failed: BTreeMap<usize, Failed>,
    /// Requests with an effect that are on their way, by target.
    pub(in crate::simulation) at_work: BTreeMap<usize, usize>,
    /// The last time that a request naming the target was sent, and the last clear answer.
    pub(in crate::simulation) sent_at: BTreeMap<usize, Duration>,
    pub(in crate::simulation) clear_at: BTreeMap<usize, Duration>,
    /// A request was accepted that no effect follows on.
    pub(in crate::simulation) in_vain: BTreeSet<usize>,
    /// Requests that were accepted and are still to be carried out.
    pub(in crate::simulation) promised: BTreeSet<(usize, Option<String>)>,
    /// Accounts that have described what they were asked about.
    pub(in crate::simulation) described: BTreeSet<usize>,
    /// Accounts that did, in an answer that the service has got in this life.
    pub(in crate::simulation) proven: BTreeSet<usize>,
    /// Accounts whose provider has answered the service in its own form.
    pub(in crate::simulation) spoken: BTreeSet<usize>,
    /// Those of which the service has heard that in this life.
    pub(in crate::simulation) heard_from: BTreeSet<usize>,
    /// Targets of requests that had their effect, and were answered by something in between before
    /// anything had shown that there is a provider behind it.
    pub(in crate::simulation) blocked: BTreeSet<usize>,
    /// Targets of which something in between answered a request with an effect, in a life in which
    /// the service had not heard from the provider.
    pub(in crate::simulation) strangers: BTreeSet<usize>,
    /// Targets that a look found in a cache.
    pub(in crate::simulation) cached: BTreeSet<usize>,
    /// What looks were answered, by account and request.
    pub(in crate::simulation) cache: BTreeMap<(usize, String), Response>,
    /// Enrollments that answers of this life say were ended, by target and tag.
    pub(in crate::simulation) heard: BTreeMap<(usize, Option<String>), u64>,
    /// Effects by target, and the tag that each came with.
    pub(in crate::simulation) effects: Vec<Effect>,
    /// Which tag an id of an effect came with, and the other way round.
    pub(in crate::simulation) effect_ids: BTreeMap<String, String>,
}

/// A request that failed.
#[derive(Debug, Clone, Copy)]
pub(in crate::simulation) struct Failed {
    pub(in crate::simulation) at: Duration,
    /// It, or one before it, was to have an effect: the same is a retry after any number of looks.
    pub(in crate::simulation) is_effect: bool,
}

/// One effect at a provider.
#[derive(Debug)]
pub(in crate::simulation) struct Effect {
    pub(in crate::simulation) target: usize,
    pub(in crate::simulation) tag: Option<String>,
    pub(in crate::simulation) count: u64,
    /// It came of a request that arrived late.
    pub(in crate::simulation) late: Option<Late>,
}

/// What an account saw in this life of the service.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Seen {
    pub(in crate::simulation) in_flight: usize,
    pub(in crate::simulation) starts: VecDeque<Duration>,
    pub(in crate::simulation) paused_until: Option<Duration>,
    pub(in crate::simulation) in_pause: usize,
    /// First requests, and retries that failed.
    pub(in crate::simulation) firsts: u32,
    pub(in crate::simulation) failed_retries: u32,
}

/// A request as it was understood.
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

    /// The service has an answer to a request with an effect.
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

    /// A request is carried out late, and has no effect.
    pub(in crate::simulation) fn comes_to_nothing(&mut self, target: usize, seen: &Sighting) {
        if self.promised.contains(&(target, seen.tag.clone())) {
            self.in_vain.insert(target);
        }
    }

    /// Whether a request that names the target was sent since then.
    pub(in crate::simulation) fn was_sent_since(&self, target: usize, since: Duration) -> bool {
        self.sent_at.get(&target).is_some_and(|at| *at >= since)
    }

    /// Whether a request had an effect on a target that arrived for a second time.
    pub(in crate::simulation) fn was_doubled(&self, target: usize) -> bool {
        let mut of = self.effects.iter();
        of.any(|effect| effect.target == target && effect.late == Some(Late::Doubled))
    }

    /// Whether a request had an effect on a target that arrived late.
    pub(in crate::simulation) fn was_late(&self, target: usize) -> bool {
        let mut of = self.effects.iter();
        of.any(|effect| effect.target == target && effect.late.is_some())
    }

    /// Effects on a target that came with one of these tags; all of them without tags.
    pub(in crate::simulation) fn effects_of(&self, target: usize, tags: Option<&[String]>) -> u64 {
        let of = self.effects.iter().filter(|effect| {
            effect.target == target
                && tags.is_none_or(|tags| effect.tag.as_ref().is_some_and(|t| tags.contains(t)))
        });
        of.map(|effect| effect.count).sum()
    }
}
