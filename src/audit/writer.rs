//! Writes what the trail tells and what was refused, durably, and removes what is over.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    Error,
    chain::ChainHead,
    entry::{self, AuditEntry},
    segment_log::{FoundSegments, Position, SegmentLog},
    task::AuditOptions,
    usage::Tallies,
};
use crate::{
    domain::opaque::Names,
    journal::{Audited, OutboxReader},
    limits,
};

/// Bytes of lines that are made durable together, at most about.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;
/// How often files whose time is over are looked for.
const SWEEP: SignedDuration = SignedDuration::from_hours(1);
/// How often the head is signed.
const SIGNED: SignedDuration = SignedDuration::from_hours(1);

/// The one that writes.
pub(super) struct Writer {
    trail: Arc<dyn OutboxReader>,
    names: Arc<Names>,
    options: AuditOptions,
    log: SegmentLog,
    tallies: Tallies,
    /// The last entry of the trail that is written whole, and the same of what is durable.
    after: u64,
    after_durable: u64,
    /// Of the entry after it, so many lines were written before the start.
    begun: u32,
    /// What to say first.
    gaps: Vec<String>,
    has_started: bool,
    sweep_at: Timestamp,
    /// When the head was signed last, and which line has that.
    signed: Option<(Timestamp, u64)>,
}

impl Writer {
    /// With it, whether the journal knows how far the log has got.
    pub(super) fn open(
        trail: Arc<dyn OutboxReader>,
        options: AuditOptions,
    ) -> Result<(Self, bool), Error> {
        let known = trail.audited()?;
        let known_at = known.as_ref().map(|known| Position {
            head: ChainHead {
                seq: known.seq,
                hash: known.hash.clone(),
            },
            trail: known.trail,
            part: u32::MAX,
        });
        let FoundSegments { log, gap } = SegmentLog::open(&options.dir, known_at.as_ref())?;
        let tallies = Tallies::load(&options.dir, options.usage.clone());
        let tallies = tallies.map_err(|source| Error::Io {
            doing: "measuring",
            path: options.dir.clone(),
            source,
        })?;
        let mut gaps: Vec<_> = gap.into_iter().collect();
        let at = log.at();
        let mut is_known = known.is_some();
        let (after, begun) = match &known {
            // This journal has not been told of here.
            None => (0, 0),
            Some(_) if at.trail > trail.end() => {
                gaps.push(format!(
                    "the log has entry {} of the journal, which ends with {}: an older copy of \
                     the journal was put in its place",
                    at.trail,
                    trail.end()
                ));
                is_known = false;
                (trail.end(), 0)
            }
            Some(known) if at.trail <= known.trail => (known.trail, 0),
            // The last entry may be there in part.
            Some(_) => (at.trail.saturating_sub(1), at.part),
        };
        for gap in &gaps {
            tracing::error!(reason = gap, "the audit is not whole");
        }
        let is_older = known.is_some() && !is_known;
        let mut writer = Self {
            sweep_at: Timestamp::MIN,
            names: trail.names(),
            trail,
            options,
            log,
            tallies,
            after,
            after_durable: after,
            begun,
            gaps,
            has_started: false,
            signed: None,
        };
        if is_older {
            // The numbers come again, for other entries. Before there are any, the log has to say
            // from where on, or the next start takes what it has of the first ones for these.
            writer.log.set_trail(after);
            writer.begin()?;
        }
        Ok((writer, is_known))
    }

