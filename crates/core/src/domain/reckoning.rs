//! Judges whether the wall clock may be trusted for deletions. A clock that jumps ahead would make
//! everything expire: forgotten keys would be executed twice when they are repeated. So the clock
//! is compared with the newest record and the monotonic time since. Knows no clocks.

use std::time::Duration;

use jiff::Timestamp;

use crate::limits;

/// A reading of the wall clock, with the monotonic time since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    wall: Timestamp,
    passed: Duration,
}

impl Mark {
    /// What the wall clock should show at this monotonic time.
    fn after(self, passed: Duration) -> Timestamp {
        let since = passed.saturating_sub(self.passed);
        self.wall.checked_add(since).unwrap_or(Timestamp::MAX)
    }
}

/// A clock, compared with what was seen before.
#[derive(Debug, Clone)]
pub struct Reckoning {
    /// The last trusted reading.
    seen: Mark,
    /// The clock at the start, if it was too far ahead of the newest record to be trusted at once:
    /// the service may have been off that long, or the clock may be wrong.
    course: Option<Mark>,
    /// How long it has to agree with that.
    hold: Duration,
    last: Mark,
    /// When it last went backwards, and by how much.
    back: Option<(Duration, Duration)>,
}

/// The verdict on a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It agrees with what was seen.
    Believed(Timestamp),
    /// At the start it was ahead of the newest record by more than is trusted at once. It is
    /// trusted once it keeps its course for `left`.
    Unproven {
        /// The time without the clock's lead.
        reckoned: Timestamp,
        /// How far it is ahead of that.
        ahead: Duration,
        /// How long until it is trusted.
        left: Duration,
    },
    /// It jumped ahead while the service ran, and is not trusted before the next start.
    Jumped {
        /// The time without the jump.
        reckoned: Timestamp,
        /// How far it is ahead of that.
        ahead: Duration,
    },
    /// It went backwards, so any of its earlier times may have been wrong.
    WentBack {
        /// By how much.
        by: Duration,
        /// How long until it is trusted.
        left: Duration,
    },
}

impl Judged {
    /// The time by which to delete; `None` if nothing may be deleted.
    #[must_use]
    pub fn for_deletions(self) -> Option<Timestamp> {
        match self {
            Self::Believed(at)
            | Self::Unproven { reckoned: at, .. }
            | Self::Jumped { reckoned: at, .. } => Some(at),
            Self::WentBack { .. } => None,
        }
    }
}

/// How far a clock may be ahead and still be trusted.
const BOUND: Duration = Duration::from_secs(limits::CLOCK_AHEAD_SECONDS_MAX);
/// How far it may go back unnoticed: the size of corrections.
const STEP_BACK: Duration = Duration::from_secs(limits::CLOCK_BACK_SECONDS_MAX);
/// How long nothing is deleted after it went back.
const BACK_HOLD: Duration = Duration::from_secs(limits::DOUBT_KEPT_SECONDS);

impl Reckoning {
    /// The judge for a process that starts at this wall-clock time. `newest` is the time of the
    /// newest record; `None` if unknown. A clock that is ahead of it is trusted after it has kept
    /// its course for `hold`.
    #[must_use]
    pub fn new(newest: Option<Timestamp>, wall: Timestamp, hold: Duration) -> Self {
        let mark = |wall| Mark {
            wall,
            passed: Duration::ZERO,
        };
        let now = mark(wall);
        let newest = mark(newest.unwrap_or(Timestamp::MIN));
        let mut reckoning = Self {
            seen: now,
            course: None,
            hold,
            last: now,
            back: None,
        };
        if beyond(wall, newest.wall) > BOUND {
            (reckoning.seen, reckoning.course) = (newest, Some(now));
        } else if beyond(newest.wall, wall) > STEP_BACK {
            reckoning.back = Some((Duration::ZERO, beyond(newest.wall, wall)));
        }
        reckoning
    }

    /// The verdict on the wall clock, read at this time after the start.
    pub fn judge(&mut self, wall: Timestamp, passed: Duration) -> Judged {
        let back = beyond(self.last.after(passed), wall);
        if back > STEP_BACK {
            self.back = Some((passed, back));
        }
        self.last = Mark { wall, passed };
        if let Some((since, by)) = self.back {
            let left = BACK_HOLD.saturating_sub(passed.saturating_sub(since));
            if !left.is_zero() {
                return Judged::WentBack { by, left };
            }
        }
        let reckoned = self.seen.after(passed);
        if beyond(wall, reckoned) <= BOUND {
            self.course = None;
            return Judged::Believed(wall);
        }
        if let Some(course) = self.course {
            let expected = course.after(passed);
            if beyond(expected, wall) > BOUND {
                // The clock was wrong at the start; the new one may be right.
                self.course = Some(self.last);
            } else if beyond(wall, expected) <= BOUND {
                let held = passed.saturating_sub(course.passed);
                let left = self.hold.saturating_sub(held);
                if left.is_zero() {
                    (self.seen, self.course) = (course, None);
                    return Judged::Believed(wall);
                }
                return Judged::Unproven {
                    reckoned,
                    ahead: beyond(wall, reckoned),
                    left,
                };
            }
        }
        Judged::Jumped {
            reckoned,
            ahead: beyond(wall, reckoned),
        }
    }
}

