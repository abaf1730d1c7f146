//! Supervises tasks that nobody awaits. A panic would leave what the task held as it is for ever:
//! items open, targets locked, streams waiting. So each task is watched, and the first panic ends
//! the service; its restart recovers the open items.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt as _;
use tokio::sync::watch;

use super::Counter;

/// A task that panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {task} panicked: {why}")]
pub struct Panicked {
    /// A description of the task, for logs.
    pub task: &'static str,
    /// The panic message.
    pub why: String,
}

/// Watches tasks. Clones share its state.
#[derive(Debug, Clone)]
pub struct TaskSupervisor(Arc<SeenPanic>);

#[derive(Debug)]
struct SeenPanic {
    first: watch::Sender<Option<Panicked>>,
    panics: Counter,
}

impl Default for TaskSupervisor {
    fn default() -> Self {
        Self(Arc::new(SeenPanic {
            first: watch::Sender::new(None),
            panics: Counter::default(),
        }))
    }
}

impl TaskSupervisor {
    /// Runs a task and reports its panic. `None` if it panicked; what it held is dropped then.
    pub fn watched<T, W: Future<Output = T>>(
        &self,
        task: &'static str,
        work: W,
    ) -> impl Future<Output = Option<T>> + use<T, W> {
        let overseer = self.clone();
        async move {
            // State shared with other tasks is behind locks that ignore poisoning, and the service
            // starts nothing new after a panic: see `App::run`.
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            ended.map_err(|panic| overseer.tell(task, &*panic)).ok()
        }
    }

    fn tell(&self, task: &'static str, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let panicked = Panicked {
            task,
            why: text.unwrap_or("without a word").to_owned(),
        };
        tracing::error!(
            task,
            why = %panicked.why,
            "a task panicked: the service ends, and its restart takes up what is open"
        );
        self.0.panics.inc();
        self.0.first.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(panicked);
            is_first
        });
    }

    /// The first panic, if there was one.
    #[must_use]
    pub fn first(&self) -> Option<Panicked> {
        self.0.first.borrow().clone()
    }

    /// Resolves with the first panic when there is one.
    pub async fn panicked(&self) -> Panicked {
        let mut first = self.0.first.subscribe();
        // The sender is in `self`, so it outlives the receiver.
        if let Ok(seen) = first.wait_for(Option::is_some).await
            && let Some(panicked) = seen.clone()
        {
            return panicked;
        }
        std::future::pending().await
    }

    /// The number of panics.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.0.panics.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_panic_is_told_and_what_the_task_held_is_dropped() {
        let overseer = TaskSupervisor::default();
        assert_eq!(overseer.watched("calm", async { 7 }).await, Some(7));
        assert_eq!(overseer.first(), None);
        let held = Arc::new(());
        for number in 1..=2 {
            let held = Arc::clone(&held);
            let work = async move {
                tokio::task::yield_now().await;
                assert_eq!(Arc::strong_count(&held), 0, "number {number}");
            };
            assert_eq!(overseer.watched("bad", work).await, None);
        }
        assert_eq!(Arc::strong_count(&held), 1);
        let first = overseer.panicked().await;
        assert_eq!(first.task, "bad");
        assert!(first.why.contains("number 1"), "{first}");
        assert_eq!(overseer.panics(), 2);
    }
}
