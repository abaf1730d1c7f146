//! What may be sent, and what is unknown of it once the process that could send it is gone.

use super::*;
use crate::{
    domain::doubt::{AccountState, Boot, Doubt, Moment},
    journal::{Clearance, DoubtfulTarget, Note},
    limits,
};

/// A time by the wall clock.
fn moment(seconds: i64) -> Moment {
    Moment::wall(at(seconds))
}

/// When what was sent before a process began at this time cannot arrive any more.
fn ended(seconds: i64) -> Moment {
    Moment::wall(
        at(seconds) + SignedDuration::from_millis(limits::TCP_USER_TIMEOUT_MS.cast_signed()),
    )
}

/// All that a doubt can hold.
fn known(earliest: i64, latest: i64) -> Doubt {
    Doubt {
        settle_ms: Some(30_000),
        accepted: true,
        looks: 2,
        place: Some(7),
        place_answered: true,
        ..Doubt::between(Some(moment(earliest)), moment(latest))
    }
}

fn clearing(first: usize) -> BTreeMap<AccountName, usize> {
    [(subscription("x").account, first)].into()
}

fn cleared(admission: Admission, first: usize) -> Admission {
    Admission {
        clear: clearing(first),
        ..admission
    }
}

/// Which of what was opened may be sent.
fn may_be_sent(admitted: &Admitted) -> Vec<bool> {
    let opened = admitted.items.iter().filter_map(|item| match item {
        AdmittedItem::Opened { cleared, .. } => Some(*cleared),
        _ => None,
    });
    opened.collect()
}

impl Bench {
    #[track_caller]
    fn begin(&self, seconds: i64) {
        wait(self.journal().begin(moment(seconds))).unwrap();
    }

    #[track_caller]
    fn restart_at(&mut self, seconds: i64) {
        self.restart();
        self.begin(seconds);
    }

    #[track_caller]
    fn group(&self, group: Group) {
        wait(self.journal().settle(group)).unwrap();
    }

    #[track_caller]
    fn clear(&self, seconds: i64, items: &[ItemId]) {
        self.group(Group {
            clearances: vec![Clearance {
                at: moment(seconds),
                items: items.to_vec(),
            }],
            ..Group::default()
        });
    }

    #[track_caller]
    fn note(&self, id: ItemId, doubt: Option<Doubt>) {
        self.group(Group {
            notes: vec![Note { id, doubt }],
            ..Group::default()
        });
    }

    #[track_caller]
    fn doubts(&self) -> Vec<Option<Doubt>> {
        self.open_items()
            .into_iter()
            .map(|open| open.doubt)
            .collect()
    }
}

#[test]
fn what_was_not_cleared_was_not_sent_and_what_was_is_in_doubt_after_a_restart() {
    for mut bench in Bench::both() {
        bench.begin(-10);
        let admitted = bench.admit(cleared(many("r", 4), 2));
        assert_eq!(may_be_sent(&admitted), [true, true, false, false]);
        bench.clear(5, &[id(admitted.batch, 2)]);
        bench.restart_at(100);
        let doubt = |since| Some(Doubt::between(Some(moment(since)), ended(100)));
        assert_eq!(bench.doubts(), [doubt(0), doubt(0), doubt(5), None]);
    }
}

