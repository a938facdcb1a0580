//! A user of the applications: finds its targets in the registry file, fresh for every request, and counts what fails.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use bcs_integration_tests::harness::Up;
use serde_json::Value;
use tokio::{sync::oneshot, task::JoinHandle};

/// Requests that go on until they are stopped.
pub(crate) struct Traffic {
    stop: oneshot::Sender<()>,
    running: JoinHandle<(u64, Vec<String>)>,
}

impl Traffic {
    /// Begins to send requests to every instance of `app`.
    #[expect(clippy::disallowed_methods, reason = "a user is no task of the platform")]
    pub(crate) fn start(up: &Up, app: &str) -> Result<Self> {
        let (stop, mut stopped) = oneshot::channel();
        let (files, app) =
            (super::world::CLUSTERS.map(|c| up.registry().join(format!("{c}.json"))), app.to_owned());
        // A connection of its own for each request, as the next one may go somewhere else.
        let client =
            reqwest::Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(5)).build()?;
        let running = tokio::spawn(async move {
            let (mut done, mut failed) = (0, Vec::new());
            while stopped.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty) {
                let known = targets(&files, &app);
                if known.is_empty() {
                    failed.push("the registry names no instance".to_owned());
                }
                for nth in 0..known.len() {
                    // Read again before each: what was true a request ago is no longer a promise.
                    let Some(target) = targets(&files, &app).into_iter().nth(nth) else { continue };
                    match request(&client, &target).await {
                        Ok(()) => done += 1,
                        Err(error) => failed.push(format!("{target}: {error:#}")),
                    }
                }
                tokio::task::yield_now().await;
            }
            (done, failed)
        });
        Ok(Self { stop, running })
    }

    /// Stops; how many were answered. An error when one failed.
    pub(crate) async fn stop(self) -> Result<u64> {
        // It may have ended by a panic, which comes next.
        let _ = self.stop.send(());
        let (done, failed) = self.running.await?;
        ensure!(failed.is_empty(), "{} of {} requests failed: {failed:#?}", failed.len(), done);
        Ok(done)
    }
}

async fn request(client: &reqwest::Client, target: &str) -> Result<()> {
    client.get(target).send().await?.error_for_status()?.text().await?;
    Ok(())
}

fn targets(files: &[PathBuf], app: &str) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let document: Value = serde_json::from_str(&text).unwrap_or_default();
        let rows = document["entries"].as_array().cloned().unwrap_or_default();
        let url =
            |row: &Value| format!("http://{}:{}/", row["address"].as_str().unwrap_or_default(), row["port"]);
        found.extend(rows.iter().filter(|row| row["app"] == app).map(url));
    }
    found
}
