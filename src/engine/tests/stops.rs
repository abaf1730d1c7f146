//! Concurrent stops of one batch.

use super::support::bench::{Choices, items, submission};
use crate::engine::Stopped;

const MANY: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stops_at_once_say_what_each_of_them_stopped() {
    let bench = Choices::default().start().await;
    for round in 0..20 {
        let mut stops = Vec::new();
        for batch in ["a", "b"] {
            let key = format!("{batch}{round}");
            let request = submission(&key, items(&key, MANY));
            stops.push(bench.engine.submit(request).await.unwrap().batch.unwrap());
        }
        let stop = |batch| {
            let engine = bench.engine.clone();
            tokio::spawn(async move {
                engine
                    .stop_batch(
                        batch,
                        crate::domain::ids::CallerId::try_from("ann").unwrap(),
                    )
                    .await
            })
        };
        let (first, second) = tokio::join!(stop(stops[0]), stop(stops[1]));
        for done in [first, second] {
            let Stopped { stopped, finishing } = done.unwrap().unwrap();
            // One item was sent, and its reply does not come.
            assert_eq!(stopped + finishing, MANY, "{stopped} and {finishing}");
            assert!(finishing <= 1, "{finishing} in round {round}");
        }
    }
}
