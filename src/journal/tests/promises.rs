//! What admitting, settling, stopping and purging mean.

use super::*;

#[test]
fn an_admitted_item_is_open_until_it_settles_and_then_replays_for_good() {
    for mut bench in Bench::both() {
        let first = bench.admit(admission("r", [item("a"), item("b")]));
        let [a, b] = [id(first.batch, 0), id(first.batch, 1)];
        assert_eq!(told(&first), [Told::Opened(a), Told::Opened(b)]);
        let again = bench.admit(admission("r", [item("a"), item("b")]));
        assert_eq!(told(&again), [Told::Running(a), Told::Running(b)]);

        let canceled = settled(Outcome::Canceled);
        bench.settle(b, &canceled);
        for _ in 0..2 {
            let again = bench.admit(admission("r", [item("a"), item("b")]));
            assert_eq!(again.batch, first.batch);
            assert_eq!(
                told(&again),
                [Told::Running(a), Told::Settled(b, Outcome::Canceled)]
            );
            let record = bench.find("r/1").unwrap();
            assert_eq!(record.id, b);
            assert_eq!(record.key, key("r/1"));
            assert_eq!(record.request_key, key("r"));
            assert_eq!(record.admitted_at, at(0));
            assert_eq!(record.command, cancel("b"));
            assert_eq!(record.settled, Some(Arc::clone(&canceled)));
            let open: Vec<_> = bench.open_items().into_iter().map(|item| item.id).collect();
            assert_eq!(open, [a]);
            bench.restart();
        }
        bench.settle(a, &canceled);
        assert!(bench.open_items().is_empty());
    }
}

#[test]
fn what_is_open_when_the_journal_closes_is_open_with_all_that_is_needed_to_go_on() {
    for mut bench in Bench::both() {
        let batch = bench
            .admit(admission("r", [keyed("own", "a"), Slot::Vacant, item("b")]))
            .batch;
        let unavailable = settled(Outcome::Unavailable);
        bench.settle(id(batch, 2), &unavailable);
        let mut again = admission("r", [keyed("own", "a"), Slot::Vacant, item("b")]);
        (again.at, again.retry_until) = (at(100), at(160));
        let told = told(&bench.admit(again));
        let reopened = Told::Again(id(batch, 2), Outcome::Unavailable);
        assert_eq!(told, [Told::Running(id(batch, 0)), Told::Vacant, reopened]);

        bench.restart();
        let open = bench.open_items();
        let [a, b] = open.as_slice() else {
            panic!("{open:?}");
        };
        assert_eq!(
            (a.id, &a.key, a.retry_until),
            (id(batch, 0), &key("own"), at(60))
        );
        assert_eq!(
            (a.scope.clone(), a.previous.clone(), a.stopped),
            (scope(), None, false)
        );
        assert_eq!(
            (b.id, &b.key, b.retry_until),
            (id(batch, 2), &key("r/2"), at(160))
        );
        assert_eq!(
            (&b.command, &b.previous),
            (&cancel("b"), &Some(unavailable))
        );
    }
}

#[test]
fn an_outcome_that_is_not_final_is_taken_up_again_and_a_final_one_is_not() {
    for bench in Bench::both() {
        for outcome in Outcome::ALL {
            let request = format!("r-{outcome:?}");
            let item_id = id(bench.admit(many(&request, 1)).batch, 0);
            for _ in 0..3 {
                bench.settle(item_id, &settled(outcome));
                let again = told(&bench.admit(many(&request, 1)));
                if outcome.is_final() {
                    assert_eq!(again, [Told::Settled(item_id, outcome)]);
                    break;
                }
                assert_eq!(again, [Told::Again(item_id, outcome)]);
                assert_eq!(
                    super::outcome(&bench.find(&format!("{request}/0")).unwrap()),
                    None
                );
            }
        }
    }
}

