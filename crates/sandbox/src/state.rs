//! What the four billing providers share: subscriptions, their initial states, and the tally of
//! what was done to each. Words on the wire are in the provider modules.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Options;

/// The state of a subscription, in our terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Paid and renewing.
    #[default]
    Active,
    /// In its trial.
    Trialing,
    /// Halted for a while.
    Paused,
    /// Created, but not started.
    Pending,
    /// A renewal failed and is tried again.
    Unpaid,
    /// In the grace period after a failed payment (Solidgate's `REDEMPTION`).
    Redemption,
    /// Cancelled, and running until its effective time.
    Scheduled,
    /// Cancelled and over.
    Canceled,
    /// Ended for another reason.
    Expired,
}

impl Standing {
    /// The state that a word in the id selects; `None` for an id that does not exist.
    pub(super) fn of_id(id: &str) -> Option<Self> {
        const WORDS: [(&str, Standing); 11] = [
            ("scheduled", Standing::Scheduled),
            ("canceled", Standing::Canceled),
            ("cancelled", Standing::Canceled),
            ("churned", Standing::Canceled),
            ("expired", Standing::Expired),
            ("paused", Standing::Paused),
            ("pending", Standing::Pending),
            ("unpaid", Standing::Unpaid),
            ("trialing", Standing::Trialing),
            ("redemption", Standing::Redemption),
            ("active", Standing::Active),
        ];
        if id.contains("missing") || id.contains("deleted") {
            return None;
        }
        let found = WORDS.iter().find(|(word, _)| id.contains(word));
        Some(found.map_or(Self::Active, |(_, standing)| *standing))
    }
}

/// When a cancelled Revolv3 subscription ends: a property of the subscription there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelType {
    /// At once.
    #[default]
    Immediate,
    /// At the end of the billing cycle.
    EndOfCycle,
}

/// What was done to one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Cancellations really applied. More than one is a double effect, unless two were requested.
    pub effects: u64,
    /// Accepted changes that cancel nothing: Revolv3's cancel type, an updated cancellation.
    pub changes: u64,
    /// Rebilly drafts created.
    pub drafts: u64,
    /// Rebilly drafts that were neither confirmed nor deleted.
    pub drafts_open: u64,
}

impl Tally {
    pub(super) const fn add(&mut self, other: Self) {
        self.effects += other.effects;
        self.changes += other.changes;
        self.drafts += other.drafts;
        self.drafts_open += other.drafts_open;
    }
}

/// A subscription to create explicitly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seed {
    /// Its state.
    pub standing: Standing,
    /// Milliseconds from now until the billing period ends; negative if it has ended. By default
    /// [`Options::period_left`].
    pub period_left_ms: Option<i64>,
    /// FunnelFox's `payment_provider`.
    pub payment_provider: Option<String>,
    /// Revolv3's stored cancel type.
    pub cancel_type: CancelType,
    /// Milliseconds since others cancelled it, if its state says so. By default 27 days.
    pub canceled_ms_ago: Option<i64>,
}

/// A subscription at one of the billing providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its state.
    pub standing: Standing,
    /// The state before the cancellation, which some providers show until it takes effect.
    pub standing_before: Standing,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When the current billing period ends.
    pub period_ends_at: Timestamp,
    /// When its cancellation was requested.
    pub requested_at: Option<Timestamp>,
    /// When its cancellation takes or took effect.
    pub effective_at: Option<Timestamp>,
    /// The reason or comment that the provider stores with the cancellation.
    pub note: Option<Box<str>>,
    /// FunnelFox's `payment_provider`.
    pub payment_provider: Box<str>,
    /// Revolv3's stored cancel type.
    pub cancel_type: CancelType,
    /// What was done to it.
    pub tally: Tally,
}

impl Subscription {
    fn born(seed: &Seed, period_left: SignedDuration, now: Timestamp) -> Self {
        let period_left = seed
            .period_left_ms
            .map_or(period_left, SignedDuration::from_millis);
        let period_ends_at = shift(now, period_left);
        let ago = seed.canceled_ms_ago;
        let ago = ago.map_or(CANCELED_AGO, SignedDuration::from_millis);
        let canceled_at = shift(now, -ago);
        let (requested_at, effective_at) = match seed.standing {
            Standing::Scheduled => (Some(canceled_at), Some(period_ends_at)),
            Standing::Canceled => (Some(canceled_at), Some(canceled_at)),
            _ => (None, None),
        };
        Self {
            standing: seed.standing,
            standing_before: Standing::Active,
            created_at: shift(now, DAY * -40),
            updated_at: requested_at.unwrap_or_else(|| shift(now, DAY * -10)),
            period_ends_at: match seed.standing {
                Standing::Canceled if seed.period_left_ms.is_none() => canceled_at,
                _ => period_ends_at,
            },
            requested_at,
            effective_at,
            note: None,
            payment_provider: seed.payment_provider.as_deref().unwrap_or("stripe").into(),
            cancel_type: seed.cancel_type,
            tally: Tally::default(),
        }
    }