#[test]
fn the_first_items_of_each_account_are_cleared_whatever_batch_they_are_of() {
    for bench in Bench::both() {
        bench.begin(-10);
        let of = |account: &str, own: Option<&str>, target: &str| Slot::Item {
            key: own.map(key),
            command: Arc::new(Command::Subscription(SubscriptionCommand {
                account: AccountName::try_from(account).unwrap(),
                ..subscription(target)
            })),
        };
        let clear = |of: &[(&str, usize)]| {
            let clear = of.iter();
            clear
                .map(|(name, first)| (AccountName::try_from(*name).unwrap(), *first))
                .collect()
        };
        let other = bench.admit(admission("other", [of("a", Some("own"), "x")]));
        assert_eq!(may_be_sent(&other), [false]);
        bench.settle(id(other.batch, 0), &settled(Outcome::Unavailable));
        // Neither a dry run nor an item of an account that is not named uses any of it up.
        let slots = [
            Slot::Vacant,
            of("a", Some("own"), "x"),
            of("b", None, "y"),
            of("c", None, "z"),
            of("a", None, "v"),
            of("a", None, "w"),
            of("b", None, "u"),
        ];
        let admitted = bench.admit(Admission {
            clear: clear(&[("a", 2), ("b", 1)]),
            ..admission("r", slots.clone())
        });
        assert_eq!(
            may_be_sent(&admitted),
            [true, true, false, true, false, false]
        );
        // A vacant slot that is filled, and items that are taken up again.
        bench.settle(id(admitted.batch, 2), &settled(Outcome::Unavailable));
        bench.settle(id(admitted.batch, 6), &settled(Outcome::Unavailable));
        let [_, rest @ ..] = slots;
        let slots: Vec<_> = [of("b", None, "t")].into_iter().chain(rest).collect();
        let again = bench.admit(Admission {
            clear: clear(&[("b", 2)]),
            ..admission("r", slots)
        });
        assert_eq!(may_be_sent(&again), [true, true, false]);
        bench.begin(50);
        let open = bench.open_items().into_iter();
        let doubtful: Vec<_> = open
            .filter(|open| open.doubt.is_some())
            .map(|open| open.key.to_string())
            .collect();
        // The last one had settled as possibly sent before, which no clearance was needed for.
        assert_eq!(doubtful, ["own", "r/0", "r/2", "r/4", "r/6"]);
    }
}

#[test]
fn a_request_that_mixes_accounts_item_by_item_is_cleared_as_far_as_it_says() {
    let ranges = limits::RECORD_RANGES_MAX;
    for (mut bench, first) in [ranges, ranges + 1, 900]
        .into_iter()
        .flat_map(|first| Bench::both().map(|bench| (bench, first)))
    {
        bench.begin(-10);
        let slots = (0..2_000).map(|n| {
            let account = if n % 2 == 0 { "busy" } else { "rebilly-eu" };
            Slot::Item {
                key: None,
                command: Arc::new(Command::Subscription(SubscriptionCommand {
                    account: AccountName::try_from(account).unwrap(),
                    ..subscription(&format!("sub-{n}"))
                })),
            }
        });
        let longest = "k".repeat(limits::KEY_CHARS_MAX);
        let admitted = bench.admit(cleared(admission(&longest, slots), first));
        let expected: Vec<_> = (0..2_000).map(|n| n % 2 == 1 && n / 2 < first).collect();
        assert_eq!(may_be_sent(&admitted), expected);
        bench.restart_at(100);
        let doubt = Doubt::between(Some(moment(0)), ended(100));
        for (index, found) in bench.doubts().into_iter().enumerate() {
            assert_eq!(found, expected[index].then(|| doubt.clone()), "{index}");
        }
    }
}

#[test]
fn a_crash_between_two_sends_does_not_start_the_wait_anew_and_one_after_the_second_does() {
    for mut bench in Bench::both() {
        bench.begin(-10);
        let item = id(bench.admit(cleared(many("r", 1), 1)).batch, 0);
        bench.restart_at(100);
        bench.restart_at(200);
        let doubt = Doubt::between(Some(moment(0)), ended(100));
        assert_eq!(bench.doubts(), [Some(doubt.clone())]);
        bench.clear(210, &[item]);
        bench.restart_at(300);
        let latest = ended(300);
        let again = Doubt { latest, ..doubt };
        assert_eq!(bench.doubts(), [Some(again.clone())]);
        bench.restart_at(400);
        assert_eq!(bench.doubts(), [Some(again)]);
    }
}

