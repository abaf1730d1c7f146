//! The journal's promises, through its public trait; what holds for both tables is claimed of
//! both.

mod audited;
mod compaction;
mod crash;
mod damage;
mod doubt;
mod durability;
mod erasing;
mod listing;
mod model;
mod month;
mod naming;
#[cfg(target_os = "linux")]
mod power;
mod promises;
mod quarantine;
mod redaction;
mod released;
mod sizes;
mod trail;

use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    sync::{Arc, LazyLock},
};

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::{
    Admission, AdmitError, Admitted, AdmittedItem, Audited, Batch, Conflict, EventContent, Group,
    ItemEvent, Journal, OpenItem, ReadLimits, Record, Settlement, Slot,
    memory_journal::MemoryJournal,
    sled_journal::{SledJournal, SledJournalOptions},
};
use crate::domain::{
    command::{Command, EnrollmentsCommand, EnrollmentsTarget, SubscriptionCommand, When},
    ids::{AccountName, BatchId, BatchName, CallerId, ItemId, Key, Kind, Scope, TargetId},
    outcome::{
        Conclusion, Detail, Failure, FailureReason, Outcome, Reached, Settled, SubscriptionDetail,
    },
    provider_response::ProviderResponse,
};

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

/// Waits for a future.
fn wait<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// A journal that can be closed and opened again.
struct Bench {
    journal: Option<Box<dyn Journal>>,
    home: Place,
}

enum Place {
    Disk(TempDir),
    Memory(MemoryJournal),
}

impl Bench {
    /// One on disk and one in memory.
    fn both() -> [Self; 2] {
        [Self::on_disk(), Self::in_memory()]
    }

    fn in_memory() -> Self {
        let memory = MemoryJournal::new();
        Self {
            journal: Some(Box::new(memory.clone())),
            home: Place::Memory(memory),
        }
    }

    fn on_disk() -> Self {
        let dir = TempDir::new().unwrap();
        Self {
            journal: Some(Box::new(open_restless(dir.path()))),
            home: Place::Disk(dir),
        }
    }

    /// Closes the journal and opens it again.
    fn restart(&mut self) {
        self.journal = None;
        self.journal = Some(match &mut self.home {
            Place::Disk(dir) => Box::new(open_restless(dir.path())),
            Place::Memory(memory) => {
                *memory = memory.restarted();
                Box::new(memory.clone())
            }
        });
    }

    fn journal(&self) -> &dyn Journal {
        &**self.journal.as_ref().unwrap()
    }

    #[track_caller]
    fn admit(&self, admission: Admission) -> Admitted {
        wait(self.journal().admit(admission)).unwrap()
    }

    #[track_caller]
    fn conflicts(&self, admission: Admission) -> Vec<Conflict> {
        match wait(self.journal().admit(admission)) {
            Err(AdmitError::Conflict(conflicts)) => conflicts,
            other => panic!("no conflict: {other:?}"),
        }
    }

    #[track_caller]
    fn settle(&self, id: ItemId, settled: &Arc<Settled>) {
        self.settle_all([(id, settled)]);
    }

    #[track_caller]
    fn settle_all<'a>(&self, settled: impl IntoIterator<Item = (ItemId, &'a Arc<Settled>)>) {
        let settlements = settled.into_iter().map(|(id, settled)| Settlement {
            id,
            settled: Arc::clone(settled),
        });
        wait(
            self.journal()
                .settle(settlements.collect::<Vec<_>>().into()),
        )
        .unwrap();
    }

    /// Deletes what has expired, once the audit has all of it.
    #[track_caller]
    fn purge(&self, before: Timestamp, batches_max: usize) -> usize {
        audit_all(self.journal());
        wait(self.journal().purge(before, batches_max)).unwrap()
    }

    #[track_caller]
    fn find(&self, key: &str) -> Option<Record> {
        let (scope, key) = (scope(), self::key(key));
        let found = self
            .journal()
            .find(&scope, &key, &ReadLimits::default())
            .unwrap();
        // Whichever request asks for it.
        let of = key.derived_from().map(|(request, _)| request);
        for request in [Some(key.clone()), of].into_iter().flatten() {
            let known = self
                .journal()
                .known(&scope, &request, std::slice::from_ref(&key));
            assert_eq!(known, Ok(vec![found.is_some()]), "{key} of {request}");
        }
        found
    }

    #[track_caller]
    fn batch(&self, id: BatchId) -> Option<Batch> {
        self.journal().batch(id, &ReadLimits::default()).unwrap()
    }

    #[track_caller]
    fn open_items(&self) -> Vec<OpenItem> {
        self.journal().open_items().unwrap()
    }
}

/// Follows the trail as an audit does.
#[derive(Debug, Default)]
struct Auditor {
    after: u64,
}

impl Auditor {
    /// What happened since it last looked, in words.
    fn look(&mut self, journal: &dyn Journal) -> Vec<String> {
        let trail = journal.trail();
        let mut seen = Vec::new();
        let read = trail.read(self.after, usize::MAX).unwrap();
        // What was in memory is told once. Then it is what the records say.
        assert_eq!(trail.read(self.after, usize::MAX).unwrap(), read);
        for entry in read {
            assert_eq!(entry.number, self.after + 1, "entries have no gaps");
            self.after = entry.number;
            seen.extend(entry.happened.iter().flat_map(words));
        }
        assert_eq!(self.after, trail.end());
        seen
    }

    /// Says that it has all that it saw.
    fn record(&self, journal: &dyn Journal) {
        let audited = Audited {
            trail: self.after,
            seq: self.after,
            hash: String::new(),
        };
        wait(journal.trail().record(audited)).unwrap();
    }
}

