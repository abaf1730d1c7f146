//! Requests that were not taken on.

use super::counters::Tally;

/// Why a request was not taken on, by the words of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Keys were used before with other content.
    Conflict,
    /// Too much is open, or too many results wait for their readers.
    Full,
    /// Too many requests are being received.
    Receiving,
    /// Too many questions are being answered.
    Reading,
    /// It would never fit.
    Oversized,
    /// The journal's disk is full.
    DiskFull,
    /// The caller has brought all the items that it may bring in an hour.
    OverQuota,
    /// The audit is too far behind.
    AuditBehind,
    /// The audit has no room for more of the caller.
    AuditFull,
    /// The journal cannot be used.
    JournalFailed,
    /// The service stops.
    Draining,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Conflict,
        Self::Full,
        Self::Receiving,
        Self::Reading,
        Self::Oversized,
        Self::DiskFull,
        Self::OverQuota,
        Self::AuditBehind,
        Self::AuditFull,
        Self::JournalFailed,
        Self::Draining,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Full => "full",
            Self::Receiving => "receiving",
            Self::Reading => "reading",
            Self::Oversized => "oversized",
            Self::DiskFull => "disk_full",
            Self::OverQuota => "over_quota",
            Self::AuditBehind => "audit_behind",
            Self::AuditFull => "audit_full",
            Self::JournalFailed => "journal_failed",
            Self::Draining => "draining",
        }
    }
}

/// Requests that were not taken on, by reason.
#[derive(Debug)]
pub struct RejectionMetrics(Tally<Refusal>);

impl Default for RejectionMetrics {
    fn default() -> Self {
        Self(Tally::new(&Refusal::ALL))
    }
}

impl RejectionMetrics {
    /// One more.
    pub fn inc(&self, why: Refusal) {
        self.0.inc(why);
    }

    /// How often each was.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> {
        self.0.iter()
    }
}
