//! A full disk: nothing new is admitted or sent, admitted items settle, and admission resumes by
//! itself.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use cancelot::{journal::FreeSpace, rpc::proto::Outcome, sandbox::Provider};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{Gateway, gateway, in_time, now, request, subscription};

/// A disk of which a test says how many bytes are free.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<AtomicU64>);

impl Disk {
    fn set(&self, free_bytes: u64) {
        self.0.store(free_bytes, Ordering::SeqCst);
    }

    fn free_space(&self) -> FreeSpace {
        let free_bytes = Arc::clone(&self.0);
        FreeSpace::from_fn(move |_| Ok(free_bytes.load(Ordering::SeqCst)))
    }

    /// A gateway on it, which keeps 1,000,000 bytes for what is admitted already.
    async fn gateway(&self) -> Gateway {
        gateway()
            .journal("free_bytes_min = 1_000_000")
            .free_space(self.free_space())
            .start()
            .await
    }
}

#[track_caller]
fn check_refusal(status: &Status, gateway: &Gateway) {
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let said = status.message();
    let dir = gateway.journal_dir().display().to_string();
    for part in [
        "disk is full",
        &dir,
        "999999 bytes",
        "make room",
        "nothing is sent",
    ] {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "JOURNAL_DISK_FULL");
    assert!(details.retry_info().unwrap().retry_delay.is_some());
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_new_and_settles_what_was_admitted() {
    let disk = Disk::default();
    disk.set(1_000_000);
    let mut gateway = disk.gateway().await;
    let item = |id| subscription(Provider::Rebilly, id, now());
    gateway.cancel_one("settled", item("a")).await.unwrap();
    let port = gateway.stop_sandbox().await;
    let mut open = gateway.open(request("open", [item("b")])).await;
    open.next().await.unwrap();

    disk.set(999_999);
    let refused = gateway.cancel_one("new", item("c")).await.unwrap_err();
    check_refusal(&refused, &gateway);
    let replayed = gateway.cancel_one("settled", item("a")).await.unwrap();
    assert!(replayed.replayed);
    gateway.start_sandbox(port);
    let settled = in_time(open.rest()).await.unwrap();
    assert_eq!(settled[0].outcome(), Outcome::Canceled);
    let again = gateway.cancel_one("new", item("c")).await.unwrap_err();
    check_refusal(&again, &gateway);
    assert!(!gateway.control.effects(Provider::Rebilly).contains_key("c"));

    disk.set(1_000_000);
    let taken = gateway.cancel_one("new", item("c")).await.unwrap();
    assert_eq!(
        (taken.outcome(), taken.replayed),
        (Outcome::Canceled, false)
    );
    assert_eq!(gateway.control.effects(Provider::Rebilly)["c"], 1);
}

#[tokio::test]
async fn a_full_disk_does_not_take_up_again_what_had_ended_without_a_final_outcome() {
    let disk = Disk::default();
    disk.set(1_000_000);
    let mut gateway = disk.gateway().await;
    let item = subscription(Provider::Rebilly, "a", now());
    let port = gateway.stop_sandbox().await;
    let mut first = gateway.open(request("K", [item.clone()])).await;
    first.next().await.unwrap();
    gateway.advance(2 * 24 * 60 * 60);
    let first = in_time(first.rest()).await.unwrap();
    assert_eq!(first[0].outcome(), Outcome::Unavailable);

    gateway.start_sandbox(port);
    disk.set(999_999);
    let refused = gateway.cancel_one("K", item.clone()).await.unwrap_err();
    check_refusal(&refused, &gateway);
    disk.set(1_000_000);
    let taken = gateway.cancel_one("K", item).await.unwrap();
    assert_eq!(taken.outcome(), Outcome::Canceled);
    assert_eq!(gateway.control.effects(Provider::Rebilly)["a"], 1);
}

#[tokio::test]
async fn a_service_starts_on_a_full_disk_and_settles_what_is_open() {
    let disk = Disk::default();
    disk.set(1_000_000);
    let mut gateway = disk.gateway().await;
    let item = |id| subscription(Provider::Rebilly, id, now());
    let port = gateway.stop_sandbox().await;
    let mut open = gateway.open(request("open", [item("a")])).await;
    open.next().await.unwrap();

    disk.set(999_999);
    gateway.stop().await;
    gateway.start_sandbox(port);
    gateway.start_again().await;
    let settled = in_time(gateway.cancel_one("open", item("a")))
        .await
        .unwrap();
    assert_eq!(settled.outcome(), Outcome::Canceled);
    let refused = gateway.cancel_one("new", item("b")).await.unwrap_err();
    check_refusal(&refused, &gateway);
    assert_eq!(gateway.control.effects(Provider::Rebilly)["a"], 1);
}
