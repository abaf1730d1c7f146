//! What ListCancellations and support staff find.

use std::collections::BTreeSet;

use super::*;
use crate::journal::{Filter, Page};

/// All pages of a listing.
#[track_caller]
fn list(bench: &Bench, filter: &Filter, page_max: usize) -> Vec<ItemId> {
    list_for(bench, filter, page_max, &ReadLimits::default())
}

/// The same, by pages that read as much as the question may.
#[track_caller]
fn list_for(bench: &Bench, filter: &Filter, page_max: usize, question: &ReadLimits) -> Vec<ItemId> {
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = bench
            .journal()
            .list(filter, after, page_max, question)
            .unwrap();
        assert!(page.records.len() <= page_max);
        ids.extend(page.records.iter().map(|record| record.id));
        if page.next.is_none() {
            return ids;
        }
        assert!(
            after.is_none_or(|after| page.next.unwrap() < after),
            "it goes on"
        );
        after = page.next;
    }
}

#[track_caller]
fn check(bench: &Bench, filter: &Filter, expected: &[ItemId]) {
    for page_max in [1, 2, 3, 1_000] {
        for entries_max in [usize::MAX, 1, 2, 5, 20] {
            let question = ReadLimits::bounded(entries_max, usize::MAX);
            assert_eq!(
                list_for(bench, filter, page_max, &question),
                expected,
                "{filter:?} by {page_max} and {entries_max}"
            );
        }
    }
}

/// Four batches; of the last, one item is known as the first's.
fn populate(bench: &Bench) -> [BatchId; 4] {
    let a = bench.admit(many("a", 20)).batch;
    let subscribers = ["jo", "mo"].map(|id| TargetId::try_from(id).unwrap());
    let enroll = Slot::Item {
        key: None,
        command: Arc::new(Command::Enrollments(EnrollmentsCommand {
            account: AccountName::try_from("sequenzy").unwrap(),
            sequence_id: TargetId::try_from("seq").unwrap(),
            target: EnrollmentsTarget::Subscribers(subscribers.to_vec()),
            reason: None,
            matches_max: None,
        })),
    };
    let mut enroll = admission("b", [enroll]);
    enroll.scope.kind = Kind::Enrollments;
    enroll.at = at(10);
    let b = bench.admit(enroll).batch;
    let mut theirs = admission("c", [item("a-sub-3"), Slot::Vacant, keyed("c3", "c")]);
    theirs.scope.caller = CallerId::try_from("crm").unwrap();
    theirs.at = at(20);
    let c = bench.admit(theirs).batch;
    let d = bench
        .admit(admission("d", [keyed("a/3", "a-sub-3"), item("d")]))
        .batch;
    bench.settle(id(a, 3), &settled(Outcome::Canceled));
    bench.settle(id(a, 4), &settled(Outcome::NotFound));
    bench.settle(id(c, 2), &settled(Outcome::Canceled));
    [a, b, c, d]
}