#[test]
fn what_an_orderly_stop_noted_is_found_as_it_is_until_the_item_is_cleared_anew() {
    for mut bench in Bench::both() {
        bench.begin(-10);
        let item = id(bench.admit(cleared(many("r", 1), 1)).batch, 0);
        let noted = known(0, 20);
        bench.note(item, Some(noted.clone()));
        for start in [100, 200] {
            bench.restart_at(start);
            assert_eq!(bench.doubts(), [Some(noted.clone())]);
        }
        bench.clear(210, &[item]);
        bench.restart_at(300);
        let cleared = Doubt {
            latest: ended(300),
            settle_ms: None,
            ..noted
        };
        assert_eq!(bench.doubts(), [Some(cleared)]);
        let believed = Doubt {
            may_act: false,
            looks: 3,
            ..known(0, 250)
        };
        bench.note(item, Some(believed.clone()));
        bench.restart_at(400);
        assert_eq!(bench.doubts(), [Some(believed)]);
    }
}

#[test]
fn what_is_withdrawn_was_not_sent_and_what_an_earlier_process_may_have_sent_stays() {
    for mut bench in Bench::both() {
        bench.begin(-10);
        let batch = bench.admit(cleared(many("r", 3), 1)).batch;
        let [first, second, third] = [0, 1, 2].map(|index| id(batch, index));
        bench.clear(5, &[second]);
        bench.note(second, None);
        bench.clear(6, &[third]);
        bench.note(third, Some(known(6, 8)));
        bench.restart_at(100);
        let doubt = Doubt::between(Some(moment(0)), ended(100));
        let all = [Some(doubt), None, Some(known(6, 8))];
        assert_eq!(bench.doubts(), all);
        // Cleared anew, and not sent: as it was before.
        bench.clear(110, &[first, second, third]);
        for _ in 0..2 {
            for item in [first, second, third] {
                bench.note(item, None);
            }
        }
        bench.restart_at(200);
        assert_eq!(bench.doubts(), all);
    }
}

#[test]
fn a_note_and_a_clearance_that_share_a_write_stand_in_their_order() {
    let bench = Bench::in_memory();
    bench.begin(-10);
    let item = id(bench.admit(cleared(many("r", 1), 1)).batch, 0);
    bench.group(Group {
        clearances: vec![Clearance {
            at: moment(5),
            items: vec![item],
        }],
        notes: vec![Note {
            id: item,
            doubt: Some(known(0, 6)),
        }],
        ..Group::default()
    });
    bench.begin(100);
    assert_eq!(bench.doubts(), [Some(known(0, 6))]);
}

#[test]
fn a_doubt_that_an_outcome_leaves_is_found_when_its_key_is_sent_again() {
    for mut bench in Bench::both() {
        bench.begin(-10);
        let left = known(0, 20);
        let unsent = |outcome| {
            let mut settled = Settled::clone(&settled(outcome));
            settled.conclusion.failure.as_mut().unwrap().reached = Reached::No;
            settled
        };
        let in_doubt = Settled {
            doubt: Some(Box::new(left.clone())),
            ..unsent(Outcome::InDoubt)
        };
        let batch = bench.admit(cleared(many("r", 3), 3)).batch;
        bench.settle(id(batch, 0), &Arc::new(in_doubt.clone()));
        bench.settle(id(batch, 1), &Arc::new(unsent(Outcome::Unavailable)));
        bench.settle(id(batch, 2), &Arc::new(in_doubt));
        let again = Admission {
            at: at(30),
            ..cleared(many("r", 3), 0)
        };
        let admitted = bench.admit(again);
        let AdmittedItem::Opened { previous, .. } = &admitted.items[0] else {
            panic!("{admitted:?}");
        };
        assert_eq!(previous.as_ref().unwrap().doubt.as_deref(), Some(&left));
        bench.clear(40, &[id(batch, 1), id(batch, 2)]);
        bench.restart_at(100);
        let cleared = Doubt {
            latest: ended(100),
            settle_ms: None,
            ..left.clone()
        };
        // The second was not sent before it was cleared for the second time.
        let second = Doubt::between(Some(moment(40)), ended(100));
        assert_eq!(bench.doubts(), [Some(left), Some(second), Some(cleared)]);
    }
}

