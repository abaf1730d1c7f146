//! Lock-free counters and histograms.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// A monotonic counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The current value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A boolean gauge.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// Sets the value.
    pub fn set(&self, is_so: bool) {
        self.0.store(is_so, Ordering::Relaxed);
    }

    /// The current value.
    #[must_use]
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter for each of a fixed set of kinds.
#[derive(Debug)]
pub struct Tally<K>(Box<[(K, Counter)]>);

impl<K: Copy + PartialEq> Tally<K> {
    /// Counters of these kinds, at zero.
    #[must_use]
    pub fn new(kinds: &[K]) -> Self {
        Self(
            kinds
                .iter()
                .map(|kind| (*kind, Counter::default()))
                .collect(),
        )
    }

    /// Adds one to a kind.
    pub fn inc(&self, kind: K) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == kind) {
            counter.inc();
        }
    }

    /// All kinds with their values.
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)> {
        self.0.iter().map(|(kind, counter)| (*kind, counter.get()))
    }
}

/// A histogram of integers, such as nanoseconds.
#[derive(Debug)]
pub struct Histogram {
    /// Inclusive upper bounds, each with the count since the bound before.
    buckets: Box<[(u64, AtomicU64)]>,
    beyond: AtomicU64,
    sum: AtomicU64,
    /// Raw units per exported unit (1e9 ns per s).
    per_unit: u64,
}

/// A histogram at one moment, in exported units: seconds, or things.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Sum of all values.
    pub sum: f64,
    /// Number of values.
    pub count: u64,
    /// Inclusive upper bounds, the last one infinite, each with the count since the bound before.
    pub buckets: Vec<(f64, u64)>,
}

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

impl Histogram {
    /// For calls and requests: 1 ms to 5 min.
    #[must_use]
    pub fn of_calls() -> Self {
        const MS: [u64; 16] = [
            1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000,
            300_000,
        ];
        Self::new(&MS.map(|ms| ms * MILLISECOND), SECOND)
    }

    /// For work that may wait through an outage: 10 ms to 1 day.
    #[must_use]
    pub fn of_work() -> Self {
        const MS: [u64; 16] = [
            10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 15_000, 60_000, 300_000, 900_000,
            3_600_000, 14_400_000, 86_400_000,
        ];
        Self::new(&MS.map(|ms| ms * MILLISECOND), SECOND)
    }

    /// For disk writes: 0.1 ms to 5 s.
    #[must_use]
    pub fn of_writes() -> Self {
        const TENTHS: [u64; 14] = [
            1, 2, 5, 10, 20, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000,
        ];
        Self::new(&TENTHS.map(|tenths| tenths * MILLISECOND / 10), SECOND)
    }

    /// For sizes of groups: 1 to 16,384.
    #[must_use]
    pub fn of_groups() -> Self {
        Self::new(
            &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096, 16_384],
            1,
        )
    }

    fn new(bounds: &[u64], per_unit: u64) -> Self {
        Self {
            buckets: bounds
                .iter()
                .map(|bound| (*bound, AtomicU64::new(0)))
                .collect(),
            beyond: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            per_unit,
        }
    }

    /// Adds a duration.
    pub fn time(&self, took: Duration) {
        self.enter(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds a number of things.
    pub fn count(&self, things: usize) {
        self.enter(u64::try_from(things).unwrap_or(u64::MAX));
    }

    fn enter(&self, quantity: u64) {
        let fits = self.buckets.iter().find(|(bound, _)| quantity <= *bound);
        fits.map_or(&self.beyond, |(_, bucket)| bucket)
            .fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(quantity, Ordering::Relaxed);
    }

    /// The current values.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let unit = float(self.per_unit);
        let mut buckets: Vec<_> = self
            .buckets
            .iter()
            .map(|(bound, seen)| (float(*bound) / unit, seen.load(Ordering::Relaxed)))
            .collect();
        buckets.push((f64::INFINITY, self.beyond.load(Ordering::Relaxed)));
        Snapshot {
            sum: float(self.sum.load(Ordering::Relaxed)) / unit,
            count: buckets.iter().map(|(_, seen)| seen).sum(),
            buckets,
        }
    }
}

/// The nearest float of an integer.
fn float(number: u64) -> f64 {
    let half = |half: u64| u32::try_from(half).map_or(0.0, f64::from);
    half(number >> 32).mul_add(4_294_967_296.0, half(number & u64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let seen = Histogram::of_calls();
        for ms in [1, 2, 3, 5_000, 5_001, 300_001] {
            seen.time(Duration::from_millis(ms));
        }
        let snapshot = seen.snapshot();
        let met: Vec<_> = snapshot
            .buckets
            .iter()
            .filter(|(_, seen)| *seen > 0)
            .copied()
            .collect();
        assert_eq!(
            met,
            [
                (0.001, 1),
                (0.002, 1),
                (0.005, 1),
                (5.0, 1),
                (10.0, 1),
                (f64::INFINITY, 1)
            ]
        );
        assert_eq!(snapshot.count, 6);
        assert!((snapshot.sum - 310.008).abs() < 1e-9, "{}", snapshot.sum);
    }

    #[test]
    fn bounds_are_the_floats_that_people_write() {
        for (snapshot, bounds) in [
            (Histogram::of_writes().snapshot(), [0.0001, 0.0002, 0.0005]),
            (Histogram::of_groups().snapshot(), [1.0, 2.0, 4.0]),
            (Histogram::of_work().snapshot(), [0.01, 0.025, 0.05]),
        ] {
            let first: Vec<_> = snapshot
                .buckets
                .iter()
                .take(3)
                .map(|(bound, _)| *bound)
                .collect();
            assert_eq!(first, bounds);
        }
        assert_eq!(float(u64::MAX), 18_446_744_073_709_551_616.0);
    }
}
