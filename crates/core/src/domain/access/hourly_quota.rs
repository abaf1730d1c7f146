//! Hourly quota of a caller, in people. Reserved when an admission is decided, so that an item that
//! is not opened counts nothing, and two requests at once cannot both pass where one may. What an
//! item did not use is returned when it settles.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;

use crate::domain::{
    command::Command,
    outcome::{Conclusion, Detail, Outcome},
};

const MINUTES: usize = 60;
/// How far back items can count.
pub const WINDOW: Duration = Duration::from_secs(61 * 60);

/// The people named by a caller's items of the last hour, counted by minute. No 60 minutes ever
/// have more than the limit. The oldest minute counts until it is over, so the window is 60 to 61
/// minutes long.
#[derive(Debug)]
pub struct HourlyQuota {
    max: AtomicU64,
    window: Mutex<QuotaWindow>,
}

/// People by minute, of the current minute and those before it.
#[derive(Debug)]
struct QuotaWindow {
    /// The current minute and the 60 before it, newest first.
    counts: [u64; MINUTES + 1],
    /// The current minute, since 1970.
    minute: i64,
}

/// How many people a settled item has concerned: at least one, since trying counts too, and the
/// maximum if the outcome is not known for certain.
#[must_use]
pub fn concerned(command: &Command, settled: &Conclusion) -> u64 {
    let people = command.people();
    let is_sure = !settled.confirmed_by_lookup && settled.outcome != Outcome::InDoubt;
    match &settled.detail {
        Detail::Enrollments(detail) if is_sure => detail.canceled.clamp(1, people),
        Detail::Enrollments(_) | Detail::Subscription(_) => people,
    }
}

/// An item's reservation in its caller's quota.
#[derive(Debug, Clone)]
pub struct Reserved {
    hourly: Arc<HourlyQuota>,
    at: Timestamp,
}

impl Reserved {
    /// The reservation of an item that is opened at this time; `None` if its caller has no quota.
    #[must_use]
    pub fn of(hourly: Option<&Arc<HourlyQuota>>, at: Timestamp) -> Option<Self> {
        let hourly = Arc::clone(hourly?);
        Some(Self { hourly, at })
    }

    /// Returns the people that the item did not concern.
    pub fn settle(&self, command: &Command, settled: &Conclusion) {
        let unused = command.people().saturating_sub(concerned(command, settled));
        if unused > 0 {
            self.hourly.give_back(unused, self.at);
        }
    }
}

/// The request exceeds the caller's hourly quota.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{asked} more are more than what is left of this caller's {max} in an hour: {used} were taken; \
     an item counts as many as it can match"
)]
pub struct Exhausted {
    /// The limit per hour.
    pub max: u64,
    /// People that count already.
    pub used: u64,
    /// People that the request asked for.
    pub asked: u64,
    /// When the request would fit if nothing else were admitted; `None` if never.
    pub retry_after: Option<Duration>,
}

impl HourlyQuota {
    /// An unused quota of `max` people per hour.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self {
            max: AtomicU64::new(max),
            window: Mutex::new(QuotaWindow {
                counts: [0; MINUTES + 1],
                minute: 0,
            }),
        }
    }

    /// Lets so many through from now on. What was used stays used.
    pub fn set_max(&self, max: u64) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Counts what was admitted, whether there was room for it or not.
    pub fn count(&self, people: u64, at: Timestamp) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.add(people, minute_of(at));
    }

    /// Returns people who were reserved at `at`.
    pub fn give_back(&self, people: u64, at: Timestamp) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = window.minute;
        if let Some(count) = window.of(minute_of(at).min(newest)) {
            *count = count.saturating_sub(people);
        }
    }

    /// Reserves people if they fit.
    ///
    /// # Errors
    /// If they do not fit; says when they would.
    pub fn take(&self, people: u64, at: Timestamp) -> Result<(), Exhausted> {
        if people == 0 {
            return Ok(());
        }
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = minute_of(at);
        window.move_on(minute);
        let (used, max) = (window.sum(), self.max.load(Ordering::Relaxed));
        if used.saturating_add(people) <= max {
            // Of a clock that was ahead, the time that it has been to counts.
            let newest = window.minute;
            window.add(people, newest);
            return Ok(());
        }
        let excess = used.saturating_add(people).saturating_sub(max);
        Err(Exhausted {
            max,
            used,
            asked: people,
            retry_after: window
                .minutes_until_free(excess)
                .filter(|_| people <= max)
                .map(|minutes| until(at, window.minute.saturating_add(minutes))),
        })
    }
}

fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

fn until(at: Timestamp, minute: i64) -> Duration {
    let seconds = minute.saturating_mul(60).saturating_sub(at.as_second());
    // At least one second: an immediate retry would only be rejected again.
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1))
}

impl QuotaWindow {
    fn sum(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// A clock that goes back returns nothing.
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

    fn add(&mut self, people: u64, minute: i64) {
        self.move_on(minute);
        if let Some(count) = self.of(minute) {
            *count = count.saturating_add(people);
        }
    }

    /// The count of a minute; `None` if the minute has left the window.
    fn of(&mut self, minute: i64) -> Option<&mut u64> {
        let ago = usize::try_from(self.minute.saturating_sub(minute)).ok()?;
        self.counts.get_mut(ago)
    }

    /// In how many minutes `excess` of the counted people will have left the window.
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
        let hourly = HourlyQuota::new(10);
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
        let hourly = HourlyQuota::new(10);
        assert_eq!(hourly.take(11, at(0)).unwrap_err().retry_after, None);
        assert_eq!(hourly.take(0, at(0)), Ok(()));
        assert_eq!(hourly.take(10, at(0)), Ok(()), "a refusal takes nothing");
    }

    #[test]
    fn what_was_admitted_before_a_restart_counts_as_long_as_it_would_have() {
        let hourly = HourlyQuota::new(10);
        hourly.count(100, at(-2 * 60 * 60));
        hourly.count(7, at(-30 * 60));
        hourly.count(2, at(-59 * 60));
        assert!(hourly.take(2, at(0)).is_err());
        assert_eq!(hourly.take(1, at(0)), Ok(()));
        assert_eq!(hourly.take(2, at(3 * 60)), Ok(()));
    }

    #[test]
    fn what_was_not_used_is_free_again_as_long_as_it_counts() {
        let hourly = HourlyQuota::new(10);
        hourly.take(4, at(0)).unwrap();
        hourly.take(6, at(60)).unwrap();
        hourly.give_back(5, at(60));
        assert!(hourly.take(6, at(120)).is_err());
        hourly.take(5, at(120)).unwrap();
        // People who have left the window are not returned a second time.
        let later = 61 * 60 + 30;
        hourly.take(4, at(later)).unwrap();
        hourly.give_back(4, at(0));
        assert!(hourly.take(1, at(later)).is_err());
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_back() {
        let hourly = HourlyQuota::new(10);
        hourly.take(10, at(0)).unwrap();
        assert!(hourly.take(1, at(-7_200)).is_err());
        assert!(hourly.take(1, at(1)).is_err());
        assert_eq!(hourly.take(10, at(7_200)), Ok(()));
    }

    #[test]
    fn a_clock_that_was_ahead_takes_no_limit_away() {
        let hourly = HourlyQuota::new(10);
        hourly.take(5, at(24 * 60 * 60)).unwrap();
        assert_eq!(hourly.take(5, at(0)), Ok(()));
        assert!(hourly.take(1, at(1)).is_err());
    }

    #[test]
    fn no_hour_ever_has_more() {
        let hourly = HourlyQuota::new(5);
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