#[test]
fn an_outcome_of_a_version_that_kept_no_doubts_is_one_if_it_may_have_been_sent() {
    for mut bench in Bench::both() {
        bench.begin(-10);
        let batch = bench.admit(cleared(many("r", 2), 2)).batch;
        // Both say that the provider may have been reached.
        bench.settle(id(batch, 0), &settled_at(Outcome::InDoubt, 20));
        bench.settle(id(batch, 1), &settled_at(Outcome::Unavailable, 21));
        bench.admit(Admission {
            at: at(30),
            ..many("r", 2)
        });
        bench.restart_at(100);
        let doubt = |second| Some(Doubt::between(None, moment(second)));
        assert_eq!(bench.doubts(), [doubt(20), doubt(21)]);
    }
}

#[test]
fn what_is_said_of_an_item_that_has_settled_is_nothing() {
    for mut bench in Bench::both() {
        bench.begin(-10);
        let batch = bench.admit(cleared(many("r", 3), 0)).batch;
        let [first, second, third] = [0, 1, 2].map(|index| id(batch, index));
        let other = id(BatchId(99), 0);
        bench.settle(first, &settled(Outcome::Canceled));
        bench.group(Group {
            settlements: vec![Settlement {
                id: second,
                settled: settled(Outcome::Canceled),
            }],
            clearances: vec![Clearance {
                at: moment(5),
                items: vec![first, second, third, other],
            }],
            notes: vec![
                Note {
                    id: first,
                    doubt: None,
                },
                Note {
                    id: second,
                    doubt: Some(known(0, 1)),
                },
                Note {
                    id: other,
                    doubt: Some(known(0, 1)),
                },
            ],
            ..Group::default()
        });
        assert_eq!(bench.journal().failure(), None);
        bench.settle(third, &settled(Outcome::Canceled));
        // By now the batch has nothing open.
        bench.clear(6, &[first, second, third]);
        bench.note(third, None);
        bench.restart_at(100);
        assert!(bench.open_items().is_empty());
        assert_eq!(
            outcome(&bench.find("r/0").unwrap()),
            Some(Outcome::Canceled)
        );
    }
}

#[test]
fn a_moment_comes_back_with_the_clock_of_its_boot() {
    for mut bench in Bench::both() {
        let boot = |ms| Some(Boot { id: u64::MAX, ms });
        let moment = |seconds, ms| Moment {
            at: at(seconds),
            boot: boot(ms),
        };
        wait(bench.journal().begin(moment(-10, 1_000))).unwrap();
        let batch = bench
            .admit(Admission {
                boot: boot(11_000),
                ..cleared(many("r", 2), 1)
            })
            .batch;
        bench.group(Group {
            clearances: vec![Clearance {
                at: moment(5, 16_000),
                items: vec![id(batch, 1)],
            }],
            ..Group::default()
        });
        bench.restart();
        wait(bench.journal().begin(moment(100, 111_000))).unwrap();
        let latest = moment(105, 116_000);
        let doubt = |earliest| Some(Doubt::between(Some(earliest), latest));
        assert_eq!(
            bench.doubts(),
            [doubt(moment(0, 11_000)), doubt(moment(5, 16_000))]
        );
    }
}

#[test]
fn the_beginnings_of_processes_are_forgotten_when_no_open_batch_needs_them() {
    let mut bench = Bench::in_memory();
    bench.begin(0);
    let batch = bench.admit(cleared(many("r", 1), 1)).batch;
    for start in 1..50 {
        bench.restart_at(start);
    }
    let Place::Memory(memory) = &bench.home else {
        panic!("it is on disk");
    };
    // The first to tell when the one before it had ended, and the one that is.
    assert_eq!(memory.lives(), [2, 50]);
    assert_eq!(bench.doubts()[0].as_ref().unwrap().latest, ended(1));
    bench.settle(id(batch, 0), &settled(Outcome::Canceled));
    bench.restart_at(60);
    let Place::Memory(memory) = &bench.home else {
        panic!("it is on disk");
    };
    assert_eq!(memory.lives(), [51]);
}