/// How much later a time is than another one; zero if it is not.
fn beyond(later: Timestamp, than: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(than)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(86_400);
    const MONTH: Duration = Duration::from_secs(31 * 86_400);

    fn start() -> Timestamp {
        "2027-01-15T08:00:00Z".parse().unwrap()
    }

    /// A service whose newest record is a minute old.
    fn busy() -> Reckoning {
        let newest = start() - Duration::from_secs(60);
        Reckoning::new(Some(newest), start(), HOUR)
    }

    #[test]
    fn a_clock_that_goes_as_time_does_is_believed() {
        let mut reckoning = busy();
        for passed in [Duration::ZERO, HOUR, DAY, MONTH, 12 * MONTH] {
            let wall = start() + passed;
            assert_eq!(reckoning.judge(wall, passed), Judged::Believed(wall));
        }
        // Corrections, and an hour of daylight saving time applied by mistake.
        let wall = start() + 12 * MONTH + HOUR;
        let believed = reckoning.judge(wall, 12 * MONTH);
        assert_eq!(believed, Judged::Believed(wall));
    }

    #[test]
    fn a_jump_while_it_runs_is_never_believed_and_retention_goes_on_as_time_does() {
        for jump in [HOUR + Duration::from_secs(1), MONTH, 14 * MONTH] {
            let mut reckoning = busy();
            for passed in [HOUR, 2 * HOUR, DAY, MONTH] {
                let reckoned = start() + passed;
                let judged = reckoning.judge(reckoned + jump, passed);
                let ahead = jump;
                assert_eq!(judged, Judged::Jumped { reckoned, ahead });
                assert_eq!(judged.for_deletions(), Some(reckoned));
            }
        }
    }

    #[test]
    fn a_clock_that_creeps_ahead_is_believed_no_further_than_the_bound() {
        let mut reckoning = busy();
        let mut believed = start();
        for minute in 0..1_000 {
            let passed = Duration::from_secs(60 * minute);
            // Twice as fast as time.
            let at = reckoning
                .judge(start() + 2 * passed, passed)
                .for_deletions();
            believed = at.unwrap();
            assert!(believed <= start() + passed + BOUND, "{believed}");
        }
        assert_eq!(believed, start() + Duration::from_secs(60 * 999));
    }

    #[test]
    fn after_two_months_off_it_is_believed_once_it_has_held_its_course() {
        let newest = start() - 2 * MONTH;
        let mut reckoning = Reckoning::new(Some(newest), start(), HOUR);
        for (passed, left) in [(Duration::ZERO, HOUR), (HOUR / 4, 3 * HOUR / 4)] {
            let judged = reckoning.judge(start() + passed, passed);
            let (reckoned, ahead) = (newest + passed, 2 * MONTH);
            let unproven = Judged::Unproven {
                reckoned,
                ahead,
                left,
            };
            assert_eq!(judged, unproven);
        }
        let wall = start() + HOUR;
        assert_eq!(reckoning.judge(wall, HOUR), Judged::Believed(wall));
        // Afterwards it is judged like any other.
        let jumped = reckoning.judge(wall + DAY + MONTH, HOUR + DAY);
        assert_eq!(jumped.for_deletions(), Some(wall + DAY));
    }

    #[test]
    fn a_clock_that_is_wrong_at_the_start_and_set_right_has_deleted_nothing() {
        let newest = start() - Duration::from_secs(60);
        let mut reckoning = Reckoning::new(Some(newest), start() + MONTH, HOUR);
        let judged = reckoning.judge(start() + MONTH + HOUR / 2, HOUR / 2);
        assert_eq!(judged.for_deletions(), Some(newest + HOUR / 2));
        let judged = reckoning.judge(start() + HOUR, HOUR);
        assert_eq!(judged.for_deletions(), None, "it went back");
        let (wall, passed) = (start() + HOUR + DAY, HOUR + DAY);
        assert_eq!(reckoning.judge(wall, passed), Judged::Believed(wall));
    }

    #[test]
    fn a_further_jump_in_the_first_hour_ends_the_trust_in_the_course() {
        let newest = start() - DAY;
        let mut reckoning = Reckoning::new(Some(newest), start(), HOUR);
        for passed in [HOUR / 2, HOUR, DAY] {
            let judged = reckoning.judge(start() + passed + MONTH, passed);
            assert_eq!(judged.for_deletions(), Some(newest + passed));
        }
    }

    #[test]
    fn for_a_day_after_it_went_back_nothing_is_deleted() {
        let mut reckoning = busy();
        let set_back = |passed: Duration| start() + passed - 2 * HOUR;
        let judged = reckoning.judge(set_back(HOUR), HOUR);
        let (by, left) = (2 * HOUR, DAY);
        assert_eq!(judged, Judged::WentBack { by, left });
        let passed = HOUR + DAY - Duration::from_secs(1);
        let judged = reckoning.judge(set_back(passed), passed);
        assert_eq!(judged.for_deletions(), None);
        let wall = set_back(HOUR + DAY);
        assert_eq!(reckoning.judge(wall, HOUR + DAY), Judged::Believed(wall));
        // The same across a restart.
        let mut reckoning = Reckoning::new(Some(start() + DAY), start(), HOUR);
        assert_eq!(
            reckoning.judge(start(), Duration::ZERO).for_deletions(),
            None
        );
    }

    #[test]
    fn without_a_record_there_is_nothing_to_go_by_and_the_course_decides() {
        let mut reckoning = Reckoning::new(None, start(), HOUR);
        let judged = reckoning.judge(start(), Duration::ZERO);
        assert_eq!(judged.for_deletions(), Some(Timestamp::MIN));
        let wall = start() + HOUR;
        assert_eq!(reckoning.judge(wall, HOUR), Judged::Believed(wall));
    }
}
