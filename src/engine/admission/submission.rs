//! A submitted request, and why it may be rejected.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{
        access::hourly_quota::{Exhausted, HourlyQuota},
        command::Command,
        ids::{Key, Scope},
    },
    engine::results::slow_consumers::Hangup,
    journal::{Conflict, DiskFull, OutboxFull, Overfull, Unavailable},
    observe::{self, Refusal},
    providers::Mode,
};

/// A parsed and validated request.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The caller, and the RPC whose keys are meant.
    pub scope: Scope,
    /// The request's key.
    pub key: Key,
    /// Its items, in order.
    pub items: Vec<SubmittedItem>,
    /// The retry window; `None` for the service's default.
    pub retry_window: Option<Duration>,
    /// Whether replayed outcomes include the providers' responses.
    pub with_answers: bool,
    /// The hourly quota that new items count against; `None` for no limit.
    pub quota: Option<Arc<HourlyQuota>>,
    /// Closes the connection that the results are sent on, if that is possible.
    pub hangup: Option<Hangup>,
    /// The context of the request, for logs, traces and the audit.
    pub from: observe::RequestContext,
}

/// One item of a request.
#[derive(Debug, Clone)]
pub struct SubmittedItem {
    /// Its own key; `None` for the derived one.
    pub key: Option<Key>,
    /// What to cancel.
    pub command: Arc<Command>,
    /// Whether to cancel or only to plan.
    pub mode: Mode,
}

impl SubmittedItem {
    /// The item's key: its own, or the one derived from the request's key and the item's index.
    #[must_use]
    pub fn key_at(&self, request_key: &Key, place: u32) -> Key {
        self.key
            .clone()
            .unwrap_or_else(|| request_key.derive(place))
    }
}

/// Why a request was rejected. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Keys were used before with other content.
    #[error("keys were used before with other content")]
    Conflict(Vec<Conflict>),
    /// A budget has too little left; the text names it.
    #[error("the service is full: {0}")]
    Full(String),
    /// The caller's hourly quota has no room for the new items.
    #[error(transparent)]
    OverQuota(#[from] Exhausted),
    /// The journal's disk is full.
    #[error(transparent)]
    NoRoom(#[from] DiskFull),
    /// The audit is too far behind the journal.
    #[error(transparent)]
    Behind(#[from] OutboxFull),
    /// The audit has no room for more of this caller.
    #[error(transparent)]
    Overfull(#[from] Overfull),
    /// It would take more than its caller can ever have.
    #[error("the request would take {0}, more than there are for one caller; split it")]
    Oversized(String),
    /// The service is stopping.
    #[error("the service is draining; send the same request again in a moment")]
    Draining,
    /// The records of its keys cannot be read.
    #[error("{0}")]
    Damaged(Unavailable),
    /// The journal cannot write or read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl SubmitError {
    /// The label of the rejection metric.
    pub(in crate::engine) fn refusal(&self) -> Refusal {
        match self {
            Self::Conflict(_) => Refusal::Conflict,
            Self::Full(_) => Refusal::Full,
            Self::OverQuota(_) => Refusal::OverQuota,
            Self::Behind(_) => Refusal::AuditBehind,
            Self::Overfull(_) => Refusal::AuditFull,
            Self::NoRoom(_) => Refusal::DiskFull,
            Self::Oversized(_) => Refusal::Oversized,
            Self::Draining => Refusal::Draining,
            Self::Damaged(_) | Self::Unavailable(_) => Refusal::JournalFailed,
        }
    }
}
