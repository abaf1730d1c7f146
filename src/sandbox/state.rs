//! What the four billing providers share: subscriptions, the states they are born in, and the
//! tally of what was done to each. Wire words belong to the provider modules.

use std::collections::{BTreeMap, HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Options;

/// The state of a subscription, in our words.
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
    /// Over for other reasons.
    Expired,
}

impl Standing {
    /// The state that words inside an id choose, or `None` for an id that does not exist.
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

/// When a Revolv3 subscription ends once it is cancelled: a property of the subscription there.
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
    /// Cancellations really applied. More than one is a double effect, unless two were asked for.
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

/// How to create a subscription by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seed {
    /// Its state.
    pub standing: Standing,
    /// Milliseconds from now until the billing period ends (negative: it is over). By default
    /// [`Options::period_left`].
    pub period_left_ms: Option<i64>,
    /// FunnelFox's `payment_provider`.
    pub payment_provider: Option<String>,
    /// Revolv3's stored cancel type.
    pub cancel_type: CancelType,
    /// Milliseconds since somebody else cancelled it, where its state says that it was. By default
    /// 27 days.
    pub canceled_ms_ago: Option<i64>,
}

/// One subscription at one of the billing providers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its state.
    pub standing: Standing,
    /// The state before the cancellation, which some providers go on showing until it takes effect.
    pub standing_before: Standing,
    /// When it was created.
    pub created_at: Timestamp,
    /// When anything about it changed last.
    pub updated_at: Timestamp,
    /// When the current billing period ends.
    pub period_ends_at: Timestamp,
    /// When its cancellation was asked for.
    pub requested_at: Option<Timestamp>,
    /// When its cancellation takes or took effect.
    pub effective_at: Option<Timestamp>,
    /// The reason or comment the provider keeps with the cancellation.
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

    /// Ends a scheduled subscription whose time has come.
    fn settle(&mut self, now: Timestamp) {
        if self.standing == Standing::Scheduled && self.effective_at.is_some_and(|at| at <= now) {
            self.standing = Standing::Canceled;
        }
    }

    /// Applies one cancellation: this is an effect.
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

/// All subscriptions of one provider.
#[derive(Debug)]
pub(super) struct Book {
    subscriptions: HashMap<Box<str>, Subscription>,
    /// How long after an effect looks begin to show it.
    pub(super) looks_lag: SignedDuration,
    /// What subscriptions were like, while looks lag.
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

    /// The subscription, born now if `birth` gives it a state, or `None` if it does not exist.
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

    /// The subscription as a look shows it: as it was some time ago, if looks lag.
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

    /// The subscription as it is, without giving birth.
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

    /// What was done to each subscription that anything was done to.
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

/// What a subscription was like, as far as looks may still show it.
#[derive(Debug, Default)]
struct Past {
    /// Since when it was so; the first is what looks show.
    versions: VecDeque<(Timestamp, Subscription)>,
    /// When a request last had it in hand: what has changed since did so then.
    touched_at: Timestamp,
}

impl Past {
    /// Enters what a subscription is like now, and forgets what no look shows any more.
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

/// How long ago others cancelled what is born cancelled.
const CANCELED_AGO: SignedDuration = SignedDuration::from_hours(27 * 24);

/// A day.
pub(super) const DAY: SignedDuration = SignedDuration::from_hours(24);

/// `at + by`, or `at` where that leaves the calendar.
pub(super) fn shift(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(at)
}
