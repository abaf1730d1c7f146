//! Items that wait for a believed lookup: what streams, records and metrics show of them in the
//! meantime, and which outcomes stand.

use cancelot::{
    rpc::proto::{Outcome, StopBatchRequest},
    sandbox::{Fault, Provider},
};

use crate::{
    observability::metrics::Scrape,
    support::{
        Gateway,
        asking::{Reader, always, on},
        gateway, now, request, subscription,
    },
};

/// Loses the answer to Solidgate's first request, after its effect, and answers no look.
fn lose_the_answer(gateway: &Gateway) {
    let lost = on("POST", Fault::ResetAfter, 1);
    gateway.control.script(Provider::Solidgate, lost);
    let away = always(Fault::ErrorBefore { status: 503 });
    gateway.control.script(Provider::Solidgate, away);
}

async fn until_settling(reader: &mut Reader, settling: u32) {
    while reader.progress.settling != settling {
        let results = reader.next().await.unwrap().expect("the stream goes on");
        assert!(results.iter().all(|result| result.is_final));
    }
}

#[tokio::test]
async fn a_stream_and_a_record_say_that_an_item_settles_a_doubt() {
    let admin = "[server]\nadmin_listen = \"127.0.0.1:0\"\n";
    let mut gateway = gateway().config(admin).start().await;
    lose_the_answer(&gateway);
    let items = [
        subscription(Provider::Solidgate, "a", now()),
        subscription(Provider::Rebilly, "a", now()),
    ];

    let mut first = gateway.open(request("K", items.clone())).await;
    until_settling(&mut first, 1).await;
    let record = gateway.get("K/0").await.unwrap();
    let mut joined = gateway.open(request("K", items)).await;
    until_settling(&mut joined, 1).await;
    let measured = Scrape::of(&gateway).await;
    let batch_id = first.progress.batch_id.clone();
    let stop = gateway.client.stop_batch(StopBatchRequest { batch_id });
    let stopped = stop.await.unwrap().into_inner();
    gateway.recover(Provider::Solidgate);
    let results = joined.rest().await.unwrap();
    first.rest().await.unwrap();

    assert!(record.open && record.settling, "{record:?}");
    let sample = |name: &str| format!("{name}{{account=\"solidgate\",provider=\"solidgate\"}}");
    measured.check(&sample("cancelot_settling_items"), 1.0);
    measured.check(&sample("cancelot_lost_answers_total"), 1.0);
    let measured = Scrape::of(&gateway).await;
    measured.check(&sample("cancelot_settling_items"), 0.0);
    assert_eq!(stopped.progress.unwrap().settling, 1);
    let settled = results.last().unwrap();
    assert_eq!(
        (settled.outcome(), settled.is_final),
        (Outcome::Canceled, true)
    );
    assert_eq!([first.progress.settling, joined.progress.settling], [0, 0]);
    let record = gateway.get("K/0").await.unwrap();
    assert!(!record.open && !record.settling, "{record:?}");
    let other = gateway.get("K/1").await.unwrap();
    assert!(!other.settling, "{other:?}");
}

#[tokio::test]
async fn an_outcome_that_the_same_key_replays_is_final_and_no_other() {
    let mut gateway = gateway().start().await;
    let item = |provider, id: &str| subscription(provider, id, now());
    let refused = Fault::ErrorBefore { status: 401 };
    gateway.control.script(Provider::Rebilly, always(refused));
    let mut dry = request("D", [item(Provider::Solidgate, "a")]);
    dry.dry_run = true;
    let plan = gateway.cancel(dry).await.unwrap();
    assert!(!plan[0].is_final, "it is not recorded: {plan:?}");

    let batch = request(
        "K",
        [
            item(Provider::Solidgate, "a"),
            item(Provider::Solidgate, "missing"),
            item(Provider::Rebilly, "a"),
        ],
    );
    let results = gateway.cancel(batch.clone()).await.unwrap();
    let again = gateway.cancel(batch).await.unwrap();

    let told: Vec<_> = results.iter().map(|r| (r.outcome(), r.is_final)).collect();
    assert_eq!(told[0], (Outcome::Canceled, true));
    assert_eq!(told[2], (Outcome::Unavailable, false));
    for (before, after) in results.iter().zip(&again) {
        assert_eq!(before.is_final, after.replayed, "{before:?}");
        let retryable = before.failure.as_ref().map(|f| f.same_key_retryable);
        assert!(retryable.is_none_or(|retryable| retryable != before.is_final));
    }
}
