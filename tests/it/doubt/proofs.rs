//! Whose a reply is: the provider's own about this target, about another one, or an intermediary's;
//! and what it proves about the account.

use cancelot::rpc::proto::{Outcome, SubscriptionCancellation, SubscriptionResult, When};
use serde_json::json;

use super::lost_answers::{at_funnelfox, fox, gateway_at, reason};
use crate::support::{
    in_time, now, request,
    scripted::{Act, Asked, Scripted, json as answers},
};

/// The id in a path of FunnelFox.
fn id_of(asked: &Asked) -> String {
    asked.path.split('/').nth(4).unwrap_or_default().to_owned()
}

/// A provider that cancels whatever it is asked to.
fn cancels(asked: &Asked) -> Act {
    answers(200, fox(&id_of(asked), "cancelled", json!({})))
}

#[tokio::test]
async fn an_acceptance_about_another_is_a_lost_answer() {
    let mut is_first = true;
    let scripted = Scripted::start(move |asked: &Asked| {
        if !asked.is_effect() {
            return answers(200, fox("s", "active", json!({})));
        }
        let is_first = std::mem::replace(&mut is_first, false);
        let id = if is_first { "t" } else { "s" };
        answers(200, fox(id, "cancelled", json!({})))
    })
    .await;
    let mut gateway = gateway_at("funnelfox", &scripted, "").await;

    let cancel = gateway.cancel_one("K", at_funnelfox("s"));
    let result = in_time(cancel).await.unwrap();

    assert_eq!(result.outcome(), Outcome::Scheduled, "{result:?}");
    assert_eq!(scripted.effects(), 2, "{:?}", scripted.asked());
}

#[tokio::test]
async fn a_look_that_shows_another_tells_nothing() {
    let scripted = Scripted::start(|asked: &Asked| match asked.is_effect() {
        true => Act::HangUp,
        false => answers(200, fox("t", "cancelled", json!({}))),
    })
    .await;
    let mut gateway = gateway_at("funnelfox", &scripted, "").await;
    // One that is known makes the place the provider's.
    scripted.play(cancels);
    let known = in_time(gateway.cancel_one("known", at_funnelfox("known")));
    assert_eq!(known.await.unwrap().outcome(), Outcome::Scheduled);
    scripted.play(|asked: &Asked| match asked.is_effect() {
        true => Act::HangUp,
        false => answers(200, fox("t", "cancelled", json!({}))),
    });

    let cancel = gateway.cancel_one("K", at_funnelfox("s"));
    let result = in_time(cancel).await.unwrap();

    assert_eq!(result.outcome(), Outcome::InDoubt, "{result:?}");
    assert_eq!(reason(&result), "ANSWER_UNREADABLE", "{result:?}");
    assert!(!result.is_final, "{result:?}");
}

#[tokio::test]
async fn an_unknown_subscription_is_believed_once_the_account_is_proven() {
    // By a cancellation, or by a dry run.
    for dry_run in [false, true] {
        let scripted = Scripted::start(|asked: &Asked| match id_of(asked).as_str() {
            "there" => cancels(asked),
            _ => answers(404, json!({"message": "not found"})),
        })
        .await;
        let mut gateway = gateway_at("funnelfox", &scripted, "").await;

        let cancel = gateway.cancel_one("K", at_funnelfox("gone"));
        let unproven = in_time(cancel).await.unwrap();
        let asked = scripted.asked().len();
        let mut proof = request("proof", [at_funnelfox("there")]);
        proof.dry_run = dry_run;
        in_time(gateway.cancel(proof)).await.unwrap();
        let again = gateway.cancel_one("K", at_funnelfox("gone"));
        let believed = in_time(again).await.unwrap();
        let replay = gateway.cancel_one("K", at_funnelfox("gone"));
        let replayed = in_time(replay).await.unwrap();

        assert_eq!(unproven.outcome(), Outcome::Unavailable, "{unproven:?}");
        assert_eq!(reason(&unproven), "ACCOUNT_UNPROVEN", "{unproven:?}");
        assert_eq!(asked, 2, "a cancel and a look, not tried again");
        assert_eq!(believed.outcome(), Outcome::NotFound, "{believed:?}");
        assert_eq!(reason(&believed), "TARGET_NOT_FOUND", "{believed:?}");
        assert!(believed.is_final && replayed.replayed, "{replayed:?}");
    }
}

