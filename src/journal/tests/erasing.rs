//! What is one person's goes from the records and the files; what became of it stays, and so does
//! what is others'.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    audited::{PATIENCE, check_chain, follow},
    redaction::has_bytes,
    *,
};
use crate::{
    audit::{
        chain::verify::{KnownHead, verify},
        erase::{Erasure, erase},
    },
    domain::personal::erasure::{Extent, Whose, is_erased},
    journal::{
        Found,
        error::StorageError,
        format::{key::Span, record::RecordedItem},
        memory_journal::MemoryTable,
        offline::{Offline, erase::Erasing},
        read::reader::Reader,
        store::table::{Table, WriteBatch},
        write::{encoded::EncodedAdmission, erasure, ledger::Ledger},
    },
};

fn target(id: &str) -> Whose {
    Whose::Target(TargetId::try_from(id).unwrap())
}

fn text(text: &str) -> Whose {
    Whose::text(text).unwrap()
}

/// An admission whose items say more of a person than their ids.
fn said(key: &str, items: &[(Option<&str>, &str)]) -> Admission {
    let slots = items.iter().map(|(own, id)| {
        let Slot::Item { command, .. } = item(id) else {
            panic!("{id}");
        };
        let mut command = (*command).clone();
        if let Command::Subscription(command) = &mut command {
            command.comment = Some(format!("the owner of {id} is {id}@example.com"));
        }
        Slot::Item {
            key: own.map(self::key),
            command: Arc::new(command),
        }
    });
    admission(key, slots)
}

/// A journal with its audit, closed.
struct Kept {
    dir: TempDir,
}

impl Kept {
    /// After this was done to it.
    fn new(fill: impl FnOnce(&SledJournal)) -> Self {
        let kept = Self {
            dir: TempDir::new().unwrap(),
        };
        kept.again(fill);
        kept
    }

    fn again(&self, fill: impl FnOnce(&SledJournal)) {
        let journal = open_audited(self.dir.path());
        fill(&journal);
        wait(async { follow(self.dir.path(), &journal).await.stop(PATIENCE).await }).unwrap();
    }

    fn find(&self, whose: &Whose) -> Found {
        let journal = Erasing::open(&SledJournalOptions::new(self.dir.path())).unwrap();
        journal.find(whose, at(0)).unwrap()
    }

    /// Erases as the command does; says from how many lines of the audit.
    fn erase(&self, whose: &Whose) -> usize {
        let mut journal = Erasing::open(&SledJournalOptions::new(self.dir.path())).unwrap();
        let found = journal.find(whose, at(0)).unwrap();
        assert_eq!(found.open, []);
        let lines = self.erase_audit(&journal, &found, whose);
        journal.erase(&found, whose).unwrap();
        journal.vacate().unwrap();
        self.verify();
        lines
    }

    fn erase_audit(&self, journal: &Erasing, found: &Found, whose: &Whose) -> usize {
        let (digest, known) = (journal.digest(whose), journal.audited().unwrap());
        let erasure = Erasure {
            whose,
            digest: &digest,
            found,
            names: &journal.names(),
            known: known.as_ref(),
            why: Some("asked for"),
            now: at(0),
        };
        erase(&self.dir.path().join("audit"), &erasure).unwrap()
    }

    #[track_caller]
    fn verify(&self) {
        let offline = Offline::open(&SledJournalOptions::new(self.dir.path())).unwrap();
        let mut out = Vec::new();
        let report = offline.verify(&mut out).unwrap();
        assert_eq!(report.problems, 0, "{}", String::from_utf8_lossy(&out));
        check_chain(self.dir.path(), 0);
    }

    fn has(&self, bytes: &str) -> bool {
        has_bytes(self.dir.path(), bytes)
    }

    /// The lines of the audit of an event.
    fn lines(&self, event: &str) -> Vec<serde_json::Value> {
        let segments = crate::audit::segments::Segment::list(&self.dir.path().join("audit"));
        let text: String = segments
            .unwrap()
            .iter()
            .map(|segment| std::fs::read_to_string(&segment.path).unwrap())
            .collect();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &serde_json::Value| line["event"] == event)
            .collect()
    }
}

