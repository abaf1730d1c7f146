//! Metrics of one account.

use super::counters::{Counter, Flag, Histogram, Tally};
use crate::domain::outcome::{FailureReason, Outcome};

/// The result of an HTTP request to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultClass {
    /// A success.
    Ok,
    /// A redirect, which is not followed.
    Redirect,
    /// A fault of the request (4xx), including throttling.
    ClientError,
    /// A fault of the provider (5xx).
    ServerError,
    /// No byte was sent.
    NotSent,
    /// It may have been received, and there is no reply.
    InDoubt,
}

impl ResultClass {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Ok,
        Self::Redirect,
        Self::ClientError,
        Self::ServerError,
        Self::NotSent,
        Self::InDoubt,
    ];

    /// The class of an HTTP status.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            ..300 => Self::Ok,
            300..400 => Self::Redirect,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "2xx",
            Self::Redirect => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::NotSent => "not_sent",
            Self::InDoubt => "in_doubt",
        }
    }
}

/// The metrics of one account.
#[derive(Debug)]
pub struct AccountMeters {
    /// HTTP requests by result.
    pub requests: Tally<ResultClass>,
    /// Their durations, with or without a reply.
    pub request_time: Histogram,
    /// Replies that asked for a pause.
    pub throttles: Counter,
    /// Recorded outcomes.
    pub outcomes: Tally<Outcome>,
    /// Recorded failures by reason.
    pub failures: Tally<FailureReason>,
    /// Time from an item's admission or recovery to its recorded outcome.
    pub settle_time: Histogram,
    /// Finished dry runs.
    pub dry_runs: Counter,
    /// Requests with an effect whose reply was lost, so that their fate is unknown.
    pub lost_answers: Counter,
    /// Replies of something other than the provider.
    pub foreign_answers: Counter,
    /// Whether an outcome needs the account to have described a subscription, and it has described
    /// none yet.
    pub unproven: Flag,
}

impl Default for AccountMeters {
    fn default() -> Self {
        Self {
            requests: Tally::new(&ResultClass::ALL),
            request_time: Histogram::of_calls(),
            throttles: Counter::default(),
            outcomes: Tally::new(&Outcome::ALL),
            failures: Tally::new(&FailureReason::ALL),
            settle_time: Histogram::of_work(),
            dry_runs: Counter::default(),
            lost_answers: Counter::default(),
            foreign_answers: Counter::default(),
            unproven: Flag::default(),
        }
    }
}

/// Where an account's open items wait, at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitMeter {
    /// In a queue; no request of them has failed.
    pub first: usize,
    /// In a queue; their last try failed.
    pub retry: usize,
    /// Delayed until a time.
    pub parked: usize,
    /// Waiting for another item with the same target.
    pub target: usize,
}
