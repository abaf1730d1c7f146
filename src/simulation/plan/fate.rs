//! The injected faults of a request, and how often each happens.

use std::time::Duration;

use crate::{
    sandbox::{Foreign, Provider},
    simulation::{
        oracle::watch::Sighting,
        world::{State, World},
    },
};

/// The injected fault of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulation) enum Fate {
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
    /// A server error or a hang-up at once, and the effect later.
    ErrorThenEffect(u16),
    ResetThenEffect,
    /// A success that shows the target unchanged, and the effect later or never.
    AcceptedThenEffect,
    AcceptedInVain,
    /// A success without a body.
    Bodiless,
    /// An intermediary replies, before or after the effect.
    Foreign(Foreign, bool),
    /// The provider has another request in progress.
    Busy(u16),
    AboutAnother,
    /// An older reply from a cache.
    Cached,
}

impl State {
    /// Draws the fault of the next request to an account.
    pub(in crate::simulation) fn fate(&mut self, world: &World, seen: &Sighting) -> Fate {
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
            Fate::ErrorThenEffect(status),
            Fate::ResetThenEffect,
            self.foreign(world, seen),
            self.foreign(world, seen),
            Fate::Busy([409, 423][self.rng.usize(0..2)]),
            Fate::AboutAnother,
            if seen.is_effect {
                self.accepted(of.provider)
            } else {
                Fate::Cached
            },
            Fate::Twice,
        ];
        let choices = if world.plan.stragglers {
            fates.len()
        } else {
            fates.len() - 1
        };
        fates[self.rng.usize(0..choices)]
    }

    /// A reply of an intermediary. If the provider's own format is only a message, a gateway's JSON
    /// looks the same, and cannot be told apart once the account is proven.
    fn foreign(&mut self, world: &World, seen: &Sighting) -> Fate {
        let provider = world.plan.accounts[seen.account].provider;
        let targets = world.plan.targets.iter();
        let alone = targets.filter(|of| of.account == seen.account).count() == 1;
        let answer = Foreign::ALL[self.rng.usize(0..Foreign::ALL.len())];
        let only_message = matches!(provider, Provider::FunnelFox | Provider::Revolv3);
        let is_alike = only_message && answer == Foreign::NoRoute;
        if is_alike && (!alone || self.watch.described.contains(&seen.account)) {
            return Fate::Foreign(Foreign::PageMissing, true);
        }
        // A proxy without its password passes nothing on, nor does a gateway without a route.
        let passes = !matches!(answer, Foreign::Proxy) && !is_alike;
        Fate::Foreign(answer, passes && self.rng.bool())
    }

    /// A success that promises more than it shows, at providers that have such.
    fn accepted(&mut self, provider: Provider) -> Fate {
        match (provider, self.rng.u32(0..4)) {
            (Provider::Rebilly | Provider::Sequenzy, _) | (_, 0) => Fate::Bodiless,
            (_, 1) => Fate::AcceptedInVain,
            _ => Fate::AcceptedThenEffect,
        }
    }

    /// Draws a latency.
    pub(in crate::simulation) fn latency(&mut self) -> Duration {
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
    /// Whether it leaves the service in doubt.
    pub(in crate::simulation) fn is_doubt(self) -> bool {
        !matches!(
            self,
            Self::Clean
                | Self::Twice
                | Self::Refused
                | Self::Throttled(_)
                | Self::Busy(_)
                | Self::Foreign(Foreign::Proxy, _)
        )
    }

    /// Whether the provider's reply arrives unchanged.
    pub(in crate::simulation) fn is_plain(self) -> bool {
        matches!(self, Self::Clean | Self::Twice)
    }

    /// Whether the request reaches the provider in time.
    pub(in crate::simulation) fn arrives(self) -> bool {
        matches!(
            self,
            Self::Clean
                | Self::ReplyLost
                | Self::ReplyLate
                | Self::Twice
                | Self::ResetAfter
                | Self::Truncated
                | Self::ErrorAfter(_)
                | Self::Garbage
                | Self::WrongBody
                | Self::Bodiless
                | Self::Foreign(_, true)
                | Self::AboutAnother
        )
    }

    /// Whether it reaches the provider after its sender has given up.
    pub(in crate::simulation) fn arrives_later(self) -> bool {
        matches!(
            self,
            Self::RequestLate
                | Self::ErrorThenEffect(_)
                | Self::ResetThenEffect
                | Self::AcceptedThenEffect
        )
    }

    /// Whether its sender waits until the timeout.
    pub(in crate::simulation) fn times_out(self) -> bool {
        matches!(
            self,
            Self::RequestLost | Self::ReplyLost | Self::ReplyLate | Self::RequestLate
        )
    }

    /// Whether the item's next request is a retry.
    pub(in crate::simulation) fn is_failure(self) -> bool {
        !matches!(
            self,
            Self::Clean
                | Self::Twice
                | Self::Garbage
                | Self::WrongBody
                | Self::AcceptedThenEffect
                | Self::AcceptedInVain
                | Self::Bodiless
                | Self::Foreign(..)
                | Self::Busy(_)
                | Self::AboutAnother
                | Self::Cached
        )
    }

    pub(in crate::simulation) fn name(self) -> &'static str {
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
            Self::ErrorThenEffect(_) => "5xx, and the effect later",
            Self::ResetThenEffect => "reset, and the effect later",
            Self::AcceptedThenEffect => "accepted, and the effect later",
            Self::AcceptedInVain => "accepted, and no effect",
            Self::Bodiless => "a success without a body",
            Self::Foreign(_, false) => "another answers before the effect",
            Self::Foreign(_, true) => "another answers after the effect",
            Self::Busy(_) => "another request in progress",
            Self::AboutAnother => "an answer about another",
            Self::Cached => "an answer from a cache",
        }
    }
}
