//! Conversations with a model of each provider that loses requests and answers, while others
//! cancel too: what is concluded has to be true of the model.

use std::sync::Arc;

use fastrand::Rng;
use serde_json::{Value, json};

use super::super::{EffectId, Mode, Step, Task, conformance, of};
use crate::domain::{
    account::ProviderId,
    command::{Command, When},
    exchange::{Exchange, Fault, FaultKind, Reply, Request, Response},
    ids::{CallerId, Key, Scope},
    outcome::{Conclusion, Outcome},
};

/// The truth about one subscription.
struct Model {
    provider: ProviderId,
    /// `running`, `ending` or `ended`.
    life: &'static str,
    /// Our requests brought it there.
    ours: bool,
    /// Revolv3's cancel type.
    timing: Value,
    /// Revolv3 may answer 404 for what is not active.
    hides: bool,
    /// A request whose answer was given up, and which is still on its way.
    late: Option<Request>,
    /// Such a request arrived after a look.
    surprised: bool,
}

impl Model {
    fn described(&self) -> (u16, Value) {
        let body = match (self.provider, self.life) {
            (ProviderId::Solidgate, "running") => json!({"status": "ACTIVE"}),
            (ProviderId::Solidgate, "ending") => {
                json!({"status": "ACTIVE", "cancellation_info": {"cancel_at": "2030-01-01T00:00:00Z"}})
            }
            (ProviderId::Solidgate, _) => json!({"status": "CANCELLED"}),
            (ProviderId::FunnelFox, "running") => json!({"status": "active", "renews": true}),
            (ProviderId::FunnelFox, "ending") => json!({"status": "cancelled", "renews": false}),
            (ProviderId::FunnelFox, _) => json!({"status": "expired", "renews": false}),
            (_, life) => {
                let word = match life {
                    "running" => "Current",
                    "ending" => "PendingCancellation",
                    _ => "Cancelled",
                };
                json!({"subscriptionStatusType": word, "subscriptionCancelType": self.timing})
            }
        };
        (200, body)
    }

    /// Takes a request, and says what it answers if the answer arrives.
    fn take(&mut self, request: &Request) -> (u16, Value) {
        let body = request.body.as_ref().map(|body| body.text.as_str());
        let body: Value = serde_json::from_str(body.unwrap_or("{}")).unwrap();
        match (request.operation.0, self.life) {
            ("look", "ended") if self.hides => (404, json!({"message": null})),
            ("look", _) => self.described(),
            ("set_timing", "running") => {
                self.timing = body["subscriptionCancelType"].clone();
                (200, json!({}))
            }
            ("cancel", "running") => {
                let at_once = body["mode"] == "NOW" || self.timing == "Immediate";
                self.life = if at_once { "ended" } else { "ending" };
                self.ours = true;
                self.described()
            }
            (_, life) => match (self.provider, life) {
                (ProviderId::Solidgate, "ending") => (
                    422,
                    json!({"code": "SCHEDULED_FOR_CANCELLATION", "message": "no"}),
                ),
                (ProviderId::Solidgate, _) => {
                    (422, json!({"code": "INCOMPATIBLE_STATUS", "message": "no"}))
                }
                (ProviderId::FunnelFox, _) => (400, json!({"message": "already canceled"})),
                _ => (404, json!({"message": null})),
            },
        }
    }
}

#[test]
fn what_is_concluded_is_true() {
    let all = [
        ProviderId::Solidgate,
        ProviderId::FunnelFox,
        ProviderId::Revolv3,
    ];
    for seed in 0..20_000 {
        let mut rng = Rng::with_seed(seed);
        let provider = all[rng.usize(..all.len())];
        let whens = match provider {
            ProviderId::Solidgate => [When::Now, When::PeriodEnd],
            ProviderId::FunnelFox => [When::ProviderDefault, When::PeriodEnd],
            _ => [
                [When::Now, When::PeriodEnd],
                [When::Now, When::ProviderDefault],
            ][rng.usize(..2)],
        };
        let when = whens[rng.usize(..2)];
        let mut model = Model {
            provider,
            life: ["running", "running", "ending", "ended"][rng.usize(..4)],
            ours: false,
            timing: match provider {
                ProviderId::Revolv3 => json!(["Immediate", "EndOfCycle"][rng.usize(..2)]),
                _ => Value::Null,
            },
            hides: provider == ProviderId::Revolv3 && rng.bool(),
            late: None,
            surprised: false,
        };
        let conclusion = converse(&mut model, when, &mut rng);
        let told = format!(
            "seed {seed}: {} at {provider:?}, {when:?}, {conclusion:?}",
            model.life
        );
        holds(&model, &conclusion, when, &told);
    }
}

