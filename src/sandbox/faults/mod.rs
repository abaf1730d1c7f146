//! Faults on demand: exact ones from a script, or random ones at a rate. `plan` decides which
//! fault a request meets, `server` plays it.

mod plan;

use serde::{Deserialize, Serialize};

pub(super) use plan::{Fate, Faults, Quota};

/// Something that goes wrong with one request. *Before* means that nothing was applied, *after*
/// that the request was carried out and only its answer suffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Waits, then carries out the request as usual. A client that leaves meanwhile has caused
    /// nothing.
    Latency {
        /// Milliseconds before the request is carried out.
        latency_ms: u64,
    },
    /// 429 with the provider's own signal.
    Throttle {
        /// Milliseconds until the provider wants to see the client again.
        retry_after_ms: u64,
    },
    /// A server error, nothing applied.
    ErrorBefore {
        /// The status, such as 500 or 503.
        status: u16,
    },
    /// A server error, although the request was carried out.
    ErrorAfter {
        /// The status, such as 500 or 504.
        status: u16,
    },
    /// The connection is reset, nothing applied.
    ResetBefore,
    /// The connection is reset, although the request was carried out.
    ResetAfter,
    /// Waits for [`super::Control::release`], then carries out the request.
    HoldBefore,
    /// Carries out the request, then waits for [`super::Control::release`] with the answer.
    HoldAfter,
    /// Carries out the request, then waits with the answer.
    LateReply {
        /// Milliseconds between effect and answer.
        delay_ms: u64,
    },
    /// Answers in small pieces.
    SlowBody {
        /// Milliseconds from the first piece to the last.
        over_ms: u64,
    },
    /// Announces the whole body, sends half of it and closes the connection.
    TruncatedBody,
    /// Carries out the request and answers 200 with an HTML page.
    GarbageBody,
    /// Carries out the request and answers with its status and a body of this size.
    HugeBody {
        /// Length in bytes.
        body_bytes: usize,
    },
    /// Answers this, nothing applied.
    Reply {
        /// The status.
        status: u16,
        /// Names and values.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// The body.
        #[serde(default)]
        body: String,
    },
}

/// Which requests a fault is for. The default is every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestMatch {
    /// The method, such as `POST`.
    pub method: Option<String>,
    /// A part of path and query as they are on the wire.
    pub path_contains: Option<String>,
}

impl RequestMatch {
    fn matches(&self, method: &str, target: &str) -> bool {
        self.method
            .as_deref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self
                .path_contains
                .as_deref()
                .is_none_or(|wanted| target.contains(wanted))
    }
}

/// A scripted fault: the next requests that match meet it, and then it is used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scripted {
    /// What happens.
    pub fault: Fault,
    /// To which requests.
    #[serde(default)]
    pub on: RequestMatch,
    /// To how many of them.
    #[serde(default = "once")]
    pub times: u32,
}

const fn once() -> u32 {
    1
}

impl From<Fault> for Scripted {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            on: RequestMatch::default(),
            times: 1,
        }
    }
}

/// How often which fault happens by chance: shares of all requests (0.0 to 1.0). A request meets
/// at most one of them, so they should add up to 1.0 at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultRates {
    /// Share answered 429.
    pub throttle: f64,
    /// When a throttled client is told to come back, in milliseconds.
    pub throttle_ms: u64,
    /// Share answered with a server error before the effect.
    pub error_before: f64,
    /// Share answered with a server error after the effect.
    pub error_after: f64,
    /// The status of server errors.
    pub error_status: u16,
    /// Share of resets before the effect.
    pub reset_before: f64,
    /// Share of resets after the effect.
    pub reset_after: f64,
    /// Share of late answers.
    pub late_reply: f64,
    /// How late they are, in milliseconds.
    pub late_reply_ms: u64,
    /// Share of slow bodies.
    pub slow_body: f64,
    /// How long they take, in milliseconds.
    pub slow_body_ms: u64,
    /// Share of truncated bodies.
    pub truncated_body: f64,
    /// Share of bodies that are an HTML page.
    pub garbage_body: f64,
    /// Share of huge bodies.
    pub huge_body: f64,
    /// How big they are, in bytes.
    pub huge_body_bytes: usize,
    /// Every request waits at least this long, in milliseconds, fault or not.
    pub latency_ms_min: u64,
    /// And at most this long.
    pub latency_ms_max: u64,
    /// The requests that faults and latency are for.
    pub on: RequestMatch,
}

impl Default for FaultRates {
    fn default() -> Self {
        Self {
            throttle: 0.0,
            throttle_ms: 1_000,
            error_before: 0.0,
            error_after: 0.0,
            error_status: 503,
            reset_before: 0.0,
            reset_after: 0.0,
            late_reply: 0.0,
            late_reply_ms: 10_000,
            slow_body: 0.0,
            slow_body_ms: 1_000,
            truncated_body: 0.0,
            garbage_body: 0.0,
            huge_body: 0.0,
            huge_body_bytes: 64 * 1024 * 1024,
            latency_ms_min: 0,
            latency_ms_max: 0,
            on: RequestMatch::default(),
        }
    }
}

impl FaultRates {
    /// The fault at `draw`, a number of 0.0 up to 1.0, or none.
    fn at(&self, mut draw: f64) -> Option<Fault> {
        let faults = [
            (
                self.throttle,
                Fault::Throttle {
                    retry_after_ms: self.throttle_ms,
                },
            ),
            (
                self.error_before,
                Fault::ErrorBefore {
                    status: self.error_status,
                },
            ),
            (
                self.error_after,
                Fault::ErrorAfter {
                    status: self.error_status,
                },
            ),
            (self.reset_before, Fault::ResetBefore),
            (self.reset_after, Fault::ResetAfter),
            (
                self.late_reply,
                Fault::LateReply {
                    delay_ms: self.late_reply_ms,
                },
            ),
            (
                self.slow_body,
                Fault::SlowBody {
                    over_ms: self.slow_body_ms,
                },
            ),
            (self.truncated_body, Fault::TruncatedBody),
            (self.garbage_body, Fault::GarbageBody),
            (
                self.huge_body,
                Fault::HugeBody {
                    body_bytes: self.huge_body_bytes,
                },
            ),
        ];
        faults.into_iter().find_map(|(share, fault)| {
            let hit = draw < share;
            draw -= share;
            hit.then_some(fault)
        })
    }
}

/// A real limit: requests above it in one window are throttled until the window ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests allowed in one window.
    pub requests: u32,
    /// Length of a window in milliseconds.
    pub window_ms: u64,
}
