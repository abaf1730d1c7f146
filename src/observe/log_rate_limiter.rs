//! Log rate limiter: for each reason a burst of events is logged, and then a few over time.
//! Suppressed events are counted, and the next logged one says how many there were.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::limits;

/// A rate limiter with a token bucket per reason. A flood cannot fill the disk, and a flood of one
/// reason does not suppress others.
#[derive(Debug)]
pub struct LogRateLimiter<K> {
    by_reason: BTreeMap<K, Flow>,
}

/// A token bucket, and the number of events that found it empty.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) left: f64,
    pub(super) at: Instant,
    pub(super) suppressed: u64,
}

impl Flow {
    /// A full bucket.
    pub(super) fn new(burst: f64, now: Instant) -> Self {
        Self {
            left: burst,
            at: now,
            suppressed: 0,
        }
    }

    /// Adds the tokens of the time that has passed.
    pub(super) fn refill(&mut self, per_second: f64, burst: f64, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * per_second).min(burst);
        self.at = now;
    }
}

/// Whether counts are due that were last logged at this time.
pub(super) fn is_due(counted: Option<Instant>, now: Instant) -> bool {
    let interval = Duration::from_secs(limits::REFUSALS_COUNTED_SECONDS);
    counted.is_none_or(|counted| now.saturating_duration_since(counted) >= interval)
}

impl<K> Default for LogRateLimiter<K> {
    fn default() -> Self {
        Self {
            by_reason: BTreeMap::new(),
        }
    }
}

impl<K: Copy + Ord> LogRateLimiter<K> {
    /// Whether to log an event. If not, it is counted.
    pub fn passes(&mut self, reason: K, now: Instant) -> bool {
        let flow = self.flow(reason, now);
        flow.refill(limits::REFUSALS_PER_SECOND, limits::REFUSALS_BURST, now);
        let passes = flow.left >= 1.0;
        if passes {
            flow.left -= 1.0;
        } else {
            flow.suppressed = flow.suppressed.saturating_add(1);
        }
        passes
    }

    /// If this event is logged: how many of its kind were suppressed since the last logged one.
    pub fn passes_for(&mut self, reason: K, now: Instant) -> Option<u64> {
        self.passes(reason, now)
            .then(|| std::mem::take(&mut self.flow(reason, now).suppressed))
    }

    fn flow(&mut self, reason: K, now: Instant) -> &mut Flow {
        let new = || Flow::new(limits::REFUSALS_BURST, now);
        self.by_reason.entry(reason).or_insert_with(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `times` events at once are logged.
    fn told(
        thinning: &mut LogRateLimiter<char>,
        reason: char,
        times: usize,
        now: Instant,
    ) -> usize {
        let passed = (0..times).filter(|_| thinning.passes(reason, now));
        passed.count()
    }

    #[test]
    fn a_flood_is_thinned_out_and_leaves_others_alone() {
        let mut thinning = LogRateLimiter::default();
        let now = Instant::now();
        assert_eq!(told(&mut thinning, 'a', 10_000, now), 50);
        assert_eq!(told(&mut thinning, 'b', 1, now), 1, "others pass it by");
        let now = now + Duration::from_secs(30);
        assert_eq!(told(&mut thinning, 'a', 100, now), 0, "one a minute");
        let now = now + Duration::from_secs(600);
        assert_eq!(told(&mut thinning, 'a', 100, now), 10, "more with time");
    }

    #[test]
    fn a_line_can_stand_for_those_that_had_none() {
        let mut thinning = LogRateLimiter::default();
        let now = Instant::now();
        told(&mut thinning, 'a', 60, now);
        assert_eq!(thinning.passes_for('a', now), None);
        let now = now + Duration::from_secs(90);
        assert_eq!(thinning.passes_for('a', now), Some(11));
        assert_eq!(thinning.passes_for('b', now), Some(0));
    }
}
