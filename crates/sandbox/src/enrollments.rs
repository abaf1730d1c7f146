//! Sequenzy's data: sequences and their enrollments, indexed by subscriber and by field value. HTTP
//! is in `sequenzy`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::{DAY, Tally, shift};

/// The field path of enrollments that are created on first use.
const DEFAULT_FIELD_PATH: &str = "order.id";
const BORN_PER_SEQUENCE: u32 = 3;
const BORN_PER_SEQUENCE_MAX: u32 = 1_000_000;
const BORN_PER_SUBSCRIBER: u32 = 3;

/// The status of one enrollment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnrollmentStatus {
    /// Between two steps.
    #[default]
    Active,
    /// Waiting in a step.
    Waiting,
    /// Ran to its end.
    Completed,
    /// Ended by an error.
    Failed,
    /// Ended by a cancellation.
    Cancelled,
}

impl EnrollmentStatus {
    /// Whether a cancellation matches it.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Active | Self::Waiting)
    }

    /// The word on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An enrollment to create explicitly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnrollmentSeed {
    /// The subscriber.
    pub subscriber_id: String,
    /// Its status.
    pub status: EnrollmentStatus,
    /// The entry event's properties: dotted path to value, such as `order.id` to `ord_123`.
    pub properties: BTreeMap<String, String>,
}

/// A sequence to create explicitly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SequenceSeed {
    /// The sequence's own `enrollmentFieldPath`.
    pub field_path: Option<String>,
    /// Its enrollments.
    pub enrollments: Vec<EnrollmentSeed>,
    /// Whether unknown subscribers and field values are created on first use.
    pub auto_create: bool,
}

/// An enrollment as tests see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnrollmentView {
    /// Its token id.
    pub token_id: String,
    /// The subscriber.
    pub subscriber_id: String,
    /// Its status.
    pub status: EnrollmentStatus,
    /// The reason given in the cancellation.
    pub reason: Option<String>,
    /// How often it was cancelled.
    pub effects: u64,
}

#[derive(Debug)]
pub(super) struct Enrollment {
    serial: usize,
    pub(super) subscriber_id: Arc<str>,
    pub(super) status: EnrollmentStatus,
    status_before: EnrollmentStatus,
    properties: Vec<(Box<str>, Box<str>)>,
    reason: Option<Arc<str>>,
    pub(super) started_at: Timestamp,
    pub(super) updated_at: Timestamp,
    effects: u64,
}

impl Enrollment {
    pub(super) fn token_id(&self, sequence_id: &str) -> String {
        format!("tok_{sequence_id}_{}", self.serial)
    }

    /// The status that a lagging list shows: that of an earlier time.
    pub(super) fn shown(&self, at: Timestamp) -> EnrollmentStatus {
        if self.updated_at > at {
            self.status_before
        } else {
            self.status
        }
    }

    pub(super) fn key(&self) -> String {
        match self.properties.first() {
            Some((path, value)) => format!("event:ecommerce.order_placed:field:{path}:{value}"),
            None => format!("subscriber:{}", self.subscriber_id),
        }
    }

    fn has(&self, path: &str, value: &str) -> bool {
        self.properties
            .iter()
            .any(|(p, v)| **p == *path && **v == *value)
    }
}

/// The target of a cancellation.
#[derive(Debug)]
pub(super) enum Target {
    All,
    Subscriber(String),
    Subscribers(Vec<String>),
    Field { path: String, values: Vec<String> },
}

/// A sequence.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) field_path: Option<Box<str>>,
    auto_create: bool,
    enrollments: Vec<Enrollment>,
    by_subscriber: HashMap<Arc<str>, Vec<usize>>,
    by_value: HashMap<Box<str>, Vec<usize>>,
    open: usize,
    /// No enrollment before this index is open, and none opens again.
    open_from: usize,
}

impl Sequence {
    /// The sequence with this id, created on first use; `None` if the id is one that does not
    /// exist.
    pub(super) fn born(id: &str, now: Timestamp) -> Option<Self> {
        if id.contains("missing") || id.contains("deleted") {
            return None;
        }
        let field_path = (!id.contains("nopath")).then(|| DEFAULT_FIELD_PATH.into());
        let mut new = Self::empty(field_path, true);
        let status = status_of(id);
        for number in 1..=drain_size(id).unwrap_or(BORN_PER_SEQUENCE) {
            let subscriber: Arc<str> = format!("sub_{id}_{number}").into();
            new.enroll(subscriber, status, Vec::new(), now);
        }
        Some(new)
    }