#[test]
fn what_may_not_be_opened_is_not_and_the_answer_names_what_would_be() {
    let only = |places: &[u32], admission: Admission| Admission {
        may_open: Some(places.iter().copied().collect()),
        ..admission
    };
    for bench in Bench::both() {
        let first = bench.admit(admission(
            "r",
            [keyed("a", "a"), keyed("b", "b"), item("c")],
        ));
        let [a, b, c] = [0, 1, 2].map(|index| id(first.batch, index));
        bench.settle(b, &settled(Outcome::Stopped));
        bench.settle(c, &settled(Outcome::Canceled));
        let unreserved = |places: &[u32], admission: Admission| match wait(
            bench.journal().admit(only(places, admission)),
        ) {
            Err(AdmitError::Unreserved(opens)) => opens.into_iter().collect::<Vec<_>>(),
            other => panic!("it may not open that: {other:?}"),
        };
        let mixed = || {
            let slots = [
                item("d"),
                keyed("a", "a"),
                keyed("b", "b"),
                keyed("r/2", "c"),
            ];
            admission("s", slots)
        };
        for places in [&[][..], &[0], &[2], &[1, 2, 3]] {
            assert_eq!(unreserved(places, mixed()), [0, 2]);
        }
        let again = || admission("r", [keyed("a", "a"), keyed("b", "b"), item("c")]);
        assert_eq!(unreserved(&[0, 2], again()), [1]);
        assert!(bench.find("s/0").is_none());
        let open: Vec<_> = bench.open_items().into_iter().map(|item| item.id).collect();
        assert_eq!(open, [a]);

        // What is under way or settled for good is nobody's to open.
        let known = bench.admit(only(&[], admission("t", [keyed("a", "a")])));
        assert_eq!(told(&known), [Told::Running(a)]);
        let admitted = bench.admit(only(&[0, 2, 3], mixed()));
        let d = id(admitted.batch, 0);
        assert_eq!(told(&admitted)[0], Told::Opened(d));
        let replayed = bench.admit(only(&[], again()));
        assert_eq!(
            told(&replayed),
            [
                Told::Running(a),
                Told::Running(b),
                Told::Settled(c, Outcome::Canceled)
            ]
        );
    }
}

#[test]
fn a_request_key_with_other_content_is_refused_and_the_answer_names_the_fields() {
    for bench in Bench::both() {
        let batch = bench
            .admit(admission("r", [item("a"), item("b"), keyed("k", "c")]))
            .batch;
        let other = Command::Subscription(SubscriptionCommand {
            when: When::PeriodEnd,
            comment: Some("no".to_owned()),
            ..subscription("b")
        });
        let other = Slot::Item {
            key: None,
            command: Arc::new(other),
        };
        let conflicts = bench.conflicts(admission("r", [item("x"), other, keyed("l", "c")]));
        let conflict = |index, conflict_key: &str, fields: &[&str]| Conflict {
            index,
            key: key(conflict_key),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            batch,
        };
        let expected = [
            conflict(Some(0), "r/0", &["subscription_id"]),
            conflict(Some(1), "r/1", &["when", "comment"]),
            conflict(Some(2), "l", &["idempotency_key"]),
        ];
        assert_eq!(conflicts, expected);

        let conflicts = bench.conflicts(admission("r", [item("a"), item("b")]));
        assert_eq!(conflicts, [conflict(None, "r", &["cancellations"])]);
        let conflicts = bench.conflicts(admission("r", [keyed("m", "a"), item("b"), item("c")]));
        let expected = [
            conflict(Some(0), "m", &["idempotency_key"]),
            conflict(Some(2), "r/2", &["idempotency_key"]),
        ];
        assert_eq!(conflicts, expected);
    }
}

#[test]
fn a_request_with_a_conflict_changes_nothing() {
    for mut bench in Bench::both() {
        let batch = bench
            .admit(admission("r", [keyed("k", "a"), keyed("u", "b")]))
            .batch;
        bench.settle(id(batch, 1), &settled(Outcome::Unavailable));
        let slots = [
            item("new"),
            keyed("new", "new2"),
            keyed("u", "b"),
            keyed("k", "other"),
        ];
        let conflicts = bench.conflicts(admission("s", slots));
        assert_eq!(conflicts.len(), 1);
        assert_eq!((conflicts[0].index, conflicts[0].batch), (Some(3), batch));
        for _ in 0..2 {
            assert!(bench.find("s/0").is_none());
            assert!(bench.find("new").is_none());
            assert_eq!(
                outcome(&bench.find("u").unwrap()),
                Some(Outcome::Unavailable)
            );
            assert_eq!(bench.open_items().len(), 1);
            assert!(bench.batch(BatchId(batch.0 + 1)).is_none());
            bench.restart();
        }
    }
}

