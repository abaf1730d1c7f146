//! No provider is flooded and no caller starves another: concurrency, rate, fair turns, and a
//! service at capacity.

use cancelot::{
    rpc::proto::{Outcome, SubscriptionCancellation},
    sandbox::{Fault, Provider},
};
use tonic::{Code, Request};

use crate::support::{
    BILLING_TOKEN, SUPPORT_TOKEN,
    asking::{Reader, always, outcomes, says_when},
    gateway, in_time, now, request, subscription,
};

fn rebilly(id: impl ToString) -> SubscriptionCancellation {
    subscription(Provider::Rebilly, id, now())
}

#[tokio::test]
async fn one_cancellation_passes_a_batch_of_hundreds_by() {
    let gateway = gateway()
        .account(Provider::Rebilly, "concurrency_max = 1")
        .start()
        .await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let mut batch = gateway.open(request("batch", (0..300).map(rebilly))).await;
    batch.next().await.unwrap();
    gateway.control.held_reached(Provider::Rebilly, 1).await;

    let mut single = gateway.open(request("single", [rebilly("single")])).await;
    single.next().await.unwrap();
    gateway.control.release(Provider::Rebilly);
    let results = single.rest().await.unwrap();

    assert_eq!(outcomes(&results), [Outcome::Canceled]);
    let requests = gateway.control.requests(Provider::Rebilly);
    let place = requests
        .iter()
        .position(|r| r.body.contains("single"))
        .unwrap();
    assert!(place <= 2, "its request was number {place}");
    gateway.stop_batch(&batch.progress.batch_id).await.unwrap();
    assert_eq!(batch.rest().await.unwrap().len(), 300);
}

#[tokio::test]
async fn a_caller_with_many_batches_passes_no_other_caller_by() {
    let gateway = gateway()
        .config("[callers.billing]\ntoken_env = \"BILLING_TOKEN\"")
        .config("[callers.support]\ntoken_env = \"SUPPORT_TOKEN\"")
        .account(Provider::Rebilly, "concurrency_max = 1")
        .start()
        .await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let send = async |token: &str, key: &str, ids: [&str; 2]| {
        let mut message = Request::new(request(key, ids.map(rebilly)));
        let value = format!("Bearer {token}").parse().unwrap();
        message.metadata_mut().insert("authorization", value);
        let sent = gateway.client.clone().cancel_subscription(message).await;
        let mut reader = Reader::new(sent.unwrap().into_inner());
        reader.next().await.unwrap();
        reader
    };
    let mut readers = vec![send(BILLING_TOKEN, "0", ["busy-first", "busy-0"]).await];
    gateway.control.held_reached(Provider::Rebilly, 1).await;

    for key in 1..10 {
        let ids = [format!("busy-{key}-a"), format!("busy-{key}-b")];
        let ids = [ids[0].as_str(), ids[1].as_str()];
        readers.push(send(BILLING_TOKEN, &key.to_string(), ids).await);
    }
    readers.push(send(SUPPORT_TOKEN, "1", ["calm-a", "calm-b"]).await);
    gateway.control.release(Provider::Rebilly);
    for reader in &mut readers {
        reader.rest().await.unwrap();
    }

    let requests = gateway.control.requests(Provider::Rebilly);
    let calm = requests
        .iter()
        .enumerate()
        .filter(|(_, r)| r.body.contains("calm"));
    let places: Vec<_> = calm.map(|(place, _)| place).collect();
    assert!(places.iter().all(|place| *place <= 4), "{places:?}");
}

