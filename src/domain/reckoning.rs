//! How far a clock is believed when something is to be deleted by it. A clock that jumps ahead
//! would make everything expire: keys would be forgotten, and what is sent again would be done
//! twice. So it is held against what was seen and what has passed since. Knows no clocks.

use std::time::Duration;

use jiff::Timestamp;

use crate::limits;

/// A wall clock as it was read, and when that was by one that never jumps: the time since the
/// start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    wall: Timestamp,
    passed: Duration,
}

impl Mark {
    /// What the wall clock has to show after so long.
    fn after(self, passed: Duration) -> Timestamp {
        let since = passed.saturating_sub(self.passed);
        self.wall.checked_add(since).unwrap_or(Timestamp::MAX)
    }
}

/// A clock, held against what was seen.
#[derive(Debug, Clone)]
pub struct Reckoning {
    /// What is believed.
    seen: Mark,
    /// Where the clock stood at the start, if that was too far ahead to be believed at once: the
    /// service may have been off for so long, or the clock may be wrong.
    course: Option<Mark>,
    /// How long it has to keep to that.
    hold: Duration,
    last: Mark,
    /// When it was last seen going backwards, and by how much.
    back: Option<(Duration, Duration)>,
}

/// What is thought of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// It agrees with what was seen.
    Believed(Timestamp),
    /// It was ahead of the newest record when the service started, by more than is believed at
    /// once. It is believed if it keeps to that for as long as `left`.
    Unproven {
        /// Without it it would be this time.
        reckoned: Timestamp,
        /// How far it is ahead of that.
        ahead: Duration,
        /// How long it is not believed yet.
        left: Duration,
    },
    /// It has jumped ahead while the service ran, and is not believed before the next start.
    Jumped {
        /// Without that it would be this time.
        reckoned: Timestamp,
        /// How far it is ahead of that.
        ahead: Duration,
    },
    /// It went backwards, so that nobody knows which of the times before were right.
    WentBack {
        /// How far.
        by: Duration,
        /// How long it is not believed yet.
        left: Duration,
    },
}

impl Judged {
    /// The time by which something may be deleted; `None` if nothing may be.
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

/// How much a clock may be ahead and be believed.
const BOUND: Duration = Duration::from_secs(limits::CLOCK_AHEAD_SECONDS_MAX);
/// How much it may go back without notice: what corrections are.
const STEP_BACK: Duration = Duration::from_secs(limits::CLOCK_BACK_SECONDS_MAX);
/// How long nothing is deleted after it went back.
const BACK_HOLD: Duration = Duration::from_secs(limits::DOUBT_KEPT_SECONDS);

impl Reckoning {
    /// Of a process that starts now, by its wall clock. `newest` is the time of the newest record;
    /// `None` if nobody knows. A clock that is ahead of it is believed after it has held its course
    /// for as long as `hold`.
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

    /// What is thought of the wall clock that shows this so long after the start.
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
                // The start's clock was wrong, which this one need not be.
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

/// By how much a time is later than another one; nothing if it is not.
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

    /// One whose newest record is a minute old.
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
        // Corrections, and what an hour of summer time in the wrong place makes.
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
        // From then on as any other.
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
        // The same over a restart.
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
