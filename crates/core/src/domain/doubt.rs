//! Doubt about an item whose request may have been sent: since when, until when, and how long until
//! a lookup can be believed. Knows no clocks and no storage.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::limits;

/// A time that outlives the process: by the wall clock and, where the system has one, by the
/// monotonic clock of the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// By the wall clock.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// By the clock of the boot.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
}

/// A time since the machine was booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The boot: a hash of the system's boot id.
    #[serde(rename = "i")]
    pub id: u64,
    /// Milliseconds since then, including sleep.
    #[serde(rename = "m")]
    pub ms: u64,
}

impl Moment {
    /// A time by the wall clock only.
    #[must_use]
    pub fn wall(at: Timestamp) -> Self {
        Self { at, boot: None }
    }

    /// The time from this moment to a later one. Within one boot its clock decides, otherwise the
    /// wall clock.
    ///
    /// `None` if the wall clock was set back to before this moment.
    #[must_use]
    pub fn until(&self, later: &Self) -> Option<Duration> {
        match (self.boot, later.boot) {
            (Some(from), Some(to)) if from.id == to.id => {
                Some(Duration::from_millis(to.ms.saturating_sub(from.ms)))
            }
            _ => Duration::try_from(later.at.duration_since(self.at)).ok(),
        }
    }

    /// This moment plus `wait`, by both clocks.
    #[must_use]
    pub fn after(&self, wait: Duration) -> Self {
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            at: self.at.checked_add(wait).unwrap_or(Timestamp::MAX),
            boot: self.boot.map(|boot| Boot {
                ms: boot.ms.saturating_add(ms),
                ..boot
            }),
        }
    }
}

/// Requests with an effect that may have been sent and whose replies are unknown.
///
/// It has two halves. *May still act* ends when a lookup is believed ([`Self::may_act`]). *May be
/// ours* never ends: it holds as long as the doubt is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// No effect can have begun before: the commit that first allowed sending. `None` in records of
    /// older versions.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub earliest: Option<Moment>,
    /// No request can have been sent later.
    #[serde(rename = "l")]
    pub latest: Moment,
    /// How long after `latest` a lookup is believed, in ms, by the settings when the request was
    /// sent. `None` if that time is unknown: the current settings decide.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub settle_ms: Option<u64>,
    /// No believed lookup has found the target untouched since.
    #[serde(rename = "m")]
    pub may_act: bool,
    /// The provider accepted a request whose effect has not been seen. It is not sent again.
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    pub accepted: bool,
    /// Believed, readable lookups that left the doubt open, over all runs of the key.
    #[serde(rename = "n", default, skip_serializing_if = "is_zero")]
    pub looks: u32,
    /// Where it was sent: a digest of the account's
    /// [place](crate::domain::account::Account::place).
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u64>,
    /// That place had answered in the provider's format when it was sent.
    #[serde(rename = "k", default, skip_serializing_if = "std::ops::Not::not")]
    pub place_answered: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Doubt {
    /// A doubt about requests that may have been sent between these times, with unknown settings.
    #[must_use]
    pub fn between(earliest: Option<Moment>, latest: Moment) -> Self {
        Self {
            earliest,
            latest,
            settle_ms: None,
            may_act: true,
            accepted: false,
            looks: 0,
            place: None,
            place_answered: false,
        }
    }

    /// How long from `now` until a lookup is believed. `timeout` and `settling` are the account's,
    /// for a doubt without `settle_ms`.
    #[must_use]
    pub fn believed_in(&self, now: &Moment, timeout: Duration, settling: Duration) -> Duration {
        let wait = self
            .settle_ms
            .map_or_else(|| timeout.max(settling), Duration::from_millis);
        // If the clock is behind `latest`, it does not say how much time has passed: the full wait
        // counts.
        let passed = self.latest.until(now).unwrap_or_default();
        // A request of an earlier process can be under way for some time after this one started.
        let under_way = Duration::from_millis(limits::TCP_USER_TIMEOUT_MS);
        let ahead = now.until(&self.latest).unwrap_or_default().min(under_way);
        ahead + wait.saturating_sub(passed)
    }
}

/// Facts about an account that its replies have proved. An earlier process may have learned them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AccountState {
    /// The place that has answered in the provider's own format.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub answered_place: Option<u64>,
    /// The place and credential that got a requested subscription described.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<u64>,
    /// The provider asked not to be called before.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Moment>,
    /// Tokens in the bucket at an orderly stop, and when that was.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<(f64, Moment)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(second: i64, boot: Option<(u64, u64)>) -> Moment {
        Moment {
            at: Timestamp::from_second(second).unwrap(),
            boot: boot.map(|(id, ms)| Boot { id, ms }),
        }
    }

    #[test]
    fn within_one_boot_its_clock_decides_and_between_two_the_wall_clock() {
        let seconds = |s| Some(Duration::from_secs(s));
        for (from, to, passed) in [
            ((100, Some((1, 5_000))), (50, Some((1, 9_000))), seconds(4)),
            (
                (100, Some((1, 5_000))),
                (160, Some((2, 1_000))),
                seconds(60),
            ),
            ((100, Some((1, 5_000))), (160, None), seconds(60)),
            ((100, None), (100, None), seconds(0)),
            ((100, Some((1, 5_000))), (99, Some((2, 1_000))), None),
        ] {
            let (from, to) = (moment(from.0, from.1), moment(to.0, to.1));
            assert_eq!(from.until(&to), passed, "{from:?} {to:?}");
        }
    }

    #[test]
    fn a_clock_that_stands_before_a_doubt_waits_for_it_in_full() {
        let doubt = |settle_ms| Doubt {
            earliest: None,
            latest: moment(100, None),
            settle_ms,
            may_act: true,
            accepted: false,
            looks: 0,
            place: None,
            place_answered: false,
        };
        let (timeout, settling) = (Duration::from_secs(120), Duration::from_secs(30));
        for (settle_ms, now, wait) in [
            (Some(30_000), 110, 20),
            (Some(30_000), 131, 0),
            (Some(30_000), 97, 33),
            (Some(30_000), 40, 35),
            (None, 110, 110),
        ] {
            let waits = doubt(settle_ms).believed_in(&moment(now, None), timeout, settling);
            assert_eq!(waits, Duration::from_secs(wait), "{settle_ms:?} {now}");
        }
    }
}
