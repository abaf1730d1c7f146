//! Exponential backoff with full jitter.

use std::time::Duration;

/// A growing wait between tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first wait.
    pub base: Duration,
    /// Maximum of the upper bound.
    pub max: Duration,
}

impl Backoff {
    /// The wait after `tries` tries (1 or more): between zero and the upper bound, so that items
    /// that failed together do not retry together.
    #[must_use]
    pub fn wait(&self, tries: u32, rng: &mut fastrand::Rng) -> Duration {
        let doublings = tries.saturating_sub(1).min(32);
        let upper = self
            .base
            .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
        let upper = u64::try_from(upper.min(self.max).as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(rng.u64(0..=upper))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_highest_and_differ() {
        let backoff = Backoff {
            base: Duration::from_millis(100),
            max: Duration::from_millis(1_000),
        };
        let mut rng = fastrand::Rng::with_seed(7);
        for (tries, upper_ms) in [(1, 100), (2, 200), (3, 400), (5, 1_000), (u32::MAX, 1_000)] {
            let waits: Vec<_> = (0..200).map(|_| backoff.wait(tries, &mut rng)).collect();
            assert!(
                waits
                    .iter()
                    .all(|wait| *wait <= Duration::from_millis(upper_ms))
            );
            assert!(
                waits
                    .iter()
                    .any(|wait| *wait > Duration::from_millis(upper_ms / 2))
            );
            assert!(
                waits
                    .iter()
                    .any(|wait| *wait < Duration::from_millis(upper_ms / 2))
            );
        }
    }
}
