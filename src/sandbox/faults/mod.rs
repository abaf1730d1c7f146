//! Faults on demand: exact ones from a script, or random ones at a rate. `plan` decides which
//! fault a request meets, `server` plays it.

mod foreign;
mod plan;
mod rates;

use serde::{Deserialize, Serialize};

pub use foreign::Foreign;
pub(super) use plan::{Fate, Faults, Quota};
pub use rates::FaultRates;

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
    /// Lets go of the client at once, and carries out the request later.
    LateEffect {
        /// Milliseconds from the answer or the hang-up to the effect.
        effect_ms: u64,
        /// What the client gets.
        meanwhile: Meanwhile,
    },
    /// Something in between answers, nothing applied.
    ForeignBefore {
        /// What it answers.
        answer: Foreign,
    },
    /// Something in between answers, although the request was carried out.
    ForeignAfter {
        /// What it answers.
        answer: Foreign,
    },
    /// Refuses in the provider's own form: another request is in progress. Nothing applied.
    Busy {
        /// The status: 409 or 423.
        status: u16,
    },
    /// Carries out the request and answers about another target: every id in it differs.
    AboutAnother,
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

/// What a client gets whose request is carried out later.
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
    /// The provider's 2xx, with the target as it still is.
    Accepted,
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

/// A real limit: requests above it in one window are throttled until the window ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests allowed in one window.
    pub requests: u32,
    /// Length of a window in milliseconds.
    pub window_ms: u64,
}
