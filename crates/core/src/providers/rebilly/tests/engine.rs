//! The engine as Rebilly sees it: when requests are sent and retried, which lookups are believed,
//! and what a crash or another run keeps.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use serde_json::{Value, json};

use super::model::Model;
use crate::{
    domain::{
        account::ProviderId,
        command::{Command, When},
        doubt::{Doubt, Moment},
        http_exchange::{
            Class, Exchange, Fault, FaultKind, Pace, Reply, Request, Response, Safety, Seen,
        },
        ids::{CallerId, Key, Scope},
        outcome::Conclusion,
    },
    providers::{EffectId, Facts, Mode, Provider, Step, Task, conformance, rebilly::Rebilly},
};

/// The account's `settling_ms`.
const SETTLING_MS: u64 = 30_000;

/// One key, over all its runs.
pub(super) struct Engine {
    /// When a lookup is believed, if a request may have acted.
    believed_at: Option<u64>,
    /// A believed, readable lookup has come since.
    believed: bool,
    accepted: bool,
    looks: u32,
    /// A lookup has shown that our cancellation was revoked.
    revoked: bool,
}

impl Engine {
    pub(super) fn new() -> Self {
        Self {
            believed_at: None,
            believed: false,
            accepted: false,
            looks: 0,
            revoked: false,
        }
    }

    fn doubt(&self) -> Option<Doubt> {
        self.believed_at.map(|_| Doubt {
            earliest: None,
            latest: Moment::wall("2026-11-21T08:00:00Z".parse().unwrap()),
            settle_ms: None,
            may_act: !self.believed,
            accepted: self.accepted,
            looks: self.looks,
            place: None,
            place_answered: true,
        })
    }

    /// One run, from the caller's request to the outcome.
    pub(super) fn run(&mut self, model: &mut Model, when: When, rng: &mut Rng) -> Conclusion {
        let account = conformance::account(ProviderId::Rebilly, &Value::Null).unwrap();
        let command = json!({"account": account.name, "subscription_id": "7", "when": when});
        let command = Command::Subscription(serde_json::from_value(command).unwrap());
        let (caller, kind) = (CallerId::anonymous(), command.kind());
        let key = Key::try_from("k").unwrap();
        let effect_id = EffectId::derive(&Scope { caller, kind }, &key, &command);
        let window_ends = model.now + rng.u64(0..120_000);
        let mut doubt = self.doubt();
        let mut history = self.recovered();
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
            let request = match Rebilly.next(&task, &history) {
                Step::Done(conclusion) => return conclusion,
                Step::Send(request) => request,
            };
            self.wait(model, request.pace, rng);
            if rng.u8(..25) == 0 {
                model.is_used_by_others(rng);
            }
            let believed = self.believed_at.is_none_or(|at| at <= model.now);
            let too_late = request.safety != Safety::Look && model.now > window_ends;
            let reply = match too_late {
                true => Reply::NotSent(fault(FaultKind::WindowEnded)),
                false => self.deliver(model, &request, rng),
            };
            let class = Rebilly.classify(&task, &request, &reply);
            let exchange = Exchange {
                operation: Some(request.operation),
                reply,
                class,
                seen: Seen {
                    believed: believed && request.safety == Safety::Look,
                    at: Some(model.wall()),
                    since_earliest: Some(Duration::from_millis(model.now)),
                },
            };
            // After a crash it is only known that something may have been sent.
            if rng.u8(..25) == 0 {
                self.lost(model);
                doubt = self.doubt();
                history = self.recovered();
                continue;
            }
            let is_tried_again = match class {
                Class::Throttled | Class::Unsent | Class::Foreign => true,
                Class::Lost => request.safety == Safety::Look,
                _ => false,
            };
            let ends = window_ends.max(self.believed_at.unwrap_or(0));
            if is_tried_again && !too_late && model.now <= ends {
                model.wait_until(model.now + 1_000);
                continue;
            }
            self.note(model, &request, &exchange);
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

    /// Keeps what outlives a run.
    fn note(&mut self, model: &Model, request: &Request, exchange: &Exchange) {
        let is_empty = |reply: &Reply| match reply {
            Reply::Answered(response) => response.text.is_empty(),
            _ => false,
        };
        let is_accepted = exchange.class == Class::Accepted && is_empty(&exchange.reply);
        if request.safety == Safety::Once && (exchange.class == Class::Lost || is_accepted) {
            self.lost(model);
            self.accepted |= is_accepted;
        }
        if let Reply::Answered(response) = &exchange.reply {
            self.revoked |= exchange.class == Class::Accepted && response.text.contains("revoked");
        }
        let is_read = matches!(exchange.class, Class::Accepted | Class::Refused);
        if request.safety == Safety::Look && exchange.seen.believed && is_read {
            self.believed = true;
            self.looks += u32::from(self.believed_at.is_some() && request.operation.0 == "look");
        }
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

    /// The result of a request. A lost or late request acts before a lookup is believed.
    fn deliver(&self, model: &mut Model, request: &Request, rng: &mut Rng) -> Reply {
        let effect = request.safety == Safety::Once;
        assert!(!effect || !self.accepted, "what was accepted is sent again");
        assert!(
            !effect || !self.revoked,
            "what was taken back is sent again"
        );
        let date = jiff::fmt::rfc2822::to_string(&model.clock().to_zoned(jiff::tz::TimeZone::UTC));
        let headers = vec![("date".to_owned(), date.unwrap())];
        let answered = |status, body: String| {
            Reply::Answered(Arc::new(Response::new(status, headers.clone(), body)))
        };
        let acts_at = model.now + rng.u64(0..SETTLING_MS);
        match rng.u8(..20) {
            0 => Reply::NotSent(fault(FaultKind::Connect)),
            1 => answered(429, String::new()),
            2 => Reply::InDoubt(fault(FaultKind::Timeout)),
            3 => answered(503, "before the effect".to_owned()),
            4 | 5 => {
                model
                    .late
                    .extend(effect.then(|| (acts_at, request.clone())));
                answered(504, "<html>".to_owned())
            }
            6 => answered(301, String::new()),
            7 => answered(
                401,
                json!({"status": 401, "title": "Unauthorized"}).to_string(),
            ),
            8 => answered(403, "<html>blocked".to_owned()),
            9 if effect => answered(409, json!({"status": 409, "title": "Busy"}).to_string()),
            10 if effect && !model.is_revoked() => {
                model.late.push((acts_at, request.clone()));
                answered(204, String::new())
            }
            fate => {
                let (status, body) = model.take(request);
                match fate {
                    11 => Reply::InDoubt(fault(FaultKind::Broken)),
                    12 => answered(502, "after the effect".to_owned()),
                    13 => answered(200, body.to_string().chars().take(9).collect()),
                    14 => answered(404, "<html>after the effect".to_owned()),
                    _ => answered(status, body.to_string()),
                }
            }
        }
    }
}

fn fault(kind: FaultKind) -> Fault {
    let message = "lost".to_owned();
    Fault { kind, message }
}
