//! Follows the journal's trail and writes what it tells. Nobody waits for it: it looks a few times
//! a second, and what it finds then goes to the disk together.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    Error, Sink,
    chain::Head,
    line::{self, Line},
    log::{Found, Log, Position},
};
use crate::{
    journal::{Audited, Trail},
    limits,
};

/// Where the audit is and how long it is kept.
#[derive(Clone)]
pub struct Options {
    /// Its directory.
    pub dir: PathBuf,
    /// How long lines are kept, about.
    pub retention: Duration,
    /// The time of day.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Where refusals come from.
    pub sink: Sink,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("dir", &self.dir)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

/// Bytes of lines that are made durable together, at most about.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How long the journal is not told with a write of its own how far the audit has got.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often files whose time is over are looked for.
const SWEEP: SignedDuration = SignedDuration::from_hours(1);

/// The task that writes the audit.
#[derive(Debug)]
pub struct Follower {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Takes the audit up where it was left, and follows from there.
    ///
    /// # Errors
    /// The directory or the journal cannot be read; or, when an older copy of the journal was put
    /// in its place, the line that says so cannot be written.
    pub async fn start(trail: Arc<dyn Trail>, options: Options) -> Result<Self, Error> {
        let (writer, is_known) = blocking({
            let trail = Arc::clone(&trail);
            move || Writer::open(trail, options)
        })
        .await??;
        if !is_known {
            // From here on the two belong together, whatever the log was of before.
            trail.record(writer.audited()).await?;
        }
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(follow(trail, writer, stopped));
        Ok(Self { stop, task })
    }