/// Lets the audit have all that there is.
fn audit_all(journal: &dyn Journal) {
    let after = journal.trail().end();
    Auditor { after }.record(journal);
}

fn words(happened: &ItemEvent) -> Vec<String> {
    match happened {
        ItemEvent::ToItems { items, .. } => items
            .iter()
            .map(|(subject, what)| match what {
                EventContent::Admitted(_) => format!("admitted {}", subject.key),
                EventContent::Opened(_) => format!("opened {}", subject.key),
                EventContent::Settled(ended) => {
                    format!("settled {} {:?}", subject.key, ended.conclusion.outcome)
                }
            })
            .collect(),
        ItemEvent::Stopped { batch, by, .. } => {
            assert_eq!(*by, Some(scope().caller));
            vec![format!("stopped {batch}")]
        }
        other @ (ItemEvent::Unreadable { .. } | ItemEvent::Off { .. }) => {
            vec![format!("{other:?}")]
        }
    }
}

/// A variable that the one who runs a test has set, or the test itself for its child.
#[expect(clippy::disallowed_methods, reason = "tests are not configured")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A number that whoever runs a test may set.
fn number(name: &str, otherwise: u64) -> u64 {
    variable(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// One that replaces its database after every purge and start, as small as it is, and has an
/// audit.
#[track_caller]
fn open_restless(dir: &Path) -> SledJournal {
    let options = SledJournalOptions {
        compact_bytes_min: 0,
        audit_lag_max: Some(u64::MAX),
        ..SledJournalOptions::new(dir)
    };
    SledJournal::open(&options).unwrap()
}

#[track_caller]
fn open_audited(dir: &Path) -> SledJournal {
    let options = SledJournalOptions {
        audit_lag_max: Some(u64::MAX),
        ..SledJournalOptions::new(dir)
    };
    SledJournal::open(&options).unwrap()
}

#[track_caller]
fn open(dir: &Path) -> SledJournal {
    SledJournal::open(&SledJournalOptions::new(dir)).unwrap()
}

fn scope() -> Scope {
    Scope {
        caller: CallerId::try_from("billing").unwrap(),
        kind: Kind::Subscription,
    }
}

fn key(text: &str) -> Key {
    Key::try_from(text).unwrap()
}

/// So many seconds into the tests' time.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

fn id(batch: BatchId, index: u32) -> ItemId {
    ItemId { batch, index }
}

fn subscription(target: &str) -> SubscriptionCommand {
    SubscriptionCommand {
        account: AccountName::try_from("rebilly-eu").unwrap(),
        subscription_id: TargetId::try_from(target).unwrap(),
        when: When::Now,
        reason: None,
        comment: None,
        initiated_by: None,
        prorate: None,
        line_items: Vec::new(),
        options: None,
    }
}

fn cancel(target: &str) -> Arc<Command> {
    Arc::new(Command::Subscription(subscription(target)))
}

/// An item under the derived key.
fn item(target: &str) -> Slot {
    Slot::Item {
        key: None,
        command: cancel(target),
    }
}

/// An item under a key of its own.
fn keyed(own: &str, target: &str) -> Slot {
    Slot::Item {
        key: Some(key(own)),
        command: cancel(target),
    }
}

fn admission(request_key: &str, slots: impl IntoIterator<Item = Slot>) -> Admission {
    Admission {
        scope: scope(),
        key: key(request_key),
        slots: slots.into_iter().collect(),
        at: at(0),
        from: None,
        boot: None,
        clear: BTreeMap::new(),
        retry_until: at(60),
        with_answers: true,
        quota: None,
        may_open: None,
        overfull: None,
    }
}

/// A request for many targets.
fn many(request_key: &str, items: u32) -> Admission {
    admission(
        request_key,
        (0..items).map(|n| item(&format!("{request_key}-sub-{n}"))),
    )
}

fn settled_at(outcome: Outcome, seconds: i64) -> Arc<Settled> {
    let detail = Detail::Subscription(SubscriptionDetail {
        effective_at: Some(at(seconds)),
        ..SubscriptionDetail::default()
    });
    let mut conclusion = if outcome.is_success() {
        Conclusion::success(outcome, detail)
    } else {
        let failure = Failure {
            reason: FailureReason::ProviderError,
            message: "the provider answered 503".to_owned(),
            reached: Reached::Unknown,
            retry_at: None,
            provider: None,
        };
        Conclusion::failure(outcome, detail, failure)
    };
    // Spaces, large numbers and their digits have to come back as they are.
    conclusion.answer = Some(ProviderResponse::from_text(
        r#"{"id": 12345678901234567890, "amount": 1.10}"#,
    ));
    Arc::new(Settled {
        conclusion,
        attempts: 2,
        settled_at: at(seconds),
        doubt: None,
    })
}

fn settled(outcome: Outcome) -> Arc<Settled> {
    settled_at(outcome, 1)
}

/// The essence of a slot's answer.
#[derive(Debug, PartialEq)]
enum Told {
    Vacant,
    Opened(ItemId),
    Again(ItemId, Outcome),
    Running(ItemId),
    Settled(ItemId, Outcome),
}

fn told(admitted: &Admitted) -> Vec<Told> {
    let told = admitted.items.iter().map(|item| match item {
        AdmittedItem::Vacant => Told::Vacant,
        AdmittedItem::Opened { id, previous, .. } => match previous {
            None => Told::Opened(*id),
            Some(settled) => Told::Again(*id, settled.conclusion.outcome),
        },
        AdmittedItem::Running { id } => Told::Running(*id),
        AdmittedItem::Settled { id, settled } => Told::Settled(*id, settled.conclusion.outcome),
    });
    told.collect()
}

fn outcome(record: &Record) -> Option<Outcome> {
    record
        .settled
        .as_ref()
        .map(|settled| settled.conclusion.outcome)
}
