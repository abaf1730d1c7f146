//! Records: of one cancellation, and of a batch.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{
    enrollments_command, kind, outcome_counts,
    result::{Common, enrollments, subscription},
    subscription_command, time,
};
use crate::{
    domain::{
        command::Command,
        opaque::Names,
        outcome::{Outcome, Settled},
    },
    journal::Record,
    rpc::proto,
};

/// A whole record. `is_settling` says whether an open one settles a doubt.
pub(in crate::rpc) fn record(
    record: &Record,
    names: &Names,
    is_settling: bool,
    with_answer: bool,
) -> proto::Cancellation {
    use proto::cancellation::{Command as C, Result as R};
    let common = match &record.settled {
        Some(settled) => Common::settled(settled, false, with_answer),
        None => Common::open(),
    };
    let (index, key) = (record.id.index, &record.key);
    let (asked, result) = match &*record.command {
        Command::Subscription(command) => (
            C::Subscription(subscription_command(command)),
            R::SubscriptionResult(subscription(index, key, &record.command, common)),
        ),
        Command::Enrollments(command) => (
            C::Enrollments(enrollments_command(command)),
            R::EnrollmentResult(enrollments(index, key, &record.command, common)),
        ),
    };
    proto::Cancellation {
        kind: kind(record.scope.kind).into(),
        idempotency_key: key.as_str().to_owned(),
        request_key: record.request_key.as_str().to_owned(),
        batch_id: names.of(record.id.batch).to_string(),
        caller: record.scope.caller.as_str().to_owned(),
        admitted_time: Some(time(record.admitted_at)),
        open: record.settled.is_none(),
        command: Some(asked),
        result: Some(result),
        settling: is_settling && record.settled.is_none(),
    }
}

/// A batch's progress from its records, and from which of its items settle a doubt.
pub(in crate::rpc) fn progress(
    batch_id: String,
    records: &[Option<Record>],
    settling: &HashSet<u32>,
) -> proto::Progress {
    let mut outcomes: BTreeMap<Outcome, u32> = BTreeMap::new();
    let settled = |record: &Record| record.settled.clone();
    for settled in records.iter().flatten().filter_map(settled) {
        let settled: Arc<Settled> = settled;
        *outcomes.entry(settled.conclusion.outcome).or_default() += 1;
    }
    let is_settling =
        |record: &&Record| record.settled.is_none() && settling.contains(&record.id.index);
    let settling = records.iter().flatten().filter(is_settling).count();
    proto::Progress {
        batch_id,
        total: u32::try_from(records.len()).unwrap_or(u32::MAX),
        settled: outcomes.values().sum(),
        outcomes: outcome_counts(&outcomes),
        settling: u32::try_from(settling).unwrap_or(u32::MAX),
    }
}
