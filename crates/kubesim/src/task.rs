//! The one place that spawns tasks: all of them are tracked and end with the simulator.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    pub stop: CancellationToken,
}

impl Tasks {
    /// Runs until the work ends by itself or the simulator stops, whichever is first.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move { stop.run_until_cancelled(work).await });
    }

    /// Runs work that watches `stop` itself, because it has something to finish first.
    pub(crate) fn spawn_to_end(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(work);
    }

    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        self.tracker.close();
        // A client that holds a half-sent request open must not hold up the end.
        if tokio::time::timeout(PATIENCE, self.tracker.wait()).await.is_err() {
            tracing::warn!(left = self.tracker.len(), "some connections did not end in time");
        }
    }
}
