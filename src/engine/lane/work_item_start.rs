//! The fields that an item starts with; all others begin empty.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::work_item::{Clearance, Origin, WorkItem};
use crate::{
    domain::{
        command::Command,
        ids::{BatchId, Key, Scope},
    },
    egress::flow::Permit,
    observe,
    providers::EffectId,
    shared_budget::Reservation,
};

/// What is known of an item before it runs.
#[derive(Debug)]
pub(in crate::engine) struct WorkItemStart<'a> {
    pub(in crate::engine) origin: Origin,
    /// The request that admitted it.
    pub(in crate::engine) from: observe::RequestContext,
    /// The caller, and the RPC whose keys are meant.
    pub(in crate::engine) scope: &'a Scope,
    /// Its own key, or the one derived from the request's.
    pub(in crate::engine) key: &'a Key,
    /// The batch that it is scheduled with.
    pub(in crate::engine) batch: BatchId,
    pub(in crate::engine) command: Arc<Command>,
    /// End of its retry window.
    pub(in crate::engine) retry_until: Timestamp,
    /// Its slot in the budget for open items, or for dry runs.
    pub(in crate::engine) place: Reservation,
    /// Its bytes in the budget for open items, or for dry runs.
    pub(in crate::engine) bytes: Reservation,
}

impl From<WorkItemStart<'_>> for WorkItem {
    fn from(beginning: WorkItemStart<'_>) -> Self {
        let WorkItemStart {
            origin,
            from,
            scope,
            key,
            batch,
            command,
            retry_until,
            place,
            bytes,
        } = beginning;
        Self {
            origin,
            from,
            since: Instant::now(),
            caller: scope.caller.clone(),
            batch,
            effect_id: EffectId::derive(scope, key, &command),
            command,
            history: Vec::new(),
            previous: None,
            inherited: None,
            doubt: None,
            belief: None,
            clearance: Clearance::None,
            in_stock: false,
            earliest: None,
            target_known: None,
            waited: false,
            blocked: None,
            has_acted: false,
            looks_early: false,
            accepted: None,
            retry_until,
            stop: Arc::default(),
            attempts: 0,
            tries: 0,
            sends: 0,
            rested: false,
            unseen: None,
            retry_at: None,
            holds_target: false,
            retries: false,
            pass: Permit::default(),
            paid: false,
            reserved: None,
            place,
            bytes,
            history_bytes: 0,
        }
    }
}