#[test]
fn what_was_learned_of_an_account_replaces_what_was_known_of_it() {
    for mut bench in Bench::both() {
        let account = |name: &str| AccountName::try_from(name).unwrap();
        let state = |place| AccountState {
            answered_place: Some(place),
            proven: Some(u64::MAX),
            paused_until: Some(moment(100)),
            bucket: Some((2.5, moment(1))),
        };
        assert!(bench.journal().account_states().unwrap().is_empty());
        let write = |accounts: Vec<(AccountName, AccountState)>| Group {
            accounts,
            ..Group::default()
        };
        bench.group(write(vec![
            (account("a"), state(1)),
            (account("ab"), state(2)),
        ]));
        let odd = AccountState {
            bucket: Some((f64::NAN, moment(1))),
            ..AccountState::default()
        };
        bench.group(write(vec![(account("a"), state(3)), (account("c"), odd)]));
        bench.restart();
        let known = bench.journal().account_states().unwrap();
        let expected = [
            (account("a"), state(3)),
            (account("ab"), state(2)),
            (account("c"), AccountState::default()),
        ];
        assert_eq!(known, expected.into());
    }
}

#[test]
fn a_target_stays_doubtful_for_a_day_after_it_is_not_whatever_outcomes_say_of_the_time() {
    for mut bench in Bench::both() {
        bench.begin(-10);
        let day = 24 * 60 * 60;
        let target = |name: &str, until| DoubtfulTarget {
            account: subscription("x").account,
            target: TargetId::try_from(name).unwrap(),
            until: moment(until),
            owner: None,
        };
        let batch = bench.admit(many("r", 3)).batch;
        let settle = |index, seconds, targets: Vec<DoubtfulTarget>| Group {
            settlements: vec![Settlement {
                id: id(batch, index),
                settled: settled_at(Outcome::InDoubt, seconds),
            }],
            targets,
            ..Group::default()
        };
        let found = |bench: &Bench| {
            let mut found = bench.journal().doubtful_targets().unwrap();
            found.sort_by_key(|target| target.target.to_string());
            found
        };
        bench.group(settle(0, 1, vec![target("x", 100), target("y", 50)]));
        bench.group(Group {
            targets: vec![target("x", 300)],
            ..Group::default()
        });
        bench.restart_at(10);
        assert_eq!(found(&bench), [target("x", 300), target("y", 50)]);
        bench.group(settle(1, 50 + day, vec![target("z", 60 + day)]));
        // A clock that is ahead for a moment deletes nothing.
        bench.group(settle(2, 400 * day, Vec::new()));
        bench.purge(at(50 + day), 100);
        assert_eq!(found(&bench).len(), 3);
        bench.purge(at(51 + day), 100);
        assert_eq!(found(&bench), [target("x", 300), target("z", 60 + day)]);
        bench.restart();
        assert_eq!(found(&bench), [target("x", 300), target("z", 60 + day)]);
    }
}

#[test]
fn of_a_doubtful_target_the_two_items_are_known_that_bind_it_longest() {
    for mut bench in Bench::both() {
        bench.begin(-10);
        let batch = bench.admit(many("r", 4)).batch;
        let target = |owner: Option<u32>, until| DoubtfulTarget {
            account: subscription("x").account,
            target: TargetId::try_from("x").unwrap(),
            until: moment(until),
            owner: owner.map(|index| id(batch, index)),
        };
        let left = |bench: &mut Bench, target| {
            bench.group(Group {
                targets: vec![target],
                ..Group::default()
            });
        };
        for (new, known) in [
            (target(None, 40), vec![target(None, 40)]),
            (
                target(Some(0), 50),
                vec![target(Some(0), 50), target(None, 40)],
            ),
            (
                target(Some(1), 60),
                vec![target(Some(1), 60), target(Some(0), 50)],
            ),
            (
                target(Some(2), 55),
                vec![target(Some(1), 60), target(Some(2), 55)],
            ),
            // The same item again, as it is known last.
            (
                target(Some(1), 70),
                vec![target(Some(1), 70), target(Some(2), 55)],
            ),
            (
                target(Some(3), 30),
                vec![target(Some(1), 70), target(Some(2), 55)],
            ),
        ] {
            left(&mut bench, new);
            bench.restart();
            assert_eq!(bench.journal().doubtful_targets().unwrap(), known);
        }
    }
}