    /// Ends a scheduled subscription when its time has come.
    fn settle(&mut self, now: Timestamp) {
        if self.standing == Standing::Scheduled && self.effective_at.is_some_and(|at| at <= now) {
            self.standing = Standing::Canceled;
        }
    }

    /// Applies a cancellation. This is an effect.
    pub(super) fn cancel(&mut self, effective_at: Timestamp, note: Option<&str>, now: Timestamp) {
        if !matches!(self.standing, Standing::Scheduled | Standing::Canceled) {
            self.standing_before = self.standing;
        }
        if self.standing != Standing::Canceled {
            let over = effective_at <= now;
            self.standing = if over {
                Standing::Canceled
            } else {
                Standing::Scheduled
            };
        }
        self.effective_at = Some(effective_at);
        self.requested_at = Some(now);
        self.updated_at = now;
        self.note = note.map(Into::into);
        self.tally.effects += 1;
    }
}

/// All subscriptions of a provider.
#[derive(Debug)]
pub(super) struct Book {
    subscriptions: HashMap<Box<str>, Subscription>,
    /// How long after an effect lookups start to show it.
    pub(super) looks_lag: SignedDuration,
    /// Earlier states of subscriptions, while lookups lag.
    past: HashMap<Box<str>, Past>,
    auto_create: bool,
    period_left: SignedDuration,
}

impl Book {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            subscriptions: HashMap::new(),
            looks_lag: SignedDuration::ZERO,
            past: HashMap::new(),
            auto_create: options.auto_create,
            period_left: SignedDuration::try_from(options.period_left)
                .unwrap_or(SignedDuration::ZERO),
        }
    }

    /// The subscription, created now if `birth` gives it a state; `None` if it does not exist.
    pub(super) fn touch(
        &mut self,
        id: &str,
        now: Timestamp,
        birth: impl FnOnce(&str) -> Option<Seed>,
    ) -> Option<&mut Subscription> {
        if self.auto_create
            && !self.subscriptions.contains_key(id)
            && let Some(seed) = birth(id)
        {
            self.create(id, &seed, now);
        }
        let subscription = self.subscriptions.get_mut(id)?;
        subscription.settle(now);
        if !self.looks_lag.is_zero() {
            let past = self.past.entry(id.into()).or_default();
            past.remember(subscription, now, shift(now, -self.looks_lag));
        }
        Some(subscription)
    }

    /// The subscription as a lookup shows it: in an earlier state, if lookups lag.
    pub(super) fn look(
        &mut self,
        id: &str,
        now: Timestamp,
        birth: impl FnOnce(&str) -> Option<Seed>,
    ) -> Option<&Subscription> {
        self.touch(id, now, birth)?;
        let past = self.past.get(id).filter(|_| !self.looks_lag.is_zero());
        match past.and_then(|past| past.versions.front()) {
            Some((_, shown)) => Some(shown),
            None => self.subscriptions.get(id),
        }
    }

    pub(super) fn create(&mut self, id: &str, seed: &Seed, now: Timestamp) {
        self.subscriptions
            .insert(id.into(), Subscription::born(seed, self.period_left, now));
    }

    /// The current subscription, without creating it.
    pub(super) fn get(&mut self, id: &str, now: Timestamp) -> Option<&Subscription> {
        let subscription = self.subscriptions.get_mut(id)?;
        subscription.settle(now);
        Some(subscription)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Subscription)> {
        self.subscriptions
            .iter()
            .map(|(id, subscription)| (&**id, subscription))
    }

    /// The tally of each subscription with one.
    pub(super) fn tallies(&self) -> BTreeMap<String, Tally> {
        self.iter()
            .filter(|(_, subscription)| subscription.tally != Tally::default())
            .map(|(id, subscription)| (id.to_owned(), subscription.tally))
            .collect()
    }

    pub(super) fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.subscriptions
            .values()
            .for_each(|subscription| total.add(subscription.tally));
        total
    }
}

/// Earlier states of a subscription, as far as lookups may still show them.
#[derive(Debug, Default)]
struct Past {
    /// Each state with its start; lookups show the first one.
    versions: VecDeque<(Timestamp, Subscription)>,
    /// When a request last used it: changes since then happened at that time.
    touched_at: Timestamp,
}

impl Past {
    /// Adds the current state, and drops states that no lookup shows any more.
    fn remember(&mut self, of: &Subscription, now: Timestamp, shown_at: Timestamp) {
        if self.versions.back().is_none_or(|(_, last)| last != of) {
            self.versions.push_back((self.touched_at, of.clone()));
        }
        self.touched_at = now;
        while self
            .versions
            .get(1)
            .is_some_and(|(since, _)| *since <= shown_at)
        {
            self.versions.pop_front();
        }
    }
}

/// How long ago others cancelled subscriptions that start cancelled.
const CANCELED_AGO: SignedDuration = SignedDuration::from_hours(27 * 24);

pub(super) const DAY: SignedDuration = SignedDuration::from_hours(24);

/// `at + by`, or `at` where that leaves the calendar.
pub(super) fn shift(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(at)
}
