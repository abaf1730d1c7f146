//! A wall clock that jumps: nothing expires by it until it is known to be right.

use std::{
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use cancelot::sandbox::Provider;
use jiff::{SignedDuration, Timestamp};

use crate::{
    observability::metrics::Scrape,
    support::{Gateway, gateway, in_time, now, subscription},
};

const DAY: i64 = 24 * 60 * 60;
const HOUR: Duration = Duration::from_secs(3_600);

/// The time by which the next purge was.
async fn purged(purges: Receiver<Timestamp>) -> (Timestamp, Receiver<Timestamp>) {
    let next = tokio::task::spawn_blocking(move || (purges.recv().unwrap(), purges));
    in_time(next).await.unwrap()
}

/// A gateway with one settled key, started again two months later.
async fn two_months_later(hold: Duration) -> (Gateway, Timestamp) {
    let (told, purges) = channel();
    let mut gateway = gateway().clock_hold(hold).purges(told).start().await;
    let (_, purges) = purged(purges).await;
    let item = subscription(Provider::Rebilly, "sub-1", now());
    gateway.cancel_one("K", item).await.unwrap();
    gateway.stop().await;
    gateway.advance(60 * DAY);
    gateway.start_again().await;
    let (by, _) = purged(purges).await;
    (gateway, by)
}

async fn is_replayed(gateway: &mut Gateway) -> bool {
    let item = subscription(Provider::Rebilly, "sub-1", now());
    gateway.cancel_one("K", item).await.unwrap().replayed
}

#[tokio::test]
async fn a_clock_that_is_months_ahead_at_the_start_forgets_no_key_at_once() {
    let before = Timestamp::now();
    let (mut gateway, by) = two_months_later(HOUR).await;
    let month_ago = before - SignedDuration::from_secs(30 * DAY);
    assert!(by < month_ago + SignedDuration::from_secs(600), "{by}");
    assert!(is_replayed(&mut gateway).await);
    assert_eq!(gateway.control.effects(Provider::Rebilly)["sub-1"], 1);
}

#[tokio::test]
async fn a_clock_that_has_held_its_course_is_believed() {
    let (mut gateway, by) = two_months_later(Duration::ZERO).await;
    assert!(by > Timestamp::now(), "{by}");
    assert!(!is_replayed(&mut gateway).await, "its time was over");
}

#[tokio::test]
async fn a_clock_that_jumps_while_the_service_runs_deletes_nothing_and_is_told_of() {
    let mut gateway = gateway()
        .config("[server]\nadmin_listen = \"127.0.0.1:0\"\n")
        .start()
        .await;
    let item = subscription(Provider::Rebilly, "sub-1", now());
    gateway.cancel_one("K", item).await.unwrap();
    let doubted = |scrape: &Scrape| scrape.value("cancelot_clock_doubted") == Some(1.0);
    assert!(!doubted(&Scrape::of(&gateway).await));

    gateway.advance(500 * DAY);

    in_time(async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while !doubted(&Scrape::of(&gateway).await) {
            looks.tick().await;
        }
    })
    .await;
    assert!(is_replayed(&mut gateway).await);
    gateway.stop().await;
    assert!(gateway.events("dropped").is_empty());
}
