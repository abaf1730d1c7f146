//! How items end that settle a doubt: their windows end, and their batches are stopped.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::play::{
    Act, Asked, SECOND, SETTLING, Stage, TIMEOUT, ann, answer, answer_with, fox, obeys, outcomes,
    request,
};
use crate::{
    dispatch::Stopped,
    domain::outcome::{FailureReason, Outcome, Settled},
};

/// What looks come to.
type Look = fn(&Asked) -> Act;

fn reason(settled: &Settled) -> Option<FailureReason> {
    let failure = settled.conclusion.failure.as_ref();
    failure.map(|failure| failure.reason)
}

/// The first request is lost, within a window of so many seconds. Gives how it ends, and when.
async fn lost(window: u32, look: Look) -> (Settled, Duration) {
    let mut stage = Stage::new();
    let mut sent = 0;
    stage.play(move |asked: &Asked| {
        sent += u32::from(!asked.is_look);
        match (asked.is_look, sent) {
            (true, _) => look(asked),
            (false, 1) => Act::Lose,
            (false, _) => obeys(asked),
        }
    });
    let dispatch = stage.start().await;
    let begun = Instant::now();
    let mut brief = request("K", ["s"]);
    brief.retry_window = Some(window * SECOND);
    let ticket = dispatch.submit(brief).await.unwrap();
    let settled = outcomes(&ticket).await.remove(0);
    (Settled::clone(&settled), begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_effects_and_not_the_look_that_decides() {
    use Outcome::{Canceled, InDoubt, Unavailable};
    let looks: [(&str, Look, Outcome); 4] = [
        ("reached", |asked| fox(asked, "cancelled"), Canceled),
        ("untouched", |asked| fox(asked, "active"), Unavailable),
        ("no answer", |_| Act::Lose, InDoubt),
        ("an error", |_| answer(500, &json!({})), InDoubt),
    ];
    for (what, look, expected) in looks {
        let (settled, took) = lost(5, look).await;
        let outcome = settled.conclusion.outcome;
        assert_eq!(outcome, expected, "{what}: {settled:?}");
        // What shows the goal counts at once.
        if outcome != Canceled {
            let late = SETTLING..SETTLING + SECOND;
            assert!(late.contains(&took), "{what} after {took:?}");
        }
        if outcome == Unavailable {
            let doubt = settled.doubt.as_ref().expect("it may be ours for good");
            assert!(!doubt.may_act && doubt.looks == 0, "{what}: {settled:?}");
        }
    }
}

/// What looks find is a pause of an hour.
fn pauses(_: &Asked) -> Act {
    answer_with(429, &[("retry-after", "3600")], &json!({"message": "no"}))
}

#[tokio::test(start_paused = true)]
async fn a_look_that_the_account_holds_is_waited_for_a_timeout_longer_than_window_and_belief() {
    // Belief is after 30 s, and the timeout takes 10.
    for (window, gives_up) in [(5, 40), (29, 40), (60, 70)] {
        let (settled, took) = lost(window, pauses).await;
        let told = format!("{window}: {settled:?} after {took:?}");
        assert_eq!(settled.conclusion.outcome, Outcome::InDoubt, "{told}");
        let reason = reason(&settled);
        assert_eq!(reason, Some(FailureReason::ProviderThrottled), "{told}");
        let ends = gives_up * SECOND..(gives_up + 3) * SECOND;
        assert!(ends.contains(&took), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_waits_for_its_turn_alone_has_it_however_late_that_is() {
    let mut stage = Stage::new();
    (stage.rate, stage.burst) = (1.0 / 25.0, 1);
    let mut sent = 0;
    stage.play(move |asked: &Asked| {
        sent += u32::from(!asked.is_look);
        match sent == 1 && !asked.is_look {
            true => Act::Lose,
            false => obeys(asked),
        }
    });
    let dispatch = stage.start().await;
    let mut brief = request("K", ["s"]);
    brief.retry_window = Some(5 * SECOND);
    let begun = Instant::now();
    let ticket = dispatch.submit(brief).await.unwrap();
    let others = request("L", (0..9).map(|n| format!("s{n}")));
    let _others = dispatch.submit(others).await.unwrap();

    let settled = outcomes(&ticket).await.remove(0);

    assert_eq!(
        settled.conclusion.outcome,
        Outcome::Unavailable,
        "{settled:?}"
    );
    assert!(
        begun.elapsed() > SETTLING + TIMEOUT,
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(stage.looks(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_finds_its_provider_away_is_waited_for_as_long() {
    let mut stage = Stage::new();
    let begun = Instant::now();
    stage.play(|_: &Asked| Act::Lose);
    let dispatch = stage.start().await;
    let mut brief = request("K", (0..40).map(|n| format!("s{n}")));
    brief.retry_window = Some(5 * SECOND);

    let ticket = dispatch.submit(brief).await.unwrap();
    let settled = outcomes(&ticket).await;

    let asked = stage.asked();
    let mut held_up = 0;
    for (n, settled) in settled.iter().enumerate() {
        // What was never sent ends with its window.
        let Some(doubt) = &settled.doubt else {
            continue;
        };
        let told = format!("s{n}: {settled:?}");
        assert_eq!(settled.conclusion.outcome, Outcome::InDoubt, "{told}");
        let latest = Duration::try_from(doubt.latest.at.duration_since(Timestamp::UNIX_EPOCH));
        let believed_at = begun + latest.unwrap() + SETTLING;
        let ends = believed_at + TIMEOUT..believed_at + TIMEOUT + 3 * SECOND;
        let decides = |asked: &&Asked| asked.id == format!("s{n}") && asked.at >= believed_at;
        if asked.iter().find(decides).is_none() {
            held_up += 1;
            let passed = settled.settled_at.duration_since(Timestamp::UNIX_EPOCH);
            let at = begun + Duration::try_from(passed).unwrap();
            assert!(ends.contains(&at), "{told}");
        }
    }
    assert!(held_up > 10, "only {held_up} were held up");
}

/// A batch of one item is stopped two seconds after its answer was lost; if `crashes`, the process
/// is gone right after that. Gives how it ends, and when.
async fn stopped(look: Look, crashes: bool) -> (Settled, Duration, Stage) {
    let mut stage = Stage::new();
    stage.play(move |asked: &Asked| match asked.is_look {
        true => look(asked),
        false => Act::Lose,
    });
    let mut dispatch = stage.start().await;
    let mut ticket = dispatch.submit(request("K", ["s"])).await.unwrap();
    tokio::time::sleep(SECOND / 2).await;
    let asked_to = Instant::now();
    let stop = dispatch.stop_batch(ticket.batch.unwrap(), ann());
    let done = stop.await.unwrap();
    assert_eq!(
        done,
        Stopped {
            stopped: 0,
            finishing: 1
        }
    );
    assert_eq!(asked_to.elapsed(), Duration::ZERO, "the call does not wait");
    let mut begun = asked_to - SECOND / 2;
    if crashes {
        stage.crash(dispatch).await;
        begun = Instant::now();
        dispatch = stage.start().await;
        ticket = dispatch.submit(request("K", ["s"])).await.unwrap();
    }
    let settled = outcomes(&ticket).await.remove(0);
    (Settled::clone(&settled), begun.elapsed(), stage)
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_an_item_settles_ends_it_as_the_look_that_decides_finds_it() {
    use Outcome::{AlreadyCanceled, Canceled, InDoubt, Stopped};
    let looks: [(&str, Look, Outcome); 5] = [
        ("untouched", |asked| fox(asked, "active"), Stopped),
        ("reached", |asked| fox(asked, "cancelled"), Canceled),
        (
            "ended by itself",
            |asked| fox(asked, "expired"),
            AlreadyCanceled,
        ),
        ("no answer", |_| Act::Lose, InDoubt),
        ("a pause", pauses, InDoubt),
    ];
    for (what, look, expected) in looks {
        for crashes in [false, true] {
            let (settled, took, stage) = stopped(look, crashes).await;
            let told = format!("{what}, crashes: {crashes}: {settled:?} after {took:?}");
            assert_eq!(settled.conclusion.outcome, expected, "{told}");
            assert_eq!(stage.effects(), 1, "{told}");
            match expected {
                Stopped => {
                    let doubt = settled.doubt.as_ref().expect("it may be ours for good");
                    assert!(!doubt.may_act, "{told}");
                    assert!(took >= SETTLING, "{told}");
                }
                InDoubt => assert!(settled.doubt.as_ref().unwrap().may_act, "{told}"),
                _ => assert!(
                    took < SETTLING,
                    "what shows the goal counts at once: {told}"
                ),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_was_stopped_and_found_untouched_may_be_found_to_be_ours_later() {
    let (_, _, mut stage) = stopped(|asked| fox(asked, "active"), false).await;
    let dispatch = stage.start().await;
    // A run that cannot look leaves that as it was.
    stage.play(|_: &Asked| Act::Lose);
    let mut brief = request("K", ["s"]);
    brief.retry_window = Some(5 * SECOND);
    let ticket = dispatch.submit(brief).await.unwrap();
    let settled = outcomes(&ticket).await.remove(0);
    let outcome = settled.conclusion.outcome;
    assert_eq!(outcome, Outcome::Unavailable, "{settled:?}");
    stage.play(|asked: &Asked| fox(asked, "cancelled"));
    let ticket = dispatch.submit(request("K", ["s"])).await.unwrap();
    let settled = outcomes(&ticket).await.remove(0);
    assert_eq!(settled.conclusion.outcome, Outcome::Canceled, "{settled:?}");
    assert_eq!(stage.effects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_brings_no_look_forward() {
    let (_, _, stage) = stopped(|asked| fox(asked, "active"), false).await;
    let begun = stage.asked()[0].at;
    let asked = [
        (0.0, "cancel"),
        (1.0, "look"),
        (10.0, "look"),
        (30.0, "look"),
    ];
    assert_eq!(stage.seconds_after(begun), asked);
}