fn settle(journal: &SledJournal, id: ItemId, outcome: Outcome) {
    let mut settled = (*settled(outcome)).clone();
    settled.conclusion.answer = Some(ProviderResponse::from_text(&format!(r#"{{"of":"{id}"}}"#)));
    let settled = Arc::new(settled);
    wait(journal.settle(vec![Settlement { id, settled }].into())).unwrap();
}

const OWN: &[(Option<&str>, &str)] = &[
    (Some("own-key-of-ann"), "person-ann"),
    (None, "person-bob"),
    (Some("own-key-of-eve"), "person-eve"),
];

#[test]
fn the_bytes_are_gone_from_journal_and_audit_and_a_resend_still_replays() {
    let kept = Kept::new(|journal| {
        let batch = wait(journal.admit(said("many", OWN))).unwrap().batch;
        for index in 0..3 {
            settle(journal, id(batch, index), Outcome::Canceled);
        }
        let alone = said("request-of-ann", &[(None, "person-ann")]);
        let batch = wait(journal.admit(alone)).unwrap().batch;
        settle(journal, id(batch, 0), Outcome::NotFound);
    });
    let theirs = ["person-ann", "own-key-of-ann", "request-of-ann"];
    for bytes in theirs {
        assert!(kept.has(bytes), "{bytes} is there before");
    }

    // Of each item it was told that it was admitted and how it ended.
    assert_eq!(kept.erase(&target("person-ann")), 4);

    for bytes in theirs {
        assert!(!kept.has(bytes), "{bytes}");
    }
    assert!(kept.has("person-bob") && kept.has("own-key-of-eve"));
    let erased = kept.lines("erased");
    assert_eq!(erased.len(), 1);
    assert_eq!(
        (&erased[0]["records"], &erased[0]["reason"]),
        (&2.into(), &"asked for".into())
    );
    let settled = kept.lines("settled");
    let outcomes: Vec<_> = settled.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["canceled", "canceled", "canceled", "not_found"]);
    assert_eq!(settled[1]["target"], "person-bob");
    assert_eq!(settled[0]["target"], serde_json::Value::Null);

    kept.again(|journal| {
        let replay = told(&wait(journal.admit(said("many", OWN))).unwrap());
        let batch = BatchId(1);
        let canceled = [0, 1, 2].map(|index| Told::Settled(id(batch, index), Outcome::Canceled));
        assert_eq!(replay, canceled);
        let alone = said("request-of-ann", &[(None, "person-ann")]);
        let replay = told(&wait(journal.admit(alone)).unwrap());
        assert_eq!(
            replay,
            [Told::Settled(id(BatchId(2), 0), Outcome::NotFound)]
        );
        // By its own key in another request, and by a request's key in front of a number.
        let other: &[_] = &[(Some("own-key-of-ann"), "person-ann")];
        let replay = told(&wait(journal.admit(said("other", other))).unwrap());
        assert_eq!(replay, [Told::Settled(id(batch, 0), Outcome::Canceled)]);
        let other: &[_] = &[(Some("request-of-ann/0"), "person-ann")];
        let replay = told(&wait(journal.admit(said("third", other))).unwrap());
        assert_eq!(
            replay,
            [Told::Settled(id(BatchId(2), 0), Outcome::NotFound)]
        );

        let conflicts = |admission| match wait(journal.admit(admission)) {
            Err(AdmitError::Conflict(conflicts)) => conflicts,
            other => panic!("no conflict: {other:?}"),
        };
        let of_ann = conflicts(said("request-of-ann", &[(None, "person-eve")]));
        assert_eq!(of_ann[0].fields, Vec::<String>::new());
        let other = [OWN[0], (None, "person-eve"), OWN[2]];
        assert_eq!(
            conflicts(said("many", &other))[0].fields,
            ["subscription_id", "comment"]
        );
        let found = journal.find(&scope(), &key("own-key-of-ann"), &ReadLimits::default());
        let found = found.unwrap().unwrap();
        assert!(found.key.as_str().starts_with("erased:"));
        let settled = found.settled.unwrap();
        assert_eq!((settled.attempts, settled.settled_at), (2, at(1)));
    });
    kept.verify();
    assert_eq!(
        kept.erase(&target("person-ann")),
        0,
        "a replay writes nothing of theirs"
    );
    assert!(!kept.has("person-ann"));
}

#[test]
fn a_text_is_found_wherever_it_is_said_and_however_it_is_written() {
    let kept = Kept::new(|journal| {
        let batch = wait(journal.admit(said("many", OWN))).unwrap().batch;
        for index in 0..3 {
            settle(journal, id(batch, index), Outcome::Canceled);
        }
        let mut slots = said("more", &[(None, "sub-9")]).slots;
        if let Slot::Item { command, .. } = &mut slots[0]
            && let Command::Subscription(command) = Arc::make_mut(command)
        {
            command.comment = Some("ask ＰＥＲＳＯＮ-ANN%40example.com".to_owned());
        }
        let batch = wait(journal.admit(admission("more", slots))).unwrap().batch;
        settle(journal, id(batch, 0), Outcome::Canceled);
    });
    let whose = text("person-ann@example.com");
    let found = kept.find(&whose);
    let items: Vec<_> = found.items.values().copied().collect();
    assert_eq!(items, [Extent::Whole, Extent::Whole]);
    kept.erase(&whose);
    for bytes in ["person-ann", "sub-9", "ＰＥＲＳＯＮ"] {
        assert!(!kept.has(bytes), "{bytes}");
    }
    assert!(kept.has("person-bob"));
}

#[test]
fn one_of_many_goes_and_the_others_stay_and_are_found() {
    let of = |ids: [&str; 3]| {
        let ids = ids.map(|id| TargetId::try_from(id).unwrap());
        let command = EnrollmentsCommand {
            account: AccountName::try_from("sequenzy").unwrap(),
            sequence_id: TargetId::try_from("seq").unwrap(),
            target: EnrollmentsTarget::Subscribers(ids.into()),
            reason: None,
            matches_max: None,
        };
        let command = Arc::new(Command::Enrollments(command));
        let mut admission = admission("list", [Slot::Item { key: None, command }]);
        admission.scope.kind = Kind::Enrollments;
        admission
    };
    let all = of(["person-ann", "person-bob", "person-eve"]);
    let kept = Kept::new(|journal| {
        let batch = wait(journal.admit(all.clone())).unwrap().batch;
        settle(journal, id(batch, 0), Outcome::Unavailable);
    });
    assert_eq!(kept.erase(&target("person-bob")), 1);
    assert!(!kept.has("person-bob"));
    let admitted = &kept.lines("admitted")[0];
    let left = serde_json::json!(["person-ann", null, "person-eve"]);
    assert_eq!(admitted["subscribers"], left);
    assert_eq!(
        (&admitted["key"], &admitted["target"]),
        (&"list/0".into(), &"seq".into())
    );
    kept.again(|journal| {
        let filter = |id: &str| crate::journal::Filter {
            target: Some(TargetId::try_from(id).unwrap()),
            ..crate::journal::Filter::default()
        };
        let count = |id| {
            let page = journal.list(&filter(id), None, 10, &ReadLimits::default());
            page.unwrap().records.len()
        };
        assert_eq!((count("person-ann"), count("person-bob")), (1, 0));
        // It cannot be carried out as it was asked for any more, so it is not taken up again.
        let replay = told(&wait(journal.admit(all)).unwrap());
        assert_eq!(
            replay,
            [Told::Settled(id(BatchId(1), 0), Outcome::Unavailable)]
        );
        let other = of(["person-ann", "person-dan", "person-eve"]);
        assert!(wait(journal.admit(other)).is_err());
    });
}

#[test]
fn what_is_open_is_told_and_found_again_when_it_has_settled() {
    let kept = Kept::new(|journal| {
        wait(journal.admit(said("many", OWN))).unwrap();
    });
    let found = kept.find(&target("person-eve"));
    let open: Vec<_> = found.open.iter().map(|open| open.key.as_str()).collect();
    assert_eq!(open, ["own-key-of-eve"]);
    kept.again(|journal| {
        for index in 0..3 {
            settle(journal, id(BatchId(1), index), Outcome::Stopped);
        }
    });
    kept.erase(&target("person-eve"));
    assert!(!kept.has("person-eve"));
    kept.again(|journal| {
        // A stopped one is taken up again, but for what was erased.
        let again = told(&wait(journal.admit(said("many", OWN))).unwrap());
        assert_eq!(again[1], Told::Again(id(BatchId(1), 1), Outcome::Stopped));
        assert_eq!(again[2], Told::Settled(id(BatchId(1), 2), Outcome::Stopped));
    });
}

#[test]
fn a_target_on_which_a_request_may_still_act_is_told_and_forgotten_later() {
    let kept = Kept::new(|journal| {
        let alone = said("r", &[(None, "person-ann")]);
        let batch = wait(journal.admit(alone)).unwrap().batch;
        let doubtful = |target: &str| crate::journal::DoubtfulTarget {
            account: AccountName::try_from("rebilly-eu").unwrap(),
            target: TargetId::try_from(target).unwrap(),
            until: crate::domain::doubt::Moment::wall(at(100)),
            owner: None,
        };
        let group = Group {
            settlements: vec![Settlement {
                id: id(batch, 0),
                settled: settled(Outcome::Unavailable),
            }],
            targets: ["person-ann", "person-bob"].map(doubtful).into(),
            ..Group::default()
        };
        wait(journal.settle(group)).unwrap();
    });
    let whose = target("person-ann");
    assert_eq!(kept.find(&whose).doubtful_until, Some(at(100)));
    let journal = Erasing::open(&SledJournalOptions::new(kept.dir.path())).unwrap();
    assert_eq!(journal.find(&whose, at(101)).unwrap().doubtful_until, None);
    drop(journal);
    kept.erase(&whose);
    assert!(!kept.has("person-ann") && kept.has("person-bob"));
}

/// The ids of effects are made of keys: under another key a request could have its effect twice.
#[test]
fn a_request_whose_key_names_them_is_not_taken_up_again_without_it() {
    let of = || said("for-person-ann", &[(None, "sub-a"), (None, "sub-b")]);
    let kept = Kept::new(|journal| {
        wait(journal.admit(of())).unwrap();
        settle(journal, id(BatchId(1), 0), Outcome::Unavailable);
    });
    let whose = text("person-ann");
    let open: Vec<_> = kept
        .find(&whose)
        .open
        .iter()
        .map(|open| open.id.index)
        .collect();
    assert_eq!(open, [1]);
    kept.again(|journal| settle(journal, id(BatchId(1), 1), Outcome::Stopped));
    kept.erase(&whose);
    assert!(!kept.has("person-ann") && kept.has("sub-a"));
    kept.again(|journal| {
        let replay = told(&wait(journal.admit(of())).unwrap());
        let settled = |index, outcome| Told::Settled(id(BatchId(1), index), outcome);
        let expected = [
            settled(0, Outcome::Unavailable),
            settled(1, Outcome::Stopped),
        ];
        assert_eq!(replay, expected);
    });
}

#[test]
fn a_journal_of_each_earlier_format_and_its_audit_can_be_erased_from() {
    for format in released::earlier() {
        let dir = released::copy_of(format);
        let kept = Kept { dir };
        kept.find(&target("sub-2"));
        assert_eq!(
            released::formats(kept.dir.path()),
            (format, format),
            "a look"
        );
        kept.again(|journal| {
            let settlements = journal
                .open_items()
                .unwrap()
                .into_iter()
                .map(|open| Settlement {
                    id: open.id,
                    settled: settled(Outcome::Stopped),
                });
            let settlements: Vec<_> = settlements.collect();
            wait(journal.settle(settlements.into())).unwrap();
        });
        let whose = target("sub-2");
        let lines = kept.erase(&whose);
        assert!(lines > 0);
        assert!(!kept.has("sub-2") && kept.has("sub-3"), "format {format}");
        // Whoever takes the line away that says so is found out, and whoever erases without one.
        let audit = kept.dir.path().join("audit");
        let segments = crate::audit::segments::Segment::list(&audit).unwrap();
        let last = &segments.last().unwrap().path;
        let whole = std::fs::read_to_string(last).unwrap();
        let cut: Vec<_> = whole.split_inclusive('\n').collect();
        std::fs::write(last, cut[..cut.len() - 1].concat()).unwrap();
        let mut problems = Vec::new();
        let report = verify(&audit, &KnownHead::default(), |problem| {
            problems.push(problem.problem.clone());
            Ok(())
        });
        assert_eq!(
            report.unwrap().problems,
            u64::try_from(lines).unwrap(),
            "{problems:?}"
        );
        assert!(
            problems[0].contains("no line says that it was erased"),
            "{problems:?}"
        );
        std::fs::write(last, whole).unwrap();
        kept.verify();
    }
}

#[test]
fn a_key_that_leads_to_a_purged_item_goes_from_the_slot_that_repeats_it() {
    let own: &[_] = &[(Some("person-ann-1"), "sub-a")];
    let again: &[_] = &[(Some("person-ann-1"), "sub-a"), (Some("own-b"), "sub-b")];
    let kept = Kept::new(|journal| {
        let first = wait(journal.admit(said("first", own))).unwrap().batch;
        settle(journal, id(first, 0), Outcome::Canceled);
        let second = wait(journal.admit(said("second", again))).unwrap().batch;
        settle(journal, id(second, 1), Outcome::Canceled);
    });
    // The audit has read all of it by then.
    kept.again(|journal| assert_eq!(wait(journal.purge(at(10_000), 1)).unwrap(), 1));
    assert!(kept.has("person-ann-1"));
    kept.erase(&text("person-ann"));
    assert!(!kept.has("person-ann-1") && kept.has("own-b"));
}

#[test]
fn a_key_derived_from_a_request_key_goes_from_the_slot_that_repeats_it() {
    let kept = Kept::new(|journal| {
        let first = said("person-ann", &[(None, "sub-a"), (None, "sub-b")]);
        let first = wait(journal.admit(first)).unwrap().batch;
        for index in 0..2 {
            settle(journal, id(first, index), Outcome::Canceled);
        }
        let other: &[_] = &[(Some("person-ann/1"), "sub-b")];
        wait(journal.admit(said("other", other))).unwrap();
    });
    kept.erase(&text("person-ann"));
    assert!(!kept.has("person-ann") && kept.has("sub-b"));
}

#[test]
fn an_item_whose_key_was_erased_is_not_taken_up_again() {
    let of = || said("request", &[(Some("person-ann-1"), "sub-a")]);
    let kept = Kept::new(|journal| {
        wait(journal.admit(of())).unwrap();
        settle(journal, id(BatchId(1), 0), Outcome::Unavailable);
    });
    kept.erase(&text("person-ann"));
    kept.again(|journal| {
        let replay = told(&wait(journal.admit(of())).unwrap());
        let settled = Told::Settled(id(BatchId(1), 0), Outcome::Unavailable);
        assert_eq!(replay, [settled]);
    });
}

#[test]
fn a_key_that_a_caller_begins_as_erased_ones_begin_is_erased_too() {
    let own: &[_] = &[(Some("erased:person-ann"), "sub-a")];
    let kept = Kept::new(|journal| {
        let batch = wait(journal.admit(said("request", own))).unwrap().batch;
        settle(journal, id(batch, 0), Outcome::Canceled);
    });
    kept.erase(&text("person-ann"));
    assert!(!kept.has("person-ann"));
}

/// A table that a crash takes the later writes of.
#[derive(Debug)]
struct Cut {
    table: Arc<MemoryTable>,
    writes_left: AtomicUsize,
}

impl Table for Cut {
    type Bytes = <MemoryTable as Table>::Bytes;

    fn get(&self, key: &[u8]) -> Result<Option<Self::Bytes>, StorageError> {
        self.table.get(key)
    }

    fn scan(
        &self,
        span: Span,
    ) -> impl DoubleEndedIterator<Item = Result<(Self::Bytes, Self::Bytes), StorageError>> {
        self.table.scan(span)
    }

    fn write(&self, writes: WriteBatch) -> Result<(), StorageError> {
        let left = self.writes_left.load(Ordering::Relaxed);
        self.writes_left
            .store(left.saturating_sub(1), Ordering::Relaxed);
        if left > 0 {
            self.table.write(writes)
        } else {
            Ok(())
        }
    }
}

#[test]
fn what_a_crash_leaves_of_an_erasure_is_found_by_the_next() {
    // So many that the database gets them in several writes.
    let keys: Vec<_> = (0..600).map(|n| format!("person-ann-{n}")).collect();
    let slots = |count: usize| {
        let keys = keys.iter().take(count).enumerate();
        let slots = keys.map(|(n, own)| match item(&format!("sub-{n}")) {
            Slot::Item { command, .. } => Slot::Item {
                key: Some(key(own)),
                command,
            },
            Slot::Vacant => Slot::Vacant,
        });
        slots.collect::<Vec<_>>()
    };
    let whose = text("person-ann");
    for writes in 0..3 {
        let table = Arc::new(MemoryTable::default());
        let mut ledger = Ledger::load(Arc::clone(&table), false).unwrap();
        for (request, count) in [("first", 600), ("second", 1)] {
            let prepared = EncodedAdmission::new(admission(request, slots(count))).unwrap();
            ledger.admit(&prepared, Ok(())).unwrap().unwrap();
        }
        ledger.close_group().unwrap();
        let find = || erasure::find(Reader(&*table), &whose, at(0)).unwrap();
        let erase_until = |writes| {
            let cut = Cut {
                table: Arc::clone(&table),
                writes_left: AtomicUsize::new(writes),
            };
            let mut ledger = Ledger::load(Arc::new(cut), false).unwrap();
            ledger.erase(&find(), &whose).unwrap();
            ledger.close_group().unwrap();
        };
        erase_until(writes);
        erase_until(usize::MAX);
        let reader = Reader(&*table);
        for batch in [1, 2].map(BatchId) {
            let header = reader.header(batch).unwrap().unwrap();
            for item in reader.items(batch, &header).unwrap().into_iter().flatten() {
                let (RecordedItem::Own { key: Some(key), .. } | RecordedItem::Ref { key, .. }) =
                    item
                else {
                    panic!("{item:?}");
                };
                assert!(is_erased(key.as_str()), "{key} after {writes} writes");
            }
        }
    }
}
