//! Circuit breaker: when most requests of an account fail, nothing but single probes is sent until
//! one of them succeeds.
//!
//! Closed means that traffic flows. An open breaker fails no item: items wait for it.

use std::time::Duration;

use tokio::time::Instant;

/// Number of latest replies that count.
const SEEN_MAX: u32 = 32;
/// Minimum of replies before it can open.
const SEEN_MIN: u32 = 10;
/// Time without a reply after which earlier replies are forgotten.
const MEMORY: Duration = Duration::from_secs(30);

/// Pauses before probes. Each failed probe doubles the next pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    /// Before the first probe.
    pub base: Duration,
    /// Maximum.
    pub max: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BreakerState {
    /// Traffic flows. `failures` has a bit for each of the latest replies, set for a failure.
    Closed {
        failures: u32,
        seen: u32,
        last: Option<Instant>,
    },
    /// Nothing is sent before `until`.
    Open { until: Instant },
    /// One probe is sent, and decides.
    HalfOpen { probing: bool },
}

const CALM: BreakerState = BreakerState::Closed {
    failures: 0,
    seen: 0,
    last: None,
};

/// The circuit breaker of one account. Time is an argument.
#[derive(Debug)]
pub struct CircuitBreaker {
    pauses: Pauses,
    state: BreakerState,
    /// How often it has opened since it was last closed.
    opened: u32,
    rng: fastrand::Rng,
}

/// Which requests may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerDecision {
    /// All.
    All,
    /// One probe.
    Probe,
    /// None before this time.
    NothingUntil(Instant),
    /// None until the probe that is under way has a result.
    NothingYet,
}

impl CircuitBreaker {
    /// A closed breaker. `seed` is for the jitter of its pauses.
    #[must_use]
    pub fn new(pauses: Pauses, seed: u64) -> Self {
        Self {
            pauses,
            state: CALM,
            opened: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Which requests may be sent now.
    #[must_use]
    pub fn admits(&self, now: Instant) -> BreakerDecision {
        match self.state {
            BreakerState::Closed { .. } => BreakerDecision::All,
            BreakerState::Open { until } if until > now => BreakerDecision::NothingUntil(until),
            BreakerState::Open { .. } | BreakerState::HalfOpen { probing: false } => {
                BreakerDecision::Probe
            }
            BreakerState::HalfOpen { probing: true } => BreakerDecision::NothingYet,
        }
    }

    /// Whether traffic flows.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, BreakerState::Closed { .. })
    }

    /// Records that the probe allowed by [`BreakerDecision::Probe`] is sent.
    pub fn probe(&mut self) {
        self.state = BreakerState::HalfOpen { probing: true };
    }

    /// Records that the probe ended without a request: another may be sent.
    pub fn probe_unused(&mut self) {
        if self.state == (BreakerState::HalfOpen { probing: true }) {
            self.state = BreakerState::HalfOpen { probing: false };
        }
    }

    /// Records a reply. Returns whether that closed the breaker.
    pub fn succeeded(&mut self, now: Instant) -> bool {
        let closes = !self.is_closed();
        if closes {
            self.state = CALM;
            self.opened = 0;
        }
        self.saw(now, false);
        closes
    }

    /// Records a failure; `was_probe` says whether it was the probe's. Returns whether that opened
    /// a closed breaker; a failed probe opens it again without that.
    pub fn failed(&mut self, now: Instant, was_probe: bool) -> bool {
        match self.state {
            BreakerState::Closed { .. } => {
                self.saw(now, true);
                let BreakerState::Closed { failures, seen, .. } = self.state else {
                    return false;
                };
                let opens = seen >= SEEN_MIN && failures.count_ones() * 4 >= seen * 3;
                if opens {
                    self.open(now);
                }
                opens
            }
            BreakerState::HalfOpen { .. } if was_probe => {
                self.open(now);
                false
            }
            // Requests that were sent before it opened decide nothing.
            BreakerState::HalfOpen { .. } | BreakerState::Open { .. } => false,
        }
    }

    fn saw(&mut self, now: Instant, failed: bool) {
        let BreakerState::Closed {
            failures,
            seen,
            last,
        } = self.state
        else {
            return;
        };
        let forgotten = last.is_some_and(|last| now.duration_since(last) > MEMORY);
        let (failures, seen) = if forgotten { (0, 0) } else { (failures, seen) };
        self.state = BreakerState::Closed {
            failures: failures << 1 | u32::from(failed),
            seen: (seen + 1).min(SEEN_MAX),
            last: Some(now),
        };
    }

    fn open(&mut self, now: Instant) {
        let doubled = 1_u32.checked_shl(self.opened.min(16)).unwrap_or(1);
        let pause = self.pauses.base.saturating_mul(doubled);
        let pause = pause.min(self.pauses.max);
        // Jitter of a fifth, so that several replicas do not probe in step.
        let spread = 0.8 + 0.2 * self.rng.f64();
        self.opened += 1;
        self.state = BreakerState::Open {
            until: now + pause.mul_f64(spread),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> CircuitBreaker {
        let pauses = Pauses {
            base: Duration::from_secs(1),
            max: Duration::from_secs(30),
        };
        CircuitBreaker::new(pauses, 7)
    }

    fn pause(breaker: &CircuitBreaker, now: Instant) -> Duration {
        match breaker.admits(now) {
            BreakerDecision::NothingUntil(until) => until - now,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn most_of_what_is_sent_has_to_fail_before_it_opens() {
        let now = Instant::now();
        let mut half = breaker();
        for _ in 0..1_000 {
            half.failed(now, false);
            half.succeeded(now);
        }
        assert_eq!(half.admits(now), BreakerDecision::All);
        let mut few = breaker();
        assert!((1..SEEN_MIN).all(|_| !few.failed(now, false)));
        assert_eq!(few.admits(now), BreakerDecision::All);
        assert!(few.failed(now, false));
        assert!(!few.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_decides_and_pauses_grow_up_to_the_longest() {
        let mut now = Instant::now();
        let mut breaker = breaker();
        while !breaker.failed(now, false) {}
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let pause = pause(&breaker, now);
            let longest = Duration::from_secs(seconds);
            assert!(
                longest.mul_f64(0.8) <= pause && pause <= longest,
                "{pause:?}"
            );
            now += pause;
            assert_eq!(breaker.admits(now), BreakerDecision::Probe);
            breaker.probe();
            assert_eq!(breaker.admits(now), BreakerDecision::NothingYet);
            assert!(
                !breaker.failed(now, false),
                "an old request decides nothing"
            );
            breaker.failed(now, true);
        }
        now += pause(&breaker, now);
        breaker.probe();
        breaker.probe_unused();
        assert_eq!(breaker.admits(now), BreakerDecision::Probe);
        breaker.probe();
        assert!(breaker.succeeded(now));
        assert_eq!(breaker.admits(now), BreakerDecision::All);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_long_ago_do_not_count() {
        let mut now = Instant::now();
        let mut breaker = breaker();
        for _ in 0..100 {
            assert!(!breaker.failed(now, false));
            now += MEMORY + Duration::from_millis(1);
        }
    }
}
