//! What a run begins with. Everything else of it is what happens on its way.

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

/// What is known of an item before its run.
#[derive(Debug)]
pub(in crate::engine) struct WorkItemStart<'a> {
    /// Where its outcome goes.
    pub(in crate::engine) origin: Origin,
    /// The request that it was admitted by.
    pub(in crate::engine) from: observe::RequestContext,
    /// Whose it is.
    pub(in crate::engine) scope: &'a Scope,
    /// Its key: its own or the derived one.
    pub(in crate::engine) key: &'a Key,
    /// The batch that it has its turns with.
    pub(in crate::engine) batch: BatchId,
    /// What to do.
    pub(in crate::engine) command: Arc<Command>,
    /// How long to keep trying.
    pub(in crate::engine) retry_until: Timestamp,
    /// Its place among the open items, or among the dry runs.
    pub(in crate::engine) place: Reservation,
    /// Its share of the bytes that they may take.
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
