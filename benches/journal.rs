//! What the journal costs on this machine: `cargo bench --bench journal [directory]`. Machines
//! differ and are noisy; compare with the lines about the bare disk.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measurement ends with its first error, and its output is its purpose"
)]

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use cancelot::{
    domain::{
        command::{Command, SubscriptionCommand, When},
        ids::{AccountName, BatchId, CallerId, ItemId, Key, Kind, Scope, TargetId},
        outcome::{Conclusion, Detail, Outcome, Settled, SubscriptionDetail},
        provider_response::ProviderResponse,
    },
    journal::{
        Admission, AdmittedItem, Journal, Settlement, Slot,
        sled_journal::{SledJournal, SledJournalOptions},
    },
};
use futures_util::{StreamExt, future::join_all, stream};
use jiff::{SignedDuration, Timestamp};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const LARGE: u32 = 10_000;

fn main() {
    let dir = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let dir = dir
        .map_or_else(tempfile::tempdir, tempfile::tempdir_in)
        .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();

    bare_disk(dir.path());
    let journal = SledJournal::open(&SledJournalOptions::new(dir.path().join("journal"))).unwrap();
    runtime.block_on(async {
        one_by_one(&journal).await;
        single_items(&journal, 256).await;
        large_requests(&journal).await;
        own_keys(&journal).await;
        replay(&journal).await;
        purge(&journal).await;
    });
    drop(journal);
    let begin = Instant::now();
    drop(SledJournal::open(&SledJournalOptions::new(dir.path().join("journal"))).unwrap());
    report("open again", 1, begin.elapsed());
}

fn report(what: &str, items: u32, took: Duration) {
    let each = took / items;
    let rate = f64::from(items) / took.as_secs_f64();
    println!("{what:48} {rate:>12.0}/s {each:>14.2?} each");
}

/// Middle of several tries.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn bare_disk(dir: &std::path::Path) {
    let mut file = File::create(dir.join("bare")).unwrap();
    let times = (0..200).map(|_| {
        let begin = Instant::now();
        file.write_all(&[7; 1_024]).unwrap();
        file.sync_data().unwrap();
        begin.elapsed()
    });
    report(
        "bare disk: append 1 KiB and sync, median",
        1,
        median(times.collect()),
    );
}

fn account() -> AccountName {
    AccountName::try_from("rebilly-eu").unwrap()
}

fn admission(key: &str, items: u32, has_own_keys: bool) -> Admission {
    let slots = (0..items).map(|index| Slot::Item {
        key: has_own_keys.then(|| Key::try_from(format!("order-{key}-{index}")).unwrap()),
        command: Arc::new(Command::Subscription(SubscriptionCommand {
            account: account(),
            subscription_id: TargetId::try_from(format!("sub_{key}_{index:08}")).unwrap(),
            when: When::PeriodEnd,
            reason: None,
            comment: Some("asked for by mail".to_owned()),
            initiated_by: None,
            prorate: None,
            line_items: Vec::new(),
            options: None,
        })),
    });
    let caller = CallerId::try_from("billing").unwrap();
    let kind = Kind::Subscription;
    let at = Timestamp::now();
    Admission {
        scope: Scope { caller, kind },
        key: Key::try_from(key).unwrap(),
        slots: slots.collect(),
        at,
        from: None,
        boot: None,
        clear: BTreeMap::from([(account(), 16)]),
        retry_until: at + SignedDuration::from_mins(10),
        with_answers: true,
        quota: None,
        may_open: None,
        overfull: None,
    }
}

fn settled() -> Arc<Settled> {
    let detail = Detail::Subscription(SubscriptionDetail {
        effective_at: Some(Timestamp::now()),
        ..SubscriptionDetail::default()
    });
    let mut conclusion = Conclusion::success(Outcome::Canceled, detail);
    conclusion.answer = Some(ProviderResponse::from_text(
        r#"{"id":"sub_00000000","status":"canceled","canceledBy":"merchant","autopilot":false}"#,
    ));
    Arc::new(Settled {
        conclusion,
        attempts: 1,
        settled_at: Timestamp::now(),
        doubt: None,
    })
}

