//! Refusals on their way to the audit: taken without waiting, bounded, and thinned out when they
//! come in floods, so that nobody can fill the disk by being refused. What is left out is counted.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use jiff::Timestamp;

use super::entry::noted::Noted;
use crate::{
    domain::{
        access::provenance::Provenance,
        ids::{AccountName, BatchName, CallerId, Key},
    },
    limits,
    observe::{BySource, Counted, Source},
};

/// Why a request was refused. The words are published in docs/audit.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectionWord {
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
    /// The audit has no room for more of the caller.
    AuditFull,
    /// The journal cannot be used.
    JournalFailed,
    /// The service takes up what was open before.
    Starting,
    /// The service stops.
    Draining,
}

impl RejectionWord {
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
            Self::AuditFull => "AUDIT_FULL",
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
                | Self::AuditFull
        )
    }

    /// Whether it is because nobody knows who called, which strangers are told nothing more of.
    #[must_use]
    pub fn is_about_a_stranger(self) -> bool {
        matches!(
            self,
            Self::Unauthenticated | Self::KeysUnavailable | Self::Handshake | Self::Stale
        )
    }
}

/// A refused request: what is known of it, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: RejectionWord,
    /// The gRPC status that the caller gets, such as `NOT_FOUND`; `None` if there was no call.
    pub code: Option<&'static str>,
    /// Why nobody knows who called, by a stable word such as `JWT_INVALID`, and in words.
    pub cause: Option<&'static str>,
    /// See there.
    pub detail: Option<String>,
    /// Who asked, if that is known.
    pub caller: Option<CallerId>,
    /// How it came.
    pub from: Provenance,
    /// The RPC, such as `CancelSubscription`, if it is known.
    pub method: Option<&'static str>,
    /// The request's key.
    pub key: Option<Key>,
    /// The account that it was refused for.
    pub account: Option<AccountName>,
    /// The batch that it is about.
    pub batch: Option<BatchName>,
    /// Items of the request.
    pub items: Option<usize>,
}

/// Refusals without lines of their own.
pub(super) type Suppressed = Counted<RefusalCause>;

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
    state: Mutex<RejectionsState>,
}

#[derive(Default)]
struct RejectionsState {
    waiting: Vec<Rejection>,
    noted: Vec<Noted>,
    thinning: BySource<RefusalCause>,
}

