//! The truth about the enrollments of a target, and the calls that are under way.

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::domain::http_exchange::Request;

/// Enrollments that one call cancels.
const PER_CALL: usize = 2;
/// Milliseconds by which a list lags behind.
const LIST_LAG_MS: i64 = 5_000;

pub(super) struct Model {
    /// When each was cancelled, by the provider's clock; `None` if it is active.
    enrollments: Vec<Option<Timestamp>>,
    /// How many of them our calls cancelled.
    pub(super) ours: u64,
    /// Milliseconds since the item was admitted.
    pub(super) now: u64,
    /// Seconds by which the provider's clock is wrong.
    skew: i64,
    /// Calls under way, and when they arrive.
    pub(super) late: Vec<(u64, Request)>,
}

impl Model {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let mut model = Self {
            enrollments: Vec::new(),
            ours: 0,
            now: 0,
            skew: [0, 0, 600, -600][rng.usize(..4)],
            late: Vec::new(),
        };
        let old = model.clock() - SignedDuration::from_hours(24 * 27);
        model.enrollments = (0..rng.usize(..6))
            .map(|_| rng.bool().then_some(old))
            .collect();
        model
    }

    pub(super) fn told(&self) -> String {
        let (open, ours, now) = (self.open(), self.ours, self.now);
        format!(
            "{open} of {} (ours: {ours}, at {now})",
            self.enrollments.len()
        )
    }

    pub(super) fn open(&self) -> usize {
        self.enrollments.iter().filter(|one| one.is_none()).count()
    }

    /// Whether any was cancelled since the item was admitted.
    pub(super) fn was_used_since(&self) -> bool {
        let long_before = self.clock() - SignedDuration::from_hours(24);
        let cancelled = self.enrollments.iter().flatten();
        cancelled.into_iter().any(|at| *at > long_before)
    }

    /// Our wall clock.
    pub(super) fn wall(&self) -> Timestamp {
        let admitted: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        admitted + std::time::Duration::from_millis(self.now)
    }

    /// The provider's clock.
    pub(super) fn clock(&self) -> Timestamp {
        self.wall() + SignedDuration::from_secs(self.skew)
    }

    /// Lets time pass; late calls arrive.
    pub(super) fn wait_until(&mut self, then: u64) {
        self.now = self.now.max(then);
        let late = std::mem::take(&mut self.late);
        let (due, late): (Vec<_>, Vec<_>) = late.into_iter().partition(|(at, _)| *at <= self.now);
        self.late = late;
        for (_, request) in due {
            let _ = self.take(&request);
        }
    }

    /// Cancels some active ones; returns how many.
    pub(super) fn cancel(&mut self, most: usize) -> usize {
        let now = self.clock();
        let open = self.enrollments.iter_mut().filter(|one| one.is_none());
        let canceled = open.take(most).map(|one| *one = Some(now));
        canceled.count()
    }

    /// Takes a request; returns the reply, if that arrives.
    pub(super) fn take(&mut self, request: &Request) -> Value {
        let matched = self.open();
        let dry = request.operation.0 == "count";
        if request.operation.0 == "look_enrollments" {
            let row = |at: &Timestamp| json!({"subscriberId": "sub_1", "status": "cancelled", "lastUpdatedAt": at});
            let shown_until = self.clock() - SignedDuration::from_millis(LIST_LAG_MS);
            let cancelled = self.enrollments.iter().flatten();
            let rows: Vec<_> = cancelled
                .filter(|at| **at <= shown_until)
                .map(row)
                .collect();
            return json!({"success": true, "enrollments": rows, "pagination": {"hasMore": false}});
        }
        let canceled = if dry { 0 } else { self.cancel(PER_CALL) };
        self.ours += u64::try_from(canceled).unwrap();
        json!({"success": true, "sequenceId": "seq_1", "dryRun": dry, "matchedCount": matched,
            "cancelledCount": canceled, "remainingCount": matched - canceled})
    }
}