#[test]
fn a_batch_is_kept_for_a_day_after_its_doubt_is_over_however_short_retention_is() {
    for mut bench in Bench::both() {
        bench.begin(-10);
        let day = 24 * 60 * 60;
        let with = |doubt: Doubt| {
            let mut settled = Settled::clone(&settled_at(Outcome::InDoubt, 20));
            settled.doubt = Some(Box::new(doubt));
            Arc::new(settled)
        };
        let [acts, over, canceled] = ["acts", "over", "canceled"];
        let acting = bench.admit(many(acts, 1)).batch;
        bench.settle(id(acting, 0), &with(known(0, 20)));
        let batch = bench.admit(many(over, 1)).batch;
        let may_act = false;
        bench.settle(
            id(batch, 0),
            &with(Doubt {
                may_act,
                ..known(0, 20)
            }),
        );
        let batch = bench.admit(many(canceled, 1)).batch;
        bench.settle(id(batch, 0), &settled_at(Outcome::Canceled, 20));
        assert_eq!(bench.purge(at(21), 100), 2);
        bench.restart();
        // It was sent at 20, and 30 s later a look is believed.
        assert_eq!(bench.purge(at(50 + day), 100), 0);
        // Taken up again and settled without a doubt it is kept no shorter.
        bench.admit(Admission {
            at: at(60),
            ..many(acts, 1)
        });
        bench.settle(id(acting, 0), &settled_at(Outcome::Canceled, 70));
        assert_eq!(bench.purge(at(50 + day), 100), 0);
        assert_eq!(bench.purge(at(51 + day), 100), 1);
    }
}

#[test]
fn an_empty_group_and_one_that_says_nothing_write_nothing() {
    let bench = Bench::on_disk();
    bench.begin(-10);
    let batch = bench.admit(many("r", 1)).batch;
    bench.settle(id(batch, 0), &settled(Outcome::Canceled));
    let commits = |bench: &Bench| {
        let Place::Disk(dir) = &bench.home else {
            panic!("it is in memory");
        };
        std::fs::read_to_string(dir.path().join("commits")).unwrap()
    };
    let before = commits(&bench);
    bench.group(Group::default());
    bench.clear(5, &[]);
    bench.clear(5, &[id(batch, 0)]);
    bench.note(id(batch, 0), None);
    assert_eq!(commits(&bench), before);
}

#[test]
fn an_admission_that_clears_its_first_items_writes_no_entry_more() {
    let entries = |first| {
        let memory = MemoryJournal::new();
        wait(memory.begin(moment(-10))).unwrap();
        wait(memory.admit(cleared(many("r", 1), first))).unwrap();
        memory.entries()
    };
    assert_eq!(entries(1), entries(0));
}

#[test]
fn one_clearance_of_thousands_that_lie_side_by_side_is_one_small_entry() {
    let memory = MemoryJournal::new();
    wait(memory.begin(moment(-10))).unwrap();
    let batch = wait(memory.admit(many("r", 4_096))).unwrap().batch;
    let before = (memory.entries(), memory.bytes());
    let clearances = vec![Clearance {
        at: moment(5),
        items: (0..4_096).map(|index| id(batch, index)).collect(),
    }];
    let group = Group {
        clearances,
        ..Group::default()
    };
    wait(memory.settle(group)).unwrap();
    assert_eq!(memory.entries(), before.0 + 1);
    assert!(memory.bytes() < before.1 + 150);
}
