//! Refusals on their way to the audit: taken without waiting, bounded, and thinned out when they
//! come in floods, so that nobody can fill the disk by being refused. What is left out is counted.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    domain::ids::{AccountName, BatchId, CallerId, Key},
    limits,
};

/// Why a request was refused. The words are published in README.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Nobody is known by what was shown, or nothing was.
    Unauthenticated,
    /// Who calls cannot be told now: an issuer's keys are not known.
    KeysUnavailable,
    /// No connection came about, so nothing was asked.
    Handshake,
    /// The caller may not do that.
    NotPermitted,
    /// The request is not as the API wants it.
    Invalid,
    /// There is no such batch of the caller's.
    NotFound,
    /// A key was used before with other content.
    KeyReused,
    /// The certificate of an open connection is good no more.
    Stale,
    /// The caller has used up what it is given.
    OverQuota,
    /// The request did not arrive in time.
    NotReceived,
    /// What arrived is no message of the RPC's.
    Unreadable,
    /// It is encoded as this service does not do it.
    Unsupported,
    /// The service has no room.
    Full,
    /// There will never be room for such a request.
    Oversized,
    /// The journal's disk is full.
    DiskFull,
    /// The audit is too far behind.
    AuditBehind,
    /// The journal cannot be used.
    JournalFailed,
    /// The service takes up what was open before.
    Starting,
    /// The service stops.
    Draining,
}

impl Why {
    /// A stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::KeysUnavailable => "KEYS_UNAVAILABLE",
            Self::Handshake => "HANDSHAKE_FAILED",
            Self::NotPermitted => "NOT_PERMITTED",
            Self::Invalid => "INVALID_REQUEST",
            Self::NotFound => "NOT_FOUND",
            Self::KeyReused => "IDEMPOTENCY_KEY_REUSED",
            Self::Stale => "CERTIFICATE_STALE",
            Self::OverQuota => "OVER_QUOTA",
            Self::NotReceived => "NOT_RECEIVED",
            Self::Unreadable => "UNREADABLE",
            Self::Unsupported => "UNSUPPORTED",
            Self::Full => "SERVICE_FULL",
            Self::Oversized => "OVERSIZED",
            Self::DiskFull => "JOURNAL_DISK_FULL",
            Self::AuditBehind => "AUDIT_BEHIND",
            Self::JournalFailed => "JOURNAL_UNAVAILABLE",
            Self::Starting => "STARTING",
            Self::Draining => "DRAINING",
        }
    }

    /// Whether it is because of who called, or what for, and not because of the request.
    #[must_use]
    pub fn is_about_the_caller(self) -> bool {
        matches!(
            self,
            Self::Unauthenticated
                | Self::KeysUnavailable
                | Self::Handshake
                | Self::Stale
                | Self::NotPermitted
                | Self::OverQuota
        )
    }

    /// The gRPC status that the caller gets; `None` if there was no call.
    #[must_use]
    pub fn code(self) -> Option<&'static str> {
        Some(match self {
            Self::Handshake => return None,
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::NotPermitted => "PERMISSION_DENIED",
            Self::Invalid => "INVALID_ARGUMENT",
            Self::NotFound => "NOT_FOUND",
            Self::KeyReused => "FAILED_PRECONDITION",
            Self::OverQuota | Self::Full => "RESOURCE_EXHAUSTED",
            Self::Oversized => "OUT_OF_RANGE",
            Self::NotReceived => "DEADLINE_EXCEEDED",
            Self::Unreadable => "INTERNAL",
            Self::Unsupported => "UNIMPLEMENTED",
            Self::KeysUnavailable
            | Self::Stale
            | Self::DiskFull
            | Self::AuditBehind
            | Self::JournalFailed
            | Self::Starting
            | Self::Draining => "UNAVAILABLE",
        })
    }
}

/// A refused request: what is known of it, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: Why,
    /// Who asked, if that is known.
    pub caller: Option<CallerId>,
    /// The RPC, such as `CancelSubscription`, if it is known.
    pub method: Option<&'static str>,
    /// The request's key.
    pub key: Option<Key>,
    /// The account that it was refused for.
    pub account: Option<AccountName>,
    /// The batch that it is about.
    pub batch: Option<BatchId>,
    /// Items of the request.
    pub items: Option<usize>,
}

/// Refusals without lines of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suppressed {
    pub(super) why: Why,
    pub(super) count: u64,
}

/// Where refusals are left for the audit. The default one keeps nothing.
#[derive(Clone, Default)]
pub struct Sink(Option<Arc<Inner>>);

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sink")
    }
}

struct Inner {
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Refused>,
    by_reason: BTreeMap<Why, Flow>,
    /// When what was suppressed was told last.
    told: Option<Timestamp>,
}

/// The refusals of one reason: a token bucket, and what found it empty.
struct Flow {
    left: f64,
    at: Timestamp,
    suppressed: u64,
}

impl Flow {
    fn passes(&mut self, now: Timestamp) -> bool {
        let passed = now.duration_since(self.at).max(SignedDuration::ZERO);
        let more = passed.as_secs_f64() * limits::AUDIT_REFUSALS_PER_SECOND;
        self.left = (self.left + more).min(limits::AUDIT_REFUSALS_BURST);
        self.at = now;
        if self.left < 1.0 {
            self.suppressed = self.suppressed.saturating_add(1);
            return false;
        }
        self.left -= 1.0;
        true
    }
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) refused: Vec<Refused>,
    pub(super) suppressed: Vec<Suppressed>,
}

