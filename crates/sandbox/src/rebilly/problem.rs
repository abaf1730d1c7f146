//! Rebilly's problems: every error is RFC 9457 JSON, some with further members.

use std::time::Duration;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    super::{
        state::shift,
        variants::{RebillyMedia, RebillyThrottle, RebillyUnknown},
        wire::{JSON, Reply},
    },
    Desk,
    input::InvalidField,
};

impl Desk {
    pub(crate) fn throttled(&self, retry_after: Duration, now: Timestamp) -> Reply {
        let detail = "A request cannot be executed because the user has sent too many requests \
                      within a certain period of time";
        let reply = self.problem(StatusCode::TOO_MANY_REQUESTS, detail);
        match self.variants.throttle {
            RebillyThrottle::EpochHeader => {
                let by = SignedDuration::try_from(retry_after).unwrap_or(SignedDuration::ZERO);
                // Rounded up: a client that trusts the second must not come too early.
                let at = shift(shift(now, by), SignedDuration::from_nanos(999_999_999));
                reply.with("x-ratelimit-retry-after", at.as_second())
            }
            RebillyThrottle::RetryAfterSeconds => reply.with(
                "retry-after",
                retry_after.as_millis().div_ceil(1_000).to_string(),
            ),
            RebillyThrottle::Bare => reply,
        }
    }

    pub(crate) fn problem(&self, status: StatusCode, detail: &str) -> Reply {
        self.problem_with(status, detail, &[])
    }

    pub(super) fn invalid(&self, fields: Vec<InvalidField>) -> Reply {
        self.problem_with(
            StatusCode::UNPROCESSABLE_ENTITY,
            "The request body contains invalid fields",
            &fields,
        )
    }

    fn problem_with(&self, status: StatusCode, detail: &str, fields: &[InvalidField]) -> Reply {
        #[derive(Serialize)]
        struct Problem<'a> {
            r#type: &'a str,
            title: &'a str,
            status: u16,
            detail: &'a str,
            instance: &'a str,
            #[serde(rename = "invalidFields", skip_serializing_if = "<[_]>::is_empty")]
            invalid_fields: &'a [InvalidField],
        }
        let title = match status {
            StatusCode::TOO_MANY_REQUESTS => "Rate Limit Exceeded",
            _ => status.canonical_reason().unwrap_or("Error"),
        };
        let problem = Problem {
            r#type: "about:blank",
            title,
            status: status.as_u16(),
            detail,
            instance: "/problems/sandbox",
            invalid_fields: fields,
        };
        let media = match self.variants.media {
            RebillyMedia::Json => JSON,
            RebillyMedia::ProblemJson => "application/problem+json",
        };
        Reply {
            content_type: Some(media),
            ..Reply::json(status, &problem)
        }
    }

    pub(super) fn unknown(&self) -> Reply {
        match self.variants.unknown {
            RebillyUnknown::NotFound => self.not_found(),
            RebillyUnknown::Unprocessable => self.invalid(vec![InvalidField::new(
                "subscriptionId",
                "The subscription order does not exist",
            )]),
        }
    }

    pub(super) fn not_found(&self) -> Reply {
        self.problem(
            StatusCode::NOT_FOUND,
            "The requested resource was not found",
        )
    }

    pub(super) fn wrong_method(&self, allow: &'static str) -> Reply {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        self.problem(status, "The method is not allowed here")
            .with("allow", allow)
    }
}