#[tokio::test]
async fn an_account_never_has_more_requests_than_it_takes_at_once() {
    let gateway = gateway()
        .account(Provider::Rebilly, "concurrency_max = 3")
        .start()
        .await;
    gateway
        .control
        .script(Provider::Rebilly, always(Fault::HoldBefore));
    let mut reader = gateway.open(request("K", (0..8).map(rebilly))).await;

    for wave in 1..=2 {
        in_time(gateway.control.held_reached(Provider::Rebilly, 3)).await;
        let other = subscription(Provider::Solidgate, format!("w{wave}"), now());
        let key = format!("other-{wave}");
        gateway
            .open(request(&key, [other]))
            .await
            .rest()
            .await
            .unwrap();
        assert_eq!(gateway.requests(Provider::Rebilly), 3 * wave);
        gateway.control.release(Provider::Rebilly);
        reader.until_settled(u32::try_from(3 * wave).unwrap()).await;
    }
    gateway.recover(Provider::Rebilly);

    assert_eq!(reader.rest().await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_account_gets_no_more_than_its_burst_before_its_rate_allows() {
    let rate = "rate_burst = 2\nrate_per_second = 0.001";
    let gateway = gateway().account(Provider::Rebilly, rate).start().await;
    let mut reader = gateway.open(request("K", (0..5).map(rebilly))).await;

    let first = reader.until_settled(2).await;
    let other = subscription(Provider::Solidgate, "b", now());
    gateway
        .open(request("J", [other]))
        .await
        .rest()
        .await
        .unwrap();

    assert_eq!(outcomes(&first), [Outcome::Canceled; 2]);
    assert_eq!(gateway.requests(Provider::Rebilly), 2);
    let stopped = gateway.stop_batch(&reader.progress.batch_id).await.unwrap();
    assert_eq!((stopped.stopped, stopped.finishing), (3, 0));
    assert_eq!(
        outcomes(&reader.rest().await.unwrap()),
        [Outcome::Stopped; 3]
    );
}

#[tokio::test]
async fn two_commands_on_one_subscription_go_one_after_the_other() {
    let gateway = gateway().start().await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let mut first = gateway.open(request("J", [rebilly("a")])).await;
    gateway.control.held_reached(Provider::Rebilly, 1).await;

    let mut second = gateway
        .open(request("K", [rebilly("a"), rebilly("b")]))
        .await;
    let free = second.until_settled(1).await;
    gateway.control.release(Provider::Rebilly);

    assert_eq!((free[0].index, free[0].outcome()), (1, Outcome::Canceled));
    assert_eq!(outcomes(&first.rest().await.unwrap()), [Outcome::Canceled]);
    assert_eq!(
        outcomes(&second.rest().await.unwrap()),
        [Outcome::AlreadyCanceled]
    );
    assert_eq!(gateway.control.effects(Provider::Rebilly)["a"], 1);
}

#[tokio::test]
async fn a_full_service_admits_nothing_says_when_to_come_back_and_recovers() {
    let mut gateway = gateway()
        .engine("open_items_max = 10000")
        .account(Provider::Rebilly, "concurrency_max = 1")
        .start()
        .await;
    gateway.control.script(Provider::Rebilly, Fault::HoldBefore);
    let mut batch = gateway
        .open(request("batch", (0..10_000).map(rebilly)))
        .await;
    batch.next().await.unwrap();
    gateway.control.held_reached(Provider::Rebilly, 1).await;
    let single = || {
        request(
            "single",
            [subscription(Provider::Solidgate, "single", now())],
        )
    };

    let status = gateway.refused(single()).await;
    let unknown = gateway.get("single/0").await.unwrap_err();
    let stopped = gateway.stop_batch(&batch.progress.batch_id).await.unwrap();
    let after = gateway.cancel(single()).await.unwrap();

    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(says_when(&status), "{status:?}");
    assert_eq!(unknown.code(), Code::NotFound);
    assert_eq!((stopped.stopped, stopped.finishing), (9_999, 1));
    assert_eq!(outcomes(&after), [Outcome::Canceled]);
    gateway.control.release(Provider::Rebilly);
    let results = batch.rest().await.unwrap();
    assert_eq!(results.len(), 10_000);
    assert_eq!(gateway.requests(Provider::Rebilly), 1);
}
