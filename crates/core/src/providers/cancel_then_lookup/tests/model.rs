//! The truth about one subscription at a provider: its state, who caused it, and the requests that
//! are under way.

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::domain::{account::ProviderId, http_exchange::Request};

/// The subscription at the provider.
pub(super) struct Model {
    pub(super) provider: ProviderId,
    /// `running`, `ending` or `ended`.
    pub(super) life: &'static str,
    /// A request of ours brought it there.
    pub(super) ours: bool,
    /// When it was asked to end, by the provider's clock.
    pub(super) asked_at: Option<Timestamp>,
    /// Revolv3's cancel type.
    pub(super) timing: Value,
    /// Whether Revolv3 answers 404 for subscriptions that are not active.
    pub(super) hides: bool,
    /// Milliseconds since the item was admitted.
    pub(super) now: u64,
    /// Seconds by which the provider's clock is wrong.
    pub(super) skew: i64,
    /// Requests under way, and when they arrive.
    pub(super) late: Vec<(u64, Request)>,
}

impl Model {
    pub(super) fn new(provider: ProviderId, rng: &mut Rng) -> Self {
        let mut model = Self {
            provider,
            life: ["running", "running", "ending", "ended"][rng.usize(..4)],
            ours: false,
            asked_at: None,
            timing: match provider {
                ProviderId::Revolv3 => json!(["Immediate", "EndOfCycle"][rng.usize(..2)]),
                _ => Value::Null,
            },
            hides: provider == ProviderId::Revolv3 && rng.bool(),
            now: 0,
            skew: [0, 0, 600, -600][rng.usize(..4)],
            late: Vec::new(),
        };
        if model.life != "running" {
            let days = [0, 27][rng.usize(..2)];
            model.asked_at = Some(model.clock() - SignedDuration::from_hours(24 * days));
        }
        model
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

    /// Lets time pass; late requests arrive.
    pub(super) fn wait_until(&mut self, then: u64) {
        self.now = self.now.max(then);
        let (due, late) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(at, _)| *at <= self.now);
        self.late = late;
        let due: Vec<(u64, Request)> = due;
        for (_, request) in due {
            let _ = self.take(&request);
        }
    }

    /// Someone else cancels it.
    pub(super) fn is_cancelled_by_others(&mut self, rng: &mut Rng) {
        self.life = ["ending", "ended"][rng.usize(..2)];
        self.asked_at = Some(self.clock());
    }

    fn described(&self) -> (u16, Value) {
        let asked = self.asked_at.map(|time| time.to_string());
        let body = match (self.provider, self.life) {
            (ProviderId::Solidgate, "running") => json!({"id": "7", "status": "ACTIVE"}),
            (ProviderId::Solidgate, life) => json!({
                "id": "7",
                "status": if life == "ended" { "CANCELLED" } else { "ACTIVE" },
                "cancellation_info": {"cancel_at": "2030-01-01T00:00:00Z", "requested_at": asked},
            }),
            (ProviderId::FunnelFox, "running") => {
                json!({"id": "7", "status": "active", "renews": true})
            }
            (ProviderId::FunnelFox, life) => json!({
                "id": "7",
                "status": if life == "ended" { "expired" } else { "cancelled" },
                "renews": false,
                "cancelled_at": asked,
            }),
            (_, life) => {
                let word = match life {
                    "running" => "Current",
                    "ending" => "PendingCancellation",
                    _ => "Cancelled",
                };
                json!({"subscriptionId": 7, "subscriptionStatusType": word,
                    "subscriptionCancelType": self.timing, "cancelledAt": asked})
            }
        };
        (200, body)
    }

    /// Takes a request; returns the reply, if that arrives.
    pub(super) fn take(&mut self, request: &Request) -> (u16, Value) {
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
                self.asked_at = Some(self.clock());
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

    /// The reply to a request that was taken and has not acted yet.
    pub(super) fn unchanged(&self) -> (u16, Value) {
        self.described()
    }
}