fn holds(model: &Model, conclusion: &Conclusion, when: When, told: &str) {
    let confirmed = conclusion.confirmed_by_lookup;
    let at_once = when == When::Now;
    match conclusion.outcome {
        Outcome::Canceled => assert!(model.life == "ended" && (model.ours || confirmed), "{told}"),
        Outcome::Scheduled => {
            assert!(
                model.life != "running" && (model.ours || confirmed),
                "{told}"
            );
            assert!(!at_once, "{told}");
        }
        Outcome::AlreadyCanceled => assert!(model.life == "ended" && !model.ours, "{told}"),
        Outcome::AlreadyScheduled => {
            assert!(model.life != "running" && !model.ours && !at_once, "{told}");
        }
        // A request that arrives after a look has found nothing done is beyond what can be told.
        Outcome::Unavailable => assert!(!model.ours || model.surprised, "{told}"),
        Outcome::NotFound => assert!(!model.ours, "{told}"),
        Outcome::Rejected => assert!(at_once && model.life == "ending" && !model.ours, "{told}"),
        Outcome::InDoubt => {}
        Outcome::Previewed | Outcome::Stopped => panic!("{told}"),
    }
}

fn converse(model: &mut Model, when: When, rng: &mut Rng) -> Conclusion {
    let settings = match model.provider {
        ProviderId::Revolv3 => json!({"set_timing": true}),
        _ => json!({}),
    };
    let account = conformance::account(model.provider, &settings).unwrap();
    let command = json!({"account": account.name, "subscription_id": "7", "when": when});
    let command = Command::Subscription(serde_json::from_value(command).unwrap());
    let (caller, kind) = (CallerId::anonymous(), command.kind());
    let key = Key::try_from("k").unwrap();
    let effect_id = EffectId::derive(&Scope { caller, kind }, &key, &command);
    let mode = Mode::Cancel;
    let task = Task {
        account: &account,
        command: &command,
        effect_id: &effect_id,
        mode,
    };
    let mut history = Vec::new();
    loop {
        if model.life == "running" && rng.u8(..10) == 0 {
            model.life = ["ending", "ended"][rng.usize(..2)];
        }
        let request = match of(model.provider).next(&task, &history) {
            Step::Done(conclusion) => return conclusion,
            Step::Send(request) => request,
        };
        let reply = deliver(model, &request, rng);
        let operation = Some(request.operation);
        history.push(Exchange { operation, reply });
        // A crash forgets all but that something may have been sent.
        if rng.u8(..20) == 0 {
            history = vec![Exchange::recovered()];
        }
    }
}

fn deliver(model: &mut Model, request: &Request, rng: &mut Rng) -> Reply {
    let lost = |kind| Fault {
        kind,
        message: "lost".to_owned(),
    };
    let answered =
        |status, body: String| Reply::Answered(Arc::new(Response::new(status, Vec::new(), body)));
    if let Some(late) = model.late.take_if(|_| rng.bool()) {
        let before = model.ours;
        let _ = model.take(&late);
        model.surprised |= model.ours && !before;
    }
    match rng.u8(..13) {
        0 => Reply::NotSent(lost(FaultKind::Connect)),
        1 => answered(429, String::new()),
        2 => Reply::InDoubt(lost(FaultKind::Timeout)),
        3 => answered(503, "before the effect".to_owned()),
        4 => {
            model.late = Some(request.clone());
            Reply::InDoubt(lost(FaultKind::Timeout))
        }
        fate => {
            let (status, body) = model.take(request);
            match fate {
                5 => Reply::InDoubt(lost(FaultKind::Broken)),
                6 => answered(502, "after the effect".to_owned()),
                7 => answered(200, body.to_string().chars().take(9).collect()),
                _ => answered(status, body.to_string()),
            }
        }
    }
}
