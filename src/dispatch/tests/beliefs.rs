//! When a look is believed.

use serde_json::json;

use super::stage::{Said, Stage, lost, says, says_wait, told};
use crate::domain::outcome::Outcome;

fn described(status: &str) -> Said {
    says(200, json!({"id": "s", "status": status}))
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_the_look_and_does_not_move_belief() {
    for (status, wait) in [(429, 60), (503, 60), (502, 20)] {
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
        // A look is believed ten seconds after the answer was lost, and then the first one is.
        let back = 1 + wait;
        let expected = [(0, "cancel"), (1, "look"), (back, "look"), (back, "cancel")];
        assert_eq!(scene.asked(), expected, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_ends_before_belief_leaves_it_where_it_was() {
    let mut asked = 0;
    let scene = Stage::at_funnelfox().plays(move |_| {
        asked += 1;
        match asked {
            1 => lost(),
            2 => says_wait(429, "5", json!({"message": "wait"})),
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
        (6, "look"),
        (10, "look"),
        (10, "cancel"),
    ];
    assert_eq!(scene.asked(), expected);
}

/// The answer that pauses comes with the loss itself, or with another's request.
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
    assert_eq!(scene.asked(), expected);
}