#[test]
fn records_are_listed_newest_first_by_all_that_is_asked() {
    for bench in Bench::both() {
        let [a, b, c, d] = populate(&bench);
        let all_of_a: Vec<_> = (0..20).rev().map(|index| id(a, index)).collect();
        let mut all = vec![id(d, 1), id(c, 2), id(c, 0), id(b, 0)];
        all.extend(&all_of_a);
        let caller = || Some(CallerId::try_from("crm").unwrap());
        let target = |target: &str| Some(TargetId::try_from(target).unwrap());
        let account = || Some(AccountName::try_from("sequenzy").unwrap());
        let ended = vec![Some(Outcome::Canceled), Some(Outcome::NotFound)];
        type Set = Box<dyn Fn(&mut Filter)>;
        let cases: [(Set, Vec<ItemId>); 16] = [
            (Box::new(|_| ()), all),
            (Box::new(move |f| f.batch = Some(a)), all_of_a),
            (Box::new(move |f| f.batch = Some(d)), vec![id(d, 1)]),
            (Box::new(|f| f.batch = Some(BatchId(99))), vec![]),
            (
                Box::new(|f| f.kind = Some(Kind::Enrollments)),
                vec![id(b, 0)],
            ),
            (
                Box::new(move |f| f.caller = caller()),
                vec![id(c, 2), id(c, 0)],
            ),
            (
                Box::new(move |f| f.target = target("a-sub-3")),
                vec![id(c, 0), id(a, 3)],
            ),
            (
                Box::new(move |f| (f.target, f.caller) = (target("a-sub-3"), caller())),
                vec![id(c, 0)],
            ),
            (Box::new(move |f| f.target = target("seq")), vec![id(b, 0)]),
            (Box::new(move |f| f.target = target("mo")), vec![id(b, 0)]),
            (Box::new(move |f| f.target = target("nobody")), vec![]),
            (Box::new(move |f| f.account = account()), vec![id(b, 0)]),
            (
                Box::new(move |f| (f.account, f.target) = (account(), target("c"))),
                vec![],
            ),
            (
                Box::new(move |f| f.outcomes.clone_from(&ended)),
                vec![id(c, 2), id(a, 4), id(a, 3)],
            ),
            (
                Box::new(move |f| (f.outcomes, f.batch) = (vec![None], Some(c))),
                vec![id(c, 0)],
            ),
            (
                Box::new(|f| (f.admitted_from, f.admitted_before) = (Some(at(10)), Some(at(20)))),
                vec![id(b, 0)],
            ),
        ];
        for (set, expected) in cases {
            let mut filter = Filter::default();
            set(&mut filter);
            check(&bench, &filter, &expected);
        }
    }
}

#[test]
fn a_list_of_some_accounts_has_no_others_on_any_page() {
    for bench in Bench::both() {
        bench.admit(many("a", 30));
        let accounts = |pattern: &str| Filter {
            accounts: Some(vec!["none".parse().unwrap(), pattern.parse().unwrap()]),
            ..Filter::default()
        };
        assert_eq!(list(&bench, &accounts("rebilly-*"), 7).len(), 30);
        assert_eq!(list(&bench, &accounts("rebilly-us"), 7), []);
    }
}

#[test]
fn a_target_that_came_to_a_vacant_slot_is_found() {
    for bench in Bench::both() {
        let batch = bench.admit(admission("r", [item("a"), Slot::Vacant])).batch;
        bench.admit(admission("r", [item("a"), item("b")]));
        for (target, index) in [("a", 0), ("b", 1)] {
            let target = Some(TargetId::try_from(target).unwrap());
            let filter = Filter {
                target,
                ..Filter::default()
            };
            check(&bench, &filter, &[id(batch, index)]);
        }
    }
}

#[test]
fn one_page_looks_at_a_bounded_number_of_records_and_the_next_goes_on() {
    for bench in Bench::both() {
        let first = bench.admit(admission("first", [item("needle")])).batch;
        for n in 0..6 {
            bench.admit(many(&format!("r{n}"), 10_000));
        }
        let account = Some(AccountName::try_from("rebilly-eu").unwrap());
        let outcomes = vec![Some(Outcome::Canceled)];
        let filter = Filter {
            account,
            outcomes,
            ..Filter::default()
        };
        bench.settle(id(first, 0), &settled(Outcome::Canceled));
        let page = bench
            .journal()
            .list(&filter, None, 10, &ReadLimits::default())
            .unwrap();
        assert!(page.records.is_empty());
        assert!(page.next.is_some());
        assert_eq!(list(&bench, &filter, 10), [id(first, 0)]);
        // The target index passes large batches by.
        let target = Some(TargetId::try_from("needle").unwrap());
        let page = bench.journal().list(
            &Filter {
                target,
                ..Filter::default()
            },
            None,
            10,
            &ReadLimits::default(),
        );
        assert_eq!(page.unwrap().records.len(), 1);
    }
}

