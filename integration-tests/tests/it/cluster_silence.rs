//! A cluster that falls silent: it is said, nothing is deleted for lack of news, and when it is back it heals.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{Failed, Kubesim, Lab, NotYet, Options, Ready, Up, wait_until};
use bcs_schemas::{bucket::ENDPOINTS, observation::EndpointPhase};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::{LONG, app, apply, in_files, pod, settled, until_view};

/// Longer than it takes to notice silence.
const NOTICED_WITHIN: Duration = Duration::from_secs(75);

/// Waits until the cluster has one of these healths, with a reason.
async fn until_health(up: &Up, healths: &[&str]) -> Result<Value> {
    wait_until(NOTICED_WITHIN, &format!("sim-c is one of {healths:?}"), async || {
        match up.cli().json(&["get", "clusters", "sim-c"]).await {
            Ok(view) if healths.iter().any(|health| view["health"] == *health) => Ready(view),
            other => NotYet(format!("{other:?}")),
        }
    })
    .await
}

/// Addresses of the ready endpoints in sim-c.
async fn endpoints(up: &Up) -> Result<Vec<String>> {
    let found = up.client().await?.observed(ENDPOINTS, "sim-c.>").await?;
    let ready = found.into_values().filter(|e| e.phase == EndpointPhase::Ready);
    let mut addresses: Vec<String> = ready.map(|e| format!("{:?} {}", e.addresses, e.uid)).collect();
    addresses.sort();
    Ok(addresses)
}

async fn import(up: &Up, sim: &Kubesim) -> Result<()> {
    let file = sim.kubeconfig.to_str().context("a path of characters")?;
    up.cli().ok(&["import", "cluster", "sim-c", "--kubeconfig", file, "--label", "tier=outside"]).await?;
    until_health(up, &["healthy"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_silent_cluster_is_called_so_and_nothing_is_deleted() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        let sim = Kubesim::start(lab, "sim-c", 2).await?;
        import(&up, &sim).await?;
        // No sidecar keeps a registry for the outside cluster.
        let nowhere = json!({ "register": [] });
        apply(&up, &app("spread", &["sim-a", "sim-c"], 4, "v1", nowhere), &["--wait"]).await?;
        let (before, files) = (endpoints(&up).await?, in_files(&up)?);
        ensure!(before.len() == 2, "{before:?}");
        sim.process.signal(Signal::STOP)?;
        let suspect = until_health(&up, &["suspect", "failed", "unknown"]).await?;
        ensure!(suspect["reason"].is_string(), "no reason: {suspect}");
        until_view(&up, "spread", "says which cluster is silent", |view| {
            let reason = view["status"]["reason"].as_str().unwrap_or_default();
            reason.contains("sim-c") && view["status"]["blocking"].is_string()
        })
        .await?;
        let failed = until_health(&up, &["failed", "unknown"]).await?;
        ensure!(failed["reason"].is_string(), "no reason: {failed}");
        ensure!(endpoints(&up).await? == before, "endpoints were deleted for lack of news");
        ensure!(in_files(&up)? == files, "registrations changed for lack of news");
        // What can be done elsewhere is done.
        apply(&up, &app("elsewhere", &["sim-b"], 1, "v1", Value::Null), &["--wait"]).await?;
        sim.process.signal(Signal::CONT)?;
        until_health(&up, &["healthy"]).await?;
        until_view(&up, "spread", "is available again", |view| view["status"]["phase"] == "available")
            .await?;
        ensure!(endpoints(&up).await? == before, "the same instances are there again");
        up.cli().ok(&["delete", "app", "spread", "--wait"]).await?;
        settled(&up, None, &[("elsewhere", 1, "v1")]).await?;
        Ok(())
    })
    .await
}

/// Waits until nothing of the application runs in sim-c.
async fn until_empty(sim: &Kubesim, app: &str) -> Result<()> {
    wait_until(LONG, &format!("nothing of {app} runs in sim-c"), async || {
        match sim.server.get("/api/v1/pods").await {
            Ok(list) if !running(&list).contains(&app.to_owned()) => Ready(()),
            other => NotYet(format!("{other:?}")),
        }
    })
    .await
}

/// The application of each pod.
fn running(list: &Value) -> Vec<String> {
    list["items"].as_array().into_iter().flatten().filter_map(pod).map(|pod| pod.app).collect()
}

#[tokio::test]
async fn what_a_cluster_holds_of_applications_deleted_while_it_was_away_is_stopped_when_it_is_back()
-> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        let sim = Kubesim::start(lab, "sim-c", 2).await?;
        import(&up, &sim).await?;
        let nowhere = || json!({ "register": [] });
        apply(&up, &app("removed", &["sim-c"], 2, "v1", nowhere()), &["--wait"]).await?;
        up.cli().ok(&["delete", "cluster", "sim-c"]).await?;
        up.cli().ok(&["delete", "app", "removed", "--wait"]).await?;
        let list = sim.server.get("/api/v1/pods").await?;
        ensure!(running(&list) == ["removed", "removed"], "nobody touches a removed cluster: {list}");
        import(&up, &sim).await?;
        until_empty(&sim, "removed").await?;

        apply(&up, &app("forced", &["sim-a", "sim-c"], 2, "v1", nowhere()), &["--wait"]).await?;
        sim.process.signal(Signal::STOP)?;
        until_health(&up, &["failed", "unknown"]).await?;
        up.cli().ok(&["delete", "app", "forced"]).await?;
        until_view(&up, "forced", "says how its deletion goes on", |view| {
            view["status"]["reason"].as_str().unwrap_or_default().contains("with force")
        })
        .await?;
        up.cli().ok(&["delete", "app", "forced", "--force", "--wait"]).await?;
        sim.process.signal(Signal::CONT)?;
        until_empty(&sim, "forced").await?;
        Ok(())
    })
    .await
}
