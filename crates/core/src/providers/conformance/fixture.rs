//! The file format of a fixture.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    domain::{
        doubt::{Doubt, Moment},
        http_exchange::{Class, Fault, FaultKind, Pace, Reply, Response, Seen},
    },
    providers::Facts,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fixture {
    pub(super) about: String,
    #[serde(default)]
    pub(super) account: AccountPart,
    #[serde(default)]
    pub(super) mode: ModePart,
    #[serde(default)]
    pub(super) facts: FactsPart,
    pub(super) doubt: Option<DoubtPart>,
    pub(super) command: Value,
    #[serde(default)]
    pub(super) history: Vec<ExchangePart>,
    pub(super) expect: Expect,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountPart {
    #[serde(default)]
    pub(super) settings: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ModePart {
    #[default]
    Cancel,
    DryRun,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExchangePart {
    pub(super) operation: Option<String>,
    pub(super) answered: Option<ResponsePart>,
    pub(super) in_doubt: Option<FaultPart>,
    pub(super) not_sent: Option<FaultPart>,
    /// The class, instead of the one from `classify`.
    pub(super) class: Option<ClassPart>,
    /// The lookup was sent when no request could act any more.
    #[serde(default)]
    pub(super) believed: bool,
    #[serde(default)]
    pub(super) seen: SeenPart,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeenPart {
    at: Option<Timestamp>,
    /// In seconds.
    since_earliest: Option<u64>,
}

impl SeenPart {
    pub(super) fn seen(&self, believed: bool) -> Seen {
        Seen {
            believed,
            at: self.at,
            since_earliest: self.since_earliest.map(Duration::from_secs),
        }
    }
}

/// Facts from outside the item. By default the account has worked before.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FactsPart {
    answered: bool,
    proven: bool,
    target_known: bool,
}

impl Default for FactsPart {
    fn default() -> Self {
        Self {
            answered: true,
            proven: true,
            target_known: false,
        }
    }
}

impl FactsPart {
    pub(super) fn facts(&self) -> Facts {
        Facts {
            answered: self.answered,
            proven: self.proven,
            target_known: self.target_known,
        }
    }
}

/// The doubt that earlier runs left.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DoubtPart {
    #[serde(default)]
    may_act: bool,
    #[serde(default)]
    accepted: bool,
    #[serde(default)]
    looks: u32,
}

impl DoubtPart {
    pub(super) fn doubt(&self) -> Doubt {
        Doubt {
            earliest: None,
            latest: Moment::wall(Timestamp::UNIX_EPOCH),
            settle_ms: None,
            may_act: self.may_act,
            accepted: self.accepted,
            looks: self.looks,
            place: None,
            place_answered: true,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClassPart {
    Accepted,
    Refused,
    Undocumented,
    Busy,
    Unauthenticated,
    Forbidden,
    Throttled,
    Lost,
    Unreadable,
    Foreign,
    Unsent,
}

impl ClassPart {
    pub(super) fn class(self) -> Class {
        match self {
            Self::Accepted => Class::Accepted,
            Self::Refused => Class::Refused,
            Self::Undocumented => Class::Undocumented,
            Self::Busy => Class::Busy,
            Self::Unauthenticated => Class::Unauthenticated,
            Self::Forbidden => Class::Forbidden,
            Self::Throttled => Class::Throttled,
            Self::Lost => Class::Lost,
            Self::Unreadable => Class::Unreadable,
            Self::Foreign => Class::Foreign,
            Self::Unsent => Class::Unsent,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponsePart {
    pub(super) status: u16,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) body: Value,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FaultPart {
    Connect,
    Timeout,
    Broken,
    TooLong,
    Restart,
    WindowEnded,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) send: Option<SendPart>,
    pub(super) done: Option<Value>,
    pub(super) violations: Option<BTreeMap<String, String>>,
    /// `{"after": 5}`, `{"until": "2024-04-15T12:58:20Z"}`, `"unsaid"` or `"none"`.
    pub(super) throttle: Option<Value>,
    /// A part of the progress as JSON, or `"none"`.
    pub(super) progress: Option<Value>,
    /// The class of the last exchange.
    pub(super) class: Option<ClassPart>,
    /// What the last exchange proves about the account: `answered`, `proven`, both or neither.
    pub(super) evidence: Option<Vec<String>>,
    /// The header and the prefix.
    pub(super) auth: Option<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SendPart {
    pub(super) operation: String,
    pub(super) safety: String,
    #[serde(default)]
    pub(super) pace: PacePart,
    pub(super) method: String,
    pub(super) path: String,
    #[serde(default)]
    pub(super) query: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) body: Value,
    #[serde(default = "json_media_type")]
    pub(super) content_type: String,
}

/// The pace of a request.
#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PacePart {
    #[default]
    AtOnce,
    Settle,
    /// After this many milliseconds.
    AfterMs(u64),
}

impl PacePart {
    pub(super) fn pace(&self) -> Pace {
        match self {
            Self::AtOnce => Pace::AtOnce,
            Self::Settle => Pace::Settle,
            Self::AfterMs(ms) => Pace::After(Duration::from_millis(*ms)),
        }
    }
}

fn json_media_type() -> String {
    "application/json".to_owned()
}

pub(super) fn reply(part: &ExchangePart) -> Result<Reply, String> {
    let reply = match (&part.answered, part.in_doubt, part.not_sent) {
        (Some(response), None, None) => {
            let text = match &response.body {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                json => json.to_string(),
            };
            let headers = response.headers.clone().into_iter().collect();
            Reply::Answered(Arc::new(Response::new(response.status, headers, text)))
        }
        (None, Some(kind), None) => Reply::InDoubt(fault(kind)),
        (None, None, Some(kind)) => Reply::NotSent(fault(kind)),
        _ => return Err("an exchange needs exactly one of answered, in_doubt, not_sent".into()),
    };
    Ok(reply)
}

fn fault(part: FaultPart) -> Fault {
    let (kind, message) = match part {
        FaultPart::Connect => (FaultKind::Connect, "connection refused"),
        FaultPart::Timeout => (FaultKind::Timeout, "no answer in time"),
        FaultPart::Broken => (FaultKind::Broken, "connection reset"),
        FaultPart::TooLong => (FaultKind::TooLong, "the answer is too long"),
        FaultPart::Restart => (FaultKind::Restart, "the service restarted"),
        FaultPart::WindowEnded => (FaultKind::WindowEnded, "the retry window ended"),
    };
    let message = message.to_owned();
    Fault { kind, message }
}
