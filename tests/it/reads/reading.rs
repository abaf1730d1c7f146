//! Reads take nothing from others: not the threads of admissions, not each other's turns, and
//! nothing after their caller is gone.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use cancelot::{
    rpc::proto::{ListCancellationsRequest as List, Outcome, StopBatchRequest},
    sandbox::{Fault, Provider},
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    engine::overload::heavy,
    observability::metrics::Scrape,
    support::{
        BILLING_TOKEN, Builder, Gateway, SUPPORT_TOKEN,
        asking::{Reader, always, outcomes, says_when},
        connect, gateway,
        identities::{by, first_of, one, reason},
        in_time, now, request,
        slow::Slow,
        subscription,
    },
};

const LIST: &str = "/cancelot.v1.CancellationService/ListCancellations";
/// An empty message with its prefix.
const NO_FILTER: &[u8] = &[0; 5];
const ADMIN: &str = "[server]\nadmin_listen = \"127.0.0.1:0\"\n";

/// Two callers; what a test has to say of `billing`.
fn two_callers(billing: &str) -> Builder {
    gateway()
        .config(ADMIN)
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"")
        .config(billing)
        .config("[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
}

/// Lists that wait, once they are held, until they may go on.
struct Held(watch::Sender<bool>);

impl Held {
    fn lists_of(builder: Builder) -> (Builder, Self) {
        let (go_on, may_go_on) = watch::channel(true);
        let builder = builder.around_lists(move |question, list| {
            let mut may_go_on = may_go_on.clone();
            let going_on = may_go_on.wait_for(|may| *may);
            Handle::current().block_on(going_on).ok();
            list(question)
        });
        (builder, Self(go_on))
    }

    fn hold(&self) {
        self.0.send_replace(false);
    }

    fn go_on(&self) {
        self.0.send_replace(true);
    }
}

impl Drop for Held {
    /// A test that fails ends.
    fn drop(&mut self) {
        self.go_on();
    }
}

#[track_caller]
fn check_refused(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(reason(status), "SCANS_EXHAUSTED");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["caller"], "billing");
    assert!(says_when(status), "{status:?}");
}

/// Lists of `billing` on connections of their own, which end when this is dropped; how each ended.
async fn many_lists(gateway: &Gateway, count: usize) -> mpsc::UnboundedReceiver<Option<Status>> {
    let (ended, ends) = mpsc::unbounded_channel();
    for _ in 0..count.div_ceil(100) {
        let client = connect(&gateway.url()).await;
        let ended = ended.clone();
        tokio::spawn(async move {
            let mut calls: FuturesUnordered<_> = (0..100)
                .map(|_| {
                    let mut client = client.clone();
                    async move {
                        let list = by(BILLING_TOKEN, List::default());
                        client.list_cancellations(list).await.err()
                    }
                })
                .collect();
            while let Some(end) = calls.next().await {
                ended.send(end).ok();
            }
        });
    }
    ends
}

/// Cancels, and stops, as `support`; and looks at what has become of it.
async fn work_of_support(gateway: &Gateway) {
    let mut client = gateway.client.clone();
    let sent = client.cancel_subscription(by(SUPPORT_TOKEN, one("K", "a")));
    let mut reader = Reader::new(sent.await.unwrap().into_inner());
    let results = reader.rest().await.unwrap();
    assert_eq!(outcomes(&results), [Outcome::Canceled]);
    let got = client.get_cancellation(by(SUPPORT_TOKEN, first_of("K")));
    let record = got.await.unwrap().into_inner().cancellation.unwrap();
    let stop = StopBatchRequest {
        batch_id: record.batch_id,
    };
    let stopped = client.stop_batch(by(SUPPORT_TOKEN, stop)).await.unwrap();
    assert_eq!(stopped.into_inner().progress.unwrap().settled, 1);
}

#[tokio::test]
async fn who_lists_without_end_keeps_nobody_from_cancelling_looking_and_stopping() {
    let (builder, held) = Held::lists_of(two_callers(""));
    let gateway = builder.start().await;
    held.hold();
    // More than there are threads for all that blocks.
    let mut ends = many_lists(&gateway, 600).await;
    let mut refused = 0;
    while refused < 600 - 16 {
        let end = in_time(ends.recv()).await.unwrap();
        check_refused(&end.expect("none has been answered"));
        refused += 1;
    }

    in_time(work_of_support(&gateway)).await;

    let scrape = Scrape::of(&gateway).await;
    scrape.check("cancelot_scans", 16.0);
    scrape.check("cancelot_scans_limit", 256.0);
    scrape.check("cancelot_caller_scans{caller=\"billing\"}", 16.0);
    scrape.check("cancelot_refused_requests_total{reason=\"reading\"}", 584.0);
    held.go_on();
    // Those that waited have their turns, and another caller has its own among them.
    let list = by(SUPPORT_TOKEN, List::default());
    let listed = in_time(gateway.client.clone().list_cancellations(list)).await;
    assert_eq!(listed.unwrap().into_inner().cancellations.len(), 1);
    for _ in 0..16 {
        let end = in_time(ends.recv()).await.unwrap();
        assert!(end.is_none(), "{end:?}");
    }
}

/// The result of a list whose caller has gone, and how many entries of the store it read.
type Came = (bool, usize);

