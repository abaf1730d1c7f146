//! The simplest cancellation end to end.

use cancelot::{rpc::proto::Outcome, sandbox::Provider};

use crate::support::{gateway, now, subscription};

#[tokio::test]
async fn a_cancellation_reaches_the_provider_once_and_is_replayed() {
    let mut gateway = gateway().start().await;
    let item = subscription(Provider::Rebilly, "sub_1", now());

    let first = gateway.cancel_one("key", item.clone()).await.unwrap();
    let second = gateway.cancel_one("key", item).await.unwrap();

    assert_eq!(first.outcome(), Outcome::Canceled, "{first:?}");
    assert!(!first.replayed && second.replayed);
    assert_eq!(first.settled_time, second.settled_time);
    assert_eq!(gateway.control.effects(Provider::Rebilly)["sub_1"], 1);
}