impl Sink {
    /// One that keeps refusals, with a clock.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Inner {
            now: Box::new(now),
            state: Mutex::default(),
        })))
    }

    /// Takes a refusal: `why` and what `complete` adds to it. Waits for nothing but a lock that
    /// is held for a moment.
    pub fn refused(&self, why: Why, complete: impl FnOnce(Refused) -> Refused) {
        let Some(inner) = &self.0 else { return };
        let at = (inner.now)();
        let mut state = inner.state();
        let state = &mut *state;
        let flow = state.by_reason.entry(why).or_insert_with(|| Flow {
            left: limits::AUDIT_REFUSALS_BURST,
            at,
            suppressed: 0,
        });
        if state.waiting.len() >= limits::AUDIT_REFUSALS_WAITING_MAX {
            flow.suppressed = flow.suppressed.saturating_add(1);
        } else if flow.passes(at) {
            let refused = Refused {
                at,
                why,
                caller: None,
                method: None,
                key: None,
                account: None,
                batch: None,
                items: None,
            };
            state.waiting.push(complete(refused));
        }
    }

    /// Whether there is something to take.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| {
            let state = inner.state();
            let suppressed = |flow: &Flow| flow.suppressed > 0;
            !state.waiting.is_empty() || state.by_reason.values().any(suppressed)
        })
    }

    /// Takes what waits; what was suppressed only now and then, unless it is `all` that is wanted.
    pub(super) fn take(&self, all: bool) -> Taken {
        let Some(inner) = &self.0 else {
            return Taken::default();
        };
        let now = (inner.now)();
        let mut state = inner.state();
        let refused = std::mem::take(&mut state.waiting);
        let interval = SignedDuration::from_secs(limits::AUDIT_SUPPRESSED_SECONDS);
        let is_due = state
            .told
            .is_none_or(|told| now.duration_since(told) >= interval);
        let mut suppressed = Vec::new();
        if all || is_due {
            for (why, flow) in &mut state.by_reason {
                let count = std::mem::take(&mut flow.suppressed);
                if count > 0 {
                    suppressed.push(Suppressed { why: *why, count });
                }
            }
            if !suppressed.is_empty() {
                state.told = Some(now);
            }
        }
        Taken {
            refused,
            suppressed,
        }
    }

    /// Gives back what could not be written. What is more than a little is only counted.
    pub(super) fn give_back(&self, taken: Taken) {
        let Some(inner) = &self.0 else { return };
        let mut state = inner.state();
        let mut counted = taken.suppressed;
        for refused in taken.refused {
            if state.waiting.len() < limits::AUDIT_REFUSALS_WAITING_MAX {
                state.waiting.push(refused);
            } else {
                let why = refused.why;
                counted.push(Suppressed { why, count: 1 });
            }
        }
        for Suppressed { why, count } in counted {
            if let Some(flow) = state.by_reason.get_mut(&why) {
                flow.suppressed = flow.suppressed.saturating_add(count);
            }
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    fn sink() -> (Sink, Arc<AtomicI64>) {
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let now = Arc::clone(&seconds);
        let sink = Sink::new(move || Timestamp::from_second(now.load(Ordering::SeqCst)).unwrap());
        (sink, seconds)
    }

    fn refuse(sink: &Sink, why: Why, times: usize) {
        for _ in 0..times {
            sink.refused(why, |refused| refused);
        }
    }

    #[test]
    fn a_flood_is_thinned_out_and_every_refusal_of_it_is_counted() {
        let (sink, seconds) = sink();
        refuse(&sink, Why::Unauthenticated, 10_000);
        refuse(&sink, Why::NotPermitted, 1);
        let taken = sink.take(false);
        let by = |why| taken.refused.iter().filter(|r| r.why == why).count();
        assert_eq!(by(Why::NotPermitted), 1, "others pass a flood by");
        let told = by(Why::Unauthenticated);
        assert_eq!(told, 50);
        let [suppressed] = &*taken.suppressed else {
            panic!("{taken:?}");
        };
        assert_eq!(suppressed.why, Why::Unauthenticated);
        assert_eq!(suppressed.count, 10_000 - 50);

        seconds.fetch_add(30, Ordering::SeqCst);
        refuse(&sink, Why::Unauthenticated, 100);
        let taken = sink.take(false);
        assert!(taken.refused.is_empty(), "one a minute: {taken:?}");
        assert!(taken.suppressed.is_empty(), "the rest is told now and then");
        seconds.fetch_add(600, Ordering::SeqCst);
        refuse(&sink, Why::Unauthenticated, 100);
        let taken = sink.take(false);
        assert_eq!(taken.refused.len(), 10, "some more with time");
        assert_eq!(taken.suppressed[0].count, 100 + 90);
    }

    #[test]
    fn a_flood_of_a_day_writes_little() {
        const DAY: i64 = 24 * 60 * 60;
        let (sink, seconds) = sink();
        let mut lines = 0;
        for _ in 0..DAY / 10 {
            refuse(&sink, Why::Unauthenticated, 20);
            let taken = sink.take(false);
            lines += taken.refused.len() + taken.suppressed.len();
            seconds.fetch_add(10, Ordering::SeqCst);
        }
        let minutes = usize::try_from(DAY / 60).unwrap();
        let most = 50 + 2 * minutes;
        assert!((minutes..=most).contains(&lines), "{lines}");
    }

    #[test]
    fn what_could_not_be_written_is_not_lost() {
        let (sink, _) = sink();
        refuse(&sink, Why::KeyReused, 60);
        sink.give_back(sink.take(true));
        let taken = sink.take(true);
        assert_eq!(taken.refused.len(), 50);
        assert_eq!(taken.suppressed[0].count, 10);
    }

    #[test]
    fn without_an_audit_nothing_is_kept() {
        let sink = Sink::default();
        refuse(&sink, Why::Full, 3);
        assert!(sink.take(true).refused.is_empty());
    }
}
