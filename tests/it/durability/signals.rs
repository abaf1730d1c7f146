//! Signals that end the service: in order, during start-up, and at once.

use std::process::Command;

use cancelot::sandbox::{Control, Fault, Provider, Sandbox};

use crate::support::{
    in_time, now,
    process::{Place, Process, try_connect},
    request, subscription,
};

/// What the drain would take in the tests that do not wait for it.
const LONG_DRAIN: &str = "[server]\ndrain_ms = 600000";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_stopped_while_it_reads_its_journal_ends_soon_and_in_order() {
    for signal in ["TERM", "INT"] {
        let sandbox = Sandbox::start(Default::default()).unwrap();
        let place = Place::new(&sandbox, LONG_DRAIN);
        // A journal that takes for ever to read: a pipe without a writer.
        std::fs::create_dir(place.journal()).unwrap();
        let marker = place.journal().join("CANCELOT");
        assert!(
            Command::new("mkfifo")
                .arg(marker)
                .status()
                .unwrap()
                .success()
        );
        let process = place.start();
        in_time(place.says("taking up what was open")).await;

        process.signal(signal);

        let status = process.ended().await;
        let said = place.stderr();
        assert!(status.success(), "{signal}: {status}: {said}");
        assert!(said.contains("stopped before anybody was served"), "{said}");
    }
}

/// A service that was asked to stop while its provider holds a request.
async fn stopping(control: &Control, place: &Place, signal: &str) -> Process {
    let (process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    control.script(Provider::Rebilly, Fault::HoldBefore);
    let item = subscription(Provider::Rebilly, "sub-1", now());
    let sent = request("K", [item]);
    client.cancel_subscription(sent).await.unwrap();
    in_time(control.held_reached(Provider::Rebilly, 1)).await;
    process.signal(signal);
    in_time(place.says("drain_ms=600000")).await;
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_service_that_stops_at_once() {
    for signal in ["TERM", "INT"] {
        let sandbox = Sandbox::start(Default::default()).unwrap();
        let control = sandbox.control();
        let place = Place::new(&sandbox, LONG_DRAIN);
        let process = stopping(&control, &place, signal).await;

        process.signal("INT");

        let status = process.ended().await;
        assert_eq!(status.code(), Some(130), "{}", place.stderr());
        assert!(place.stderr().contains("interrupted while it stops"));
        control.release(Provider::Rebilly);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_that_is_repeated_hastens_nothing() {
    let sandbox = Sandbox::start(Default::default()).unwrap();
    let control = sandbox.control();
    let place = Place::new(&sandbox, LONG_DRAIN);
    let process = stopping(&control, &place, "TERM").await;

    process.signal("TERM");
    control.release(Provider::Rebilly);

    let status = process.ended().await;
    assert!(status.success(), "{status}: {}", place.stderr());
}
