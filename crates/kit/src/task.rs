//! Named, supervised tasks. Whoever spawns one is sure that shutdown waits for it and that its panic is seen.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A group of tasks that end together.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Arc<Group>);

#[derive(Debug, Default)]
struct Group {
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// A group of its own that is told to stop when this one is, and can be stopped alone. This one's `stop` does not
    /// wait for its tasks.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(Arc::new(Group { tracker: TaskTracker::new(), stopping: self.0.stopping.child_token() }))
    }

    /// Runs `future` until it ends. A panic in it is logged under `name` and stops the group: half a service is worse
    /// than one that restarts.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(&self, name: &'static str, future: F) {
        let stopping = self.0.stopping.clone();
        let supervised = async move {
            if let Err(panic) = std::panic::AssertUnwindSafe(future).catch_unwind().await {
                tracing::error!(task = name, panic = panic_text(&*panic), "task panicked, stopping");
                stopping.cancel();
            }
        };
        tokio::spawn(self.0.tracker.track_future(supervised));
    }

    /// Cancelled when the group is told to stop.
    pub fn stopping(&self) -> CancellationToken {
        self.0.stopping.clone()
    }

    /// Tells every task to stop and waits for them, at most this long. Says whether all of them ended.
    pub async fn stop(&self, within: Duration) -> bool {
        self.0.stopping.cancel();
        self.0.tracker.close();
        let ended = tokio::time::timeout(within, self.0.tracker.wait()).await.is_ok();
        if !ended {
            tracing::warn!(left = self.0.tracker.len(), "some tasks did not end in time");
        }
        ended
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stop_waits_for_tasks_that_wind_down() {
        let tasks = Tasks::new();
        let stopping = tasks.stopping();
        let (done, seen) = tokio::sync::oneshot::channel();
        tasks.spawn("worker", async move {
            stopping.cancelled().await;
            let _ = done.send(());
        });
        assert!(tasks.stop(Duration::from_secs(5)).await);
        assert!(seen.await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_stops_the_group() {
        let tasks = Tasks::new();
        tasks.spawn("broken", async { panic!("on purpose") });
        tokio::time::timeout(Duration::from_secs(5), tasks.stopping().cancelled()).await.expect("stops");
    }

    #[tokio::test]
    async fn a_child_stops_with_its_parent_and_not_the_other_way() {
        let parent = Tasks::new();
        let (first, second) = (parent.child(), parent.child());
        assert!(first.stop(Duration::from_secs(1)).await);
        assert!(!parent.stopping().is_cancelled() && !second.stopping().is_cancelled());
        parent.stop(Duration::from_secs(1)).await;
        assert!(second.stopping().is_cancelled());
    }
}
