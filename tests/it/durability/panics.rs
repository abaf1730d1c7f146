//! A part of the service that panics or fails: nothing hangs silently, the service ends with an
//! error, and its restart recovers the open items.

use std::{
    fs,
    future::{pending, ready},
    time::Duration,
};

use cancelot::{rpc::proto::Outcome, sandbox::Provider};

use crate::support::{failing::Fails, gateway, in_time, now, request, subscription};

#[tokio::test]
async fn whatever_panics_the_service_ends_with_an_error_and_a_restart_settles_what_was_open() {
    for (fails, task) in [
        (Fails::PanicsWhenItAdmits, "admission"),
        (Fails::PanicsWhenItSettles, "settler"),
        (Fails::PanicsWhenItStops, "stop of a batch"),
        (Fails::PanicsWhenItPurges, "sweep"),
    ] {
        let mut gateway = gateway().journal_fails(fails).start().await;
        let item = subscription(Provider::Rebilly, "sub-1", now());
        let app = gateway.take_app();
        let running = tokio::spawn(app.run(pending()));
        let mut client = gateway.client.clone();
        let sent = request("K", [item.clone()]);
        let calls = tokio::spawn(async move {
            // Each of them may be the one that panics, or come too late.
            let mut calls = Vec::new();
            let mut batch_id = "b000000000001".to_owned();
            match client.cancel_subscription(sent).await {
                Ok(stream) => {
                    if let Ok(Some(first)) = stream.into_inner().message().await {
                        batch_id = first.progress.unwrap().batch_id;
                    }
                }
                Err(status) => calls.push(Some(status)),
            }
            let stop = cancelot::rpc::proto::StopBatchRequest { batch_id };
            calls.push(client.stop_batch(stop).await.err());
            calls
        });

        let ended = in_time(running).await.unwrap();

        in_time(calls).await.unwrap();
        let why = ended.expect_err(task).to_string();
        assert!(why.starts_with(&format!("the {task} panicked: ")), "{why}");
        in_time(gateway.start_again()).await;
        let result = in_time(gateway.cancel_one("K", item)).await.unwrap();
        let is_stopped = fails != Fails::PanicsWhenItAdmits
            && [Outcome::Stopped, Outcome::Canceled].contains(&result.outcome());
        assert!(
            is_stopped || result.outcome() == Outcome::Canceled,
            "{task}: {result:?}"
        );
        let effects = gateway.control.effects(Provider::Rebilly);
        assert!(
            effects.values().all(|count| *count == 1),
            "{task}: {effects:?}"
        );
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_journal_that_fails_in_the_drain_is_told_by_how_the_service_ends() {
    let fails = Fails::WhenItSettles;
    let mut gateway = gateway().journal_fails(fails).start().await;
    let ended = in_time(gateway.take_app().run(ready(()))).await;
    let why = ended.unwrap_err().to_string();
    assert_eq!(why, "the journal failed: the disk is gone");
}

#[tokio::test]
async fn an_audit_that_cannot_be_written_at_the_end_is_told_by_how_the_service_ends() {
    let mut gateway = gateway().start().await;
    let dir = gateway.journal_dir().join("audit");
    let item = |id: &str| subscription(Provider::Rebilly, id, now());
    gateway.cancel_one("first", item("first")).await.unwrap();
    // The first line after the restart ends the file, which is two days old.
    gateway.stop().await;
    gateway.advance(2 * 24 * 60 * 60);
    gateway.start_again().await;
    in_time(async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while gateway.events("started").len() < 2 {
            looks.tick().await;
        }
    })
    .await;
    // The next file cannot be made: something else is where its directory was.
    fs::rename(&dir, gateway.journal_dir().join("away")).unwrap();
    fs::write(&dir, "in the way").unwrap();
    gateway.cancel_one("second", item("second")).await.unwrap();
    let ended = in_time(gateway.take_app().run(ready(()))).await;
    let why = ended.unwrap_err().to_string();
    assert!(
        why.starts_with("the audit could not be written at the end: "),
        "{why}"
    );
    assert!(why.contains(&dir.display().to_string()), "{why}");
}
