//! What waits until a lookup can be believed: a rejection after a lost reply, a stop, an outcome
//! that is to be final; and whose effect a lookup shows.

use std::time::Instant;

use cancelot::{
    rpc::proto::{Outcome, SubscriptionCancellation, When},
    sandbox::{Options, Sandbox},
};
use serde_json::{Value, json};

use super::lost_answers::{at_funnelfox, fox, gateway_at, reason};
use crate::{
    observability::metrics::Scrape,
    support::{
        SETTLING,
        asking::outcomes,
        in_time, now,
        process::{Place, try_connect},
        provider_default, request,
        scripted::{Act, Asked, Scripted, json as answers},
        subscription_results,
    },
};

/// A cancellation at once.
fn at_once(id: &str) -> SubscriptionCancellation {
    SubscriptionCancellation {
        when: Some(When { when: Some(now()) }),
        ..at_funnelfox(id)
    }
}

/// A problem in Rebilly's form.
fn problem(status: u16, detail: &str) -> Act {
    let body = json!({"status": status, "title": "A problem", "detail": detail});
    answers(status, body)
}

/// Rebilly loses the first request, which acts once so many looks have come (`None`: never), and
/// refuses the one after it. It gives the subscription this status until then.
fn acts_late(after: Option<usize>) -> impl FnMut(&Asked) -> Act + Send {
    let (mut sent, mut looks) = (0, 0);
    move |asked: &Asked| {
        if asked.is_effect() {
            sent += 1;
            return match sent {
                1 => Act::HangUp,
                _ => problem(422, "it cannot be canceled"),
            };
        }
        looks += 1;
        let has_acted = after.is_some_and(|after| looks > after);
        let is_own = asked.path.contains("subscription-cancellations");
        match (is_own, has_acted) {
            (true, true) => {
                let own = json!({"subscriptionId": "s", "status": "completed"});
                answers(200, own)
            }
            (true, false) => problem(404, "no such cancellation"),
            (false, true) => answers(200, json!({"id": "s", "status": "churned"})),
            (false, false) => answers(200, json!({"id": "s", "status": "active"})),
        }
    }
}

#[tokio::test]
async fn a_no_after_a_lost_answer_is_not_final_while_that_may_act() {
    // The no comes at once, since a second request is harmless at Rebilly. The first one acts
    // after two looks that missed it.
    let scripted = Scripted::start(acts_late(Some(2))).await;
    let more = "organization = \"org\"";
    let mut gateway = gateway_at("rebilly", &scripted, more).await;

    let result = in_time(gateway.cancel_one("K", at_once("s")))
        .await
        .unwrap();

    assert_eq!(result.outcome(), Outcome::Canceled, "{result:?}");
    assert_eq!(scripted.effects(), 2, "{:?}", scripted.asked());
}

