//! What is submitted, and why it may not be taken on.

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

/// A parsed and checked request.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Whose keys.
    pub scope: Scope,
    /// The request's key.
    pub key: Key,
    /// Its items, in order.
    pub items: Vec<SubmittedItem>,
    /// How long to keep trying; `None` for the service's default.
    pub retry_window: Option<Duration>,
    /// Whether replayed outcomes have the providers' answers.
    pub with_answers: bool,
    /// What its new items are counted against; `None` for no limit.
    pub quota: Option<Arc<HourlyQuota>>,
    /// Ends the connection that its results are sent on, if there is one that can be ended.
    pub hangup: Option<Hangup>,
    /// Which request of the caller's it is.
    pub from: observe::RequestContext,
}

/// One item of a request.
#[derive(Debug, Clone)]
pub struct SubmittedItem {
    /// Its own key; `None` for the derived one.
    pub key: Option<Key>,
    /// What to do.
    pub command: Arc<Command>,
    /// Whether to do it.
    pub mode: Mode,
}

impl SubmittedItem {
    /// Its key in a request with this key, at this place.
    #[must_use]
    pub fn key_at(&self, request_key: &Key, place: u32) -> Key {
        self.key
            .clone()
            .unwrap_or_else(|| request_key.derive(place))
    }
}

/// Why a request was not taken on. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Keys were used before with other content.
    #[error("keys were used before with other content")]
    Conflict(Vec<Conflict>),
    /// Too much is open.
    #[error("the service is full: {0}")]
    Full(String),
    /// The caller has no room for so many new items in this hour.
    #[error(transparent)]
    OverQuota(#[from] Exhausted),
    /// The journal's disk is full.
    #[error(transparent)]
    NoRoom(#[from] DiskFull),
    /// The audit is too far behind.
    #[error(transparent)]
    Behind(#[from] OutboxFull),
    /// The audit has no room for more of this caller.
    #[error(transparent)]
    Overfull(#[from] Overfull),
    /// It would take more than its caller can ever have.
    #[error("the request would take {0}, more than there are for one caller; split it")]
    Oversized(String),
    /// The service is about to stop.
    #[error("the service is draining; send the same request again in a moment")]
    Draining,
    /// What its keys lead to cannot be read.
    #[error("{0}")]
    Damaged(Unavailable),
    /// The journal cannot write or read.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl SubmitError {
    /// By the words of the metric.
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