#[test]
fn an_own_key_means_its_item_whichever_request_it_comes_in() {
    for mut bench in Bench::both() {
        let first = bench
            .admit(admission("r", [keyed("k", "a"), keyed("l", "b")]))
            .batch;
        bench.settle(id(first, 1), &settled(Outcome::Canceled));
        let slots = || [item("z"), keyed("l", "b"), keyed("k", "a")];
        let second = bench.admit(admission("s", slots()));
        let known = [
            Told::Settled(id(first, 1), Outcome::Canceled),
            Told::Running(id(first, 0)),
        ];
        assert_eq!(told(&second)[0], Told::Opened(id(second.batch, 0)));
        assert_eq!(told(&second)[1..], known);
        bench.restart();
        let again = bench.admit(admission("s", slots()));
        assert_eq!(told(&again)[0], Told::Running(id(second.batch, 0)));
        assert_eq!(told(&again)[1..], known);

        // The batch shows them, under the ids of the batch that owns them.
        let items = bench.batch(second.batch).unwrap().items;
        let ids: Vec<_> = items.iter().map(|item| item.as_ref().unwrap().id).collect();
        assert_eq!(ids, [id(second.batch, 0), id(first, 1), id(first, 0)]);
        assert_eq!(items[2].as_ref().unwrap().request_key, key("r"));

        // Taken up again through the other request, it is open for both.
        bench.settle(id(first, 0), &settled(Outcome::InDoubt));
        let again = told(&bench.admit(admission("s", slots())));
        assert_eq!(again[2], Told::Again(id(first, 0), Outcome::InDoubt));
        let again = told(&bench.admit(admission("r", [keyed("k", "a"), keyed("l", "b")])));
        assert_eq!(again[0], Told::Running(id(first, 0)));
    }
}

#[test]
fn a_derived_key_and_the_same_key_given_explicitly_mean_one_item() {
    for bench in Bench::both() {
        // Derived first, then explicit.
        let r = bench
            .admit(admission("r", [item("a"), item("b"), keyed("own", "c")]))
            .batch;
        let s = bench.admit(admission(
            "s",
            [keyed("r/1", "b"), keyed("r/2", "d"), keyed("r/3", "e")],
        ));
        let s_batch = s.batch;
        let expected = [
            Told::Running(id(r, 1)),
            // Item 2 has a key of its own, and there is no item 3: these keys were free.
            Told::Opened(id(s_batch, 1)),
            Told::Opened(id(s_batch, 2)),
        ];
        assert_eq!(told(&s), expected);
        let conflicts = bench.conflicts(admission("t", [keyed("r/0", "b")]));
        assert_eq!(conflicts[0].fields, ["subscription_id"]);

        // Explicit first, then derived.
        let first = bench.admit(admission("u", [keyed("v/1", "x")])).batch;
        let v = bench.admit(admission("v", [item("w"), item("x")]));
        let expected = [Told::Opened(id(v.batch, 0)), Told::Running(id(first, 0))];
        assert_eq!(told(&v), expected);
        let again = bench.admit(admission("v", [item("w"), item("x")]));
        let expected = [Told::Running(id(v.batch, 0)), Told::Running(id(first, 0))];
        assert_eq!(told(&again), expected);
        assert_eq!(bench.find("v/1").unwrap().id, id(first, 0));
        let conflicts = bench.conflicts(admission("v", [item("w"), item("y")]));
        assert_eq!(
            (conflicts[0].batch, &conflicts[0].key),
            (first, &key("v/1"))
        );
        // Given in its own place, the derived key is the same key.
        let again = bench.admit(admission("v", [keyed("v/0", "w"), keyed("v/1", "x")]));
        assert_eq!(told(&again), expected);
    }
}

