//! When a lookup is believed.

use std::time::Duration;

use serde_json::json;

use crate::{
    domain::outcome::Outcome,
    engine::tests::support::{
        scene::told,
        script::{Act, late, lost, says, says_wait},
        stage::Stage,
    },
};

fn described(status: &str) -> Act {
    says(200, json!({"id": "s", "status": status}))
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_the_look_and_does_not_move_belief() {
    for (status, wait) in [(429, 60), (503, 60), (502, 40)] {
        let mut asked = 0;
        let scene = Stage::at_funnelfox().plays(move |_| {
            asked += 1;
            match asked {
                1 => lost(),
                2 => says_wait(status, &wait.to_string(), json!({"message": "wait"})),
                3 => described("active"),
                _ => described("cancelled"),
            }
        });
        let scene = scene.await;

        let settled = scene.cancels("K", "s").await;

        assert_eq!(told(&settled), (Outcome::Canceled, ""), "{settled:?}");
        // A lookup is believed 30 s after the reply was lost, or with the first request after the
        // pause.
        let back = 1 + wait;
        let expected = [(0, "cancel"), (1, "look"), (back, "look"), (back, "cancel")];
        assert_eq!(scene.seconds(), expected, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_ends_before_belief_leaves_it_where_it_was() {
    let mut asked = 0;
    let scene = Stage::at_funnelfox().plays(move |_| {
        asked += 1;
        match asked {
            1 => lost(),
            2 => says_wait(429, "15", json!({"message": "wait"})),
            3 | 4 => described("active"),
            _ => described("cancelled"),
        }
    });
    let scene = scene.await;

    let settled = scene.cancels("K", "s").await;

    assert_eq!(told(&settled), (Outcome::Canceled, ""), "{settled:?}");
    let expected = [
        (0, "cancel"),
        (1, "look"),
        (16, "look"),
        (30, "look"),
        (30, "cancel"),
    ];
    assert_eq!(scene.seconds(), expected);
}

/// The lost reply itself asks for the pause.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_that_asks_for_a_pause_is_believed_when_that_is_over() {
    let mut asked = 0;
    let scene = Stage::at_funnelfox().plays(move |_| {
        asked += 1;
        match asked {
            1 => says_wait(503, "90", json!({"message": "maintenance"})),
            2 => described("active"),
            _ => described("cancelled"),
        }
    });
    let scene = scene.await;

    let settled = scene.cancels("K", "s").await;

    assert_eq!(told(&settled), (Outcome::Canceled, ""), "{settled:?}");
    let expected = [(0, "cancel"), (90, "look"), (90, "cancel")];
    assert_eq!(scene.seconds(), expected);
}

/// Asserts after how many seconds a cancel is sent again if its reply is lost after `lost_after`
/// seconds, with this `timeout_ms` and `settling_ms`.
async fn check_belief(timeout: u64, settling: u64, lost_after: u64, believed: u64) {
    let mut stage = Stage::at_funnelfox();
    stage.times = (Duration::from_secs(timeout), Duration::from_secs(settling));
    let mut sent = 0;
    let scene = stage.plays(move |asked| match asked.operation.0 {
        "look" => described("active"),
        _ => {
            sent += 1;
            match sent {
                1 => late(Duration::from_secs(lost_after), lost()),
                _ => described("cancelled"),
            }
        }
    });
    let scene = scene.await;

    let settled = scene.cancels("K", "s").await;

    assert_eq!(told(&settled), (Outcome::Canceled, ""), "{settled:?}");
    let asked = scene.seconds();
    let expected = [(believed, "look"), (believed, "cancel")];
    assert!(asked.ends_with(&expected), "{asked:?}");
    let sent = asked.iter().filter(|(_, operation)| *operation == "cancel");
    assert_eq!(sent.count(), 2, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_look_is_believed_a_timeout_after_sending_and_a_settling_time_after_the_loss() {
    check_belief(5, 10, 0, 10).await;
    check_belief(5, 10, 3, 13).await;
    // No reply: given up after the account's own timeout.
    check_belief(5, 10, 3_600, 15).await;
    check_belief(20, 1, 0, 20).await;
    check_belief(20, 1, 3, 20).await;
    check_belief(20, 1, 3_600, 21).await;
}
