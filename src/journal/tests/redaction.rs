//! What is kept for a shorter time than outcomes goes, and all else stays as it was.

use super::*;
use crate::{
    domain::outcome::{Enrollment, EnrollmentsDetail},
    journal::{Removal, offline::Offline},
};

const ADDRESS: &str = "ann@example.com";

/// Of everyone whose entry has this value.
fn of_value(value: &str) -> Slot {
    let command = EnrollmentsCommand {
        account: AccountName::try_from("sequenzy").unwrap(),
        sequence_id: TargetId::try_from("seq").unwrap(),
        target: EnrollmentsTarget::Field {
            path: None,
            values: vec![TargetId::try_from(value).unwrap()],
        },
        reason: None,
        matches_max: None,
    };
    Slot::Item {
        key: None,
        command: Arc::new(Command::Enrollments(command)),
    }
}

fn request(items: usize, value: &str) -> Admission {
    let mut admission = admission("r", (0..items).map(|_| of_value(value)));
    admission.scope.kind = Kind::Enrollments;
    admission
}

fn ended(outcome: Outcome) -> Arc<Settled> {
    let detail = Detail::Enrollments(EnrollmentsDetail {
        matched: 3,
        canceled: 2,
        enrollments: vec![Enrollment {
            enrollment_id: "e".to_owned(),
            subscriber_email: ADDRESS.to_owned(),
            ..Enrollment::default()
        }],
        ..EnrollmentsDetail::default()
    });
    let mut conclusion = Conclusion::success(outcome, detail);
    // Longer than one value of the store, of which less is left.
    let filler = "0123456789abcdef".repeat(1_000);
    conclusion.answer = Some(ProviderResponse::from_text(&format!(
        r#"{{"to":"{ADDRESS}","filler":"{filler}"}}"#
    )));
    conclusion.answer_headers = [("x-request-id".to_owned(), ADDRESS.to_owned())].into();
    Arc::new(Settled {
        conclusion,
        attempts: 2,
        settled_at: at(1),
        doubt: None,
    })
}

fn record(bench: &Bench, key: &str) -> Record {
    let scope = Scope {
        kind: Kind::Enrollments,
        ..scope()
    };
    bench
        .journal()
        .find(&scope, &self::key(key), &ReadLimits::default())
        .unwrap()
        .unwrap()
}

fn text(record: &Record) -> String {
    let command = serde_json::to_string(&record.command).unwrap();
    let settled = serde_json::to_string(&record.settled).unwrap();
    command + &settled
}

fn redact(bench: &Bench, removal: Removal, seconds: i64) -> usize {
    wait(bench.journal().redact(removal, at(seconds), 10)).unwrap()
}

#[test]
fn answers_and_addresses_go_and_the_outcome_stays() {
    for mut bench in Bench::both() {
        let batch = bench.admit(request(20, ADDRESS)).batch;
        let canceled = ended(Outcome::Canceled);
        bench.settle_all((0..20).map(|index| (id(batch, index), &canceled)));
        for removal in [Removal::Answers, Removal::Emails] {
            assert_eq!(redact(&bench, removal, 1), 0, "it is too soon");
        }
        assert_eq!(redact(&bench, Removal::Answers, 2), 1);
        let conclusion = record(&bench, "r/7").settled.unwrap().conclusion.clone();
        assert_eq!(conclusion.answer, None);
        assert!(conclusion.answer_headers.is_empty());
        assert!(conclusion.answer_removed && !conclusion.emails_removed);
        assert!(text(&record(&bench, "r/7")).contains(ADDRESS));

        assert_eq!(redact(&bench, Removal::Emails, 2), 1);
        bench.restart();
        for removal in [Removal::Answers, Removal::Emails] {
            assert_eq!(redact(&bench, removal, 2), 0, "it is done once");
        }
        let kept = record(&bench, "r/7");
        assert!(!text(&kept).contains('@'), "{kept:?}");
        let settled = kept.settled.unwrap();
        assert_eq!((settled.attempts, settled.settled_at), (2, at(1)));
        assert!(settled.conclusion.emails_removed);
        let Detail::Enrollments(detail) = &settled.conclusion.detail else {
            panic!("{settled:?}");
        };
        assert_eq!((detail.matched, detail.canceled), (3, 2));
        assert_eq!(detail.enrollments[0].enrollment_id, "e");

        // The key still means what it meant.
        let replay = told(&bench.admit(request(20, ADDRESS)));
        assert_eq!(replay[3], Told::Settled(id(batch, 3), Outcome::Canceled));
        let conflicts = bench.conflicts(request(20, "bob@example.com"));
        assert_eq!(conflicts[3].fields, ["target"]);
        bench.journal = None;
        if let Place::Disk(dir) = &bench.home {
            let offline = Offline::open(&SledJournalOptions::new(dir.path())).unwrap();
            let mut out = Vec::new();
            assert_eq!(offline.verify(&mut out).unwrap().problems, 0);
        }
    }
}

