//! Faults on demand: scripted ones, or random ones at a rate. `plan` chooses the fault of a
//! request, `server` applies it.

mod foreign;
mod plan;
mod rates;

use serde::{Deserialize, Serialize};

pub use foreign::Foreign;
pub(super) use plan::{Fate, Faults, Quota};
pub use rates::FaultRates;

/// A fault of one request. *Before* means that nothing was applied, *after* that the request was
/// executed and only its reply suffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Waits, then executes the request as usual. A client that leaves in the meantime has caused
    /// nothing.
    Latency {
        /// Milliseconds before the request is executed.
        latency_ms: u64,
    },
    /// 429 with the provider's own signal.
    Throttle {
        /// Milliseconds after which the client may come back.
        retry_after_ms: u64,
    },
    /// A server error, nothing applied.
    ErrorBefore {
        /// The status, such as 500 or 503.
        status: u16,
    },
    /// A server error, although the request was executed.
    ErrorAfter {
        /// The status, such as 500 or 504.
        status: u16,
    },
    /// The connection is reset, nothing applied.
    ResetBefore,
    /// The connection is reset, although the request was executed.
    ResetAfter,
    /// Waits for [`super::Control::release`], then executes the request.
    HoldBefore,
    /// Executes the request, then waits for [`super::Control::release`] with the reply.
    HoldAfter,
    /// Executes the request, then delays the reply.
    LateReply {
        /// Milliseconds between effect and reply.
        delay_ms: u64,
    },
    /// Replies in small pieces.
    SlowBody {
        /// Milliseconds from the first piece to the last.
        over_ms: u64,
    },
    /// Announces the whole body, sends half of it and closes the connection.
    TruncatedBody,
    /// Executes the request and replies 200 with an HTML page.
    GarbageBody,
    /// Executes the request and replies with its status and a body of this size.
    HugeBody {
        /// Length in bytes.
        body_bytes: usize,
    },
    /// Disconnects or answers the client at once, and executes the request later.
    LateEffect {
        /// Milliseconds from the reply or the hang-up to the effect.
        effect_ms: u64,
        /// What the client gets.
        meanwhile: Meanwhile,
    },
    /// An intermediary replies, nothing applied.
    ForeignBefore {
        /// Its reply.
        answer: Foreign,
    },
    /// An intermediary replies, although the request was executed.
    ForeignAfter {
        /// Its reply.
        answer: Foreign,
    },
    /// Rejects in the provider's own format: another request is in progress. Nothing applied.
    Busy {
        /// The status: 409 or 423.
        status: u16,
    },
    /// Executes the request and replies about another target: every id in it differs.
    AboutAnother,
    /// Sends this reply, nothing applied.
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

/// What a client gets whose request is executed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum Meanwhile {
    /// A server error, such as a gateway's timeout.
    Error {
        /// The status, such as 504.
        status: u16,
    },
    /// A hang-up: the connection is reset.
    Reset,
    /// The provider's 2xx, with the target unchanged.
    Accepted,
}

/// The requests that a fault is for; by default all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestMatch {
    /// The method, such as `POST`.
    pub method: Option<String>,
    /// A part of path and query, as on the wire.
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

/// A scripted fault for the next matching requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scripted {
    /// The fault.
    pub fault: Fault,
    /// Which requests it is for.
    #[serde(default)]
    pub on: RequestMatch,
    /// How many of them.
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

/// A rate limit: requests above it in a window are throttled until the window ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests allowed in one window.
    pub requests: u32,
    /// Length of a window in milliseconds.
    pub window_ms: u64,
}
