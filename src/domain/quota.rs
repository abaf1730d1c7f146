//! How many items in an hour. Counted where an admission is decided, so that what is no new item
//! counts as none and two requests at once do not pass where one may.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

const MINUTES: usize = 60;
/// How far back items can still count.
pub const WINDOW: Duration = Duration::from_secs(61 * 60);

/// A caller's new items of the last hour, by minutes: over any 60 minutes no more are let
/// through than may be. What happened in the oldest minute counts until that minute is over, so
/// the window is between 60 and 61 minutes long.
#[derive(Debug)]
pub struct Hourly {
    max: u64,
    window: Mutex<Window>,
}

/// Items by minute, of this one and those before it.
#[derive(Debug)]
struct Window {
    /// This minute and the 60 before it, the newest first.
    counts: [u64; MINUTES + 1],
    /// Since 1970.
    minute: i64,
}

/// More than a caller may have in an hour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{asked} new items are more than what is left of this caller's {max} in an hour: {used} were \
     admitted"
)]
pub struct Exhausted {
    /// Items in an hour.
    pub max: u64,
    /// Those that count already.
    pub used: u64,
    /// Those that were asked for.
    pub asked: u64,
    /// When they would fit if nothing else came; `None` if they never fit.
    pub retry_after: Option<Duration>,
}

impl Hourly {
    /// No items so far, of so many.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self {
            max,
            window: Mutex::new(Window {
                counts: [0; MINUTES + 1],
                minute: 0,
            }),
        }
    }

    /// Counts items that were admitted, whether there was room for them or not.
    pub fn count(&self, items: u64, at: Timestamp) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.add(items, minute_of(at));
    }

    /// Counts items if they fit.
    ///
    /// # Errors
    /// If they do not, when they would.
    pub fn take(&self, items: u64, at: Timestamp) -> Result<(), Exhausted> {
        if items == 0 {
            return Ok(());
        }
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = minute_of(at);
        window.move_on(minute);
        let used = window.sum();
        if used.saturating_add(items) <= self.max {
            // Of a clock that was ahead, the time that it has been to counts.
            let newest = window.minute;
            window.add(items, newest);
            return Ok(());
        }
        let excess = used.saturating_add(items).saturating_sub(self.max);
        Err(Exhausted {
            max: self.max,
            used,
            asked: items,
            retry_after: window
                .minutes_until_free(excess)
                .filter(|_| items <= self.max)
                .map(|minutes| until(at, window.minute.saturating_add(minutes))),
        })
    }
}

fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

fn until(at: Timestamp, minute: i64) -> Duration {
    let seconds = minute.saturating_mul(60).saturating_sub(at.as_second());
    // At least a second: who comes back at once only knocks.
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1))
}

impl Window {
    fn sum(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// A clock that goes back does not give anything back.
    fn move_on(&mut self, minute: i64) {
        let ahead = minute.saturating_sub(self.minute).max(0);
        let ahead = usize::try_from(ahead)
            .unwrap_or(usize::MAX)
            .min(self.counts.len());
        self.counts.rotate_right(ahead);
        for count in self.counts.iter_mut().take(ahead) {
            *count = 0;
        }
        self.minute = self.minute.max(minute);
    }

    fn add(&mut self, items: u64, minute: i64) {
        self.move_on(minute);
        let ago = usize::try_from(self.minute.saturating_sub(minute)).unwrap_or(usize::MAX);
        // What is older than an hour counts no more.
        if let Some(count) = self.counts.get_mut(ago) {
            *count = count.saturating_add(items);
        }
    }

    /// In how many minutes so many of the items that count have stopped to count.
    fn minutes_until_free(&self, excess: u64) -> Option<i64> {
        let mut freed = 0_u64;
        for (minutes, count) in (1..).zip(self.counts.iter().rev()) {
            freed = freed.saturating_add(*count);
            if freed >= excess {
                return Some(minutes);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn what_fits_is_counted_and_what_does_not_is_told_when_it_would() {
        let hourly = Hourly::new(10);
        assert_eq!(hourly.take(6, at(0)), Ok(()));
        assert_eq!(hourly.take(4, at(60)), Ok(()));
        let exhausted = hourly.take(1, at(90)).unwrap_err();
        assert_eq!((exhausted.used, exhausted.asked), (10, 1));
        let wait = exhausted.retry_after.unwrap();
        assert_eq!(wait, Duration::from_secs(61 * 60 - 90));
        let then = 90 + i64::try_from(wait.as_secs()).unwrap();
        assert!(hourly.take(1, at(then - 1)).is_err());
        assert_eq!(hourly.take(6, at(then)), Ok(()));
        assert!(hourly.take(1, at(then)).is_err());
    }

    #[test]
    fn what_never_fits_is_not_told_to_come_back() {
        let hourly = Hourly::new(10);
        assert_eq!(hourly.take(11, at(0)).unwrap_err().retry_after, None);
        assert_eq!(hourly.take(0, at(0)), Ok(()));
        assert_eq!(hourly.take(10, at(0)), Ok(()), "a refusal takes nothing");
    }

    #[test]
    fn what_was_admitted_before_a_restart_counts_as_long_as_it_would_have() {
        let hourly = Hourly::new(10);
        hourly.count(100, at(-2 * 60 * 60));
        hourly.count(7, at(-30 * 60));
        hourly.count(2, at(-59 * 60));
        assert!(hourly.take(2, at(0)).is_err());
        assert_eq!(hourly.take(1, at(0)), Ok(()));
        assert_eq!(hourly.take(2, at(3 * 60)), Ok(()));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_back() {
        let hourly = Hourly::new(10);
        hourly.take(10, at(0)).unwrap();
        assert!(hourly.take(1, at(-7_200)).is_err());
        assert!(hourly.take(1, at(1)).is_err());
        assert_eq!(hourly.take(10, at(7_200)), Ok(()));
    }

    #[test]
    fn a_clock_that_was_ahead_takes_no_limit_away() {
        let hourly = Hourly::new(10);
        hourly.take(5, at(24 * 60 * 60)).unwrap();
        assert_eq!(hourly.take(5, at(0)), Ok(()));
        assert!(hourly.take(1, at(1)).is_err());
    }

    #[test]
    fn no_hour_ever_has_more() {
        let hourly = Hourly::new(5);
        let mut taken = Vec::new();
        for second in (0..4 * 60 * 60).step_by(7) {
            if hourly.take(1, at(second)).is_ok() {
                taken.push(second);
            }
        }
        assert!(taken.len() >= 15);
        for window in taken.windows(6) {
            assert!(window[5] - window[0] > 60 * 60, "{window:?}");
        }
    }
}
