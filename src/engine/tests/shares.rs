//! Fair shares: a caller that takes all it can leaves capacity for the others.

use std::{collections::BTreeMap, sync::Arc};

use super::support::bench::{Bench, Choices, items, keyed, submission};
use crate::{
    engine::{SubmitError, SubmittedItem, Ticket},
    journal::memory_journal::MemoryJournal,
    providers::Mode,
};

const MAX: usize = 120;

/// An engine that ann, ben and cid share; cid may have 10 open items.
async fn shared(journal: &MemoryJournal) -> Bench {
    let members = [("ann", None), ("ben", None), ("cid", Some(10))];
    let members = members.map(|(name, max)| (name.try_into().unwrap(), max));
    let choices = Choices {
        journal: Arc::new(journal.clone()),
        open_items_max: MAX,
        members: members.into_iter().collect(),
        ..Choices::default()
    };
    choices.start().await
}

impl Bench {
    async fn send_of(
        &self,
        caller: &str,
        key: &str,
        items: Vec<SubmittedItem>,
    ) -> Result<Ticket, SubmitError> {
        let mut request = submission(key, items);
        request.scope.caller = caller.try_into().unwrap();
        self.engine.submit(request).await
    }

    /// Sends single items of a caller until one is rejected; returns how many were admitted.
    async fn fill(&self, caller: &str, prefix: &str) -> usize {
        for n in 0..=MAX {
            let key = format!("{prefix}-{n}");
            match self.send_of(caller, &key, items(&key, 1)).await {
                Ok(_) => {}
                Err(SubmitError::Full(why)) => {
                    assert!(
                        why.starts_with(&format!("this caller has {n} open items")),
                        "{why}"
                    );
                    return n;
                }
                Err(error) => panic!("{error}"),
            }
        }
        panic!("{caller} is never refused");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_takes_what_is_kept_for_others_not_through_a_restart_either() {
    let journal = MemoryJournal::new();
    let bench = shared(&journal).await;
    // 20 are kept for ben, and of cid's 20 only the 10 that it may have.
    assert_eq!(bench.fill("ann", "first").await, 90);
    let own: Vec<_> = (0..5)
        .map(|n| keyed(&format!("own-{n}"), &format!("t-{n}")))
        .collect();
    drop(bench.send_of("ben", "b", own.clone()).await.unwrap());
    bench.engine.drain(std::time::Duration::ZERO).await;

    let bench = shared(&journal).await;
    assert_eq!(bench.engine.open_items.taken(), 95);
    let refused = bench.send_of("ann", "more", items("more", 1)).await;
    assert!(
        matches!(refused, Err(SubmitError::Full(_))),
        "{:?}",
        refused.err()
    );
    // Known items are joined, and new ones fit beside them.
    let mut some = own;
    some.extend(items("new", 15));
    drop(bench.send_of("ben", "some", some).await.unwrap());
    drop(bench.send_of("cid", "c", items("c", 10)).await.unwrap());
    assert_eq!(bench.engine.open_items.taken(), MAX);
    for (caller, key) in [("ben", "b-2"), ("cid", "c-2")] {
        let refused = bench.send_of(caller, key, items(key, 1)).await;
        assert!(matches!(refused, Err(SubmitError::Full(_))), "{caller}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_callers_own_bound_holds_while_there_is_room() {
    let bench = shared(&MemoryJournal::new()).await;
    assert_eq!(bench.fill("cid", "c").await, 10);
    let refused = bench.send_of("cid", "many", items("many", 11)).await;
    assert!(
        matches!(refused, Err(SubmitError::Oversized(_))),
        "{:?}",
        refused.err()
    );
    let refused = bench.send_of("ann", "many", items("many", 91)).await;
    assert!(
        matches!(refused, Err(SubmitError::Oversized(_))),
        "{:?}",
        refused.err()
    );
}

#[tokio::test(start_paused = true)]
async fn who_has_filled_the_service_can_plan_join_and_stop_and_so_can_the_others() {
    let journal = MemoryJournal::new();
    let bench = shared(&journal).await;
    let first = bench.send_of("ann", "all", items("all", 90)).await.unwrap();
    drop(bench.send_of("ben", "b", items("b", 20)).await.unwrap());
    drop(bench.send_of("cid", "c", items("c", 10)).await.unwrap());
    for caller in ["ann", "ben", "cid"] {
        let plan = items("plan", 5).into_iter().map(|item| SubmittedItem {
            mode: Mode::DryRun,
            ..item
        });
        let planned = bench.send_of(caller, "plan", plan.collect()).await;
        assert!(planned.is_ok(), "{caller}: {:?}", planned.err());
    }
    let again = bench.send_of("ann", "all", items("all", 90)).await.unwrap();
    assert_eq!(again.batch, first.batch);
    let by: crate::domain::ids::CallerId = "ann".try_into().unwrap();
    let stopped = bench
        .engine
        .stop_batch(first.batch.unwrap(), by)
        .await
        .unwrap();
    assert_eq!((stopped.stopped, bench.engine.open_items.taken()), (89, 31));
}

#[tokio::test(start_paused = true)]
async fn what_one_gives_back_goes_to_those_who_wait_with_less() {
    let bench = shared(&MemoryJournal::new()).await;
    let mut batches = BTreeMap::new();
    for n in 0..9 {
        let key = format!("a-{n}");
        let ticket = bench.send_of("ann", &key, items(&key, 10)).await.unwrap();
        batches.insert(n, ticket.batch.unwrap());
    }
    drop(
        bench
            .send_of("ben", "kept", items("kept", 20))
            .await
            .unwrap(),
    );
    let more = || bench.send_of("ben", "more", items("more", 15));
    assert!(more().await.is_err());
    // One of ann's was sent and waits for its reply.
    for n in 7..9 {
        let by: crate::domain::ids::CallerId = "ann".try_into().unwrap();
        let stopped = bench.engine.stop_batch(batches[&n], by).await.unwrap();
        assert_eq!(stopped.stopped, 10);
        let again = bench.send_of("ann", "again", items("again", 1)).await;
        assert!(again.is_err(), "others wait for it");
    }
    more().await.unwrap();
    let again = bench.send_of("ann", "again", items("again", 5)).await;
    assert!(again.is_ok(), "nobody waits: {:?}", again.err());
}