#[test]
fn an_item_that_can_be_taken_up_again_keeps_what_it_needs_and_loses_it_in_the_end() {
    for mut bench in Bench::both() {
        let batch = bench.admit(request(1, ADDRESS)).batch;
        bench.settle(id(batch, 0), &ended(Outcome::Unavailable));
        assert_eq!(redact(&bench, Removal::Emails, 2), 1);
        let kept = record(&bench, "r/0");
        assert!(!serde_json::to_string(&kept.settled).unwrap().contains('@'));
        bench.admit(request(1, ADDRESS));
        bench.restart();
        let open = serde_json::to_string(&bench.open_items()[0].command).unwrap();
        assert!(open.contains(ADDRESS), "a restart can go on with it");
        let mut last = (*ended(Outcome::Canceled)).clone();
        last.settled_at = at(5);
        bench.settle(id(batch, 0), &Arc::new(last));
        assert_eq!(redact(&bench, Removal::Emails, 6), 1);
        assert!(!text(&record(&bench, "r/0")).contains('@'));
    }
}

/// Neither answers, nor addresses, nor callers' own words.
fn forgetful(dir: &Path) -> SledJournal {
    let options = SledJournalOptions {
        keep: crate::journal::StoredFields {
            answers: false,
            emails: false,
            comments: false,
        },
        ..SledJournalOptions::new(dir)
    };
    SledJournal::open(&options).unwrap()
}

fn find(journal: &SledJournal, key: &str) -> Record {
    let scope = Scope {
        kind: Kind::Enrollments,
        ..scope()
    };
    let found = journal.find(&scope, &self::key(key), &ReadLimits::default());
    found.unwrap().unwrap()
}

#[test]
fn what_is_switched_off_is_never_written() {
    let dir = TempDir::new().unwrap();
    let journal = forgetful(dir.path());
    let batch = wait(journal.admit(request(1, ADDRESS))).unwrap().batch;
    let settlement = Settlement {
        id: id(batch, 0),
        settled: ended(Outcome::Canceled),
    };
    wait(journal.settle(vec![settlement].into())).unwrap();
    let record = find(&journal, "r/0");
    let conclusion = &record.settled.as_ref().unwrap().conclusion;
    assert_eq!(conclusion.answer, None);
    assert!(conclusion.answer_removed);
    let settled = serde_json::to_string(&record.settled).unwrap();
    assert!(!settled.contains('@'), "{settled}");
}

/// Whether a file below has these bytes.
pub(super) fn has_bytes(dir: &Path, bytes: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return has_bytes(&path, bytes);
        }
        let read = std::fs::read(&path).unwrap();
        read.windows(bytes.len())
            .any(|part| part == bytes.as_bytes())
    })
}

#[test]
fn what_only_an_open_item_needs_goes_with_its_final_outcome_and_then_from_the_files() {
    let dir = TempDir::new().unwrap();
    let journal = forgetful(dir.path());
    let said = |items: usize| {
        let mut request = request(items, ADDRESS);
        for slot in &mut request.slots {
            let Slot::Item { command, .. } = slot else {
                continue;
            };
            if let Command::Enrollments(command) = Arc::make_mut(command) {
                command.reason = Some("moved to Graz".to_owned());
            }
        }
        request
    };
    let batch = wait(journal.admit(said(3))).unwrap().batch;
    let settle = |index, outcome| {
        let settled = ended(outcome);
        let id = id(batch, index);
        wait(journal.settle(vec![Settlement { id, settled }].into())).unwrap();
    };
    settle(0, Outcome::Canceled);
    settle(1, Outcome::Unavailable);
    let has = |key: &str| {
        let text = text(&find(&journal, key));
        assert_eq!(text.contains('@'), text.contains("Graz"), "{text}");
        text.contains('@')
    };
    assert!(!has("r/0"), "at once, though others are open");
    assert!(has("r/1") && has("r/2"), "they may need it");
    let replay = told(&wait(journal.admit(said(3))).unwrap());
    assert_eq!(replay[0], Told::Settled(id(batch, 0), Outcome::Canceled));
    assert_eq!(replay[2], Told::Running(id(batch, 2)));
    settle(1, Outcome::NotFound);
    settle(2, Outcome::Canceled);
    assert!(!has("r/1") && !has("r/2"));
    assert!(has_bytes(dir.path(), ADDRESS), "the file still has it");
    wait(journal.vacate()).unwrap();
    while journal.is_compacting() {
        std::thread::yield_now();
    }
    drop(journal);
    for bytes in [ADDRESS, "Graz"] {
        assert!(!has_bytes(dir.path(), bytes), "{bytes}");
    }

    let journal = forgetful(dir.path());
    let replay = told(&wait(journal.admit(said(3))).unwrap());
    assert_eq!(replay[2], Told::Settled(id(batch, 2), Outcome::Canceled));
    let other = wait(journal.admit(request(3, ADDRESS)));
    let Err(AdmitError::Conflict(conflicts)) = other else {
        panic!("{other:?}");
    };
    assert_eq!(conflicts[0].fields, ["reason"]);
    drop(journal);
    let offline = Offline::open(&SledJournalOptions::new(dir.path())).unwrap();
    let mut out = Vec::new();
    let report = offline.verify(&mut out).unwrap();
    assert_eq!(report.problems, 0, "{}", String::from_utf8_lossy(&out));
}