#[tokio::test]
async fn what_was_sent_to_a_place_is_not_looked_for_at_another() {
    let mut asked_before = 0;
    let there = Scripted::start(move |asked: &Asked| {
        asked_before += 1;
        match asked_before {
            1 => cancels(asked),
            2 => Act::HangUp,
            _ => answers(401, json!({"message": "unauthorized"})),
        }
    })
    .await;
    let elsewhere = Scripted::start(cancels).await;
    let mut gateway = gateway_at("funnelfox", &there, "").await;
    let known = in_time(gateway.cancel_one("known", at_funnelfox("known")));
    assert_eq!(known.await.unwrap().outcome(), Outcome::Scheduled);
    let lost = in_time(gateway.cancel_one("K", at_funnelfox("s")));
    assert_eq!(lost.await.unwrap().outcome(), Outcome::InDoubt);

    gateway.reconfigure(there.url(), elsewhere.url());
    gateway.restart().await;
    let moved = in_time(gateway.cancel_one("K", at_funnelfox("s")));
    let moved = moved.await.unwrap();
    assert_eq!(moved.outcome(), Outcome::InDoubt, "{moved:?}");
    assert_eq!(reason(&moved), "ACCOUNT_CHANGED", "{moved:?}");
    let message = moved.failure.unwrap().message;
    assert!(message.contains("restore its base_url"), "{message}");
    assert_eq!(elsewhere.asked(), [], "it tells nothing of it");

    there.play(cancels);
    gateway.reconfigure(elsewhere.url(), there.url());
    gateway.restart().await;
    let restored = in_time(gateway.cancel_one("K", at_funnelfox("s")));
    let restored = restored.await.unwrap();
    assert_eq!(restored.outcome(), Outcome::Scheduled, "{restored:?}");
    assert_eq!(there.effects(), 2, "{:?}", there.asked());
}

/// An answer in Rebilly's form: yes to what it cancels.
fn confirms(id: &str) -> Act {
    answers(201, json!({"subscriptionId": id, "status": "completed"}))
}

/// Rebilly takes a cancellation, loses another, and refuses the credentials then. Its account's
/// configuration changes from one text to another, and the key of what was lost is sent again.
async fn sent_again_after(from: &str, to: &str) -> SubscriptionResult {
    let mut asked_before = 0;
    let scripted = Scripted::start(move |_: &Asked| {
        asked_before += 1;
        match asked_before {
            1 => confirms("known"),
            2 => Act::HangUp,
            _ => answers(401, json!({"status": 401, "title": "No", "detail": "no"})),
        }
    })
    .await;
    let more = "organization = \"org\"\n# more\n";
    let mut gateway = gateway_at("rebilly", &scripted, more).await;
    let item = |id: &str| SubscriptionCancellation {
        when: Some(When { when: Some(now()) }),
        ..at_funnelfox(id)
    };
    let known = in_time(gateway.cancel_one("known", item("known")));
    assert_eq!(known.await.unwrap().outcome(), Outcome::Canceled);
    let lost = in_time(gateway.cancel_one("K", item("s"))).await.unwrap();
    assert_eq!(lost.outcome(), Outcome::InDoubt, "{lost:?}");

    scripted.play(|_: &Asked| confirms("s"));
    gateway.reconfigure(from, to);
    gateway.restart().await;
    let asked = scripted.asked().len();
    let again = in_time(gateway.cancel_one("K", item("s"))).await.unwrap();
    let is_elsewhere = reason(&again) == "ACCOUNT_CHANGED";
    assert_eq!(scripted.asked().len() == asked, is_elsewhere, "{to}");
    again
}

#[tokio::test]
async fn another_organization_and_another_proxy_are_another_place() {
    for (from, to) in [
        ("organization = \"org\"", "organization = \"other\""),
        ("organization = \"org\"", ""),
        ("# more", "proxy_url = \"http://127.0.0.1:9\""),
    ] {
        let again = sent_again_after(from, to).await;
        assert_eq!(again.outcome(), Outcome::InDoubt, "{to}: {again:?}");
        assert_eq!(reason(&again), "ACCOUNT_CHANGED", "{to}: {again:?}");
    }
}