    /// How far it has got, durably.
    pub(super) fn audited(&self) -> Audited {
        let head = self.log.durable();
        Audited {
            trail: self.after_durable,
            seq: head.seq,
            hash: head.hash.clone(),
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.has_started
            || self.trail.end() > self.after
            || self.options.sink.is_waiting()
            || self.sweeps_by().is_some()
            || self.signs_at((self.options.now)(), false)
    }

    /// Whether files are left of which nobody knows whose lines they have.
    pub(super) fn is_counting(&self) -> bool {
        self.tallies.is_counting()
    }

    /// Writes what there is, durably, or takes it back. What is written stays if only its
    /// signature fails; the next pass tries that again.
    pub(super) fn pass(&mut self, is_last: bool) -> Result<(), Error> {
        let taken = self.options.sink.take(is_last);
        let shown = self.options.shown;
        let written = self.follow_trail().and_then(|()| {
            let now = (self.options.now)();
            for refused in &taken.refused {
                self.log
                    .add(AuditEntry::refused(refused).with(shown), None)?;
            }
            for noted in &taken.noted {
                self.log.add(AuditEntry::noted(noted).with(shown), None)?;
            }
            for suppressed in &taken.suppressed {
                self.log
                    .add(AuditEntry::suppressed(now, suppressed), None)?;
            }
            self.sync()
        });
        if written.is_err() {
            self.options.sink.give_back(taken);
            self.after = self.after_durable;
            self.log.roll_back()?;
            return written;
        }
        // What was taken is durable from here on: a signature that fails must not give it back,
        // or each pass writes it again.
        let signed = self.sign((self.options.now)(), is_last);
        if signed.is_err() {
            self.log.roll_back()?;
            return signed;
        }
        self.tallies.count_one();
        self.sweep()
    }

    /// Whether it is time to sign the head: each hour, and at the end if there is anything new.
    fn signs_at(&self, now: Timestamp, is_last: bool) -> bool {
        self.options.signer.is_some()
            && self.signed.is_none_or(|(at, line)| {
                now.duration_since(at).abs() >= SIGNED || (is_last && self.log.durable().seq > line)
            })
    }

    /// Signs the head if it is time, in a line of its own.
    fn sign(&mut self, now: Timestamp, is_last: bool) -> Result<(), Error> {
        let is_due = self.signs_at(now, is_last);
        let Some(signer) = self.options.signer.as_ref().filter(|_| is_due) else {
            return Ok(());
        };
        let head = self.log.durable().clone();
        let signature = signer.sign(&head, now);
        let line = AuditEntry::signed(now, &head, (signer.kid(), &signature));
        self.log.add(line, None)?;
        self.sync()?;
        self.signed = Some((now, self.log.durable().seq));
        Ok(())
    }

    /// Says what is missing, and that it goes on from here.
    fn begin(&mut self) -> Result<(), Error> {
        let now = (self.options.now)();
        for gap in &self.gaps {
            self.log.add(AuditEntry::gap(now, gap), None)?;
        }
        let journal = self.trail.journal();
        self.log.add(
            AuditEntry::started(now, &journal, self.options.config.as_deref()),
            None,
        )?;
        self.sync()?;
        self.has_started = true;
        Ok(())
    }

    fn follow_trail(&mut self) -> Result<(), Error> {
        // What an earlier failure could not take back.
        self.log.roll_back()?;
        if !self.has_started {
            self.begin()?;
        }
        loop {
            let entries = self.trail.read(self.after, limits::AUDIT_ENTRIES)?;
            if entries.is_empty() {
                return Ok(());
            }
            let now = (self.options.now)();
            let shown = self.options.shown;
            for entry in entries {
                let number = entry.number;
                let is_begun = number == self.after_durable.saturating_add(1);
                let written = if is_begun { self.begun } else { 0 };
                let mut part = 0_u32;
                for happened in &entry.happened {
                    entry::each(now, &self.names, happened, |line| {
                        part = part.saturating_add(1);
                        if part > written {
                            self.log.add(line.with(shown), Some((number, part)))?;
                        }
                        Ok::<_, Error>(())
                    })?;
                }
                self.after = number;
                if self.log.bytes_waiting() >= SYNC_BYTES {
                    self.sync()?;
                }
            }
        }
    }

    fn sync(&mut self) -> Result<(), Error> {
        let has_synced = self.log.sync((self.options.now)())?;
        for synced in self.log.take_synced() {
            self.tallies.add(&self.options.dir, &synced);
        }
        if has_synced || self.after > self.after_durable {
            if self.after > self.after_durable {
                (self.after_durable, self.begun) = (self.after, 0);
            }
            self.trail.note(self.audited());
        }
        Ok(())
    }

    /// The time by which files are removed, if that is due.
    fn sweeps_by(&self) -> Option<Timestamp> {
        let by = (self.options.for_deletions)();
        by.filter(|by| *by >= self.sweep_at)
    }

    /// Removes files whose time is over, after a line that says so.
    fn sweep(&mut self) -> Result<(), Error> {
        let Some(by) = self.sweeps_by() else {
            return Ok(());
        };
        self.sweep_at = by.checked_add(SWEEP).unwrap_or(Timestamp::MAX);
        let now = (self.options.now)();
        let before = by.checked_sub(self.options.retention);
        let before = before.unwrap_or(Timestamp::MIN);
        if let Some((segments, last)) = self.log.expired(before)? {
            self.log
                .add(AuditEntry::dropped(now, last.seq, &last.hash), None)?;
            self.sync()?;
            self.log.remove(&segments)?;
            self.tallies.forget(&segments);
            tracing::info!(
                files = segments.len(),
                upto = last.seq,
                "audit files removed"
            );
        }
        Ok(())
    }
}
