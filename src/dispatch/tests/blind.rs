//! Looks that tell nothing.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::time::Instant;

use super::play::{
    Act, Asked, SECOND, SETTLING, Stage, answer, answer_with, fox, obeys, outcome, page, request,
};
use crate::domain::{
    exchange::Response,
    outcome::{FailureReason, Outcome},
};

type Look = fn(&Asked) -> Act;

fn said() -> serde_json::Value {
    json!({"message": "no"})
}

/// An answer that a cache has kept.
fn kept(asked: &Asked) -> Act {
    match fox(asked, "active") {
        Act::Answer(Response { status, text, .. }) => page(status, &[("age", "1")], &text),
        _ => unreachable!("it is an answer"),
    }
}

/// Every kind of look that tells nothing, and the reason if there are only such.
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
            |_| answer(200, &json!({"id": "x", "status": "active"})),
            AnswerUnreadable,
        ),
        ("kept by a cache", kept, AnswerUnreadable),
        (
            "kept by a cache, and a no",
            |_| answer_with(404, &[("age", "1")], &said()),
            AnswerUnreadable,
        ),
        (
            "a redirection",
            |_| page(302, &[("location", "https://x")], ""),
            AnswerUnreadable,
        ),
        ("401", |_| answer(401, &said()), CredentialsRefused),
        ("403", |_| answer(403, &said()), PermissionDenied),
        ("408", |_| answer(408, &said()), AnswerLost),
        (
            "429",
            |_| answer_with(429, &[("retry-after", "2")], &said()),
            ProviderThrottled,
        ),
        ("500", |_| answer(500, &said()), AnswerLost),
        ("503", |_| answer(503, &said()), AnswerLost),
        ("no answer", |_| Act::Lose, AnswerLost),
    ]
};

/// The place is known to be the provider's.
async fn known(stage: &mut Stage) -> Arc<crate::dispatch::Dispatch> {
    let dispatch = stage.start().await;
    let other = outcome(&dispatch, request("O", ["other"])).await;
    assert_eq!(other.conclusion.outcome, Outcome::Canceled);
    dispatch
}

#[tokio::test(start_paused = true)]
async fn a_look_that_tells_nothing_keeps_both_doubts_and_gives_the_reason() {
    for (what, look, reason) in BLIND {
        let mut stage = Stage::new();
        let dispatch = known(&mut stage).await;
        stage.play(move |asked: &Asked| match asked.is_look {
            true => look(asked),
            false => Act::Lose,
        });
        let mut brief = request("K", ["s"]);
        brief.retry_window = Some(5 * SECOND);

        let settled = outcome(&dispatch, brief).await;

        let told = format!("{what}: {settled:?}");
        let conclusion = &settled.conclusion;
        assert_eq!(conclusion.outcome, Outcome::InDoubt, "{told}");
        let failure = conclusion.failure.as_ref().unwrap();
        assert_eq!(failure.reason, reason, "{told}");
        let doubt = settled.doubt.as_ref().expect("it may be ours");
        assert!(doubt.may_act && doubt.looks == 0, "{told}");
        assert_eq!(stage.effects(), 2, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_tells_nothing_is_none_of_the_three_that_are_the_end() {
    for (what, look, _) in BLIND {
        let mut stage = Stage::new();
        let mut dispatch = known(&mut stage).await;
        let begun = Instant::now();
        // It is accepted, and looks show it active: but the first two that could be believed.
        let read = Arc::<Mutex<u32>>::default();
        let (counted, mut blind) = (Arc::clone(&read), 0);
        stage.play(move |asked: &Asked| {
            if asked.is_look && asked.at >= begun + SETTLING {
                blind += 1;
                if blind <= 2 {
                    return look(asked);
                }
                *counted.lock().unwrap() += 1;
            }
            fox(asked, "active")
        });
        let settled = loop {
            let settled = outcome(&dispatch, request("K", ["s"])).await;
            assert_eq!(settled.conclusion.outcome, Outcome::InDoubt, "{what}");
            if settled.conclusion.is_final() {
                break settled;
            }
            stage.crash(dispatch).await;
            dispatch = stage.start().await;
        };
        assert_eq!(*read.lock().unwrap(), 3, "{what}: {settled:?}");
        assert_eq!(stage.effects(), 2, "{what}: {settled:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn three_whole_answers_in_a_row_that_tell_nothing_end_a_run() {
    let mut stage = Stage::new();
    let dispatch = known(&mut stage).await;
    let begun = Instant::now();
    stage.play(|asked: &Asked| match asked.is_look {
        true => page(200, &[], "{"),
        false => Act::Lose,
    });

    let settled = outcome(&dispatch, request("K", ["s"])).await;

    let failure = settled.conclusion.failure.as_ref().unwrap();
    assert_eq!(failure.reason, FailureReason::AnswerUnreadable);
    let asked = stage.seconds_after(begun);
    assert_eq!(asked.len(), 2 + 3, "{asked:?}");
    assert!(begun.elapsed() >= SETTLING, "not before belief: {asked:?}");
    // The next run of the key looks again.
    stage.play(obeys);
    let settled = outcome(&dispatch, request("K", ["s"])).await;
    assert_eq!(settled.conclusion.outcome, Outcome::Canceled);
    assert_eq!(stage.seconds_after(begun)[5].1, "look");
}
