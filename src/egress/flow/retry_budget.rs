//! Retry budget: retries are limited to a share of first requests, so that a provider in trouble
//! gets no more load than a healthy one.
//!
//! A retry that is answered gets its token back, so only failing retries use up the budget. Once
//! the provider has recovered, waiting items are sent as fast as it answers.

use std::time::Duration;

use tokio::time::Instant;

/// Options of a retry budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudgetOptions {
    /// Retries earned by each first request, such as 0.2.
    pub per_request: f64,
    /// Retries earned per second without any traffic, so that a single item makes progress too.
    pub per_second: f64,
    /// Maximum of saved retries, 1 or more.
    pub saved_max: f64,
}

/// The retry budget of one account. Time is an argument.
#[derive(Debug)]
pub struct RetryBudget {
    share: RetryBudgetOptions,
    tokens: f64,
    counted_at: Option<Instant>,
    /// Retries are waiting for a token.
    holds: bool,
    held: u64,
}

impl RetryBudget {
    /// A full budget.
    #[must_use]
    pub fn new(share: RetryBudgetOptions) -> Self {
        Self {
            share,
            tokens: share.saved_max,
            counted_at: None,
            holds: false,
            held: 0,
        }
    }

    /// Records a first request.
    pub fn sent_first(&mut self) {
        self.add(self.share.per_request);
    }

    /// When a retry may be sent, if nothing else is earned before; `None` for now.
    pub fn retry_at(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        let missing = 1.0 - self.tokens;
        let held_before = std::mem::replace(&mut self.holds, missing > 0.0);
        if missing <= 0.0 {
            return None;
        }
        self.held += u64::from(!held_before);
        let wait = Duration::try_from_secs_f64(missing / self.share.per_second);
        // Rounded up, so that the token is there at that time.
        Some(now + wait.unwrap_or(Duration::MAX / 4).min(DAY) + Duration::from_micros(1))
    }

    /// How often retries had to start waiting for a token.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Takes a token for a retry.
    pub fn sent_again(&mut self, now: Instant) {
        self.refill(now);
        self.tokens -= 1.0;
    }

    /// Records that a retry was answered: returns its token, and earns like a first request.
    pub fn retry_answered(&mut self) {
        self.add(1.0 + self.share.per_request);
    }

    /// Returns the token of a retry that was not sent.
    pub fn unused(&mut self) {
        self.add(1.0);
    }

    fn refill(&mut self, now: Instant) {
        let since = self.counted_at.replace(now);
        let passed = since.map_or(Duration::ZERO, |then| now.saturating_duration_since(then));
        self.add(passed.as_secs_f64() * self.share.per_second);
    }

    fn add(&mut self, tokens: f64) {
        self.tokens = (self.tokens + tokens).min(self.share.saved_max);
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: RetryBudgetOptions = RetryBudgetOptions {
        per_request: 0.2,
        per_second: 1.0,
        saved_max: 10.0,
    };

    /// Sends as many of `wanted` retries as the budget allows.
    fn retries(budget: &mut RetryBudget, now: Instant, wanted: u32) -> u32 {
        let mut sent = 0;
        while sent < wanted && budget.retry_at(now).is_none() {
            budget.sent_again(now);
            sent += 1;
        }
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn retries_that_fail_are_a_fifth_of_what_is_sent_and_a_floor() {
        let mut now = Instant::now();
        let mut budget = RetryBudget::new(SHARE);
        assert_eq!(retries(&mut budget, now, 1_000), 10, "what was saved");
        let mut sent = 0;
        for _ in 0..1_000 {
            budget.sent_first();
            sent += retries(&mut budget, now, 1_000);
        }
        assert!((199..=200).contains(&sent), "{sent}");
        now += Duration::from_secs(5);
        let floor = retries(&mut budget, now, 1_000);
        assert!((5..=6).contains(&floor), "{floor}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_that_is_answered_costs_nothing() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(SHARE);
        retries(&mut budget, now, 9);
        for _ in 0..1_000 {
            assert_eq!(retries(&mut budget, now, 1), 1);
            budget.retry_answered();
        }
        assert_eq!(retries(&mut budget, now, 1_000), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_as_long_as_it_says_finds_a_token() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(SHARE);
        retries(&mut budget, now, 1_000);
        let at = budget.retry_at(now).unwrap();
        assert!(at - now <= Duration::from_millis(1_001));
        assert_eq!(budget.retry_at(at), None);
    }
}
