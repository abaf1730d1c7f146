//! Random faults: how often each happens, and how the provider deviates besides.

use serde::{Deserialize, Serialize};

use super::{Fault, Foreign, Meanwhile, RequestMatch};

/// The rate of each random fault, as a share of all requests (0.0 to 1.0). A request meets at most
/// one of them, so they should add up to at most 1.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultRates {
    /// Share answered 429.
    pub throttle: f64,
    /// After how many milliseconds a throttled client may come back.
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
    /// Share of late replies.
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
    /// Share of requests that are executed late, with a server error at once.
    pub late_effect: f64,
    /// How late, in milliseconds.
    pub late_effect_ms: u64,
    /// Share answered by an intermediary before the effect.
    pub foreign_before: f64,
    /// Share answered by an intermediary after the effect.
    pub foreign_after: f64,
    /// The intermediary's reply.
    pub foreign: Foreign,
    /// Share rejected because another request is in progress.
    pub busy: f64,
    /// Share answered about another target, after the effect.
    pub about_another: f64,
    /// Lookups show an effect only this many milliseconds after it.
    pub looks_lag_ms: u64,
    /// How many milliseconds the provider's clock is ahead.
    pub clock_skew_ms: i64,
    /// Whether replies have no `Date`.
    pub no_date: bool,
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
            late_effect: 0.0,
            late_effect_ms: 1_000,
            foreign_before: 0.0,
            foreign_after: 0.0,
            foreign: Foreign::default(),
            busy: 0.0,
            about_another: 0.0,
            looks_lag_ms: 0,
            clock_skew_ms: 0,
            no_date: false,
            latency_ms_min: 0,
            latency_ms_max: 0,
            on: RequestMatch::default(),
        }
    }
}

impl FaultRates {
    /// The fault at `draw`, a number from 0.0 up to 1.0; `None` for no fault.
    pub(super) fn at(&self, mut draw: f64) -> Option<Fault> {
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
            (
                self.late_effect,
                Fault::LateEffect {
                    effect_ms: self.late_effect_ms,
                    meanwhile: Meanwhile::Error {
                        status: self.error_status,
                    },
                },
            ),
            (
                self.foreign_before,
                Fault::ForeignBefore {
                    answer: self.foreign,
                },
            ),
            (
                self.foreign_after,
                Fault::ForeignAfter {
                    answer: self.foreign,
                },
            ),
            (self.busy, Fault::Busy { status: 409 }),
            (self.about_another, Fault::AboutAnother),
        ];
        faults.into_iter().find_map(|(share, fault)| {
            let hit = draw < share;
            draw -= share;
            hit.then_some(fault)
        })
    }
}
