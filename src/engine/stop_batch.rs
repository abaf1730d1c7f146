//! StopBatch: ends what is open of a batch.

use std::sync::Arc;

use tracing::Instrument as _;

use super::{Engine, lane::work_item};
use crate::{
    domain::ids::BatchId,
    journal::{Stopper, Unavailable},
    observe::TaskSupervisor,
};

/// The result of StopBatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Items that this call settled as stopped.
    pub stopped: usize,
    /// Items that are still being finished.
    pub finishing: usize,
}

impl Engine {
    /// Stops a batch durably: items that have sent nothing settle as stopped, the others are
    /// finished. Returns once the stop and the outcomes are recorded.
    ///
    /// # Errors
    /// If the journal cannot record the stop or the outcomes. A part may be on disk all the same,
    /// and a restart acts on it.
    pub async fn stop_batch(
        self: &Arc<Self>,
        batch: BatchId,
        by: impl Into<Stopper>,
    ) -> Result<Stopped, Unavailable> {
        let (engine, by) = (Arc::clone(self), by.into());
        let overseer = self.shared.overseer.clone();
        detached(&overseer, async move {
            let now = engine.shared.clock.now();
            let recorded = engine.journal.stop(batch, by, now);
            recorded.await.inspect_err(|_| engine.journal_refused())?;
            // A barrier: items of admissions under way are in their lanes after it, so that the
            // stop finds them.
            drop(engine.entering.write().await);
            engine.shared.live.stop(batch);
            let mut stopped = 0;
            for lane in engine.lanes.values() {
                for run in lane.take_stopped(batch) {
                    stopped += 1;
                    let conclusion = work_item::stopped(&run, None);
                    lane.finish(run, conclusion).await;
                }
            }
            engine.flush().await?;
            Ok(Stopped {
                stopped,
                finishing: engine.shared.live.open_count(batch),
            })
        })
        .await
    }
}

/// Runs to its end even if the caller stops waiting.
async fn detached<T: Send + 'static>(
    overseer: &TaskSupervisor,
    work: impl Future<Output = Result<T, Unavailable>> + Send + 'static,
) -> Result<T, Unavailable> {
    let work = overseer.watched("stop of a batch", work);
    let ended = tokio::spawn(work.in_current_span()).await.ok().flatten();
    ended.unwrap_or_else(|| Err(Unavailable("the engine failed".to_owned())))
}