/// What one page of all that is from a time in which nothing was admitted reads.
fn nothing_from(bench: &Bench, question: &ReadLimits) -> Page {
    let filter = Filter {
        admitted_from: Some(at(1_000_000)),
        ..Filter::default()
    };
    let page = bench.journal().list(&filter, None, 1, question).unwrap();
    assert!(page.records.is_empty());
    page
}

#[test]
fn one_page_reads_a_bounded_part_of_the_store() {
    for bench in Bench::both() {
        for n in 0..4 {
            bench.admit(many(&format!("r{n}"), 1_000));
        }
        let all = ReadLimits::bounded(usize::MAX, usize::MAX);
        assert!(nothing_from(&bench, &all).next.is_none());
        let all = all.entries_read();
        // A log is read once for many items, however small the page is.
        assert!(all < 1_000, "{all} entries");
        for (entries_max, bytes_max) in [(all / 4, usize::MAX), (usize::MAX, 50_000)] {
            let some = ReadLimits::bounded(entries_max, bytes_max);
            assert!(nothing_from(&bench, &some).next.is_some());
            let some = some.entries_read();
            assert!(some < all / 2, "{some} of {all} entries");
        }
    }
}

#[test]
fn whose_a_batch_is_takes_one_entry_however_large_it_is() {
    for bench in Bench::both() {
        let batch = bench.admit(many("r", 10_000)).batch;
        let question = ReadLimits::default();
        let whose = bench.journal().whose(batch, &question).unwrap();
        assert_eq!(whose, Some(scope()));
        assert_eq!(question.entries_read(), 1);
        let other = BatchId(batch.0 + 1);
        assert_eq!(bench.journal().whose(other, &question).unwrap(), None);
    }
}

#[test]
fn nothing_is_read_for_a_question_that_nobody_waits_for() {
    for bench in Bench::both() {
        let batch = bench.admit(many("r", 10_000)).batch;
        let items = (0..10_000).map(|index| (id(batch, index), settled(Outcome::Canceled)));
        for (id, settled) in items.step_by(500) {
            bench.settle(id, &settled);
        }
        let (journal, filter) = (bench.journal(), Filter::default());
        let (scope, key) = (scope(), key("r/9999"));
        type Ask<'a> = Box<dyn Fn(&ReadLimits) -> bool + 'a>;
        let asked: [Ask<'_>; 3] = [
            Box::new(|question| journal.list(&filter, None, 1_000, question).is_ok()),
            Box::new(|question| journal.batch(batch, question).is_ok()),
            Box::new(|question| journal.find(&scope, &key, question).is_ok()),
        ];
        for ask in asked {
            let waits = ReadLimits::default();
            assert!(ask(&waits));
            let gone = ReadLimits::default();
            drop(gone.waiter());
            assert!(!ask(&gone));
            assert_eq!(gone.entries_read(), 1, "of {}", waits.entries_read());
        }
    }
}

#[test]
fn what_was_admitted_while_the_clock_was_behind_hides_nothing_before_it() {
    for mut bench in Bench::both() {
        let admit = |bench: &Bench, request: &str, items, seconds| {
            let at = at(seconds);
            bench.admit(Admission {
                at,
                ..many(request, items)
            })
        };
        admit(&bench, "old", 1, 100);
        admit(&bench, "first", 2, 5_000);
        for n in 0..20 {
            admit(&bench, &format!("behind-{n}"), 1, 200 + n);
        }
        admit(&bench, "last", 4, 5_100);
        bench.restart();
        let brought = bench
            .journal()
            .admitted_since(at(5_000), &BTreeSet::from([scope().caller]))
            .unwrap();
        let items: Vec<_> = brought.iter().map(|intake| intake.people).collect();
        assert_eq!(items, [4, 2]);
    }
}
