//! Adaptive concurrency limit of an account: it searches for the provider's capacity between a
//! floor and the configured ceiling.
//!
//! Steady latency raises the limit; growing latency, throttling and failures lower it. The rule is
//! the gradient of Netflix's concurrency-limits (Gradient2: the mean of a window against the
//! long-run mean), with TCP's slow start and multiplicative decrease. A provider that stays slow
//! becomes the new normal, and the limit grows again.

use std::time::Duration;

/// Factor by which latency may exceed its long-run mean before it counts as grown.
const TOLERANCE: f64 = 1.5;
/// Weight of a window in the long-run mean.
const WINDOW_WEIGHT: f64 = 0.05;
/// Part of the way to the new limit that one window goes, up and down.
const RISING: f64 = 0.2;
const FALLING: f64 = 0.5;
/// Factor of the limit after throttling or failures.
const CUT: f64 = 0.7;
/// Minimum of exchanges in a window.
const WINDOW_MIN: f64 = 10.0;
/// Share of failures in a window above which the provider counts as in trouble. Fewer may be due to
/// single items.
const FAILURES: f64 = 0.1;

/// Bounds of the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Minimum, 1 or more.
    pub floor: usize,
    /// Maximum.
    pub ceiling: usize,
}

/// Initial limit: enough for a small account at once, and doubled soon.
const BEGIN: usize = 16;

/// The concurrency limit of one account.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    bounds: Bounds,
    limit: f64,
    /// Doubles with every window until the first sign of trouble, like TCP's slow start.
    doubling: bool,
    /// Long-run mean of latency, in seconds.
    usual: Option<f64>,
    window: LatencyWindow,
}

#[derive(Debug, Default)]
struct LatencyWindow {
    answers: f64,
    seconds: f64,
    failures: f64,
    cut: bool,
    /// At least half of the limit was in use. Otherwise a higher limit would be unproven.
    used: bool,
}

impl ConcurrencyLimit {
    /// The initial limit, within these bounds.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            limit: real(BEGIN.clamp(bounds.floor, bounds.ceiling)),
            doubling: true,
            usual: None,
            window: LatencyWindow::default(),
        }
    }

    /// The current limit, a whole number within the bounds.
    #[must_use]
    pub fn now(&self) -> usize {
        let Bounds { floor, ceiling } = self.bounds;
        // By bisection, since there is no lossless conversion from a float.
        let mut whole = floor;
        let mut step = (ceiling - floor).next_power_of_two();
        while step > 0 {
            if whole + step <= ceiling && real(whole + step) <= self.limit + 1e-9 {
                whole += step;
            }
            step /= 2;
        }
        whole
    }

    /// A request was answered after `latency`, while `in_flight` were running.
    pub fn answered(&mut self, latency: Duration, in_flight: usize) {
        self.window.answers += 1.0;
        self.window.seconds += latency.as_secs_f64();
        self.window.used |= real(in_flight) * 2.0 >= self.limit;
        self.end_of_window();
    }

    /// A request failed or got no answer.
    pub fn failed(&mut self) {
        self.window.failures += 1.0;
        self.end_of_window();
    }

    /// The provider throttled. Cuts once per window, however many requests are throttled.
    pub fn throttled(&mut self) {
        if !std::mem::replace(&mut self.window.cut, true) {
            self.cut();
        }
    }

    /// The provider is back after an outage: start at the floor and double.
    pub fn begin_anew(&mut self) {
        self.limit = real(self.bounds.floor);
        self.doubling = true;
        self.window = LatencyWindow::default();
    }

    fn cut(&mut self) {
        self.doubling = false;
        self.set(self.limit * CUT);
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(real(self.bounds.floor), real(self.bounds.ceiling));
    }

    fn end_of_window(&mut self) {
        let size = self.window.answers + self.window.failures;
        if size < self.limit.max(WINDOW_MIN) {
            return;
        }
        let window = std::mem::take(&mut self.window);
        if window.failures > FAILURES * size {
            if !window.cut {
                self.cut();
            }
        } else if window.answers > 0.0 {
            self.follow(&window);
        }
    }

    fn follow(&mut self, window: &LatencyWindow) {
        let latency = window.seconds / window.answers;
        let usual = self.usual.unwrap_or(latency);
        // A falling latency is followed four times faster: once the provider is fast again, the
        // slow past must not excuse a new slowdown.
        let weight = if latency < usual {
            4.0 * WINDOW_WEIGHT
        } else {
            WINDOW_WEIGHT
        };
        self.usual = Some(usual + weight * (latency - usual));
        let gradient = if latency > 0.0 {
            (TOLERANCE * usual / latency).clamp(0.5, 1.0)
        } else {
            1.0
        };
        let aim = self.limit * gradient + self.limit.sqrt();
        let (aim, weight) = if gradient < 1.0 {
            self.doubling = false;
            (aim, FALLING)
        } else if window.cut || !window.used {
            return;
        } else if self.doubling {
            (self.limit * 2.0, 1.0)
        } else {
            (aim, RISING)
        };
        self.set(self.limit + weight * (aim - self.limit));
    }
}