#[test]
fn a_dry_run_uses_up_no_key_and_its_slot_can_be_filled_later() {
    for mut bench in Bench::both() {
        let first = bench.admit(admission("r", [item("a"), Slot::Vacant, Slot::Vacant]));
        let batch = first.batch;
        assert_eq!(
            told(&first),
            [Told::Opened(id(batch, 0)), Told::Vacant, Told::Vacant]
        );
        assert!(bench.find("r/1").is_none());
        bench.settle(id(batch, 0), &settled(Outcome::Canceled));

        let mut filled = admission("r", [item("a"), keyed("k", "b"), Slot::Vacant]);
        (filled.at, filled.retry_until) = (at(100), at(160));
        let filled = bench.admit(filled);
        assert_eq!(filled.batch, batch);
        let expected = [
            Told::Settled(id(batch, 0), Outcome::Canceled),
            Told::Opened(id(batch, 1)),
            Told::Vacant,
        ];
        assert_eq!(told(&filled), expected);
        assert_eq!(bench.find("k").unwrap().admitted_at, at(100));
        assert_eq!(bench.find("r/0").unwrap().admitted_at, at(0));
        bench.restart();
        let open = bench.open_items();
        assert_eq!(open.len(), 1);
        assert_eq!((open[0].id, open[0].retry_until), (id(batch, 1), at(160)));
        let unavailable = settled(Outcome::Unavailable);
        bench.settle(id(batch, 1), &unavailable);
        let again = bench.admit(admission("r", [item("a"), keyed("k", "b"), item("c")]));
        let expected = [
            Told::Settled(id(batch, 0), Outcome::Canceled),
            Told::Again(id(batch, 1), Outcome::Unavailable),
            Told::Opened(id(batch, 2)),
        ];
        assert_eq!(told(&again), expected);
        assert_eq!(bench.find("k").unwrap().admitted_at, at(100));
        // What was a dry run before may be one again.
        let again = bench.admit(admission(
            "r",
            [Slot::Vacant, keyed("k", "b"), Slot::Vacant],
        ));
        assert_eq!(
            told(&again),
            [Told::Vacant, Told::Running(id(batch, 1)), Told::Vacant]
        );
    }
}

#[test]
fn keys_of_other_callers_and_rpcs_are_other_keys() {
    for bench in Bench::both() {
        let mine = bench.admit(admission("r", [keyed("k", "a")])).batch;
        let mut theirs = admission("r", [keyed("k", "b")]);
        theirs.scope.caller = CallerId::try_from("crm").unwrap();
        let theirs_scope = theirs.scope.clone();
        let theirs = bench.admit(theirs);
        assert_eq!(told(&theirs), [Told::Opened(id(theirs.batch, 0))]);
        let mut other_rpc = admission("r", [keyed("k", "c"), item("d")]);
        other_rpc.scope.kind = Kind::Enrollments;
        let other_rpc = bench.admit(other_rpc);
        assert_eq!(told(&other_rpc)[0], Told::Opened(id(other_rpc.batch, 0)));
        assert_eq!(bench.find("k").unwrap().id, id(mine, 0));
        let found = bench
            .journal()
            .find(&theirs_scope, &key("k"), &ReadLimits::default())
            .unwrap()
            .unwrap();
        assert_eq!((found.id, found.scope), (id(theirs.batch, 0), theirs_scope));
    }
}

#[test]
fn one_key_twice_in_a_request_is_refused() {
    for bench in Bench::both() {
        for slots in [
            vec![keyed("k", "a"), keyed("k", "a")],
            vec![keyed("r/1", "a"), item("a")],
        ] {
            let conflicts = bench.conflicts(admission("r", slots));
            assert_eq!(conflicts.len(), 1);
            assert_eq!(conflicts[0].fields, ["idempotency_key"]);
        }
        assert!(bench.open_items().is_empty());
    }
}