/// What refusals of one source are thinned out by: what their lines say of why.
pub(super) type RefusalCause = (RejectionWord, Option<&'static str>);

/// The audit cannot be written, and no more of this can wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit cannot keep up")]
pub struct Full;

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) refused: Vec<Rejection>,
    pub(super) noted: Vec<Noted>,
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

    /// Takes a refusal: `why`, the status's `code`, whose, and what `complete` adds to them. Waits
    /// for nothing but a lock that is held for a moment.
    pub fn refused(
        &self,
        why: RejectionWord,
        code: Option<&'static str>,
        source: &Source,
        complete: impl FnOnce(Rejection) -> Rejection,
    ) {
        let Some(inner) = &self.0 else { return };
        let (at, now) = ((inner.now)(), Instant::now());
        let mut state = inner.state();
        if state.waiting.len() >= limits::AUDIT_REFUSALS_WAITING_MAX {
            state.thinning.count((why, code), Some(source), 1, now);
        } else if state.thinning.passes((why, code), source, now) {
            let refused = Rejection {
                at,
                why,
                code,
                cause: None,
                detail: None,
                caller: None,
                from: Provenance::default(),
                method: None,
                key: None,
                account: None,
                batch: None,
                items: None,
            };
            state.waiting.push(complete(refused));
        }
    }

    /// Takes something else that happened; without an audit, nothing. It is not thinned out.
    ///
    /// # Errors
    /// If too much waits already: it would have no line, so it must not be.
    pub fn note(&self, noted: Noted) -> Result<(), Full> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let at = (inner.now)();
        let mut state = inner.state();
        if state.noted.len() >= limits::AUDIT_NOTED_WAITING_MAX {
            return Err(Full);
        }
        state.noted.push(Noted { at, ..noted });
        Ok(())
    }

    /// Whether there is something to take.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| {
            let state = inner.state();
            !state.waiting.is_empty() || !state.noted.is_empty() || state.thinning.has_counts()
        })
    }

    /// Takes what waits; what was suppressed only now and then, unless it is `all` that is wanted.
    pub(super) fn take(&self, all: bool) -> Taken {
        let Some(inner) = &self.0 else {
            return Taken::default();
        };
        let mut state = inner.state();
        Taken {
            refused: std::mem::take(&mut state.waiting),
            noted: std::mem::take(&mut state.noted),
            suppressed: state.thinning.take_counts(all, Instant::now()),
        }
    }

    /// Gives back what could not be written. What is more than a little is only counted.
    pub(super) fn give_back(&self, taken: Taken) {
        let Some(inner) = &self.0 else { return };
        let now = Instant::now();
        let mut state = inner.state();
        for refused in taken.refused {
            if state.waiting.len() < limits::AUDIT_REFUSALS_WAITING_MAX {
                state.waiting.push(refused);
            } else {
                let cause = (refused.why, refused.code);
                let source = Source::new(refused.caller.as_ref(), refused.from.peer);
                state.thinning.count(cause, Some(&source), 1, now);
            }
        }
        // They were let happen because they would have lines.
        state.noted.splice(0..0, taken.noted);
        for counted in taken.suppressed {
            let source = counted.source.as_ref();
            state
                .thinning
                .count(counted.reason, source, counted.count, now);
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, RejectionsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink() -> Sink {
        Sink::new(|| Timestamp::UNIX_EPOCH)
    }

    fn refuse(sink: &Sink, why: RejectionWord, times: usize) {
        for _ in 0..times {
            sink.refused(why, None, &Source::default(), |refused| refused);
        }
    }

    #[test]
    fn a_flood_is_thinned_out_and_every_refusal_of_it_is_counted() {
        let sink = sink();
        refuse(&sink, RejectionWord::Unauthenticated, 10_000);
        refuse(&sink, RejectionWord::NotPermitted, 1);
        let taken = sink.take(false);
        let by = |why| taken.refused.iter().filter(|r| r.why == why).count();
        assert_eq!(by(RejectionWord::NotPermitted), 1, "others pass a flood by");
        let told = by(RejectionWord::Unauthenticated);
        let [suppressed] = &*taken.suppressed else {
            panic!("{taken:?}");
        };
        assert_eq!(suppressed.reason.0, RejectionWord::Unauthenticated);
        assert_eq!(told + usize::try_from(suppressed.count).unwrap(), 10_000);
        assert!(told < 100, "{told}");
    }

    #[test]
    fn what_could_not_be_written_is_not_lost() {
        let sink = sink();
        refuse(&sink, RejectionWord::KeyReused, 60);
        sink.give_back(sink.take(true));
        let taken = sink.take(true);
        assert_eq!(taken.refused.len(), 50);
        assert_eq!(taken.suppressed[0].count, 10);
    }

    #[test]
    fn who_could_not_be_written_keeps_its_count() {
        let sink = sink();
        let ours: CallerId = "billing".try_into().unwrap();
        let peer = "10.0.0.1:4711".parse().ok();
        let source = Source::new(Some(&ours), peer);
        for _ in 0..60 {
            sink.refused(RejectionWord::OverQuota, None, &source, |refused| {
                Rejection {
                    caller: Some(ours.clone()),
                    from: Provenance {
                        peer,
                        ..Provenance::default()
                    },
                    ..refused
                }
            });
        }
        sink.give_back(sink.take(true));
        let [counted] = &*sink.take(true).suppressed else {
            panic!("one count");
        };
        assert_eq!(
            (counted.source.as_ref(), counted.count),
            (Some(&source), 10)
        );
    }

    #[test]
    fn what_would_have_no_line_is_not_let_happen_and_what_was_let_is_not_lost() {
        let sink = sink();
        let noted = || Noted {
            event: "read",
            ..Noted::default()
        };
        for _ in 0..limits::AUDIT_NOTED_WAITING_MAX {
            sink.note(noted()).unwrap();
        }
        assert_eq!(sink.note(noted()), Err(Full));
        let taken = sink.take(true);
        sink.note(noted()).unwrap();
        sink.give_back(taken);
        let waiting = sink.take(true).noted.len();
        assert_eq!(waiting, limits::AUDIT_NOTED_WAITING_MAX + 1);
        assert_eq!(Sink::default().note(noted()), Ok(()));
    }

    #[test]
    fn without_an_audit_nothing_is_kept() {
        let sink = Sink::default();
        refuse(&sink, RejectionWord::Full, 3);
        assert!(sink.take(true).refused.is_empty());
    }
}
