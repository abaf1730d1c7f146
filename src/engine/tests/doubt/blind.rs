//! Inconclusive lookups.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    domain::{
        account::{FunnelFoxEnd, ProviderSettings, RebillyAuth, Revolv3Auth},
        outcome::{FailureReason, Outcome},
    },
    engine::tests::support::{
        scene::{Scene, request, within},
        script::{Act, Asked, lost, page, says, says_with},
        stage::{SECOND, SETTLING, Stage},
    },
};

type Look = fn(&Asked) -> Act;

/// An error in each provider's format.
fn said(status: u16) -> Act {
    says_with(status, &[("retry-after", "2")], error(status))
}

fn error(status: u16) -> Value {
    json!({"status": status, "title": "No", "detail": "no", "code": "X", "message": "no",
        "errors": ["no"]})
}

/// A subscription in each provider's format.
fn shown(id: &str, status: &str) -> Value {
    let word = if status == "active" {
        "Current"
    } else {
        "Canceled"
    };
    json!({"id": id, "subscriptionId": id, "status": status, "renews": status == "active",
        "subscriptionStatus": word})
}

fn active(_: &Asked) -> Act {
    says(200, shown("7", "active"))
}

/// Every kind of inconclusive lookup, and the failure reason if all lookups are of that kind.
const BLIND: [(&str, Look, FailureReason); 14] = {
    use FailureReason::{
        AnswerLost, AnswerUnreadable, CredentialsRefused, PermissionDenied, ProviderThrottled,
    };
    [
        ("unreadable", |_| page(200, &[], "{"), AnswerUnreadable),
        ("empty", |_| page(200, &[], ""), AnswerUnreadable),
        ("foreign", |_| page(404, &[], "<html>"), AnswerUnreadable),
        (
            "about another",
            |_| says(200, shown("8", "active")),
            AnswerUnreadable,
        ),
        (
            "kept by a cache",
            |_| says_with(200, &[("age", "1")], shown("7", "active")),
            AnswerUnreadable,
        ),
        (
            "kept by a cache, and a no",
            |_| says_with(404, &[("age", "1")], error(404)),
            AnswerUnreadable,
        ),
        (
            "a redirection",
            |_| page(302, &[("location", "https://x")], ""),
            AnswerUnreadable,
        ),
        ("401", |_| said(401), CredentialsRefused),
        ("403", |_| said(403), PermissionDenied),
        ("408", |_| said(408), AnswerLost),
        ("429", |_| said(429), ProviderThrottled),
        ("500", |_| said(500), AnswerLost),
        ("503", |_| said(503), AnswerLost),
        ("no answer", |_| lost(), AnswerLost),
    ]
};

/// All providers of subscriptions.
fn providers() -> [ProviderSettings; 4] {
    [
        ProviderSettings::FunnelFox {
            cancel_ends: FunnelFoxEnd::Now,
        },
        ProviderSettings::Rebilly {
            organization: None,
            auth: RebillyAuth::ApiKey,
        },
        ProviderSettings::Revolv3 {
            auth: Revolv3Auth::Token,
            set_timing: true,
        },
        ProviderSettings::Solidgate {
            channel_id: None,
            lookup_path: "v2/subscriptions/get".to_owned(),
        },
    ]
}

/// A process whose place has proved to be the provider's.
async fn known(settings: ProviderSettings) -> Scene {
    let is_rebilly = matches!(settings, ProviderSettings::Rebilly { .. });
    let scene = Stage::at(settings).plays(move |asked| match asked.is_look {
        _ if is_rebilly => says(201, shown("7", "completed")),
        true => active(asked),
        false => says(201, shown("7", "canceled")),
    });
    let scene = scene.await;
    let other = scene.cancels("O", "7").await;
    assert_eq!(other.conclusion.outcome, Outcome::Canceled, "{other:?}");
    scene
}

