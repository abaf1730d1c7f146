//! The engine as an adapter sees it: when requests are sent and retried, which lookups are
//! believed, and what a crash or another run keeps.

use std::sync::Arc;

use fastrand::Rng;
use serde_json::json;

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
    providers::{EffectId, Facts, Mode, Step, Task, conformance, of},
};

/// The account's `timeout_ms` and `settling_ms`.
const TIMEOUT_MS: u64 = 5_000;
const SETTLING_MS: u64 = 30_000;

/// One key, over all its runs.
pub(super) struct Engine {
    /// When a lookup is believed, if a request may have acted.
    believed_at: Option<u64>,
    /// A believed, readable lookup has come since.
    believed: bool,
    accepted: bool,
    looks: u32,
    facts: Facts,
}

impl Engine {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            believed_at: None,
            believed: false,
            accepted: false,
            looks: 0,
            facts: Facts {
                answered: true,
                proven: rng.bool(),
                target_known: false,
            },
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
        let provider = of(model.provider);
        let window_ends = model.now + rng.u64(0..120_000);
        let mut doubt = self.doubt();
        let mut history = self.recovered();
        loop {
            if model.life == "running" && rng.u8(..20) == 0 {
                model.is_cancelled_by_others(rng);
            }
            let task = Task {
                account: &account,
                command: &command,
                effect_id: &effect_id,
                mode: Mode::Cancel,
                doubt: doubt.as_ref(),
                facts: self.facts,
            };
            let request = match provider.next(&task, &history) {
                Step::Done(conclusion) => return conclusion,
                Step::Send(request) => request,
            };
            self.wait(model, request.pace, rng);
            let believed = self.believed_at.is_none_or(|at| at <= model.now);
            let too_late = request.safety != Safety::Look && model.now > window_ends;
            let reply = match too_late {
                true => Reply::NotSent(fault(FaultKind::WindowEnded)),
                false => deliver(model, &request, believed, self.accepted, rng),
            };
            let exchange = Exchange {
                operation: Some(request.operation),
                class: provider.classify(&task, &request, &reply),
                reply,
                seen: Seen {
                    believed: believed && request.safety == Safety::Look,
                    at: Some(model.wall()),
                    since_earliest: Some(std::time::Duration::from_millis(model.now)),
                },
            };
            let evidence = provider.evidence(&task, &exchange);
            self.facts.answered |= evidence.answered;
            self.facts.proven |= evidence.proven;
            // After a crash it is only known that something may have been sent.
            if rng.u8(..25) == 0 {
                self.lost(model.now + TIMEOUT_MS.max(SETTLING_MS));
                self.accepted |= exchange.class == Class::Accepted
                    && request.operation.0 == "cancel"
                    && rng.bool();
                doubt = self.doubt();
                history = self.recovered();
                continue;
            }
            if is_tried_again(&request, &exchange) && !too_late {
                let ends = window_ends.max(self.believed_at.unwrap_or(0));
                if model.now <= ends {
                    model.wait_until(model.now + 1_000);
                    continue;
                }
            }
            self.note(model, &request, &exchange);
            compact(&mut history, exchange);
        }
    }

    fn recovered(&self) -> Vec<Exchange> {
        match self.believed_at {
            Some(_) if !self.believed => vec![Exchange::recovered()],
            _ => Vec::new(),
        }
    }

    fn lost(&mut self, believed_at: u64) {
        self.believed_at = self.believed_at.max(Some(believed_at));
        (self.believed, self.looks) = (false, 0);
    }

    /// Keeps what outlives a run.
    fn note(&mut self, model: &Model, request: &Request, exchange: &Exchange) {
        if request.operation.0 == "cancel"
            && matches!(exchange.class, Class::Lost | Class::Accepted)
        {
            self.lost(model.now + TIMEOUT_MS.max(SETTLING_MS));
            self.accepted |= exchange.class == Class::Accepted;
        }
        let is_read = matches!(exchange.class, Class::Accepted | Class::Refused);
        if request.safety == Safety::Look && exchange.seen.believed && is_read {
            self.believed = true;
            self.looks += u32::from(self.believed_at.is_some());
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
}

/// Whether the engine retries by itself.
fn is_tried_again(request: &Request, exchange: &Exchange) -> bool {
    match exchange.class {
        Class::Throttled | Class::Unsent => true,
        Class::Lost | Class::Foreign => request.safety != Safety::Once,
        _ => false,
    }
}

/// Of consecutive readable lookups that were not believed only the last one is kept.
fn compact(history: &mut Vec<Exchange>, exchange: Exchange) {
    let is_news = |exchange: &Exchange| {
        exchange
            .operation
            .is_some_and(|operation| operation.0 == "look")
            && !exchange.seen.believed
            && matches!(exchange.class, Class::Accepted | Class::Refused)
    };
    history.pop_if(|last| is_news(last) && is_news(&exchange));
    history.push(exchange);
}

fn fault(kind: FaultKind) -> Fault {
    let message = "lost".to_owned();
    Fault { kind, message }
}

/// The result of a request. A lost or late request acts before a lookup is believed.
fn deliver(
    model: &mut Model,
    request: &Request,
    believed: bool,
    accepted: bool,
    rng: &mut Rng,
) -> Reply {
    if request.operation.0 == "cancel" {
        assert!(
            believed && !accepted && model.late.iter().all(|(_, r)| r.operation.0 != "cancel"),
            "a cancel goes out while another may act"
        );
    }
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
        4 => {
            model.late.push((acts_at, request.clone()));
            Reply::InDoubt(fault(FaultKind::Timeout))
        }
        5 => {
            model.late.push((acts_at, request.clone()));
            answered(504, "<html>".to_owned())
        }
        6 => answered(301, String::new()),
        7 => answered(
            401,
            r#"{"message": "no", "code": "UNAUTHENTICATED"}"#.to_owned(),
        ),
        8 => answered(403, "<html>blocked".to_owned()),
        9 if request.operation.0 == "cancel" => answered(409, busy()),
        // Accepted, and done later.
        10 if request.operation.0 == "cancel" && model.life == "running" => {
            let (_, body) = model.unchanged();
            model.late.push((acts_at, request.clone()));
            let empty = rng.bool();
            answered(
                200,
                if empty {
                    String::new()
                } else {
                    body.to_string()
                },
            )
        }
        fate => {
            let (status, body) = model.take(request);
            match fate {
                11 => Reply::InDoubt(fault(FaultKind::Broken)),
                12 => answered(502, "after the effect".to_owned()),
                13 => answered(200, body.to_string().chars().take(9).collect()),
                14 => answered(404, "<html>after the effect".to_owned()),
                // A reply about another subscription.
                15 => {
                    let body = body
                        .to_string()
                        .replace("\"7\"", "\"8\"")
                        .replace(":7,", ":8,");
                    answered(status, body)
                }
                _ => answered(status, body.to_string()),
            }
        }
    }
}

fn busy() -> String {
    r#"{"message": "another request is in progress", "code": "LOCKED"}"#.to_owned()
}
