//! The engine as Sequenzy sees it: when requests are sent and retried, which lookups are believed,
//! and what a crash or another run keeps.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use serde_json::{Value, json};

use super::model::Model;
use crate::{
    domain::{
        account::ProviderId,
        command::Command,
        doubt::{Doubt, Moment},
        http_exchange::{
            Class, Exchange, Fault, FaultKind, Pace, Reply, Request, Response, Safety, Seen,
        },
        ids::{CallerId, Key, Scope},
        outcome::Conclusion,
    },
    providers::{EffectId, Facts, Mode, Provider, Step, Task, conformance, sequenzy::Sequenzy},
};

/// The account's `settling_ms`.
const SETTLING_MS: u64 = 30_000;

/// One key, over all its runs.
pub(super) struct Engine {
    /// When a lookup is believed, if a request may have acted.
    believed_at: Option<u64>,
    /// A believed, readable lookup has come since.
    believed: bool,
    looks: u32,
}

impl Engine {
    pub(super) fn new() -> Self {
        Self {
            believed_at: None,
            believed: false,
            looks: 0,
        }
    }

    fn doubt(&self) -> Option<Doubt> {
        self.believed_at.map(|_| Doubt {
            earliest: None,
            latest: Moment::wall("2026-11-21T08:00:00Z".parse().unwrap()),
            settle_ms: None,
            may_act: !self.believed,
            accepted: false,
            looks: self.looks,
            place: None,
            place_answered: true,
        })
    }

    /// One run, from the caller's request to the outcome.
    pub(super) fn run(&mut self, model: &mut Model, target: &Value, rng: &mut Rng) -> Conclusion {
        let account = conformance::account(ProviderId::Sequenzy, &Value::Null).unwrap();
        let command = json!({"enrollments": {"account": account.name, "sequence_id": "seq_1",
            "target": target}});
        let command: Command = serde_json::from_value(command).unwrap();
        let (caller, kind) = (CallerId::anonymous(), command.kind());
        let key = Key::try_from("k").unwrap();
        let effect_id = EffectId::derive(&Scope { caller, kind }, &key, &command);
        let window_ends = model.now + rng.u64(0..60_000);
        let doubt = self.doubt();
        let mut history = self.recovered();
        let mut unseen = false;
        loop {
            let task = Task {
                account: &account,
                command: &command,
                effect_id: &effect_id,
                mode: Mode::Cancel,
                doubt: doubt.as_ref(),
                facts: Facts {
                    answered: true,
                    ..Facts::default()
                },
            };
            let request = match Sequenzy.next(&task, &history) {
                Step::Done(conclusion) => return conclusion,
                Step::Send(request) => request,
            };
            self.wait(model, request.pace, rng);
            if rng.u8(..25) == 0 {
                let _ = model.cancel(1);
            }
            let is_look = request.safety == Safety::Look;
            let believed = self.believed_at.is_none_or(|at| at <= model.now);
            let too_late = !is_look && model.now > window_ends;
            let reply = match too_late {
                true => Reply::NotSent(fault(FaultKind::WindowEnded)),
                false => deliver(model, &request, rng),
            };
            let exchange = Exchange {
                operation: Some(request.operation),
                class: Sequenzy.classify(&task, &request, &reply),
                reply,
                seen: Seen {
                    believed: believed && is_look,
                    at: Some(model.wall()),
                    since_earliest: Some(Duration::from_millis(model.now)),
                },
            };
            let is_tried_again = matches!(
                exchange.class,
                Class::Throttled | Class::Unsent | Class::Foreign | Class::Lost
            );
            if !is_look && exchange.class == Class::Lost {
                self.lost(model);
                unseen = true;
            }
            let ends = match is_look {
                true => window_ends.max(self.believed_at.unwrap_or(0)),
                false => window_ends,
            };
            if is_tried_again && !too_late && model.now <= ends {
                model.wait_until(model.now + 1_000);
                continue;
            }
            let is_read = matches!(exchange.class, Class::Accepted | Class::Refused);
            if exchange.seen.believed && is_read {
                self.believed = true;
                self.looks += u32::from(self.believed_at.is_some());
            }
            if !is_look && std::mem::take(&mut unseen) && exchange.class != Class::Lost {
                history.push(Exchange {
                    class: Class::Lost,
                    reply: Reply::InDoubt(fault(FaultKind::Timeout)),
                    ..exchange.clone()
                });
            }
            history.push(exchange);
        }
    }

    fn recovered(&self) -> Vec<Exchange> {
        match self.believed_at {
            Some(_) if !self.believed => vec![Exchange::recovered()],
            _ => Vec::new(),
        }
    }

    fn lost(&mut self, model: &Model) {
        self.believed_at = Some(model.now + SETTLING_MS);
        (self.believed, self.looks) = (false, 0);
    }

    fn wait(&self, model: &mut Model, pace: Pace, rng: &mut Rng) {
        let now = model.now;
        let then = match pace {
            Pace::AtOnce => now + rng.u64(1..50),
            Pace::After(wait) => now + u64::try_from(wait.as_millis()).unwrap(),
            Pace::Settle => match self.believed_at {
                Some(at) if at > now => {
                    [at, at.min(now + 1_000), at.min(now + 10_000)][rng.usize(..3)]
                }
                _ => now + SETTLING_MS,
            },
        };
        model.wait_until(then);
    }
}

/// The result of a request. A lost or late request acts before a lookup is believed.
fn deliver(model: &mut Model, request: &Request, rng: &mut Rng) -> Reply {
    let effect = request.safety != Safety::Look;
    let date = jiff::fmt::rfc2822::to_string(&model.clock().to_zoned(jiff::tz::TimeZone::UTC));
    let headers = vec![("date".to_owned(), date.unwrap())];
    let answered = |status, body: String| {
        Reply::Answered(Arc::new(Response::new(status, headers.clone(), body)))
    };
    let acts_at = model.now + rng.u64(0..SETTLING_MS - 6_000);
    match rng.u8(..18) {
        0 => Reply::NotSent(fault(FaultKind::Connect)),
        1 => answered(429, String::new()),
        2 => answered(503, "before the effect".to_owned()),
        3 => {
            model
                .late
                .extend(effect.then(|| (acts_at, request.clone())));
            answered(504, "<html>".to_owned())
        }
        4 => answered(401, json!({"error": "Invalid API key"}).to_string()),
        5 => answered(403, "<html>blocked".to_owned()),
        6 if effect => answered(409, json!({"error": "Busy"}).to_string()),
        7 if effect => answered(400, json!({"error": "No"}).to_string()),
        8 if effect => answered(200, json!({"success": "false", "error": "No"}).to_string()),
        fate => {
            let body = model.take(request);
            match fate {
                9 => Reply::InDoubt(fault(FaultKind::Broken)),
                10 => answered(502, "after the effect".to_owned()),
                11 => answered(200, body.to_string().chars().take(9).collect()),
                12 => answered(200, json!({"success": true}).to_string()),
                _ => answered(200, body.to_string()),
            }
        }
    }
}

fn fault(kind: FaultKind) -> Fault {
    let message = "lost".to_owned();
    Fault { kind, message }
}
