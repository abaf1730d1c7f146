//! Thins floods out: of what happens for one reason, so much is told at once and then a little with
//! time. What is not told is counted, and the counts are told now and then.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::limits;

/// What may come in floods, by reason. Whoever can bring a flood about cannot fill a disk with it,
/// and floods for one reason leave others alone.
#[derive(Debug)]
pub struct Thinning<K> {
    by_reason: BTreeMap<K, Flow>,
    /// When counts were told last.
    counted: Option<Instant>,
}

/// What happens for one reason: a token bucket, and what found it empty.
#[derive(Debug)]
struct Flow {
    left: f64,
    at: Instant,
    suppressed: u64,
}

impl<K> Default for Thinning<K> {
    fn default() -> Self {
        Self {
            by_reason: BTreeMap::new(),
            counted: None,
        }
    }
}

impl<K: Copy + Ord> Thinning<K> {
    /// Whether one more is told. One that is not is counted.
    pub fn passes(&mut self, reason: K, now: Instant) -> bool {
        let flow = self.flow(reason, now);
        let passed = now.saturating_duration_since(flow.at).as_secs_f64();
        let more = passed * limits::REFUSALS_PER_SECOND;
        flow.left = (flow.left + more).min(limits::REFUSALS_BURST);
        flow.at = now;
        let passes = flow.left >= 1.0;
        if passes {
            flow.left -= 1.0;
        } else {
            flow.suppressed = flow.suppressed.saturating_add(1);
        }
        passes
    }

    /// If one more is told, for how many of its reason it stands beside itself: those that were not
    /// told since the last one that was.
    pub fn passes_for(&mut self, reason: K, now: Instant) -> Option<u64> {
        self.passes(reason, now)
            .then(|| std::mem::take(&mut self.flow(reason, now).suppressed))
    }

    /// Counts what could not be told for another reason.
    pub fn count(&mut self, reason: K, times: u64, now: Instant) {
        let flow = self.flow(reason, now);
        flow.suppressed = flow.suppressed.saturating_add(times);
    }

    /// Whether there is something that was only counted.
    #[must_use]
    pub fn has_counts(&self) -> bool {
        self.by_reason.values().any(|flow| flow.suppressed > 0)
    }

    /// Takes the counts, by reason; nothing if it is too soon after the last time, unless it is
    /// `all` that is wanted.
    pub fn take_counts(&mut self, all: bool, now: Instant) -> Vec<(K, u64)> {
        let interval = Duration::from_secs(limits::REFUSALS_COUNTED_SECONDS);
        let is_due = |counted| now.saturating_duration_since(counted) >= interval;
        if !all && !self.counted.is_none_or(is_due) {
            return Vec::new();
        }
        let counts: Vec<_> = self
            .by_reason
            .iter_mut()
            .map(|(reason, flow)| (*reason, std::mem::take(&mut flow.suppressed)))
            .filter(|(_, count)| *count > 0)
            .collect();
        if !counts.is_empty() {
            self.counted = Some(now);
        }
        counts
    }

    fn flow(&mut self, reason: K, now: Instant) -> &mut Flow {
        self.by_reason.entry(reason).or_insert_with(|| Flow {
            left: limits::REFUSALS_BURST,
            at: now,
            suppressed: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many at once are told.
    fn told(thinning: &mut Thinning<char>, reason: char, times: usize, now: Instant) -> usize {
        let passed = (0..times).filter(|_| thinning.passes(reason, now));
        passed.count()
    }

    #[test]
    fn a_flood_is_thinned_out_and_all_of_it_is_counted() {
        let mut thinning = Thinning::default();
        let now = Instant::now();
        assert_eq!(told(&mut thinning, 'a', 10_000, now), 50);
        assert_eq!(told(&mut thinning, 'b', 1, now), 1, "others pass it by");
        assert_eq!(thinning.take_counts(false, now), [('a', 10_000 - 50)]);
        assert!(!thinning.has_counts());

        let now = now + Duration::from_secs(30);
        assert_eq!(told(&mut thinning, 'a', 100, now), 0, "one a minute");
        assert_eq!(thinning.take_counts(false, now), [], "now and then");
        assert!(thinning.has_counts());
        let now = now + Duration::from_secs(600);
        assert_eq!(told(&mut thinning, 'a', 100, now), 10, "more with time");
        thinning.count('b', 3, now);
        assert_eq!(thinning.take_counts(false, now), [('a', 190), ('b', 3)]);
        assert_eq!(told(&mut thinning, 'a', 1, now), 0);
        assert_eq!(thinning.take_counts(true, now), [('a', 1)], "at the end");
    }

    #[test]
    fn a_line_can_stand_for_those_that_had_none() {
        let mut thinning = Thinning::default();
        let now = Instant::now();
        told(&mut thinning, 'a', 60, now);
        assert_eq!(thinning.passes_for('a', now), None);
        let now = now + Duration::from_secs(90);
        assert_eq!(thinning.passes_for('a', now), Some(11));
        assert_eq!(thinning.passes_for('b', now), Some(0));
        assert!(!thinning.has_counts());
    }

    #[test]
    fn a_flood_of_a_day_tells_little() {
        const DAY: u64 = 24 * 60 * 60;
        let mut thinning = Thinning::default();
        let begun = Instant::now();
        let mut lines = 0;
        for seconds in (0..DAY).step_by(10) {
            let now = begun + Duration::from_secs(seconds);
            lines += told(&mut thinning, 'a', 20, now);
            lines += thinning.take_counts(false, now).len();
        }
        let minutes = usize::try_from(DAY / 60).unwrap();
        let most = 50 + 2 * minutes;
        assert!((minutes..=most).contains(&lines), "{lines}");
    }
}
