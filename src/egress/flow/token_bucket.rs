//! Token bucket (GCRA): a rate of requests with a burst.

use std::time::Duration;

use tokio::time::Instant;

/// A rate limit that is never exceeded. Time is an argument.
#[derive(Debug)]
pub struct TokenBucket {
    interval: Duration,
    tolerance: Duration,
    /// When the next request is due at exactly the rate.
    due: Option<Instant>,
}

impl TokenBucket {
    /// `per_second` requests per second, up to `burst` (1 or more) at once. If the rate is not a
    /// positive number, one request per day is allowed.
    #[must_use]
    pub fn new(per_second: f64, burst: u32) -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        let interval = Duration::try_from_secs_f64(1.0 / per_second).map_or(day, |i| i.min(day));
        Self {
            interval,
            tolerance: interval.saturating_mul(burst.saturating_sub(1)),
            due: None,
        }
    }

    /// Requests that may be sent at once now. If negative, the number of reserved requests that are
    /// not due yet.
    #[must_use]
    pub fn level(&self, now: Instant) -> f64 {
        let whole = self.tolerance + self.interval;
        let ahead = self
            .due
            .map_or(Duration::ZERO, |due| due.saturating_duration_since(now));
        (whole.as_secs_f64() - ahead.as_secs_f64()) / self.interval.as_secs_f64()
    }

    /// Lowers the level to `tokens`, if it is higher.
    pub fn begin_with(&mut self, tokens: f64, now: Instant) {
        let missing = self.level(now) - tokens.max(0.0);
        if missing > 0.0 {
            let due = self.due.map_or(now, |due| due.max(now));
            self.due = Some(due + self.interval.mul_f64(missing));
        }
    }

    /// When a request may be sent, if no other is sent before.
    #[must_use]
    pub fn ready_at(&self, now: Instant) -> Instant {
        self.due
            .and_then(|due| due.checked_sub(self.tolerance))
            .map_or(now, |at| at.max(now))
    }

    /// Takes a token. Returns when the request may be sent, which may be later than now.
    pub fn reserve(&mut self, now: Instant) -> Instant {
        let at = self.ready_at(now);
        self.due = Some(self.due.map_or(now, |due| due.max(now)) + self.interval);
        at
    }

    /// Takes a token if one is available now. Whether there was one.
    pub fn try_take(&mut self, now: Instant) -> bool {
        if self.ready_at(now) > now {
            return false;
        }
        self.reserve(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_then_the_rate_holds() {
        let mut bucket = TokenBucket::new(10.0, 3);
        let start = Instant::now();
        assert_eq!((0..10).filter(|_| bucket.try_take(start)).count(), 3);
        assert_eq!(bucket.ready_at(start), start + Duration::from_millis(100));
        let second_later = start + Duration::from_secs(1);
        let within = (0..1_000_u32)
            .filter(|i| bucket.try_take(start + Duration::from_millis(u64::from(*i))))
            .count();
        assert!((9..=10).contains(&within), "{within}");
        assert!(bucket.ready_at(second_later) >= second_later);
    }

    #[tokio::test(start_paused = true)]
    async fn reservations_line_up_at_the_rate() {
        let mut bucket = TokenBucket::new(2.0, 1);
        let start = Instant::now();
        let waits: Vec<_> = (0..4).map(|_| bucket.reserve(start) - start).collect();
        assert_eq!(waits, [0, 500, 1_000, 1_500].map(Duration::from_millis));
        assert!(!bucket.try_take(start));
    }
}