#[tokio::test]
async fn another_credential_and_other_times_are_the_same_place() {
    for (from, to) in [
        ("# more", "# nothing"),
        ("\"CREDENTIAL\"", "\"INVALID_CREDENTIAL\""),
        ("timeout_ms = 5000", "timeout_ms = 6000"),
        ("settling_ms = 1000", "settling_ms = 2000"),
        ("# more", "auth = \"bearer\""),
    ] {
        let again = sent_again_after(from, to).await;
        assert_eq!(again.outcome(), Outcome::Canceled, "{to}: {again:?}");
        assert!(again.confirmed_by_lookup, "{to}: {again:?}");
    }
}

#[tokio::test]
async fn what_was_sent_to_a_wrong_place_is_looked_for_at_the_right_one() {
    // Nothing there has ever answered as the provider does.
    let wrong = Scripted::start(|_: &Asked| Act::HangUp).await;
    let right = Scripted::start(cancels).await;
    let mut gateway = gateway_at("funnelfox", &wrong, "").await;
    let mut sent = request("K", [at_funnelfox("s")]);
    sent.retry_window = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    let lost = in_time(gateway.cancel(sent.clone())).await.unwrap();
    assert_eq!(lost[0].outcome(), Outcome::InDoubt, "{lost:?}");

    gateway.reconfigure(wrong.url(), right.url());
    gateway.restart().await;
    let results = in_time(gateway.cancel(sent)).await.unwrap();

    assert_eq!(results[0].outcome(), Outcome::Scheduled, "{results:?}");
    assert_eq!(right.effects(), 0, "a look shows it: {:?}", right.asked());
}

#[tokio::test]
async fn an_outage_that_says_how_long_it_takes_pauses_the_account() {
    let scripted = Scripted::start(|_: &Asked| {
        let body = json!({"message": "maintenance"}).to_string();
        let wait = "retry-after: 600\r\n".to_owned();
        Act::AnswerWith(503, "application/json", body, wait)
    })
    .await;
    let mut gateway = gateway_at("funnelfox", &scripted, "").await;
    let first = request("first", [at_funnelfox("s")]);
    let mut first = gateway.open(first).await;
    while first.progress.settling == 0 {
        first.next().await.unwrap().expect("the stream goes on");
    }

    let second = request("second", [at_funnelfox("t")]);
    let mut second = gateway.open(second).await;
    second.next().await.unwrap();
    gateway.stop().await;

    assert_eq!(scripted.asked().len(), 1, "{:?}", scripted.asked());
}

#[tokio::test]
async fn a_new_credential_for_the_same_place_changes_nothing_about_a_doubt() {
    // What it finds, and how often the cancellation is sent for that.
    for (found, effects) in [("cancelled", 1), ("active", 2)] {
        let scripted = Scripted::start(cancels).await;
        let mut gateway = gateway_at("funnelfox", &scripted, "").await;
        let known = in_time(gateway.cancel_one("known", at_funnelfox("known")));
        assert_eq!(known.await.unwrap().outcome(), Outcome::Scheduled);
        scripted.play(|asked: &Asked| match asked.is_effect() {
            true => Act::HangUp,
            false => answers(401, json!({"message": "unauthorized"})),
        });
        let lost = in_time(gateway.cancel_one("K", at_funnelfox("s")));
        let lost = lost.await.unwrap();
        assert_eq!(lost.outcome(), Outcome::InDoubt, "{lost:?}");
        assert_eq!(reason(&lost), "CREDENTIALS_REFUSED", "{lost:?}");
        let asked = scripted.asked().len();

        gateway.reconfigure("\"CREDENTIAL\"", "\"INVALID_CREDENTIAL\"");
        gateway.restart().await;
        scripted.play(move |asked: &Asked| match asked.is_effect() {
            true => cancels(asked),
            false => answers(200, fox("s", found, json!({}))),
        });
        let again = in_time(gateway.cancel_one("K", at_funnelfox("s")));
        let again = again.await.unwrap();

        assert_eq!(again.outcome(), Outcome::Scheduled, "{again:?}");
        assert!(!scripted.asked()[asked].is_effect(), "it looks first");
        // That of the other key is one more.
        assert_eq!(scripted.effects(), 1 + effects, "{:?}", scripted.asked());
    }
}
