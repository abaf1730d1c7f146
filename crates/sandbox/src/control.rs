//! The handle by which tests and the demo inspect and control a sandbox.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    EnrollmentView, FaultRates, Provider, RateLimit, Scripted, Seed, SequenceSeed, Subscription,
    Tally, Variants,
    state::Book,
    wire::Received,
    world::{World, locked},
};

/// A handle on a sandbox's state. Cheap to clone; it outlives the server.
#[derive(Clone, Debug)]
pub struct Control {
    world: Arc<World>,
}

/// Counts of one provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests received, with any result.
    pub requests: u64,
    /// Requests held now: see [`super::Fault::HoldBefore`].
    pub held: u64,
    /// The sum over all subscriptions or enrollments.
    #[serde(flatten)]
    pub tally: Tally,
}

/// A received request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// The method.
    pub method: String,
    /// Path and query as on the wire, undecoded, with the provider's base path.
    pub path: String,
    /// All headers in order, with lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

impl Recorded {
    /// The first header with this lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }
}

impl From<&Received> for Recorded {
    fn from(of: &Received) -> Self {
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        };
        Self {
            method: of.method.as_str().to_owned(),
            path: of.target().to_owned(),
            headers: of.headers.iter().map(header).collect(),
            body: String::from_utf8_lossy(&of.body).into_owned(),
        }
    }
}

impl Control {
    pub(super) const fn new(world: Arc<World>) -> Self {
        Self { world }
    }

    /// The five providers without a server: see [`Control::carry_out`].
    #[must_use]
    pub fn unserved(options: super::Options) -> Self {
        Self::new(Arc::new(World::new(options)))
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    /// The simulated time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.world.now()
    }

    /// Moves the simulated clock, for example past the end of a billing period.
    pub fn advance(&self, by_ms: i64) {
        self.world.advance(by_ms);
    }

    // Subscriptions and enrollments.

    /// Creates or replaces a subscription. A Sequenzy enrollment needs
    /// [`Control::create_sequence`].
    pub fn create(&self, provider: Provider, id: &str, seed: &Seed) {
        let now = self.world.now_at(provider);
        self.book(provider, |book| book.create(id, seed, now));
    }

    /// A subscription's current state; `None` if no request and no seed has created it.
    #[must_use]
    pub fn subscription(&self, provider: Provider, id: &str) -> Option<Subscription> {
        let now = self.world.now_at(provider);
        self.book(provider, |book| book.get(id, now).cloned())
            .flatten()
    }

    /// Creates or replaces a Sequenzy sequence.
    pub fn create_sequence(&self, id: &str, seed: &SequenceSeed) {
        let now = self.world.now_at(Provider::Sequenzy);
        locked(&self.world.sequenzy).create(id, seed, now);
    }

    /// The enrollments of a Sequenzy sequence; `None` if it was not created.
    #[must_use]
    pub fn sequence(&self, id: &str) -> Option<Vec<EnrollmentView>> {
        locked(&self.world.sequenzy)
            .sequence(id)
            .map(|sequence| sequence.views(id))
    }

    /// Effects by subscription id, or by token id at Sequenzy; those without any are omitted.
    #[must_use]
    pub fn effects(&self, provider: Provider) -> BTreeMap<String, u64> {
        let tallies = self.tallies(provider).into_iter();
        tallies
            .map(|(id, tally)| (id, tally.effects))
            .filter(|(_, effects)| *effects > 0)
            .collect()
    }

    /// All tallies, by subscription id, or by token id at Sequenzy.
    #[must_use]
    pub fn tallies(&self, provider: Provider) -> BTreeMap<String, Tally> {
        self.book(provider, |book| book.tallies())
            .unwrap_or_else(|| locked(&self.world.sequenzy).tallies())
    }

    /// The totals of one provider.
    #[must_use]
    pub fn counts(&self, provider: Provider) -> Counts {
        let tally = self
            .book(provider, |book| book.total())
            .unwrap_or_else(|| locked(&self.world.sequenzy).total());
        let line = self.world.line(provider);
        Counts {
            requests: line.requests(),
            held: line.held(),
            tally,
        }
    }