    /// Writes what there is to write, and ends.
    pub async fn stop(self) {
        // It may have ended by itself.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Line(format!("the audit panicked: {error}")))
}

async fn follow(trail: Arc<dyn Trail>, mut writer: Writer, mut stopped: oneshot::Receiver<()>) {
    let mut looks = interval(Duration::from_millis(limits::AUDIT_LOOK_MS));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut noted_since: Option<Instant> = None;
    let mut failing = false;
    loop {
        let is_last = tokio::select! {
            _ = looks.tick() => false,
            // A dropped sender ends it as a sent word does.
            _ = &mut stopped => true,
        };
        if is_last || writer.has_work() {
            let passed = blocking(move || {
                let passed = writer.pass(is_last);
                (writer, passed)
            });
            let passed = match passed.await {
                Ok((back, passed)) => {
                    writer = back;
                    passed
                }
                Err(error) => {
                    tracing::error!(%error, "the audit is not written any more");
                    return;
                }
            };
            match passed {
                Ok(()) if failing => tracing::info!("the audit is written again"),
                Ok(()) => {}
                Err(error) if !failing => {
                    tracing::error!(%error, "the audit cannot be written; it is tried again");
                    failing = true;
                }
                Err(_) => {}
            }
            failing = failing && !is_last && writer.has_work();
        }
        // Without other writes it is never recorded, and admissions that were stopped because the
        // audit was behind bring none.
        noted_since = trail
            .is_noted()
            .then(|| noted_since.unwrap_or_else(Instant::now));
        if is_last || noted_since.is_some_and(|since| since.elapsed() >= PATIENCE) {
            // If it fails, the log's own last line says as much.
            let _ = trail.record(writer.audited()).await;
            noted_since = None;
        }
        if is_last {
            return;
        }
        if failing {
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                _ = &mut stopped => return,
            }
        }
    }
}

/// The one that writes.
struct Writer {
    trail: Arc<dyn Trail>,
    options: Options,
    log: Log,
    /// The last entry of the trail that is written whole, and the same of what is durable.
    after: u64,
    after_durable: u64,
    /// Of the entry after it, so many lines were written before the start.
    begun: u32,
    /// What to say first.
    gaps: Vec<String>,
    has_started: bool,
    sweep_at: Timestamp,
}

impl Writer {
    /// With it, whether the journal knows how far the log has got.
    fn open(trail: Arc<dyn Trail>, options: Options) -> Result<(Self, bool), Error> {
        let known = trail.audited()?;
        let known_at = known.as_ref().map(|known| Position {
            head: Head {
                seq: known.seq,
                hash: known.hash.clone(),
            },
            trail: known.trail,
            part: u32::MAX,
        });
        let Found { log, gap } = Log::open(&options.dir, known_at.as_ref())?;
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
            trail,
            options,
            log,
            after,
            after_durable: after,
            begun,
            gaps,
            has_started: false,
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
    fn audited(&self) -> Audited {
        let head = self.log.durable();
        Audited {
            trail: self.after_durable,
            seq: head.seq,
            hash: head.hash.clone(),
        }
    }

    fn has_work(&self) -> bool {
        !self.has_started
            || self.trail.end() > self.after
            || self.options.sink.is_waiting()
            || (self.options.now)() >= self.sweep_at
    }

    /// Writes what there is, durably, or takes it back.
    fn pass(&mut self, is_last: bool) -> Result<(), Error> {
        let taken = self.options.sink.take(is_last);
        let passed = self.follow_trail().and_then(|()| {
            let now = (self.options.now)();
            for refused in &taken.refused {
                self.log.add(Line::refused(refused), None)?;
            }
            for suppressed in &taken.suppressed {
                self.log.add(Line::suppressed(now, suppressed), None)?;
            }
            self.sync()
        });
        if passed.is_err() {
            self.options.sink.give_back(taken);
            self.after = self.after_durable;
            self.log.roll_back()?;
            return passed;
        }
        self.sweep()
    }

    /// Says what is missing, and that it goes on from here.
    fn begin(&mut self) -> Result<(), Error> {
        let now = (self.options.now)();
        for gap in &self.gaps {
            self.log.add(Line::gap(now, gap), None)?;
        }
        let journal = self.trail.journal();
        self.log.add(Line::started(now, &journal), None)?;
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
            for entry in entries {
                let number = entry.number;
                let is_begun = number == self.after_durable.saturating_add(1);
                let written = if is_begun { self.begun } else { 0 };
                let mut part = 0_u32;
                for happened in &entry.happened {
                    line::each(now, happened, |line| {
                        part = part.saturating_add(1);
                        if part > written {
                            self.log.add(line, Some((number, part)))?;
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
        if self.log.sync((self.options.now)())? || self.after > self.after_durable {
            if self.after > self.after_durable {
                (self.after_durable, self.begun) = (self.after, 0);
            }
            self.trail.note(self.audited());
        }
        Ok(())
    }

    /// Removes files whose time is over, after a line that says so.
    fn sweep(&mut self) -> Result<(), Error> {
        let now = (self.options.now)();
        if now < self.sweep_at {
            return Ok(());
        }
        self.sweep_at = now.checked_add(SWEEP).unwrap_or(Timestamp::MAX);
        let before = now.checked_sub(self.options.retention);
        let before = before.unwrap_or(Timestamp::MIN);
        if let Some((segments, last)) = self.log.expired(before)? {
            self.log
                .add(Line::dropped(now, last.seq, &last.hash), None)?;
            self.sync()?;
            self.log.remove(&segments)?;
            tracing::info!(
                files = segments.len(),
                upto = last.seq,
                "audit files removed"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{
            Mutex,
            atomic::{AtomicU64, Ordering},
        },
    };

    use super::*;
    use crate::{
        audit::segments::Segment,
        journal::{Happened, Pending, Trailed, Unavailable},
    };

    /// A journal's trail: each entry tells a number of its own.
    #[derive(Debug, Default)]
    struct Told {
        first: u64,
        end: AtomicU64,
        audited: Mutex<Option<Audited>>,
    }

    impl Trail for Told {
        fn journal(&self) -> String {
            "told".to_owned()
        }

        fn end(&self) -> u64 {
            self.end.load(Ordering::SeqCst)
        }

        fn audited(&self) -> Result<Option<Audited>, Unavailable> {
            Ok(self.audited.lock().unwrap().clone())
        }

        fn read(&self, after: u64, entries_max: usize) -> Result<Vec<Trailed>, Unavailable> {
            let entries = (after + 1..=self.end()).take(entries_max);
            let entries = entries.map(|number| Trailed {
                number,
                happened: vec![Happened::Off {
                    commits: self.first + number,
                }],
            });
            Ok(entries.collect())
        }

        fn note(&self, _: Audited) {}

        fn is_noted(&self) -> bool {
            false
        }

        fn record(&self, audited: Audited) -> Pending<Result<(), Unavailable>> {
            *self.audited.lock().unwrap() = Some(audited);
            Box::pin(async { Ok(()) })
        }
    }

    /// As [`Follower::start`] does it. To drop the writer is a crash.
    fn open(trail: &Arc<Told>, dir: &std::path::Path) -> Writer {
        let options = Options {
            dir: dir.to_owned(),
            retention: Duration::from_secs(1_000_000),
            now: Arc::new(|| Timestamp::from_second(1_800_000_000).unwrap()),
            sink: Sink::default(),
        };
        let (writer, is_known) = Writer::open(Arc::<Told>::clone(trail), options).unwrap();
        if !is_known {
            *trail.audited.lock().unwrap() = Some(writer.audited());
        }
        writer
    }

    /// The numbers that the lines tell, and how many say that an older journal was found.
    fn told(dir: &std::path::Path) -> (Vec<u64>, usize) {
        let segments = Segment::list(dir).unwrap();
        let text: String = segments
            .iter()
            .map(|segment| fs::read_to_string(&segment.path).unwrap())
            .collect();
        let numbers = text.lines().filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["commits"].as_u64()
        });
        (numbers.collect(), text.matches("an older copy").count())
    }

    #[test]
    fn after_an_older_journal_was_put_in_place_a_crash_at_once_loses_no_entry() {
        for (is_begun, new) in (0..8).flat_map(|new| [(false, new), (true, new)]) {
            let dir = tempfile::tempdir().unwrap();
            let journal = Arc::new(Told::default());
            let mut writer = open(&journal, dir.path());
            journal.end.store(2, Ordering::SeqCst);
            writer.pass(false).unwrap();
            let older = Told {
                first: 100,
                end: AtomicU64::new(2),
                audited: Mutex::new(Some(writer.audited())),
            };
            journal.end.store(5, Ordering::SeqCst);
            writer.pass(true).unwrap();

            let journal = Arc::new(older);
            let mut writer = open(&journal, dir.path());
            if is_begun {
                writer.pass(false).unwrap();
            }
            drop(writer);
            journal.end.fetch_add(new, Ordering::SeqCst);
            let mut writer = open(&journal, dir.path());
            writer.pass(true).unwrap();

            let expected: Vec<_> = (1..=5).chain(103..103 + new).collect();
            let case = format!("{new} entries, begun: {is_begun}");
            assert_eq!(told(dir.path()), (expected, 1), "{case}");
        }
    }
}