/// Lets lists go on after their callers have gone. Reports of each that it began, and then its
/// result.
async fn abandoned(builder: Builder) -> (Gateway, mpsc::UnboundedReceiver<Option<Came>>) {
    let (tell, told) = mpsc::unbounded_channel();
    let has_started = Arc::<AtomicBool>::default();
    let is_asked = Arc::clone(&has_started);
    let builder = builder.around_lists(move |question, list| {
        if !is_asked.load(Ordering::SeqCst) {
            return list(question);
        }
        tell.send(None).ok();
        Handle::current().block_on(question.over());
        let page = list(question);
        tell.send(Some((page.is_ok(), question.entries_read())))
            .ok();
        page
    });
    let gateway = builder.start().await;
    has_started.store(true, Ordering::SeqCst);
    (gateway, told)
}

#[tokio::test]
async fn a_list_ends_with_its_call_and_gives_its_place_back() {
    let (gateway, mut told) = abandoned(two_callers("scans_max = 1")).await;
    let mut client = gateway.client.clone();
    let sent = client.cancel_subscription(by(BILLING_TOKEN, one("K", "a")));
    let mut reader = Reader::new(sent.await.unwrap().into_inner());
    reader.rest().await.unwrap();
    let listing = || by(BILLING_TOKEN, List::default());

    let mut hung_up = client.clone();
    let call = tokio::spawn(async move { hung_up.list_cancellations(listing()).await });
    assert_eq!(in_time(told.recv()).await, Some(None));
    let refused = client.list_cancellations(listing()).await.unwrap_err();
    check_refused(&refused);
    call.abort();
    assert_eq!(in_time(told.recv()).await, Some(Some((false, 1))));

    // The place is given back when nothing is read any more. A client of tonic's would hang up by
    // its own timer.
    let bearer = format!("Bearer {BILLING_TOKEN}");
    let headers = [("authorization", &*bearer), ("grpc-timeout", "1S")];
    let passed = async {
        loop {
            let mut call = Slow::open_at(&gateway, LIST, &headers).await;
            call.body.send_data(NO_FILTER.into(), true).unwrap();
            let status = call.status().await;
            if status.code() != Code::ResourceExhausted {
                return status.code();
            }
        }
    };
    assert_eq!(in_time(passed).await, Code::DeadlineExceeded);
    assert_eq!(in_time(told.recv()).await, Some(None));
    assert_eq!(in_time(told.recv()).await, Some(Some((false, 1))));
}

/// All pages of a list: the keys, and how many pages had how many.
async fn all_pages(gateway: &Gateway, mut list: List) -> (Vec<String>, Vec<usize>) {
    let (mut keys, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let (more, next) = in_time(gateway.list(list.clone())).await.unwrap();
        sizes.push(more.len());
        keys.extend(more);
        if next.is_empty() {
            return (keys, sizes);
        }
        list.page_token = next;
    }
}

fn keys_downwards(key: &str, items: usize) -> Vec<String> {
    (0..items).rev().map(|i| format!("{key}/{i}")).collect()
}

#[tokio::test]
async fn pages_that_end_early_give_every_record_once() {
    let seen = Arc::new(Mutex::new(0));
    let pages = Arc::clone(&seen);
    let gateway = gateway()
        .around_lists(move |question, list| {
            *pages.lock().unwrap() += 1;
            list(&question.rebounded(3, usize::MAX))
        })
        .start()
        .await;
    let rebilly = |key: &str, items: usize| {
        let ids = (0..items).map(|i| format!("{key}-{i}"));
        request(
            key,
            ids.map(|id| subscription(Provider::Rebilly, id, now())),
        )
    };
    for (key, items) in [("A", 40), ("B", 1), ("C", 20)] {
        gateway
            .open(rebilly(key, items))
            .await
            .rest()
            .await
            .unwrap();
    }
    let all = [("C", 20), ("B", 1), ("A", 40)].map(|(key, items)| keys_downwards(key, items));

    let (keys, sizes) = all_pages(&gateway, List::default()).await;
    assert_eq!(keys, all.concat());
    assert!(sizes.len() > 3, "{sizes:?}");
    let nothing = List {
        outcomes: vec![Outcome::NotFound.into()],
        ..Default::default()
    };
    let before = *seen.lock().unwrap();
    let (keys, sizes) = all_pages(&gateway, nothing).await;
    assert_eq!(keys, Vec::<String>::new());
    assert!(sizes.len() > 3, "{sizes:?}");
    assert_eq!(*seen.lock().unwrap() - before, sizes.len());
}

#[tokio::test]
async fn a_page_is_a_message_that_every_client_takes() {
    let mut gateway = gateway().start().await;
    gateway
        .control
        .script(Provider::Rebilly, always(Fault::HoldBefore));
    drop(gateway.open(request("K", (0..30).map(heavy))).await);
    let full = List {
        page_size: 1_000,
        ..Default::default()
    };

    let (keys, sizes) = all_pages(&gateway, full).await;

    assert_eq!(keys, keys_downwards("K", 30));
    assert!((3..=6).contains(&sizes.len()), "{sizes:?}");
    gateway.recover(Provider::Rebilly);
    gateway.stop().await;
}
