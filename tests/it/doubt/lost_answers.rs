//! Lost replies, stops and crashes, and when a rejection is final: at providers that answer like
//! real ones, and behind intermediaries.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use cancelot::rpc::proto::{Outcome, SubscriptionCancellation, SubscriptionResult, When};
use serde_json::{Value, json};

use crate::support::{
    Gateway, SETTLING, gateway, in_time, period_end, request,
    scripted::{Act, Asked, Scripted, json as answers, page},
};

/// A gateway with one account, `main`, at a provider that plays a script.
pub(crate) async fn gateway_at(provider: &str, scripted: &Scripted, more: &str) -> Gateway {
    let url = match provider {
        "funnelfox" => format!("{}/public/v1", scripted.url()),
        _ => scripted.url().to_owned(),
    };
    let text = format!(
        "[accounts.main]\nprovider = {provider:?}\nbase_url = {url:?}\n\
         credential_env = \"CREDENTIAL\"\nrate_per_second = 1000.0\nrate_burst = 1000\n\
         timeout_ms = 5000\nsettling_ms = 1000\n{more}\n"
    );
    gateway().config(&text).start().await
}

pub(crate) fn at_funnelfox(id: &str) -> SubscriptionCancellation {
    SubscriptionCancellation {
        account: "main".to_owned(),
        subscription_id: id.to_owned(),
        when: Some(When {
            when: Some(period_end()),
        }),
        ..SubscriptionCancellation::default()
    }
}

pub(crate) fn fox(id: &str, status: &str, more: Value) -> Value {
    let mut body = json!({"id": id, "status": status, "renews": status == "active"});
    let members = body.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    body
}

pub(crate) fn reason(result: &SubscriptionResult) -> &str {
    let failure = result.failure.as_ref();
    failure.map_or("", |failure| failure.reason.as_str())
}

#[tokio::test]
async fn a_request_that_acts_late_is_not_sent_again_before_it_cannot_act_any_more() {
    // The first answer is lost, and looks find nothing done; a second request would be refused.
    // What the first one asked for happens after a look.
    let looks = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&looks);
    let scripted = Scripted::start(move |asked: &Asked| {
        if asked.is_effect() {
            return Act::HangUp;
        }
        let mut looks = counted.lock().unwrap();
        *looks += 1;
        let status = if *looks > 1 { "cancelled" } else { "active" };
        answers(200, fox("s", status, json!({})))
    })
    .await;
    let mut gateway = gateway_at("funnelfox", &scripted, "").await;
    let result = in_time(gateway.cancel_one("K", at_funnelfox("s")))
        .await
        .unwrap();
    assert_eq!(result.outcome(), Outcome::Scheduled, "{result:?}");
    assert!(result.confirmed_by_lookup);
    assert_eq!(scripted.effects(), 1, "{:?}", scripted.asked());
}

#[tokio::test]
async fn a_lost_request_that_a_believed_look_finds_undone_is_sent_again() {
    let mut lost = false;
    let scripted = Scripted::start(move |asked: &Asked| {
        if !asked.is_effect() {
            return answers(200, fox("s", "active", json!({})));
        }
        if !std::mem::replace(&mut lost, true) {
            return Act::HangUp;
        }
        answers(200, fox("s", "cancelled", json!({})))
    })
    .await;
    let mut gateway = gateway_at("funnelfox", &scripted, "").await;
    let result = in_time(gateway.cancel_one("K", at_funnelfox("s")))
        .await
        .unwrap();
    assert_eq!(result.outcome(), Outcome::Scheduled, "{result:?}");
    assert_eq!(scripted.effects(), 2, "{:?}", scripted.asked());
}

#[tokio::test]
async fn a_page_of_something_in_between_burns_no_key() {
    type Page = fn() -> Act;
    let pages: [(&str, Page); 6] = [
        ("a web server", || {
            page(400, "The plain HTTP request was sent to HTTPS port")
        }),
        ("a firewall", || page(406, "Not Acceptable")),
        ("a proxy", || page(407, "Proxy Authentication Required")),
        ("an empty answer", || {
            Act::Answer(400, "text/plain", String::new())
        }),
        ("a wrong path", || page(404, "Not Found")),
        ("a gateway", || {
            Act::Answer(404, "text/plain", "no Route matched".to_owned())
        }),
    ];
    for (what, answer) in pages {
        let scripted = Scripted::start(move |_: &Asked| answer()).await;
        let mut gateway = gateway_at("funnelfox", &scripted, "").await;
        let mut sent = request("K", vec![at_funnelfox("s"), at_funnelfox("t")]);
        sent.retry_window = Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        });
        let results = in_time(gateway.cancel(sent.clone())).await.unwrap();
        for result in &results {
            assert_eq!(result.outcome(), Outcome::Unavailable, "{what}: {result:?}");
            assert_eq!(reason(result), "NOT_THE_PROVIDER", "{what}: {result:?}");
        }
        // The cause is mended, and the same key does what was asked for.
        scripted.play(|asked: &Asked| {
            let id = asked.path.split('/').nth(4).unwrap_or_default().to_owned();
            let status = if asked.is_effect() {
                "cancelled"
            } else {
                "active"
            };
            answers(200, fox(&id, status, json!({})))
        });
        let results = in_time(gateway.cancel(sent)).await.unwrap();
        for result in &results {
            assert_eq!(result.outcome(), Outcome::Scheduled, "{what}: {result:?}");
        }
    }
}