    pub(super) fn seeded(seed: &SequenceSeed, now: Timestamp) -> Self {
        let mut new = Self::empty(seed.field_path.as_deref().map(Into::into), seed.auto_create);
        for one in &seed.enrollments {
            let properties = one
                .properties
                .iter()
                .map(|(p, v)| (p.as_str().into(), v.as_str().into()));
            let subscriber = one.subscriber_id.as_str().into();
            new.enroll(subscriber, one.status, properties.collect(), now);
        }
        new
    }

    fn empty(field_path: Option<Box<str>>, auto_create: bool) -> Self {
        Self {
            field_path,
            auto_create,
            enrollments: Vec::new(),
            by_subscriber: HashMap::new(),
            by_value: HashMap::new(),
            open: 0,
            open_from: 0,
        }
    }

    fn enroll(
        &mut self,
        subscriber_id: Arc<str>,
        status: EnrollmentStatus,
        properties: Vec<(Box<str>, Box<str>)>,
        now: Timestamp,
    ) {
        let serial = self.enrollments.len();
        self.open += usize::from(status.is_open());
        self.by_subscriber
            .entry(Arc::clone(&subscriber_id))
            .or_default()
            .push(serial);
        for (_, value) in &properties {
            self.by_value.entry(value.clone()).or_default().push(serial);
        }
        self.enrollments.push(Enrollment {
            serial,
            subscriber_id,
            status,
            status_before: status,
            properties,
            reason: None,
            started_at: shift(now, DAY * -3),
            updated_at: shift(now, -DAY),
            effects: 0,
        });
    }

    /// Whether the subscriber exists, created now if needed.
    pub(super) fn knows(&mut self, subscriber_id: &str, now: Timestamp) -> bool {
        if self.by_subscriber.contains_key(subscriber_id) {
            return true;
        }
        if !self.auto_create || subscriber_id.contains("missing") {
            return false;
        }
        let subscriber: Arc<str> = subscriber_id.into();
        for number in 0..BORN_PER_SUBSCRIBER {
            let status = match status_of(subscriber_id) {
                EnrollmentStatus::Active if number == 1 => EnrollmentStatus::Waiting,
                status => status,
            };
            self.enroll(Arc::clone(&subscriber), status, Vec::new(), now);
        }
        true
    }

    /// Enrolls one or two subscribers under a new field value.
    fn bear_value(&mut self, path: &str, value: &str, now: Timestamp) {
        if !self.auto_create || value.contains("missing") || self.by_value.contains_key(value) {
            return;
        }
        let several = value.bytes().fold(0_u8, u8::wrapping_add) % 2;
        for number in 0..=several {
            let subscriber = format!("sub_{value}_{number}").into();
            let properties = vec![(path.into(), value.into())];
            self.enroll(subscriber, status_of(value), properties, now);
        }
    }

    /// All open enrollments that the target matches: how many, and the indexes of the first ones.
    pub(super) fn matching(
        &mut self,
        target: &Target,
        places_max: usize,
        now: Timestamp,
    ) -> (usize, Vec<usize>) {
        match target {
            Target::All => {
                while self
                    .enrollments
                    .get(self.open_from)
                    .is_some_and(|e| !e.status.is_open())
                {
                    self.open_from += 1;
                }
                let places = self.enrollments.iter().skip(self.open_from);
                let open = places.filter(|e| e.status.is_open()).map(|e| e.serial);
                (self.open, open.take(places_max).collect())
            }
            Target::Subscriber(id) => {
                let open = self.open_of(std::slice::from_ref(id), now);
                (open.len(), open.into_iter().take(places_max).collect())
            }
            Target::Subscribers(ids) => {
                let open = self.open_of(ids, now);
                (open.len(), open.into_iter().take(places_max).collect())
            }
            Target::Field { path, values } => {
                let mut open = Vec::new();
                for value in values {
                    self.bear_value(path, value, now);
                    let places = self.by_value.get(value.as_str()).into_iter().flatten();
                    open.extend(places.copied().filter(|place| {
                        let one = self.enrollments.get(*place);
                        one.is_some_and(|e| e.status.is_open() && e.has(path, value))
                    }));
                }
                open.sort_unstable();
                open.dedup();
                (open.len(), open.into_iter().take(places_max).collect())
            }
        }
    }

