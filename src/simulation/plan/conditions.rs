//! Clocks and lags of the providers, and how long a lost request may still act.

use std::{ops::Range, time::Duration};

use super::TIMEOUT;
use crate::simulation::world::service::SETTLING;

/// How long after it was sent a request may take effect, and lookups show that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulation) enum Lag {
    /// Before a lookup is believed: every promise holds.
    Believed,
    /// Up to three timeouts: a second effect is counted; a false final rejection is still a
    /// failure.
    Beyond,
}

/// What a machine reports of its boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulation) enum Boots {
    /// Nothing.
    Unknown,
    /// It keeps running while the service restarts.
    One,
    /// It reboots with the service.
    EachLife,
}

/// How a provider deviates.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct Off {
    /// How long after an effect lookups start to show it.
    pub(in crate::simulation) looks_lag: Duration,
    /// How many milliseconds its clock is ahead.
    pub(in crate::simulation) skew_ms: i64,
    pub(in crate::simulation) no_date: bool,
    /// The lives in which its account has a wrong address.
    pub(in crate::simulation) elsewhere: Range<usize>,
}

impl Off {
    pub(in crate::simulation) fn draw(rng: &mut fastrand::Rng) -> Self {
        let minutes = 60_000;
        Self {
            looks_lag: Duration::from_millis([0, 0, 0, 300, 1_000, 2_000][rng.usize(0..6)]),
            skew_ms: match rng.u32(0..3) {
                0 => rng.i64(-10 * minutes..=10 * minutes),
                _ => 0,
            },
            no_date: rng.u32(0..6) == 0,
            elsewhere: match rng.u32(0..8) {
                0 => 0..1,
                1 => 1..2,
                _ => 0..0,
            },
        }
    }
}

impl Boots {
    /// A clock that jumps ahead between two boots does not say how much time has passed.
    pub(in crate::simulation) fn draw(jumps: &[(Duration, i64)], rng: &mut fastrand::Rng) -> Self {
        match rng.u32(0..3) {
            0 if jumps.iter().all(|(_, by)| *by <= 0) => Self::Unknown,
            1 if jumps.iter().all(|(_, by)| *by <= 0) => Self::EachLife,
            _ => Self::One,
        }
    }
}

/// How long before the run others cancelled a target, in ms.
pub(in crate::simulation) fn canceled_ms_ago(rng: &mut fastrand::Rng) -> i64 {
    let seconds = [27 * 24 * 3_600, 3_600, 1_500, 120, 30];
    seconds[rng.usize(0..seconds.len())] * 1_000
}

/// When a lookup is believed after a request that was sent and given up at these times.
pub(in crate::simulation) fn believed_at(sent: Duration, given_up: Duration) -> Duration {
    (sent + TIMEOUT).max(given_up + SETTLING)
}

/// When a lookup is believed by a service started at this time, whatever was sent before.
pub(in crate::simulation) fn believed_after_start(start: Duration) -> Duration {
    let last_bytes = Duration::from_millis(crate::limits::TCP_USER_TIMEOUT_MS);
    start + last_bytes + TIMEOUT.max(SETTLING)
}
