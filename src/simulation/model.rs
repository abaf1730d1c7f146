//! The model: what the journal was given and what is on its disk, as seen by the wrapper around it.
//! Results are checked against it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use super::plan::{Plan, conditions::believed_after_start};
use crate::domain::{
    command::Command,
    ids::{BatchId, ItemId, Key, Scope},
    outcome::Settled,
};

/// See the module docs.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) items: BTreeMap<ItemId, Recorded>,
    pub(super) by_key: BTreeMap<(Scope, Key), ItemId>,
    /// Requests that were sent, by index in the plan.
    pub(super) submitted: BTreeSet<usize>,
    /// How often each key was sent.
    pub(super) sent: BTreeMap<(Scope, Key), u32>,
    /// Batches by the index of their request.
    pub(super) batches: BTreeMap<usize, BatchId>,
    /// The next action of each client.
    pub(super) next_act: Vec<usize>,
    pub(super) jumps_done: usize,
    /// Batches that a client has asked to stop.
    pub(super) stop_asked: BTreeSet<BatchId>,
}

/// An admitted item.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) scope: Scope,
    pub(super) key: Key,
    pub(super) command: Arc<Command>,
    pub(super) target: usize,
    pub(super) open: bool,
    pub(super) opened_at: Duration,
    pub(super) retry_until: Timestamp,
    /// Since when a request of it may have been lost, if one may.
    pub(super) doubt_since: Option<Duration>,
    /// A lookup that is sent later can be believed.
    pub(super) believed_from: Duration,
    /// When its clearance was first on disk.
    pub(super) earliest: Option<Duration>,
    /// It may have been sent, as far as the disk shows.
    pub(super) may_be_sent: bool,
    /// The life in which its clearance was last on disk.
    pub(super) cleared_in: Option<usize>,
    /// Its stop was acknowledged before anything of it was sent.
    pub(super) must_not_start: bool,
    /// A client knows that it is admitted, or the service found it at start-up: a later stop of its
    /// batch stops it.
    pub(super) known: bool,
    /// When its stop was acknowledged while it was open.
    pub(super) stopped_at: Option<Duration>,
    /// Its outcomes, and when each was on disk.
    pub(super) settled: Vec<(Arc<Settled>, Duration)>,
}

impl Model {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            items: BTreeMap::new(),
            by_key: BTreeMap::new(),
            submitted: BTreeSet::new(),
            sent: BTreeMap::new(),
            batches: BTreeMap::new(),
            next_act: vec![0; plan.clients.len()],
            jumps_done: 0,
            stop_asked: BTreeSet::new(),
        }
    }

    /// The service was restarted: open items that were cleared may have been sent.
    pub(super) fn restarted(&mut self, now: Duration) {
        for item in self.items.values_mut().filter(|item| item.open) {
            if item.may_be_sent {
                item.doubt_since = Some(now);
                item.believed_from = believed_after_start(now);
            }
        }
    }

    /// The service has started, and knows all open items.
    pub(super) fn all_known(&mut self) {
        self.items.values_mut().for_each(|item| item.known = true);
    }

    pub(super) fn of_key(&self, scope: &Scope, key: &Key) -> Option<&Recorded> {
        let id = self.by_key.get(&(scope.clone(), key.clone()))?;
        self.items.get(id)
    }
}