/// A count as a float. Counts here are far below the exact range of a float.
fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        floor: 2,
        ceiling: 256,
    };

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1_000.0)
    }

    /// Many replies of a provider whose latency depends on the requests in flight.
    fn settle(limit: &mut ConcurrencyLimit, answers: usize, latency_ms: impl Fn(usize) -> f64) {
        for _ in 0..answers {
            let in_flight = limit.now();
            limit.answered(ms(latency_ms(in_flight)), in_flight);
        }
    }

    #[test]
    fn steady_latency_opens_it_to_the_ceiling() {
        let mut limit = ConcurrencyLimit::new(BOUNDS);
        assert_eq!(limit.now(), 16);
        settle(&mut limit, 1_000, |_| 20.0);
        assert_eq!(limit.now(), 256);
    }

    #[test]
    fn it_finds_about_what_the_provider_can_do() {
        // 40 at once in 20 ms; further requests queue.
        let latency = |in_flight: usize| 20.0 * (real(in_flight) / 40.0).max(1.0);
        let mut limit = ConcurrencyLimit::new(BOUNDS);
        settle(&mut limit, 2_000, latency);
        let found = limit.now();
        assert!((30..=120).contains(&found), "{found}");
    }

    #[test]
    fn it_gives_way_when_latency_grows_and_comes_back() {
        let mut limit = ConcurrencyLimit::new(BOUNDS);
        settle(&mut limit, 2_000, |_| 20.0);
        settle(&mut limit, 1_500, |_| 400.0);
        let slow = limit.now();
        assert!(slow < 128, "{slow}");
        settle(&mut limit, 50_000, |_| 20.0);
        assert_eq!(limit.now(), 256);
    }

    #[test]
    fn throttling_cuts_it_once_in_a_window_and_failures_when_there_are_many() {
        let mut limit = ConcurrencyLimit::new(BOUNDS);
        settle(&mut limit, 1_000, |_| 20.0);
        for _ in 0..50 {
            limit.throttled();
        }
        assert_eq!(limit.now(), 179);
        for _ in 0..2_000 {
            limit.failed();
        }
        assert_eq!(limit.now(), BOUNDS.floor);
        limit.begin_anew();
        settle(&mut limit, 1_000, |_| 20.0);
        assert_eq!(limit.now(), 256);
        let mut odd_ones = ConcurrencyLimit::new(BOUNDS);
        for _ in 0..200 {
            settle(&mut odd_ones, 99, |_| 20.0);
            odd_ones.failed();
        }
        assert!(odd_ones.now() > 200, "{}", odd_ones.now());
    }

    #[test]
    fn it_does_not_grow_beyond_what_is_used_and_keeps_its_bounds() {
        let mut limit = ConcurrencyLimit::new(BOUNDS);
        for _ in 0..10_000 {
            limit.answered(ms(20.0), 3);
        }
        assert_eq!(limit.now(), 16);
        let one = Bounds {
            floor: 1,
            ceiling: 1,
        };
        let mut limit = ConcurrencyLimit::new(one);
        settle(&mut limit, 1_000, |_| 20.0);
        limit.throttled();
        assert_eq!(limit.now(), 1);
    }
}
