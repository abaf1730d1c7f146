//! Metrics of rejected requests.

use super::counters::Tally;

/// Why a request was rejected; each reason is a label value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Keys were used before with other content.
    Conflict,
    /// A budget for open items or buffered results is used up.
    Full,
    /// Too many requests are being received.
    Receiving,
    /// Too many reads are running or waiting.
    Reading,
    /// The request could never fit.
    Oversized,
    /// The journal's disk is full.
    DiskFull,
    /// The caller's hourly quota is used up.
    OverQuota,
    /// The audit is too far behind.
    AuditBehind,
    /// The audit has no room for more of the caller.
    AuditFull,
    /// The journal cannot be used.
    JournalFailed,
    /// The service is stopping.
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

/// Rejected requests by reason.
#[derive(Debug)]
pub struct RejectionMetrics(Tally<Refusal>);

impl Default for RejectionMetrics {
    fn default() -> Self {
        Self(Tally::new(&Refusal::ALL))
    }
}

impl RejectionMetrics {
    /// Adds one.
    pub fn inc(&self, why: Refusal) {
        self.0.inc(why);
    }

    /// All reasons with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> {
        self.0.iter()
    }
}