#[test]
fn a_stop_is_remembered_until_the_item_is_taken_up_again() {
    for mut bench in Bench::both() {
        let batch = bench.admit(many("r", 4)).batch;
        let other = bench.admit(many("s", 1)).batch;
        bench.settle(id(batch, 0), &settled(Outcome::Canceled));
        assert!(!bench.batch(batch).unwrap().stopped);
        wait(bench.journal().stop(batch, scope().caller.into(), at(5))).unwrap();
        bench.restart();
        assert!(bench.batch(batch).unwrap().stopped);
        let stopped = |bench: &Bench| -> Vec<_> {
            let open = bench.open_items().into_iter();
            open.map(|item| (item.id, item.stopped)).collect()
        };
        let expected = [
            (id(batch, 1), true),
            (id(batch, 2), true),
            (id(batch, 3), true),
            (id(other, 0), false),
        ];
        assert_eq!(stopped(&bench), expected);
        bench.settle(id(batch, 1), &settled(Outcome::Stopped));
        let again = bench.admit(many("r", 4));
        assert_eq!(told(&again)[1], Told::Again(id(batch, 1), Outcome::Stopped));
        bench.restart();
        let expected = [
            (id(batch, 1), false),
            (id(batch, 2), true),
            (id(batch, 3), true),
            (id(other, 0), false),
        ];
        assert_eq!(stopped(&bench), expected);
        assert!(!bench.batch(batch).unwrap().stopped);
        // Stopping what is settled or unknown is nothing.
        bench.settle(id(other, 0), &settled(Outcome::Canceled));
        wait(bench.journal().stop(other, scope().caller.into(), at(6))).unwrap();
        wait(
            bench
                .journal()
                .stop(BatchId(999), scope().caller.into(), at(6)),
        )
        .unwrap();
        assert!(!bench.batch(other).unwrap().stopped);
    }
}

#[test]
fn only_whole_batches_that_settled_long_enough_ago_are_purged_oldest_first() {
    for mut bench in Bench::both() {
        let [old, new, open, half] =
            ["old", "new", "open", "half"].map(|request| bench.admit(many(request, 2)).batch);
        let settle = |batch, index, seconds| {
            bench.settle(id(batch, index), &settled_at(Outcome::Canceled, seconds));
        };
        settle(new, 0, 5);
        settle(new, 1, 100);
        settle(old, 1, 50);
        settle(old, 0, 40);
        settle(half, 0, 1);
        bench.restart();
        let purge = |before, max| bench.purge(at(before), max);
        assert_eq!(purge(50, 10), 0);
        assert_eq!(purge(101, 1), 1);
        assert!(bench.batch(old).is_none());
        assert!(bench.find("old/0").is_none());
        assert!(bench.batch(new).is_some());
        assert_eq!(purge(101, 10), 1);
        assert_eq!(purge(1_000_000, 10), 0);
        for batch in [open, half] {
            assert_eq!(bench.batch(batch).unwrap().items.len(), 2);
        }
        assert_eq!(bench.open_items().len(), 3);
    }
}

#[test]
fn a_purged_key_is_free_and_a_purged_id_is_never_given_out_again() {
    for mut bench in Bench::both() {
        let owner = bench
            .admit(admission("r", [keyed("k", "a"), keyed("s/1", "c")]))
            .batch;
        let slots = || [keyed("k", "a"), item("c"), item("b")];
        let referrer = bench.admit(admission("s", slots())).batch;
        bench.settle(id(owner, 0), &settled_at(Outcome::Canceled, 1));
        bench.settle(id(owner, 1), &settled_at(Outcome::Canceled, 1));
        assert_eq!(bench.purge(at(2), 10), 1);
        assert!(bench.find("k").is_none() && bench.find("s/1").is_none());
        let items = bench.batch(referrer).unwrap().items;
        assert!(items[0].is_none() && items[1].is_none() && items[2].is_some());

        // The request that led there opens the items anew, in its own batch.
        let again = bench.admit(admission("s", slots()));
        let expected = [
            Told::Opened(id(referrer, 0)),
            Told::Opened(id(referrer, 1)),
            Told::Running(id(referrer, 2)),
        ];
        assert_eq!(told(&again), expected);
        assert_eq!(bench.find("k").unwrap().id, id(referrer, 0));
        assert_eq!(bench.find("s/1").unwrap().id, id(referrer, 1));
        let again = bench.admit(admission("s", slots()));
        assert_eq!(told(&again)[0], Told::Running(id(referrer, 0)));

        for index in 0..3 {
            bench.settle(id(referrer, index), &settled_at(Outcome::Canceled, 10));
        }
        assert_eq!(bench.purge(at(11), 10), 1);
        bench.restart();
        let fresh = bench.admit(admission("r", [keyed("k", "other")])).batch;
        assert!(fresh > referrer, "{fresh}");
    }
}