/// How many cancel requests the provider got.
fn cancels(stage: &Stage) -> usize {
    let asked = stage.asked().into_iter();
    asked.filter(|asked| asked.operation.0 == "cancel").count()
}

#[tokio::test(start_paused = true)]
async fn a_look_that_tells_nothing_keeps_both_doubts_and_gives_the_reason() {
    let all = providers().into_iter();
    let all = all.flat_map(|provider| BLIND.map(|blind| (provider.clone(), blind)));
    for (provider, (what, look, reason)) in all {
        let scene = known(provider.clone()).await;
        let mut is_lost = false;
        scene.play(move |asked| match asked.is_look {
            true if is_lost => look(asked),
            // Some providers start with a lookup, or set the end date first.
            true => active(asked),
            false if asked.operation.0 != "cancel" => active(asked),
            false => {
                is_lost = true;
                lost()
            }
        });
        let brief = within(5 * SECOND, request("K", ["7"]));

        let settled = scene.outcome(brief).await;

        let told = format!("{provider:?}, {what}: {settled:?}");
        let conclusion = &settled.conclusion;
        assert_eq!(conclusion.outcome, Outcome::InDoubt, "{told}");
        let failure = conclusion.failure.as_ref().unwrap();
        assert_eq!(failure.reason, reason, "{told}");
        let doubt = settled.doubt.as_ref().expect("it may be ours");
        assert!(doubt.may_act && doubt.looks == 0, "{told}");
        assert_eq!(cancels(&scene), 2, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_tells_nothing_is_none_of_the_three_that_are_the_end() {
    let all = providers().into_iter();
    // Rebilly stores an accepted cancellation under our own id.
    let all = all.filter(|provider| !matches!(provider, ProviderSettings::Rebilly { .. }));
    let all = all.flat_map(|provider| BLIND.map(|blind| (provider.clone(), blind)));
    for (provider, (what, look, _)) in all {
        let mut scene = known(provider.clone()).await;
        let begun = Instant::now();
        // Accepted; all lookups find it active, and the first two that could be believed are
        // inconclusive.
        let read = Arc::<Mutex<u32>>::default();
        let (counted, mut blind) = (Arc::clone(&read), 0);
        scene.play(move |asked| {
            if asked.is_look && asked.at >= begun + SETTLING {
                blind += 1;
                if blind <= 2 {
                    return look(asked);
                }
                *counted.lock().unwrap() += 1;
            }
            active(asked)
        });
        let settled = loop {
            let settled = scene.cancels("K", "7").await;
            let outcome = settled.conclusion.outcome;
            assert_eq!(
                outcome,
                Outcome::InDoubt,
                "{provider:?}, {what}: {settled:?}"
            );
            if settled.conclusion.is_final() {
                break settled;
            }
            scene = scene.dies().await.starts().await;
        };
        let told = format!("{provider:?}, {what}: {settled:?}");
        assert_eq!(*read.lock().unwrap(), 3, "{told}");
        assert_eq!(cancels(&scene), 2, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn three_whole_answers_in_a_row_that_tell_nothing_end_a_run() {
    let [provider, ..] = providers();
    let scene = known(provider).await;
    let begun = Instant::now();
    scene.play(|asked| match asked.is_look {
        true => page(200, &[], "{"),
        false => lost(),
    });

    let settled = scene.cancels("K", "7").await;

    let failure = settled.conclusion.failure.as_ref().unwrap();
    assert_eq!(failure.reason, FailureReason::AnswerUnreadable);
    let asked = scene.seconds_after(begun);
    assert_eq!(asked.len(), 2 + 3, "{asked:?}");
    assert!(begun.elapsed() >= SETTLING, "not before belief: {asked:?}");
    // The next run of the key sends a lookup.
    scene.play(|_| says(200, shown("7", "cancelled")));
    let settled = scene.cancels("K", "7").await;
    assert_eq!(settled.conclusion.outcome, Outcome::Canceled);
    assert_eq!(scene.seconds_after(begun)[5].1, "look");
}
