//! A service at capacity: known items are answered, and new ones have to fit.

use std::sync::Arc;

use super::support::bench::{Bench, Choices, item, items, keyed, submission};
use crate::{
    engine::{SubmitError, SubmittedItem, Ticket, lane::work_item},
    journal::{Journal as _, ReadLimits, memory_journal::MemoryJournal},
    providers::Mode,
};

const MAX: usize = 100;

impl Bench {
    async fn send(&self, key: &str, items: Vec<SubmittedItem>) -> Result<Ticket, SubmitError> {
        self.engine.submit(submission(key, items)).await
    }

    fn open(&self) -> usize {
        self.engine.open_items.taken()
    }

    fn bytes(&self) -> usize {
        self.engine.open_bytes.taken()
    }

    /// Stops a batch; returns how many items it stopped.
    async fn stop(&self, ticket: &Ticket) -> usize {
        let batch = ticket.batch.unwrap();
        let stop = self.engine.stop_batch(
            batch,
            crate::domain::ids::CallerId::try_from("ann").unwrap(),
        );
        stop.await.unwrap().stopped
    }
}

/// Items with their own keys, numbered from `from`. Numbers below `MAX` are those of "fill".
fn own(from: usize, count: usize) -> Vec<SubmittedItem> {
    let own = (from..from + count).map(|i| keyed(&format!("own-{i}"), &format!("s-{i:05}")));
    own.collect()
}

fn weight() -> usize {
    work_item::weight(&own(10, 1)[0].command)
}

#[track_caller]
fn check_full(sent: Result<Ticket, SubmitError>, why: &str) {
    match sent {
        Err(SubmitError::Full(_)) => {}
        other => panic!("{why}: {:?}", other.map(|ticket| ticket.batch)),
    }
}

/// Two engines that known items fill: one to its item limit, one to its byte limit.
async fn full() -> [(Bench, MemoryJournal); 2] {
    let (by_items, by_bytes) = (MemoryJournal::new(), MemoryJournal::new());
    let items = Choices {
        journal: Arc::new(by_items.clone()),
        open_items_max: MAX,
        ..Choices::default()
    };
    let bytes = Choices {
        journal: Arc::new(by_bytes.clone()),
        open_bytes_max: MAX * weight(),
        ..Choices::default()
    };
    let benches = [
        (items.start().await, by_items),
        (bytes.start().await, by_bytes),
    ];
    for (bench, _) in &benches {
        drop(bench.send("fill", own(10, MAX - 10)).await.unwrap());
        drop(bench.send("rest", own(MAX, 10)).await.unwrap());
    }
    benches
}

#[tokio::test(start_paused = true)]
async fn a_known_item_lets_no_new_ones_into_a_full_service_wherever_it_stands() {
    for (bench, journal) in full().await {
        let (open, bytes) = (bench.open(), bench.bytes());
        assert_eq!(open, MAX);
        for place in [0, 25, 49] {
            for has_own_keys in [false, true] {
                let mut new = match has_own_keys {
                    true => own(1_000, 49),
                    false => items("new", 49),
                };
                new.insert(place, own(10, 1).remove(0));
                let key = format!("k-{place}-{has_own_keys}");
                check_full(bench.send(&key, new).await, &key);
                let scope = submission(&key, Vec::new()).scope;
                for key in [
                    format!("{key}/1"),
                    format!("{key}/30"),
                    "own-1001".to_owned(),
                ] {
                    let key = key.as_str().try_into().unwrap();
                    assert!(
                        journal
                            .find(&scope, &key, &ReadLimits::default())
                            .unwrap()
                            .is_none(),
                        "{key}"
                    );
                }
            }
        }
        // A rejected request leaves no reservation behind.
        assert_eq!((bench.open(), bench.bytes()), (open, bytes));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_joined_in_a_full_service_however_it_is_grouped() {
    for (bench, _) in full().await {
        let (open, bytes) = (bench.open(), bench.bytes());
        for (key, items) in [
            ("fill", own(10, MAX - 10)),
            ("rest", own(MAX, 10)),
            ("other", own(10, MAX)),
            ("one", own(55, 1)),
        ] {
            bench.send(key, items).await.unwrap();
            assert_eq!((bench.open(), bench.bytes()), (open, bytes), "{key}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_opened_again_has_to_fit_too() {
    for (bench, _) in full().await {
        let rest = bench.send("rest", own(MAX, 10)).await.unwrap();
        assert_eq!(bench.stop(&rest).await, 10);
        assert_eq!(bench.open(), MAX - 10);
        let more = bench.send("more", own(2_000, 6)).await.unwrap();

        check_full(bench.send("rest", own(MAX, 10)).await, "six are too many");
        assert_eq!(bench.open(), MAX - 4);
        // The new items fit beside the known ones.
        let mut some = own(MAX, 4);
        some.extend(own(10, 40));
        bench.send("some", some).await.unwrap();
        assert_eq!(bench.open(), MAX);
        check_full(bench.send("one", items("one", 1)).await, "it is full");
        assert_eq!(bench.stop(&more).await, 6);
        bench.send("one", items("one", 6)).await.unwrap();
        assert_eq!(bench.open(), MAX);
    }
}

#[tokio::test(start_paused = true)]
async fn dry_runs_have_room_of_their_own_and_have_to_fit_in_it() {
    for (bench, _) in full().await {
        let (open, bytes) = (bench.open(), bench.bytes());
        let plan = |count| {
            let plan = (0..count).map(|i| SubmittedItem {
                mode: Mode::DryRun,
                ..item(&format!("p-{i}"))
            });
            plan.chain(own(10, 5)).collect::<Vec<_>>()
        };
        let first = bench.send("plan", plan(MAX - 10)).await.unwrap();
        check_full(bench.send("more", plan(11)).await, "eleven are too many");
        let _second = bench.send("more", plan(10)).await.unwrap();
        assert_eq!((bench.open(), bench.bytes()), (open, bytes));
        check_full(bench.send("one", plan(1)).await, "no room for plans");
        drop(first);
    }
}
