//! A provider that reports another operation in progress.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    domain::outcome::Outcome,
    engine::tests::support::{
        bench::{items, submission},
        scene::told,
        script::{Act, lost, says, says_wait},
        stage::{Second, Stage},
    },
};

/// An account, a reply that shows the subscription active, and a reply that says busy.
type Provider = (fn() -> Stage, fn(&str) -> Act, Value);

fn providers() -> [Provider; 2] {
    let fox = |_: &str| says(200, json!({"id": "s", "status": "active"}));
    let rebilly = |operation: &str| match operation {
        "look" => says(200, json!({"id": "s", "status": "active"})),
        _ => says(404, json!({"status": 404, "title": "No", "detail": "none"})),
    };
    [
        (Stage::at_funnelfox, fox, json!({"message": "in progress"})),
        (
            Stage::at_rebilly,
            rebilly,
            json!({"status": 409, "title": "No", "detail": "in progress"}),
        ),
    ]
}

/// The first try, then a lookup and a try at each of these seconds.
fn tries(at: &[u64]) -> Vec<Second> {
    let again = at.iter().flat_map(|at| [(*at, "look"), (*at, "cancel")]);
    [(0, "cancel")].into_iter().chain(again).collect()
}

#[tokio::test(start_paused = true)]
async fn five_tries_follow_the_first_with_a_look_before_each_and_no_sixth_pause() {
    for (stage, goes_on, busy) in providers() {
        let scene = stage().plays(move |asked| match asked.operation.0 {
            "cancel" => says(409, busy.clone()),
            other => goes_on(other),
        });
        let scene = scene.await;

        let settled = scene.cancels("K", "s").await;

        assert_eq!(told(&settled), (Outcome::Rejected, "PROVIDER_REFUSED"));
        // After 1, 2, 4, 8 and 16 seconds; the lookup after the last try goes at once.
        let mut expected = tries(&[1, 3, 7, 15, 31]);
        expected.push((31, "look"));
        assert_eq!(scene.seconds(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_provider_asks_for_replaces_the_growing_ones() {
    for (stage, goes_on, busy) in providers() {
        let scene = stage().plays(move |asked| match asked.operation.0 {
            "cancel" => says_wait(423, "7", in_form(423, &busy)),
            other => goes_on(other),
        });
        let scene = scene.await;

        let settled = scene.cancels("K", "s").await;

        assert_eq!(told(&settled), (Outcome::Rejected, "PROVIDER_REFUSED"));
        let mut expected = tries(&[7, 14, 21, 28, 35]);
        expected.push((35, "look"));
        assert_eq!(scene.seconds(), expected);
    }
}

/// The body with this status, if it has a status.
fn in_form(status: u16, body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(of_body) = body.get_mut("status") {
        *of_body = status.into();
    }
    body
}

#[tokio::test(start_paused = true)]
async fn what_the_look_before_a_try_finds_done_is_not_tried_again() {
    let mut looks = 0;
    let scene = Stage::at_funnelfox().plays(move |asked| match asked.operation.0 {
        "cancel" => says(409, json!({"message": "in progress"})),
        _ => {
            looks += 1;
            let status = ["active", "cancelled"][usize::from(looks > 1)];
            says(200, json!({"id": "s", "status": status}))
        }
    });
    let scene = scene.await;

    let settled = scene.cancels("K", "s").await;

    assert_eq!(told(&settled), (Outcome::AlreadyCanceled, ""));
    let expected = [(0, "cancel"), (1, "look"), (1, "cancel"), (3, "look")];
    assert_eq!(scene.seconds(), expected);
}

/// The first reply is lost; every other cancel is answered as in progress.
fn lost_then_busy(goes_on: fn(&str) -> Act, busy: Value) -> impl FnMut(&str) -> Act {
    let mut is_first = true;
    move |operation| match operation {
        "cancel" if std::mem::take(&mut is_first) => lost(),
        "cancel" => says(409, busy.clone()),
        other => goes_on(other),
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_lost_request_may_act_no_try_goes_out_and_the_next_is_at_belief() {
    let [(fox, goes_on, busy), (rebilly, own_goes_on, own_busy)] = providers();
    let mut play = lost_then_busy(goes_on, busy);
    let scene = fox().plays(move |asked| play(asked.operation.0)).await;

    let settled = scene.cancels("K", "s").await;

    assert_eq!(told(&settled), (Outcome::Rejected, "PROVIDER_REFUSED"));
    let tries: Vec<_> = effects(&scene.seconds());
    // Each try may be why the next one is refused, so each gets its settling time. Then the refusal
    // is believed.
    assert_eq!(tries, [0, 30, 60]);
    let last = scene.seconds().pop();
    assert_eq!(last, Some((90, "look")));

    // At Rebilly a second request under our own id does no harm, so it goes at once. Later ones
    // wait.
    let mut play = lost_then_busy(own_goes_on, own_busy);
    let scene = rebilly().plays(move |asked| play(asked.operation.0));
    let scene = scene.await;
    let settled = scene.cancels("K", "s").await;
    assert_eq!(told(&settled), (Outcome::Rejected, "PROVIDER_REFUSED"));
    let tries: Vec<_> = effects(&scene.seconds());
    assert_eq!(tries.get(..3), Some(&[0, 0, 30][..]), "{tries:?}");
}

/// The seconds at which requests with an effect were sent.
fn effects(asked: &[Second]) -> Vec<u64> {
    let effects = asked.iter().filter(|(_, operation)| *operation == "cancel");
    effects.map(|(at, _)| *at).collect()
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_busy_is_there() {
    // Many such replies do not open the breaker.
    let scene = Stage::at_funnelfox().plays(|asked| match asked.operation.0 {
        "cancel" => says(409, json!({"message": "in progress"})),
        _ => says(200, json!({"status": "active"})),
    });
    let scene = scene.await;
    let _ticket = scene.opens(submission("K", items("s", 16))).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    let mut standings = scene.engine.account_standings();
    assert!(!standings.next().unwrap().gate.is_away);
}