async fn settle(journal: &SledJournal, id: ItemId, settled: &Arc<Settled>) {
    let settled = Arc::clone(settled);
    journal
        .settle(vec![Settlement { id, settled }].into())
        .await
        .unwrap();
}

/// Settles a batch as a service does: 256 calls are in flight, each settles by itself.
async fn settle_all(journal: &SledJournal, batch: BatchId, items: u32) {
    let settled = &settled();
    stream::iter(0..items)
        .for_each_concurrent(256, |index| {
            settle(journal, ItemId { batch, index }, settled)
        })
        .await;
}

async fn one_by_one(journal: &SledJournal) {
    let (mut admitting, mut settling) = (Vec::new(), Vec::new());
    let settled = settled();
    for n in 0..200 {
        let admission = admission(&format!("lone-{n}"), 1, false);
        let begin = Instant::now();
        let batch = journal.admit(admission).await.unwrap().batch;
        admitting.push(begin.elapsed());
        let begin = Instant::now();
        settle(journal, ItemId { batch, index: 0 }, &settled).await;
        settling.push(begin.elapsed());
    }
    report(
        "one request of one item: admit, median",
        1,
        median(admitting),
    );
    report(
        "one request of one item: settle, median",
        1,
        median(settling),
    );
}

async fn single_items(journal: &SledJournal, callers: usize) {
    let requests = 20_000;
    let settled = &settled();
    let begin = Instant::now();
    stream::iter(0..requests)
        .for_each_concurrent(callers, |n| async move {
            let admission = admission(&format!("single-{n}"), 1, false);
            let batch = journal.admit(admission).await.unwrap().batch;
            settle(journal, ItemId { batch, index: 0 }, settled).await;
        })
        .await;
    report(
        "requests of one item, 256 callers: whole",
        requests,
        begin.elapsed(),
    );
}

async fn large_requests(journal: &SledJournal) {
    let requests = 20;
    let admissions = (0..requests).map(|n| admission(&format!("large-{n}"), LARGE, false));
    let admissions: Vec<_> = admissions.collect();
    let begin = Instant::now();
    let mut admitting = Duration::ZERO;
    for pair in admissions.chunks(2) {
        let begin = Instant::now();
        let admitted = join_all(pair.iter().cloned().map(|one| journal.admit(one))).await;
        admitting += begin.elapsed();
        let batches = admitted.into_iter().map(|admitted| admitted.unwrap().batch);
        join_all(batches.map(|batch| settle_all(journal, batch, LARGE))).await;
    }
    report(
        "requests of 10,000 items: admit",
        requests * LARGE,
        admitting,
    );
    let settling = begin.elapsed().saturating_sub(admitting);
    report(
        "requests of 10,000 items: settle",
        requests * LARGE,
        settling,
    );
    report(
        "requests of 10,000 items: both",
        requests * LARGE,
        begin.elapsed(),
    );
}

async fn own_keys(journal: &SledJournal) {
    let request = admission("own", LARGE, true);
    let begin = Instant::now();
    let batch = journal.admit(request).await.unwrap().batch;
    report(
        "10,000 items with keys of their own: admit",
        LARGE,
        begin.elapsed(),
    );
    settle_all(journal, batch, LARGE).await;
}

async fn replay(journal: &SledJournal) {
    let requests: Vec<_> = (0..9).map(|_| admission("large-7", LARGE, false)).collect();
    let mut times = Vec::new();
    for request in requests {
        let begin = Instant::now();
        let admitted = journal.admit(request).await.unwrap();
        times.push(begin.elapsed());
        let is_settled = |item: &AdmittedItem| matches!(item, AdmittedItem::Settled { .. });
        assert!(admitted.items.iter().all(is_settled));
    }
    report(
        "replay of 10,000 settled items, median",
        LARGE,
        median(times),
    );
}

async fn purge(journal: &SledJournal) {
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    let begin = Instant::now();
    let purged = journal.purge(later, usize::MAX).await.unwrap();
    let purged = u32::try_from(purged).unwrap();
    report(
        "purge: batches, 21 of them of 10,000 items",
        purged,
        begin.elapsed(),
    );
}
