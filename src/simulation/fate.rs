//! What can become of a request on its way, and how often.

use std::time::Duration;

use super::{
    watch::Sighting,
    world::{State, World},
};

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Clean,
    Refused,
    RequestLost,
    ReplyLost,
    ReplyLate,
    RequestLate,
    Twice,
    ResetBefore,
    ResetAfter,
    ErrorBefore(u16),
    ErrorAfter(u16),
    Throttled(u64),
    Unready,
    Garbage,
    WrongBody,
    Truncated,
}

impl State {
    /// Draws what becomes of the next request to an account.
    pub(super) fn fate(&mut self, world: &World, seen: &Sighting) -> Fate {
        let now = self.now();
        let of = &world.plan.accounts[seen.account];
        if self.calm {
            return Fate::Clean;
        }
        let is_on = |(from, to): &(Duration, Duration)| (*from..*to).contains(&now);
        if of.outages.iter().any(is_on) {
            return [Fate::Refused, Fate::RequestLost, Fate::ErrorBefore(503)]
                [self.rng.usize(0..3)];
        }
        if seen.is_effect && of.read_only.as_ref().is_some_and(is_on) {
            self.met("looks alone are answered");
            return Fate::ErrorBefore(503);
        }
        if self.rng.f64() >= world.plan.fault_share {
            return Fate::Clean;
        }
        let status = [500, 502, 503, 504][self.rng.usize(0..4)];
        let seconds = self.rng.u64(1..=8);
        let fates = [
            Fate::Refused,
            Fate::RequestLost,
            Fate::ReplyLost,
            Fate::ReplyLate,
            Fate::ResetBefore,
            Fate::ResetAfter,
            Fate::ErrorBefore(status),
            Fate::ErrorAfter(status),
            Fate::Throttled(seconds),
            Fate::Unready,
            Fate::Garbage,
            Fate::WrongBody,
            Fate::Truncated,
            Fate::RequestLate,
            Fate::Twice,
        ];
        let choices = if world.plan.stragglers {
            fates.len()
        } else {
            fates.len() - 2
        };
        fates[self.rng.usize(0..choices)]
    }

    /// Draws how long a way takes.
    pub(super) fn latency(&mut self) -> Duration {
        if self.calm {
            return Duration::from_millis(1);
        }
        match self.rng.u32(0..10) {
            0..6 => self.ms(0..=20),
            6..9 => self.ms(20..=300),
            _ => self.ms(1_000..=2_000),
        }
    }
}

impl Fate {
    /// Whether it leaves the service without a word on what happened.
    pub(super) fn is_doubt(self) -> bool {
        !matches!(
            self,
            Self::Clean | Self::Twice | Self::Refused | Self::Throttled(_) | Self::Unready
        )
    }

    /// Whether it makes the next request of its item a retry.
    pub(super) fn is_failure(self) -> bool {
        !matches!(
            self,
            Self::Clean | Self::Twice | Self::Garbage | Self::WrongBody
        )
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Clean => "answered",
            Self::Refused => "connection refused",
            Self::RequestLost => "request lost",
            Self::ReplyLost => "reply lost",
            Self::ReplyLate => "reply after the timeout",
            Self::RequestLate => "request arrives after the timeout",
            Self::Twice => "request arrives twice",
            Self::ResetBefore => "reset before the effect",
            Self::ResetAfter => "reset after the effect",
            Self::ErrorBefore(_) => "5xx before the effect",
            Self::ErrorAfter(_) => "5xx after the effect",
            Self::Throttled(_) => "throttled",
            Self::Unready => "408",
            Self::Garbage => "a page in place of an answer",
            Self::WrongBody => "a wrong body",
            Self::Truncated => "a body cut off",
        }
    }
}