    fn open_of(&mut self, subscriber_ids: &[String], now: Timestamp) -> Vec<usize> {
        let mut open = Vec::new();
        for id in subscriber_ids {
            if self.knows(id, now) {
                let places = self.by_subscriber.get(id.as_str()).into_iter().flatten();
                open.extend(places.copied().filter(|place| {
                    self.enrollments
                        .get(*place)
                        .is_some_and(|e| e.status.is_open())
                }));
            }
        }
        open.sort_unstable();
        open.dedup();
        open
    }

    /// Cancels the enrollment at this index. This is an effect.
    pub(super) fn cancel(&mut self, place: usize, reason: Option<&Arc<str>>, now: Timestamp) {
        let Some(enrollment) = self.enrollments.get_mut(place) else {
            return;
        };
        self.open -= usize::from(enrollment.status.is_open());
        enrollment.status_before = enrollment.status;
        enrollment.status = EnrollmentStatus::Cancelled;
        enrollment.reason = reason.map(Arc::clone);
        enrollment.updated_at = now;
        enrollment.effects += 1;
    }

    pub(super) fn get(&self, place: usize) -> Option<&Enrollment> {
        self.enrollments.get(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Enrollment> {
        self.enrollments.iter()
    }

    /// The enrollments of these subscribers, in order.
    pub(super) fn of_subscribers(&mut self, ids: &[String], now: Timestamp) -> Vec<&Enrollment> {
        let mut places = Vec::new();
        for id in ids {
            if self.knows(id, now) {
                places.extend(
                    self.by_subscriber
                        .get(id.as_str())
                        .into_iter()
                        .flatten()
                        .copied(),
                );
            }
        }
        places.sort_unstable();
        places.dedup();
        places
            .into_iter()
            .filter_map(|place| self.enrollments.get(place))
            .collect()
    }

    pub(super) fn views(&self, id: &str) -> Vec<EnrollmentView> {
        let view = |e: &Enrollment| EnrollmentView {
            token_id: e.token_id(id),
            subscriber_id: e.subscriber_id.to_string(),
            status: e.status,
            reason: e.reason.as_deref().map(ToOwned::to_owned),
            effects: e.effects,
        };
        self.enrollments.iter().map(view).collect()
    }

    /// The tally of each enrollment with an effect.
    pub(super) fn tallies(&self, id: &str, into: &mut BTreeMap<String, Tally>) {
        for enrollment in self.enrollments.iter().filter(|e| e.effects > 0) {
            let tally = Tally {
                effects: enrollment.effects,
                ..Tally::default()
            };
            into.insert(enrollment.token_id(id), tally);
        }
    }

    pub(super) fn effects(&self) -> u64 {
        self.enrollments
            .iter()
            .map(|enrollment| enrollment.effects)
            .sum()
    }
}

fn status_of(id: &str) -> EnrollmentStatus {
    const WORDS: [(&str, EnrollmentStatus); 6] = [
        ("canceled", EnrollmentStatus::Cancelled),
        ("cancelled", EnrollmentStatus::Cancelled),
        ("completed", EnrollmentStatus::Completed),
        ("expired", EnrollmentStatus::Completed),
        ("failed", EnrollmentStatus::Failed),
        ("waiting", EnrollmentStatus::Waiting),
    ];
    let found = WORDS.iter().find(|(word, _)| id.contains(word));
    found.map_or(EnrollmentStatus::Active, |(_, status)| *status)
}

/// The number after `drain_` in a sequence id.
fn drain_size(id: &str) -> Option<u32> {
    let (_, rest) = id.split_once("drain_")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits
        .parse()
        .ok()
        .map(|size: u32| size.min(BORN_PER_SEQUENCE_MAX))
}