    /// Acts on the subscriptions of a provider; Sequenzy has none.
    fn book<T>(&self, provider: Provider, act: impl FnOnce(&mut Book) -> T) -> Option<T> {
        let world = &self.world;
        match provider {
            Provider::Rebilly => Some(act(&mut locked(&world.rebilly).book)),
            Provider::Solidgate => Some(act(&mut locked(&world.solidgate).book)),
            Provider::FunnelFox => Some(act(&mut locked(&world.funnelfox).book)),
            Provider::Revolv3 => Some(act(&mut locked(&world.revolv3).book)),
            Provider::Sequenzy => None,
        }
    }

    // Requests.

    /// The latest requests, oldest first; see [`super::Options::recorded_requests_max`].
    #[must_use]
    pub fn requests(&self, provider: Provider) -> Vec<Recorded> {
        let recorded = self.world.line(provider).recorded();
        recorded
            .iter()
            .map(|received| Recorded::from(&**received))
            .collect()
    }

    /// Waits until this many requests have come in.
    pub async fn requests_reached(&self, provider: Provider, requests: u64) {
        self.world
            .line(provider)
            .until(|line| line.requests() >= requests)
            .await;
    }

    /// Waits until this many requests are held at the same time.
    pub async fn held_reached(&self, provider: Provider, held: u64) {
        self.world
            .line(provider)
            .until(|line| line.held() >= held)
            .await;
    }

    /// Waits until no request is held: each was released, or its client left.
    pub async fn none_held(&self, provider: Provider) {
        self.world
            .line(provider)
            .until(|line| line.held() == 0)
            .await;
    }

    // Faults.

    /// Releases every held request.
    pub fn release(&self, provider: Provider) {
        self.world.line(provider).release();
    }

    /// Gives this fault to the next matching request. Entries are used up in order.
    pub fn script(&self, provider: Provider, fault: impl Into<Scripted>) {
        self.world.line(provider).faults.push(fault.into());
    }

    /// The scripted faults that are not used up.
    #[must_use]
    pub fn scripted(&self, provider: Provider) -> Vec<Scripted> {
        self.world.line(provider).faults.script()
    }

    /// Sets the rates of random faults, and how the provider deviates besides.
    pub fn set_fault_rates(&self, provider: Provider, rates: FaultRates) {
        let lag = i64::try_from(rates.looks_lag_ms).unwrap_or(i64::MAX);
        let lag = SignedDuration::from_millis(lag);
        if provider == Provider::Sequenzy {
            locked(&self.world.sequenzy).looks_lag = lag;
        }
        self.book(provider, |book| book.looks_lag = lag);
        let line = self.world.line(provider);
        line.set_clock(rates.clock_skew_ms, rates.no_date);
        line.faults.set_rates(rates);
    }

    /// The rates of random faults.
    #[must_use]
    pub fn fault_rates(&self, provider: Provider) -> FaultRates {
        self.world.line(provider).faults.rates()
    }

    /// Sets a rate limit: above it every request gets a 429.
    pub fn set_rate_limit(&self, provider: Provider, limit: Option<RateLimit>) {
        self.world.line(provider).faults.set_limit(limit);
    }

    /// Removes all faults: script, rates and limit. Held requests stay held.
    pub fn clear_faults(&self, provider: Provider) {
        self.set_fault_rates(provider, FaultRates::default());
        self.world.line(provider).faults.clear();
    }

    // The whole sandbox.

    /// How the providers interpret what their pages leave open.
    #[must_use]
    pub fn variants(&self) -> Variants {
        self.world.variants()
    }

    /// Sets how the providers interpret what their pages leave open.
    pub fn set_variants(&self, variants: Variants) {
        self.world.set_variants(variants);
    }

    /// Resets to the start: no state, no faults, no recorded requests, the initial variants.
    pub fn reset(&self) {
        self.world.reset();
    }

    /// Further details of a subscription: Rebilly's cancellations.
    pub(super) fn details(&self, provider: Provider, id: &str) -> serde_json::Value {
        match provider {
            Provider::Rebilly => {
                let now = self.world.now_at(provider);
                locked(&self.world.rebilly).details(id, now)
            }
            Provider::Solidgate | Provider::FunnelFox | Provider::Revolv3 | Provider::Sequenzy => {
                serde_json::Value::Null
            }
        }
    }
}
