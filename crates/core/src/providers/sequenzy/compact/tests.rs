//! A drain with compacted replies takes the same steps to the same outcome as with whole ones.

use std::sync::Arc;

use fastrand::Rng;
use serde_json::{Value, json};

use super::compact;
use crate::{
    domain::{
        account::{Account, ProviderId},
        command::Command,
        http_exchange::{Exchange, Fault, FaultKind, Reply, Response, Seen},
        ids::{CallerId, Key, Scope},
    },
    limits,
    providers::{EffectId, Facts, Mode, Provider, Step, Task, conformance, sequenzy::Sequenzy},
};

struct Item {
    account: Account,
    command: Command,
    effect_id: EffectId,
}

impl Item {
    fn new(bound: bool) -> Self {
        let account = conformance::account(ProviderId::Sequenzy, &Value::Null).unwrap();
        let mut command = json!({"enrollments": {
            "account": account.name, "sequence_id": "seq_1", "target": "all",
        }});
        if bound {
            command["enrollments"]["matches_max"] = json!(1_000_000);
        }
        let command: Command = serde_json::from_value(command).unwrap();
        let scope = Scope {
            caller: CallerId::anonymous(),
            kind: command.kind(),
        };
        let effect_id = EffectId::derive(&scope, &Key::try_from("k").unwrap(), &command);
        Self {
            account,
            command,
            effect_id,
        }
    }

    fn task(&self) -> Task<'_> {
        Task {
            account: &self.account,
            command: &self.command,
            effect_id: &self.effect_id,
            mode: Mode::Cancel,
            doubt: None,
            facts: Facts {
                answered: true,
                ..Facts::default()
            },
        }
    }

    /// The next step, and the progress so far.
    fn stands(&self, history: &[Exchange]) -> (Step, String) {
        let progress = Sequenzy.progress(&self.task(), history);
        (
            Sequenzy.next(&self.task(), history),
            format!("{progress:?}"),
        )
    }
}

fn rows(rng: &mut Rng, many: usize) -> Value {
    let row = |_| {
        json!({
            "tokenId": format!("tok_{}", rng.u32(..1_500)),
            "subscriberId": "sub_1",
            "subscriberEmail": "x".repeat(if rng.u8(..9) == 0 { 2_000 } else { 10 }),
            "status": "cancelled",
            "extra": "y".repeat(30),
        })
    };
    (0..many).map(row).collect()
}

fn reply(rng: &mut Rng) -> Reply {
    let header = ("x-filler".to_owned(), "z".repeat(rng.usize(..900)));
    let answered =
        |status, text: String| Reply::Answered(Arc::new(Response::new(status, vec![header], text)));
    let long = "w".repeat(rng.usize(..1_500));
    match rng.u8(..12) {
        0 => Reply::InDoubt(Fault {
            kind: FaultKind::Timeout,
            message: "no answer in time".to_owned(),
        }),
        1 => answered(503, format!("<html>{long}")),
        2 => answered(
            500,
            json!({"error": long, "details": {"a": "b"}}).to_string(),
        ),
        3 => answered(200, json!({"success": true, "filler": long}).to_string()),
        4 => answered(
            422,
            json!({"success": false, "code": "C", "error": long}).to_string(),
        ),
        _ => {
            let unknown: Vec<_> = (0..rng.u32(..3)).map(|i| format!("sub_{i}")).collect();
            let many = rng.usize(..60);
            let body = json!({
                "success": true, "matchedCount": rng.u32(..5_000), "cancelledCount": 1_000,
                "remainingCount": 2_000, "hasMore": rng.bool(), "enrollments": rows(rng, many),
                "target": {"notFoundSubscriberIds": unknown}, "message": long,
            });
            answered(200, body.to_string())
        }
    }
}

/// The exchange of a step with this reply.
fn exchange(item: &Item, step: &Step, reply: Reply) -> Option<Exchange> {
    let Step::Send(request) = step else {
        return None;
    };
    let reply = match (&reply, request.operation.0) {
        (Reply::Answered(response), "count") if response.json.is_some() => {
            let mut body = response.json.clone().unwrap();
            if body.get("cancelledCount").is_some() {
                body["cancelledCount"] = json!(0);
            }
            let headers = response.headers.clone();
            Reply::Answered(Arc::new(Response::new(
                response.status,
                headers,
                body.to_string(),
            )))
        }
        _ => reply,
    };
    Some(Exchange {
        operation: Some(request.operation),
        class: Sequenzy.classify(&item.task(), request, &reply),
        reply,
        seen: Seen {
            believed: request.operation.0 == "count",
            ..Seen::default()
        },
    })
}

#[test]
fn a_drain_goes_on_and_tells_as_with_all_its_answers() {
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let item = Item::new(rng.bool());
        let (mut whole, mut small) = (Vec::new(), Vec::new());
        loop {
            let stands = item.stands(&whole);
            assert_eq!(item.stands(&small), stands, "seed {seed}");
            let Some(exchange) = exchange(&item, &stands.0, reply(&mut rng)) else {
                break;
            };
            if whole.len() > 40 {
                break;
            }
            whole.push(exchange.clone());
            small.push(exchange);
            compact(&mut small);
        }
    }
}

#[test]
fn a_thousand_answers_of_a_megabyte_are_small() {
    let item = Item::new(false);
    let mut rng = Rng::with_seed(7);
    let step = Sequenzy.next(&item.task(), &[]);
    let mut history = Vec::new();
    for call in 0..limits::EXCHANGES_MAX {
        let body = json!({
            "success": true, "matchedCount": 1_000_000, "cancelledCount": 1_000,
            "remainingCount": 999_000, "enrollments": rows(&mut rng, 20),
            "message": "m".repeat(limits::REPLY_BYTES_MAX / 40),
        });
        let headers = vec![("x-filler".to_owned(), "z".repeat(10_000))];
        let reply = Response::new(200, headers, body.to_string());
        let exchange = exchange(&item, &step, Reply::Answered(Arc::new(reply)));
        history.push(exchange.unwrap());
        if call % 50 == 49 {
            compact(&mut history);
        }
    }
    let bytes: usize = history.iter().map(Exchange::bytes).sum();
    assert!(bytes < 4 * 1024 * 1024, "{bytes} bytes");
}