#[test]
fn callers_own_words_go_after_their_time() {
    for bench in Bench::both() {
        let mut admission = request(1, "gold");
        if let Slot::Item { command, .. } = &mut admission.slots[0]
            && let Command::Enrollments(command) = Arc::make_mut(command)
        {
            command.reason = Some("moved to Graz".to_owned());
        }
        let batch = bench.admit(admission.clone()).batch;
        bench.settle(id(batch, 0), &ended(Outcome::Canceled));
        assert_eq!(redact(&bench, Removal::Comments, 1), 0, "it is too soon");
        assert!(text(&record(&bench, "r/0")).contains("Graz"));
        assert_eq!(redact(&bench, Removal::Comments, 2), 1);
        let kept = record(&bench, "r/0");
        assert!(!text(&kept).contains("Graz") && text(&kept).contains("gold"));
        let replay = told(&bench.admit(admission));
        assert_eq!(replay[0], Told::Settled(id(batch, 0), Outcome::Canceled));
        let conflicts = bench.conflicts(request(1, "gold"));
        assert_eq!(conflicts[0].fields, ["reason"]);
    }
}

#[test]
fn ids_and_keys_that_are_addresses_go_too_once_nothing_needs_them() {
    let dir = TempDir::new().unwrap();
    let journal = forgetful(dir.path());
    let of = |key: &str| {
        let mut item = item(ADDRESS);
        if let Slot::Item { key: own, .. } = &mut item {
            *own = Some(self::key(&format!("own/{ADDRESS}")));
        }
        admission(key, [item, self::item("sub-2")])
    };
    let request_key = format!("of/{ADDRESS}");
    let batch = wait(journal.admit(of(&request_key))).unwrap().batch;
    let settle = |index, outcome| {
        let settled = settled(outcome);
        let id = id(batch, index);
        wait(journal.settle(vec![Settlement { id, settled }].into())).unwrap();
    };
    settle(0, Outcome::Canceled);
    settle(1, Outcome::Unavailable);
    // The first one's goes as the batch closes, however the second one ended.
    let own = key(&format!("own/{ADDRESS}"));
    let found = journal.find(&scope(), &own, &ReadLimits::default());
    let found = found.unwrap().unwrap();
    assert!(!found.key.as_str().contains('@'), "{}", found.key);
    // The ids of effects are made of keys, and the second item may be taken up again.
    let found = journal.find(
        &scope(),
        &key(&format!("{request_key}/1")),
        &ReadLimits::default(),
    );
    assert_eq!(
        found.unwrap().unwrap().key.as_str(),
        format!("{request_key}/1")
    );
    let again = told(&wait(journal.admit(of(&request_key))).unwrap());
    assert_eq!(again[0], Told::Settled(id(batch, 0), Outcome::Canceled));
    assert_eq!(again[1], Told::Again(id(batch, 1), Outcome::Unavailable));
    settle(1, Outcome::Canceled);
    // Another request that leads to the first item.
    let mut other = item(ADDRESS);
    if let Slot::Item { key: own, .. } = &mut other {
        *own = Some(key(&format!("own/{ADDRESS}")));
    }
    let other = || admission("other", [other.clone()]);
    let replay = told(&wait(journal.admit(other())).unwrap());
    assert_eq!(replay, [Told::Settled(id(batch, 0), Outcome::Canceled)]);
    assert_eq!(wait(journal.redact(Removal::Emails, at(100), 10)), Ok(2));
    wait(journal.vacate()).unwrap();
    while journal.is_compacting() {
        std::thread::yield_now();
    }
    drop(journal);
    assert!(!has_bytes(dir.path(), ADDRESS));

    let offline = Offline::open(&SledJournalOptions::new(dir.path())).unwrap();
    let mut out = Vec::new();
    let report = offline.verify(&mut out).unwrap();
    assert_eq!(report.problems, 0, "{}", String::from_utf8_lossy(&out));
    drop(offline);
    let journal = forgetful(dir.path());
    let replay = told(&wait(journal.admit(of(&request_key))).unwrap());
    let settled = |index| Told::Settled(id(batch, index), Outcome::Canceled);
    assert_eq!(replay, [settled(0), settled(1)]);
    assert_eq!(told(&wait(journal.admit(other())).unwrap()), [settled(0)]);
}