#[test]
fn a_batch_that_only_leads_to_others_expires_too() {
    for bench in Bench::both() {
        let owner = bench.admit(admission("r", [keyed("k", "a")])).batch;
        let referrer = bench.admit(admission("s", [keyed("k", "a")])).batch;
        assert_eq!(bench.open_items().len(), 1);
        assert_eq!(bench.purge(at(1), 10), 1);
        assert!(bench.batch(referrer).is_none());
        assert_eq!(bench.find("k").unwrap().id, id(owner, 0));
    }
}

#[test]
fn a_batch_taken_up_again_is_kept_and_expires_by_its_last_outcome() {
    for bench in Bench::both() {
        let batch = bench.admit(many("r", 1)).batch;
        bench.settle(id(batch, 0), &settled_at(Outcome::Unavailable, 10));
        bench.admit(many("r", 1));
        assert_eq!(bench.purge(at(1_000), 10), 0);
        bench.settle(id(batch, 0), &settled_at(Outcome::Canceled, 20));
        assert_eq!(bench.purge(at(20), 10), 0);
        assert_eq!(bench.purge(at(21), 10), 1);
    }
}

#[test]
fn settling_what_is_not_open_fails_the_store_and_changes_no_outcome() {
    for mut bench in Bench::both() {
        let batch = bench.admit(many("r", 2)).batch;
        bench.settle(id(batch, 0), &settled(Outcome::Canceled));
        assert_eq!(bench.journal().failure(), None);
        let twice = vec![
            Settlement {
                id: id(batch, 1),
                settled: settled(Outcome::Canceled),
            },
            Settlement {
                id: id(batch, 0),
                settled: settled(Outcome::Rejected),
            },
        ];
        let why = wait(bench.journal().settle(twice.into())).unwrap_err();
        assert!(why.0.contains("not open"), "{why}");
        assert_eq!(bench.journal().failure(), Some(why.clone()));
        assert_eq!(
            wait(bench.journal().settle(Group::default())),
            Err(why.clone())
        );
        assert_eq!(
            bench
                .journal()
                .find(&scope(), &key("r/0"), &ReadLimits::default())
                .unwrap_err(),
            why
        );
        match wait(bench.journal().admit(many("s", 1))) {
            Err(AdmitError::Unavailable(answer)) => assert_eq!(answer, why),
            other => panic!("{other:?}"),
        }
        bench.restart();
        assert_eq!(
            outcome(&bench.find("r/0").unwrap()),
            Some(Outcome::Canceled)
        );
        assert_eq!(outcome(&bench.find("r/1").unwrap()), None);
    }
}

#[test]
fn of_many_who_send_one_request_at_once_one_opens_it_and_the_others_join() {
    for bench in Bench::both() {
        let all = (0..50).map(|_| bench.journal().admit(many("r", 20)));
        let answers = wait(futures_util::future::join_all(all));
        let opened = answers.into_iter().map(|answer| told(&answer.unwrap()));
        let opened = opened.filter(|told| matches!(told[0], Told::Opened(_)));
        assert_eq!(opened.count(), 1);
        assert_eq!(bench.open_items().len(), 20);
    }
}

#[test]
fn the_largest_request_settles_and_replays_whole() {
    for mut bench in Bench::both() {
        let batch = bench.admit(many("r", 10_000)).batch;
        let canceled = settled(Outcome::Canceled);
        for from in (0..10_000).step_by(700) {
            let ids = (from..10_000.min(from + 700)).map(|index| id(batch, index));
            bench.settle_all(ids.map(|id| (id, &canceled)));
        }
        bench.restart();
        let replay = told(&bench.admit(many("r", 10_000)));
        assert_eq!(replay.len(), 10_000);
        for (index, told) in (0..).zip(replay) {
            assert_eq!(told, Told::Settled(id(batch, index), Outcome::Canceled));
        }
        assert!(bench.open_items().is_empty());
        assert_eq!(bench.purge(at(100), 10), 1);
        assert!(bench.batch(batch).is_none());
    }
}
