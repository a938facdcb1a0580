//! A bus that comes back may have lost everything.

use std::time::Duration;

use futures::FutureExt;

use super::Bus;
use crate::{Tasks, telemetry::chain};

/// Pause between attempts.
const AGAIN: Duration = Duration::from_secs(1);

impl Bus {
    /// Makes streams and buckets again whenever the connection was lost and is back, until the group stops: where nothing
    /// was lost, this finds everything in its place.
    pub fn keep_provisioned(&self, tasks: &Tasks) {
        let (bus, stopping) = (self.clone(), tasks.stopping());
        tasks.spawn("bus-restore", async move {
            tokio::select! {
                () = stopping.cancelled() => (),
                () = bus.restore() => (),
            }
        });
    }

    async fn restore(&self) {
        let mut reconnected = Box::pin(self.reconnected());
        loop {
            (&mut reconnected).await;
            reconnected = Box::pin(self.reconnected());
            // Polled once, it counts from now on.
            let _ = (&mut reconnected).now_or_never();
            while let Err(error) = self.provision().await {
                tracing::warn!(error = chain(&error), "streams and buckets are not all there, trying again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
