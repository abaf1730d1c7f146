//! What is counted of one account.

use super::counters::{Counter, Flag, Histogram, Tally};
use crate::domain::outcome::{FailureReason, Outcome};

/// What one HTTP request to a provider came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultClass {
    /// A success.
    Ok,
    /// A redirect, which is not followed.
    Redirect,
    /// The request's fault (4xx), throttling included.
    ClientError,
    /// The provider's fault (5xx).
    ServerError,
    /// Not a byte was sent.
    NotSent,
    /// It may have been received, and there is no answer.
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

    /// What an answer with this HTTP status is.
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

/// What is counted of one account.
#[derive(Debug)]
pub struct AccountMeters {
    /// HTTP requests by what they came to.
    pub requests: Tally<ResultClass>,
    /// How long they took, answered or not.
    pub request_time: Histogram,
    /// Answers that asked for a pause.
    pub throttles: Counter,
    /// Recorded outcomes.
    pub outcomes: Tally<Outcome>,
    /// Recorded failures by reason.
    pub failures: Tally<FailureReason>,
    /// From an item's admission, or its recovery, to its recorded outcome.
    pub settle_time: Histogram,
    /// Dry runs that came to their end.
    pub dry_runs: Counter,
    /// Requests with an effect whose answer was lost, so that nobody knows what became of them.
    pub lost_answers: Counter,
    /// Answers of something that is not the provider.
    pub foreign_answers: Counter,
    /// Whether an outcome has waited for the account to describe a subscription, and none has been
    /// described yet.
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

/// Where an account's open items are at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WaitMeter {
    /// In line, nothing of them has failed.
    pub first: usize,
    /// In line, their last try failed.
    pub retry: usize,
    /// Set aside until a time.
    pub parked: usize,
    /// Behind another item with the same target.
    pub target: usize,
}
