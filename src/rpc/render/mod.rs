//! From the domain's types to messages.

mod account;
mod answer;
mod command;
mod record;
mod result;

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::proto;
use crate::domain::{ids::Kind, outcome::Outcome};

pub(crate) use self::command::{enrollments_command, subscription_command};
pub(super) use self::{
    account::account,
    record::{progress, record},
    result::{enrollment_result, subscription_result},
};

/// A time in the proto's form.
pub(super) fn time(time: Timestamp) -> prost_types::Timestamp {
    // Both count nanoseconds in the direction of the seconds for times before 1970; the proto
    // counts forward.
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    if nanos < 0 {
        prost_types::Timestamp {
            seconds: seconds - 1,
            nanos: nanos + 1_000_000_000,
        }
    } else {
        prost_types::Timestamp { seconds, nanos }
    }
}

/// An outcome in the proto's form.
pub(super) fn outcome(outcome: Outcome) -> proto::Outcome {
    match outcome {
        Outcome::Canceled => proto::Outcome::Canceled,
        Outcome::Scheduled => proto::Outcome::Scheduled,
        Outcome::AlreadyCanceled => proto::Outcome::AlreadyCanceled,
        Outcome::AlreadyScheduled => proto::Outcome::AlreadyScheduled,
        Outcome::Previewed => proto::Outcome::Previewed,
        Outcome::NotFound => proto::Outcome::NotFound,
        Outcome::Rejected => proto::Outcome::Rejected,
        Outcome::Unavailable => proto::Outcome::Unavailable,
        Outcome::InDoubt => proto::Outcome::InDoubt,
        Outcome::Stopped => proto::Outcome::Stopped,
    }
}

/// Counts in the order of the outcomes.
pub(super) fn outcome_counts(counts: &BTreeMap<Outcome, u32>) -> Vec<proto::OutcomeCount> {
    counts
        .iter()
        .map(|(o, count)| proto::OutcomeCount {
            outcome: outcome(*o).into(),
            count: *count,
        })
        .collect()
}

/// A kind in the proto's form.
pub(super) fn kind(kind: Kind) -> proto::CancellationKind {
    match kind {
        Kind::Subscription => proto::CancellationKind::Subscription,
        Kind::Enrollments => proto::CancellationKind::Enrollments,
    }
}
