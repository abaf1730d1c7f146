//! How items in doubt end: their windows end, and their batches are stopped.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    domain::{
        account::{FunnelFoxEnd, ProviderSettings},
        command::{Command, When},
        outcome::{FailureReason, Outcome, Settled},
    },
    engine::{
        Stopped, Submission,
        tests::support::{
            bench::{item, submission},
            scene::{Scene, outcomes, request, within},
            script::{Act, Asked, fox, lost, obeys, says, says_wait, says_with},
            stage::{SECOND, SETTLING, Stage, TIMEOUT, epoch},
        },
    },
};

/// How lookups are answered.
type Look = fn(&Asked) -> Act;

fn reason(settled: &Settled) -> Option<FailureReason> {
    let failure = settled.conclusion.failure.as_ref();
    failure.map(|failure| failure.reason)
}

/// The first request is lost, and lookups are answered like this.
fn loses_first(look: Look) -> impl FnMut(&Asked) -> Act + Send {
    let mut is_first = true;
    move |asked| match asked.is_look {
        true => look(asked),
        false if std::mem::take(&mut is_first) => lost(),
        false => obeys(asked),
    }
}

/// The first request is lost, in a window of this many seconds. Returns the outcome and its time.
async fn ended(window: u32, look: Look) -> (Arc<Settled>, Duration) {
    let scene = Stage::at_funnelfox().plays(loses_first(look)).await;
    let begun = Instant::now();
    let settled = scene.outcome(within(window * SECOND, request("K", ["s"])));
    (settled.await, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_effects_and_not_the_look_that_decides() {
    use Outcome::{Canceled, InDoubt, Unavailable};
    let looks: [(&str, Look, Outcome); 4] = [
        ("reached", |asked| fox(asked, "cancelled"), Canceled),
        ("untouched", |asked| fox(asked, "active"), Unavailable),
        ("no answer", |_| lost(), InDoubt),
        ("an error", |_| says(500, json!({})), InDoubt),
    ];
    for (what, look, expected) in looks {
        let (settled, took) = ended(5, look).await;
        let outcome = settled.conclusion.outcome;
        assert_eq!(outcome, expected, "{what}: {settled:?}");
        // A lookup that shows the goal reached counts at once.
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

/// Every lookup is answered with a pause of an hour.
fn pauses(_: &Asked) -> Act {
    says_wait(429, "3600", json!({"message": "no"}))
}

#[tokio::test(start_paused = true)]
async fn a_look_that_the_account_holds_is_waited_for_a_timeout_longer_than_window_and_belief() {
    // A lookup is believed after 30 s, and the timeout is 10 s.
    for (window, gives_up) in [(5, 40), (29, 40), (60, 70)] {
        let (settled, took) = ended(window, pauses).await;
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
    let mut stage = Stage::at_funnelfox();
    (stage.rate, stage.burst) = (1.0 / 25.0, 1);
    let scene = stage.plays(loses_first(obeys)).await;
    let brief = within(5 * SECOND, request("K", ["s"]));
    let begun = Instant::now();
    let ticket = scene.opens(brief).await;
    let others = request("L", (0..9).map(|n| format!("s{n}")));
    let _others = scene.opens(others).await;

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
    assert_eq!(scene.looks(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_finds_its_provider_away_is_waited_for_as_long() {
    let scene = Stage::at_funnelfox().plays(|_| lost()).await;
    let brief = within(5 * SECOND, request("K", (0..40).map(|n| format!("s{n}"))));

    let ticket = scene.opens(brief).await;
    let settled = outcomes(&ticket).await;

    let asked = scene.asked();
    let mut held_up = 0;
    for (n, settled) in settled.iter().enumerate() {
        // Items that were never sent end with their window.
        let Some(doubt) = &settled.doubt else {
            continue;
        };
        let told = format!("s{n}: {settled:?}");
        assert_eq!(settled.conclusion.outcome, Outcome::InDoubt, "{told}");
        let believed_at = scene.instant(doubt.latest.at) + SETTLING;
        let ends = believed_at + TIMEOUT..believed_at + TIMEOUT + 3 * SECOND;
        let decides = |asked: &&Asked| asked.id == format!("s{n}") && asked.at >= believed_at;
        if asked.iter().find(decides).is_none() {
            held_up += 1;
            let at = scene.instant(settled.settled_at);
            assert!(ends.contains(&at), "{told}");
        }
    }
    assert!(held_up > 10, "only {held_up} were held up");
}

/// The subscription ends `seconds` after the test began, as was asked for.
fn ends_later(asked: &Asked, seconds: i64) -> Act {
    let asked_for = epoch() + SignedDuration::from_secs(seconds);
    let body = json!({
        "id": asked.id,
        "status": "cancelled",
        "renews": false,
        "cancelled_at": asked_for.to_string(),
        "period_ends_at": (epoch() + SignedDuration::from_hours(240)).to_string(),
    });
    let date = epoch() + SignedDuration::from_secs(2);
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    says_with(200, &[("date", &date)], body)
}

/// A request to end a subscription at this time.
fn to_end(when: When) -> Submission {
    let mut item = item("s");
    if let Command::Subscription(command) = Arc::make_mut(&mut item.command) {
        command.when = when;
    }
    submission("K", vec![item])
}

/// A batch of one item is stopped half a second after its reply was lost; with `crashes` the
/// process is killed right after. Returns the outcome and its time.
async fn stopped(look: Look, crashes: bool) -> (Arc<Settled>, Duration, Scene) {
    stopped_with(When::Now, look, crashes).await
}

async fn stopped_with(when: When, look: Look, crashes: bool) -> (Arc<Settled>, Duration, Scene) {
    let cancel_ends = match when {
        When::PeriodEnd => FunnelFoxEnd::PeriodEnd,
        _ => FunnelFoxEnd::Now,
    };
    let stage = Stage::at(ProviderSettings::FunnelFox { cancel_ends });
    let scene = stage.plays(move |asked| match asked.is_look {
        true => look(asked),
        false => lost(),
    });
    let mut scene = scene.await;
    let mut begun = Instant::now();
    let mut ticket = scene.opens(to_end(when)).await;
    tokio::time::sleep(SECOND / 2).await;
    let asked_to = Instant::now();
    let caller: crate::domain::ids::CallerId = "ann".try_into().unwrap();
    let stop = scene.engine.stop_batch(ticket.batch.unwrap(), caller);
    let done = stop.await.unwrap();
    assert_eq!(
        done,
        Stopped {
            stopped: 0,
            finishing: 1
        }
    );
    assert_eq!(asked_to.elapsed(), Duration::ZERO, "the call does not wait");
    if crashes {
        scene = scene.dies().await.starts().await;
        begun = Instant::now();
        ticket = scene.opens(to_end(when)).await;
    }
    let settled = outcomes(&ticket).await.remove(0);
    (settled, begun.elapsed(), scene)
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_an_item_settles_ends_it_as_the_look_that_decides_finds_it() {
    use Outcome::{AlreadyCanceled, AlreadyScheduled, Canceled, InDoubt, Scheduled, Stopped};
    use When::{Now, PeriodEnd};
    let looks: [(&str, When, Look, Outcome); 10] = [
        ("untouched", Now, |asked| fox(asked, "active"), Stopped),
        ("reached", Now, |asked| fox(asked, "cancelled"), Canceled),
        (
            "ended by itself",
            Now,
            |asked| fox(asked, "expired"),
            AlreadyCanceled,
        ),
        ("no answer", Now, |_| lost(), InDoubt),
        ("a pause", Now, pauses, InDoubt),
        (
            "untouched",
            PeriodEnd,
            |asked| fox(asked, "active"),
            Stopped,
        ),
        (
            "reached",
            PeriodEnd,
            |asked| ends_later(asked, 1),
            Scheduled,
        ),
        (
            "asked for by others before",
            PeriodEnd,
            |asked| ends_later(asked, -86_400),
            AlreadyScheduled,
        ),
        (
            "ended by itself",
            PeriodEnd,
            |asked| fox(asked, "expired"),
            AlreadyCanceled,
        ),
        ("no answer", PeriodEnd, |_| lost(), InDoubt),
    ];
    for (what, when, look, expected) in looks {
        for crashes in [false, true] {
            let (settled, took, scene) = stopped_with(when, look, crashes).await;
            let told = format!("{what}, crashes: {crashes}: {settled:?} after {took:?}");
            assert_eq!(settled.conclusion.outcome, expected, "{told}");
            assert_eq!(scene.effects(), 1, "{told}");
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
    let (_, _, scene) = stopped(|asked| fox(asked, "active"), false).await;
    // A run whose lookups fail leaves the doubt as it was.
    let scene = scene.stops().await.plays(|_| lost()).await;
    let settled = scene.outcome(within(5 * SECOND, request("K", ["s"])));
    let settled = settled.await;
    let outcome = settled.conclusion.outcome;
    assert_eq!(outcome, Outcome::Unavailable, "{settled:?}");
    scene.play(|asked| fox(asked, "cancelled"));
    let settled = scene.cancels("K", "s").await;
    assert_eq!(settled.conclusion.outcome, Outcome::Canceled, "{settled:?}");
    assert_eq!(scene.effects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_brings_no_look_forward() {
    let (_, _, scene) = stopped(|asked| fox(asked, "active"), false).await;
    let begun = scene.asked()[0].at;
    let asked = [
        (0.0, "cancel"),
        (1.0, "look"),
        (10.0, "look"),
        (30.0, "look"),
    ];
    assert_eq!(scene.seconds_after(begun), asked);
}
