//! The clock as those see it who delete: what was settled long ago, files of the audit.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    domain::{
        doubt::Moment,
        reckoning::{Judged, Reckoning},
    },
    engine::Clock,
    journal::{Filter, Journal, Record, Unavailable},
    observe::Flag,
};

/// A clock that is held against what was seen.
#[derive(Debug)]
pub(super) struct SweepProgress {
    clock: Clock,
    /// The start by the clock of the boot and by that of the process.
    started: (Moment, Instant),
    state: Mutex<SweepState>,
    doubted: Arc<Flag>,
}

#[derive(Debug)]
struct SweepState {
    reckoning: Reckoning,
    /// When it was told last that the clock is not believed.
    told: Option<Instant>,
    /// Whether there is a record that the clock can be ahead of.
    has_records: bool,
}

/// How often that is told.
const TOLD_EVERY: Duration = Duration::from_secs(3_600);
/// A service that nobody used for less than this is no reason for a word.
const QUIET: Duration = Duration::from_secs(7 * 24 * 3_600);

impl SweepProgress {
    /// From the start of a process on. Reads the disk: call it off the async threads. A clock that
    /// is far ahead of the newest record has to hold its course for as long as `hold`.
    pub(super) fn begin(
        journal: &dyn Journal,
        clock: Clock,
        hold: Duration,
        doubted: Arc<Flag>,
    ) -> Self {
        let newest = newest(journal).unwrap_or_else(|error| {
            tracing::warn!(%error, "the newest record cannot be read, so nothing is deleted yet");
            None
        });
        let now = clock.moment();
        Self {
            clock,
            started: (now, Instant::now()),
            state: Mutex::new(SweepState {
                has_records: newest.is_some(),
                reckoning: Reckoning::new(newest, now.at, hold),
                told: None,
            }),
            doubted,
        }
    }

    /// The time by which something may be deleted now; `None` if nothing may be.
    pub(super) fn for_deletions(&self) -> Option<Timestamp> {
        let now = self.clock.moment();
        let passed = self.passed(&now);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let judged = state.reckoning.judge(now.at, passed);
        let is_doubted = match judged {
            Judged::Believed(_) => false,
            // So long does a service wait that nobody has used for a while, or ever.
            Judged::Unproven { ahead, .. } => ahead >= QUIET && state.has_records,
            Judged::Jumped { .. } | Judged::WentBack { .. } => true,
        };
        self.doubted.set(is_doubted);
        if is_doubted {
            if state.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                tell(&now.at, judged);
                state.told = Some(Instant::now());
            }
        } else if state.told.take().is_some() {
            tracing::info!(clock = %now.at, "the clock is believed again");
        }
        judged.for_deletions()
    }

    /// The time since the start. The clock of the boot counts the time that the machine slept too.
    fn passed(&self, now: &Moment) -> Duration {
        let (started, at) = &self.started;
        match (started.boot, now.boot) {
            (Some(from), Some(to)) if from.id == to.id => {
                Duration::from_millis(to.ms.saturating_sub(from.ms))
            }
            _ => at.elapsed(),
        }
    }
}

/// Says why the clock is not believed.
fn tell(clock: &Timestamp, judged: Judged) {
    match judged {
        Judged::Believed(_) => {}
        Judged::Unproven { reckoned, left, .. } => tracing::error!(
            %clock,
            newest_record = %reckoned,
            left_seconds = left.as_secs(),
            "the clock is far ahead of the newest record, so nothing is deleted by it yet: if the \
             service was not off or unused for so long, set the clock right before that time is \
             over"
        ),
        Judged::Jumped { reckoned, ahead } => tracing::error!(
            %clock,
            %reckoned,
            ahead_seconds = ahead.as_secs(),
            "the clock has jumped ahead, so nothing is deleted by it: set it right; if it is right, \
             restart the service, which believes it after an hour"
        ),
        Judged::WentBack { by, left } => tracing::error!(
            %clock,
            back_seconds = by.as_secs(),
            left_seconds = left.as_secs(),
            "the clock went back, so nothing is deleted until it has been steady for a day: see \
             that time is kept in order on this machine"
        ),
    }
}

/// The time of the newest record that there is; `None` if there is none.
fn newest(journal: &dyn Journal) -> Result<Option<Timestamp>, Unavailable> {
    let newest = journal.newest(&Filter::default(), 1)?;
    let latest = |record: &Record| {
        let settled = record.settled.as_ref().map(|settled| settled.settled_at);
        settled.map_or(record.admitted_at, |at| at.max(record.admitted_at))
    };
    Ok(newest.first().map(latest))
}