#[tokio::test]
async fn what_was_not_cleared_is_not_looked_for_after_an_orderly_stop() {
    // One request is under way when the service stops; all others wait behind it.
    let scripted = Scripted::start(|asked: &Asked| {
        let id = asked.path.split('/').nth(4).unwrap_or_default().to_owned();
        let status = if asked.is_effect() {
            "cancelled"
        } else {
            "active"
        };
        answers(200, fox(&id, status, json!({})))
    })
    .await;
    let slow = "concurrency_min = 1\nconcurrency_max = 1";
    let mut gateway = gateway_at("funnelfox", &scripted, slow).await;
    let items: Vec<_> = (0..300).map(|n| at_funnelfox(&format!("s{n}"))).collect();
    let mut batch = gateway.open(request("K", items.clone())).await;
    batch.next().await.unwrap();
    gateway.restart().await;
    let results = in_time(gateway.cancel(request("K", items))).await.unwrap();
    assert!(
        results
            .iter()
            .all(|result| result.outcome() == Outcome::Scheduled)
    );
    let asked = scripted.asked();
    assert_eq!(asked.len(), 300, "one request each, and no look");
}

#[tokio::test]
async fn a_pause_that_the_provider_asked_for_outlives_a_restart() {
    let scripted = Scripted::start(|asked: &Asked| {
        if asked.path.contains("/first/") {
            let body = json!({"message": "slow down"}).to_string();
            return Act::AnswerWith(
                429,
                "application/json",
                body,
                "retry-after: 600\r\n".to_owned(),
            );
        }
        answers(200, fox("s", "cancelled", json!({})))
    })
    .await;
    let mut gateway = gateway_at("funnelfox", &scripted, "").await;
    let _first = gateway
        .open(request("first", vec![at_funnelfox("first")]))
        .await;
    while scripted.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    gateway.restart().await;
    let second = request("second", vec![at_funnelfox("s")]);
    let mut second = gateway.open(second).await;
    second.next().await.unwrap();
    gateway.stop().await;
    assert_eq!(scripted.asked().len(), 1, "{:?}", scripted.asked());
}

#[tokio::test]
async fn another_key_waits_for_a_request_that_may_still_act() {
    // The first key's answer is lost, and the credentials are refused then, which ends its run.
    let mut asked_before = 0;
    let scripted = Scripted::start(move |_: &Asked| {
        asked_before += 1;
        match asked_before {
            1 => answers(200, fox("other", "cancelled", json!({}))),
            2 => Act::HangUp,
            _ => answers(401, json!({"message": "unauthorized"})),
        }
    })
    .await;
    let mut gateway = gateway_at("funnelfox", &scripted, "").await;
    let other = in_time(gateway.cancel_one("O", at_funnelfox("other")))
        .await
        .unwrap();
    assert_eq!(other.outcome(), Outcome::Scheduled);
    let first = in_time(gateway.cancel_one("K", at_funnelfox("s")))
        .await
        .unwrap();
    assert_eq!(first.outcome(), Outcome::InDoubt, "{first:?}");
    scripted.play(|asked: &Asked| {
        let status = if asked.is_effect() {
            "cancelled"
        } else {
            "active"
        };
        answers(200, fox("s", status, json!({})))
    });
    let second = in_time(gateway.cancel_one("L", at_funnelfox("s")))
        .await
        .unwrap();
    assert_eq!(second.outcome(), Outcome::Scheduled, "{second:?}");
}

#[tokio::test]
async fn a_key_that_stood_behind_one_that_ends_in_doubt_waits_until_that_cannot_act() {
    // The second key arrives while the first one is at work. The first one's reply is lost, and
    // then its credentials are rejected, which ends its run long before a lookup could be believed.
    let sent = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&sent);
    let scripted = Scripted::start(move |asked: &Asked| {
        let mut sent = noted.lock().unwrap();
        if asked.path.contains("other") {
            return answers(200, fox("other", "cancelled", json!({})));
        }
        if !asked.is_effect() {
            return answers(401, json!({"message": "unauthorized"}));
        }
        sent.push(Instant::now());
        match sent.len() {
            1 => Act::HangUp,
            _ => answers(200, fox("s", "cancelled", json!({}))),
        }
    })
    .await;
    let mut gateway = gateway_at("funnelfox", &scripted, "").await;
    let other = in_time(gateway.cancel_one("O", at_funnelfox("other")));
    assert_eq!(other.await.unwrap().outcome(), Outcome::Scheduled);
    let mut first = gateway.open(request("K", [at_funnelfox("s")])).await;

    let second = in_time(gateway.cancel_one("L", at_funnelfox("s")))
        .await
        .unwrap();

    let first = in_time(first.rest()).await.unwrap().remove(0);
    assert_eq!(first.outcome(), Outcome::InDoubt, "{first:?}");
    assert_eq!(second.outcome(), Outcome::Scheduled, "{second:?}");
    let sent = sent.lock().unwrap().clone();
    assert_eq!(sent.len(), 2);
    assert!(sent[1] - sent[0] >= SETTLING, "{:?}", sent[1] - sent[0]);
}

#[tokio::test]
async fn an_idle_cancellation_without_a_fault_costs_one_request() {
    let scripted =
        Scripted::start(|_: &Asked| answers(200, fox("s", "cancelled", json!({})))).await;
    let mut gateway = gateway_at("funnelfox", &scripted, "").await;
    for n in 0..5 {
        let key = format!("K{n}");
        let result = in_time(gateway.cancel_one(&key, at_funnelfox("s")))
            .await
            .unwrap();
        assert_eq!(result.outcome(), Outcome::Scheduled, "{result:?}");
    }
    assert_eq!(scripted.asked().len(), 5);
}
