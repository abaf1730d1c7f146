//! Follows the journal's trail and writes what it tells. Nobody waits for it: it looks a few times
//! a second, and what it finds then goes to the disk together.

#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::oneshot,
    task::{JoinError, JoinHandle},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{Error, Shown, Signer, Sink, Usage, writer::Writer};
use crate::{journal::OutboxReader, limits, observe::TaskSupervisor};

/// Where the audit is and how long it is kept.
#[derive(Clone)]
pub struct AuditOptions {
    /// Its directory.
    pub dir: PathBuf,
    /// How long lines are kept, about.
    pub retention: Duration,
    /// The time of day.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// The time by which files may be removed; `None` if none may be.
    pub for_deletions: Arc<dyn Fn() -> Option<Timestamp> + Send + Sync>,
    /// Where refusals come from.
    pub sink: Sink,
    /// Where it says how much it takes.
    pub usage: Usage,
    /// The digest of the configuration that the service started with, in hexadecimal.
    pub config: Option<String>,
    /// What signs the head each hour; `None` for nothing.
    pub signer: Option<Arc<Signer>>,
    /// What its lines show.
    pub shown: Shown,
}

impl fmt::Debug for AuditOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("dir", &self.dir)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// How long the journal is not told with a write of its own how far the audit has got.
const PATIENCE: Duration = Duration::from_secs(1);

/// The task that writes the audit.
#[derive(Debug)]
pub struct AuditTask {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Option<Result<(), Error>>>,
}

impl AuditTask {
    /// Takes the audit up where it was left, and follows from there.
    ///
    /// # Errors
    /// The directory or the journal cannot be read; or, when an older copy of the journal was put
    /// in its place, the line that says so cannot be written.
    pub async fn start(
        trail: Arc<dyn OutboxReader>,
        options: AuditOptions,
        overseer: &TaskSupervisor,
    ) -> Result<Self, Error> {
        let (writer, is_known) = blocking({
            let trail = Arc::clone(&trail);
            move || Writer::open(trail, options)
        })
        .await
        .map_err(|_| Error::Panicked)??;
        if !is_known {
            // From here on the two belong together, whatever the log was of before.
            trail.record(writer.audited()).await?;
        }
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(overseer.watched("audit", follow(trail, writer, stopped)));
        Ok(Self { stop, task })
    }

    /// Writes what there is to write, and ends. A disk that hangs is not waited for longer than
    /// this.
    ///
    /// # Errors
    /// What could not be written. The journal has it, and the next start goes on from there.
    pub async fn stop(self, patience: Duration) -> Result<(), Error> {
        // It may have ended by itself.
        let _ = self.stop.send(());
        match timeout(patience, self.task).await {
            Ok(Ok(Some(ended))) => ended,
            Ok(Ok(None) | Err(_)) => Err(Error::Panicked),
            Err(_) => Err(Error::Unfinished { patience }),
        }
    }
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, JoinError> {
    tokio::task::spawn_blocking(work).await
}

async fn follow(
    trail: Arc<dyn OutboxReader>,
    mut writer: Writer,
    mut stopped: oneshot::Receiver<()>,
) -> Result<(), Error> {
    let mut looks = interval(Duration::from_millis(limits::AUDIT_LOOK_MS));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut noted_since: Option<Instant> = None;
    let mut failing = false;
    let mut is_last = false;
    loop {
        if !is_last {
            is_last = tokio::select! {
                _ = looks.tick() => false,
                // A dropped sender ends it as a sent word does.
                _ = &mut stopped => true,
            };
        }
        let mut ended = Ok(());
        if is_last || writer.has_work() || writer.is_counting() {
            let passed = blocking(move || {
                let passed = writer.pass(is_last);
                (writer, passed)
            });
            let passed = match passed.await {
                Ok((back, passed)) => {
                    writer = back;
                    passed
                }
                // Nobody is left who could write: that is for the one who watches this task.
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is being shut down.
                    Err(_) => return Err(Error::Panicked),
                },
            };
            match passed {
                Err(error) if is_last => ended = Err(error),
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
            return ended;
        }
        if failing {
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                // Once more: whatever was in the way may be gone.
                _ = &mut stopped => is_last = true,
            }
        }
    }
}
