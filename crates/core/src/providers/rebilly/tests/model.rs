//! The truth about one subscription at Rebilly, and the requests that are under way.

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::domain::http_exchange::{HttpMethod, Request};

pub(super) struct Model {
    /// `active`, `canceled` (it will end) or `churned`.
    pub(super) life: &'static str,
    /// The cancellation under our id brought it there.
    pub(super) ours: bool,
    /// How often a request of ours cancelled it.
    pub(super) effects: u32,
    pub(super) was_revoked: bool,
    /// The cancellation under our id.
    own: Option<&'static str>,
    /// When it was asked to end, by the provider's clock.
    asked_at: Option<Timestamp>,
    /// Milliseconds since the item was admitted.
    pub(super) now: u64,
    /// Seconds by which the provider's clock is wrong.
    skew: i64,
    /// A second, identical PUT is rejected.
    strict: bool,
    /// Requests under way, and when they arrive.
    pub(super) late: Vec<(u64, Request)>,
}

impl Model {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let mut model = Self {
            life: ["active", "active", "canceled", "churned"][rng.usize(..4)],
            ours: false,
            effects: 0,
            was_revoked: false,
            own: None,
            asked_at: None,
            now: 0,
            skew: [0, 0, 600, -600][rng.usize(..4)],
            strict: rng.bool(),
            late: Vec::new(),
        };
        if model.life != "active" {
            let days = [0, 27][rng.usize(..2)];
            model.asked_at = Some(model.clock() - SignedDuration::from_hours(24 * days));
        }
        model
    }

    pub(super) fn told(&self) -> String {
        let (ours, own) = (self.ours, self.own);
        format!(
            "{} (ours: {ours}, own: {own:?}, at {})",
            self.life, self.now
        )
    }

    /// Our wall clock.
    pub(super) fn wall(&self) -> Timestamp {
        let admitted: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        admitted + std::time::Duration::from_millis(self.now)
    }

    /// The provider's clock.
    pub(super) fn clock(&self) -> Timestamp {
        self.wall() + SignedDuration::from_secs(self.skew)
    }

    /// Others had ended it well before the item was admitted, and the provider says when.
    pub(super) fn was_long_before(&self) -> bool {
        let admitted = self.wall() - std::time::Duration::from_millis(self.now);
        let asked = self.asked_at;
        asked.is_some_and(|asked| asked < admitted - SignedDuration::from_hours(24))
    }

    /// Lets time pass; late requests arrive.
    pub(super) fn wait_until(&mut self, then: u64) {
        self.now = self.now.max(then);
        let late = std::mem::take(&mut self.late);
        let (due, late): (Vec<_>, Vec<_>) = late.into_iter().partition(|(at, _)| *at <= self.now);
        self.late = late;
        for (_, request) in due {
            let _ = self.take(&request);
        }
    }

    /// Others cancel it, or revoke our cancellation.
    pub(super) fn is_used_by_others(&mut self, rng: &mut Rng) {
        if self.life == "active" {
            self.life = ["canceled", "churned"][rng.usize(..2)];
            self.asked_at = Some(self.clock());
        } else if self.life == "canceled" && self.ours {
            (self.life, self.ours, self.own) = ("active", false, Some("revoked"));
            (self.was_revoked, self.asked_at) = (true, None);
        }
    }

    fn cancellation(&self, status: &str) -> Value {
        let asked = self.asked_at.map(|time| time.to_string());
        json!({"subscriptionId": "7", "status": status, "canceledTime": asked,
        "churnTime": match status {
            "completed" => asked,
            _ => Some("2030-01-01T00:00:00Z".to_owned()),
        }})
    }

    /// Takes a request; returns the reply, if that arrives.
    pub(super) fn take(&mut self, request: &Request) -> (u16, Value) {
        let gone = || (404, json!({"status": 404, "title": "Not Found"}));
        let no = || {
            (
                422,
                json!({"status": 422, "title": "It cannot be cancelled"}),
            )
        };
        match (
            request.method,
            request.path.as_str().contains("cancellations"),
        ) {
            (HttpMethod::Get, false) => {
                let asked = self.asked_at.map(|time| time.to_string());
                let churn = (self.life == "canceled").then_some("2030-01-01T00:00:00Z");
                (
                    200,
                    json!({"id": "7", "status": self.life, "canceledTime": asked,
                    "churnTime": churn}),
                )
            }
            (HttpMethod::Get, true) => match self.own {
                Some(status) => (200, self.cancellation(status)),
                None => gone(),
            },
            _ => match (self.own, self.life) {
                (Some(status), _) if status != "revoked" => match self.strict {
                    true => no(),
                    false => (200, self.cancellation(status)),
                },
                (_, "active") => {
                    let body = request.body.as_ref().unwrap().text.as_str();
                    let at_once = body.contains("\"now\"");
                    (self.life, self.own) = match at_once {
                        true => ("churned", Some("completed")),
                        false => ("canceled", Some("confirmed")),
                    };
                    (self.ours, self.effects) = (true, self.effects + 1);
                    self.asked_at = Some(self.clock());
                    (201, self.cancellation(self.own.unwrap()))
                }
                _ => no(),
            },
        }
    }

    /// Whether the provider has shown that our cancellation was revoked.
    pub(super) fn is_revoked(&self) -> bool {
        self.own == Some("revoked")
    }
}