#[tokio::test]
async fn a_no_after_a_lost_answer_that_did_nothing_is_final_at_belief() {
    let scripted = Scripted::start(acts_late(None)).await;
    let more = "organization = \"org\"";
    let mut gateway = gateway_at("rebilly", &scripted, more).await;
    let begun = Instant::now();

    let result = in_time(gateway.cancel_one("K", at_once("s")))
        .await
        .unwrap();

    assert_eq!(result.outcome(), Outcome::Rejected, "{result:?}");
    assert!(result.is_final, "{result:?}");
    assert!(begun.elapsed() >= SETTLING, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_no_to_a_resend_is_not_final_before_looks_have_had_their_time_again() {
    // The first request acts after the look that was believed. That is why the second is refused,
    // and looks show it a while later.
    let (mut sent, mut looks_after_the_no) = (0, 0);
    let scripted = Scripted::start(move |asked: &Asked| {
        if asked.is_effect() {
            sent += 1;
            return match sent {
                1 => Act::HangUp,
                _ => answers(400, json!({"message": "already cancelled"})),
            };
        }
        looks_after_the_no += u32::from(sent > 1);
        match looks_after_the_no {
            0 | 1 => answers(200, fox("s", "active", json!({"renews": true}))),
            _ => answers(200, fox("s", "cancelled", json!({"renews": false}))),
        }
    })
    .await;
    let mut gateway = gateway_at("funnelfox", &scripted, "").await;

    let result = in_time(gateway.cancel_one("K", at_funnelfox("s")))
        .await
        .unwrap();

    assert_eq!(result.outcome(), Outcome::Scheduled, "{result:?}");
    assert!(result.confirmed_by_lookup, "{result:?}");
    assert_eq!(scripted.effects(), 2, "{:?}", scripted.asked());
}

#[tokio::test]
async fn believed_looks_that_leave_it_open_are_the_end_of_a_key() {
    // Revolv3's 404 says that it does not exist or has ended, perhaps by the lost request.
    let scripted = Scripted::start(|asked: &Asked| match asked.is_effect() {
        true => Act::HangUp,
        false => answers(404, json!({"message": "not found"})),
    })
    .await;
    let mut gateway = gateway_at("revolv3", &scripted, "").await;
    let begun = Instant::now();

    let item = || SubscriptionCancellation {
        when: Some(When {
            when: Some(provider_default()),
        }),
        ..at_funnelfox("7")
    };
    let result = in_time(gateway.cancel_one("K", item())).await.unwrap();
    let took = begun.elapsed();
    let asked = scripted.asked().len();
    let again = in_time(gateway.cancel_one("K", item())).await.unwrap();

    assert_eq!(result.outcome(), Outcome::InDoubt, "{result:?}");
    assert_eq!(reason(&result), "DOUBT_UNRESOLVED", "{result:?}");
    assert!(result.is_final, "{result:?}");
    assert!(took >= 3 * SETTLING, "three, one per settling: {took:?}");
    assert!(again.replayed, "{again:?}");
    assert_eq!(again.settled_time, result.settled_time);
    assert_eq!(scripted.asked().len(), asked);
    assert_eq!(scripted.effects(), 1);
}

#[tokio::test]
async fn a_stop_while_an_item_settles_ends_it_at_belief() {
    for (found, outcome) in [
        ("active", Outcome::Stopped),
        ("cancelled", Outcome::Scheduled),
    ] {
        let scripted = Scripted::start(|_: &Asked| Act::HangUp).await;
        let mut gateway = gateway_at("funnelfox", &scripted, "").await;
        let sent = request("K", [at_funnelfox("s")]);
        let mut batch = gateway.open(sent.clone()).await;
        while batch.progress.settling == 0 {
            batch.next().await.unwrap().expect("the stream goes on");
        }

        let stopped = gateway.stop_batch(&batch.progress.batch_id).await.unwrap();
        let begun = Instant::now();
        scripted.play(move |_: &Asked| answers(200, fox("s", found, json!({}))));
        let results = batch.rest().await.unwrap();
        // What was lost may have acted all the same: it is found, and it was this key.
        scripted.play(|_: &Asked| answers(200, fox("s", "cancelled", json!({}))));
        let again = in_time(gateway.cancel(sent)).await.unwrap();

        assert_eq!((stopped.stopped, stopped.finishing), (0, 1), "{found}");
        assert_eq!(outcomes(&results), [outcome], "{results:?}");
        assert!(begun.elapsed() < 100 * SETTLING, "it does not wait longer");
        assert_eq!(outcomes(&again), [Outcome::Scheduled], "{again:?}");
        assert_eq!(scripted.effects(), 1, "{:?}", scripted.asked());
    }
}

/// What lookups show after the crash, and the expected outcome.
fn ends() -> [(&'static str, Value, Outcome); 3] {
    let days_ago = |days: i64| {
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days);
        json!({"cancelled_at": time.to_string()})
    };
    [
        ("expired", json!({}), Outcome::AlreadyCanceled),
        ("cancelled", days_ago(27), Outcome::AlreadyScheduled),
        ("cancelled", days_ago(0), Outcome::Scheduled),
    ]
}

#[tokio::test]
async fn what_ended_before_it_was_admitted_was_others_after_a_crash_too() {
    let scripted = Scripted::start(|_: &Asked| Act::Silence).await;
    let account = format!(
        "[accounts.main]\nprovider = \"funnelfox\"\nbase_url = \"{}/public/v1\"\n\
         credential_env = \"CREDENTIAL\"\nrate_per_second = 1000.0\nrate_burst = 1000\n\
         timeout_ms = 60000\nsettling_ms = 30000\n",
        scripted.url()
    );
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let place = Place::new(&sandbox, &account);
    let (mut process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    let items = (0..ends().len()).map(|n| at_funnelfox(&n.to_string()));
    let sent = request("K", items);
    let _stream = client.cancel_subscription(sent.clone()).await.unwrap();
    let all_are_sent = async {
        while scripted.effects() < ends().len() {
            tokio::task::yield_now().await;
        }
    };
    in_time(all_are_sent).await;

    process.kill();
    scripted.play(|asked: &Asked| {
        let id = asked.path.split('/').nth(4).unwrap_or_default();
        let (status, more, _) = ends()[id.parse::<usize>().unwrap()].clone();
        let body = fox(id, status, more).to_string();
        let now = jiff::Timestamp::now();
        let date = now.strftime("date: %a, %d %b %Y %H:%M:%S GMT\r\n");
        Act::AnswerWith(200, "application/json", body, date.to_string())
    });
    let (process, url) = place.serve().await;
    let mut client = try_connect(&url).await.unwrap();
    let stream = client.cancel_subscription(sent).await.unwrap();
    let told = subscription_results(stream.into_inner());
    let (_, mut results) = in_time(told).await.unwrap();
    results.sort_by_key(|result| result.index);

    let expected = ends().map(|(_, _, outcome)| outcome);
    assert_eq!(outcomes(&results), expected, "{results:?}");
    assert_eq!(scripted.effects(), ends().len(), "nothing is sent again");
    process.terminate();
    assert!(process.ended().await.success());
}

#[tokio::test]
async fn an_idle_cancellation_costs_two_commits() {
    let scripted =
        Scripted::start(|_: &Asked| answers(200, fox("s", "cancelled", json!({})))).await;
    let admin = "[server]\nadmin_listen = \"127.0.0.1:0\"";
    let mut gateway = gateway_at("funnelfox", &scripted, admin).await;
    for n in 0..3 {
        let commits = async |gateway: &_| {
            let scrape = Scrape::of(gateway).await;
            let count = scrape.value("cancelot_journal_commit_seconds_count");
            count.expect("commits are counted")
        };
        let before = commits(&gateway).await;
        let key = format!("K{n}");
        let cancel = gateway.cancel_one(&key, at_funnelfox("s"));
        let result = in_time(cancel).await.unwrap();
        assert_eq!(result.outcome(), Outcome::Scheduled, "{result:?}");
        let after = commits(&gateway).await;
        assert_eq!(after - before, 2.0, "one admits and clears, one settles");
    }
}
