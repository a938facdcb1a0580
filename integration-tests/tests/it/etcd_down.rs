//! A registry is down for half a minute. The other one goes on, applications say what they wait for, nobody is killed
//! before every registry has forgotten it or the deadline has passed, and afterwards everything is right.

use std::time::Duration;

use anyhow::{Result, ensure};
use bcs_integration_tests::harness::{Etcd, Failed, Lab, NotYet, Options, Poll, Ready, Up, wait_until};
use serde_json::json;
use tokio::time::Instant;

use crate::world::{LONG, Pod, app, apply, in_files, pods, settled, until_view};

/// As the issue says.
const OUTAGE: Duration = Duration::from_secs(30);
/// The application that does not wait for ever.
const HASTY: Duration = Duration::from_secs(5);

fn of<'a>(pods: &'a [Pod], app: &'a str) -> impl Iterator<Item = &'a Pod> {
    pods.iter().filter(move |pod| pod.app == app)
}

/// Instances of an application in the file registry.
fn listed(up: &Up, app: &str) -> Result<usize> {
    Ok(in_files(up)?.iter().filter(|entry| entry.app == app).count())
}

async fn scale(up: &Up, app: &str, replicas: &str) -> Result<String> {
    up.cli().ok(&["scale", "app", app, "--replicas", replicas]).await
}

/// Scaling up goes on in the registry that works, and the application says which one it waits for.
async fn grows_and_says_why_it_waits(up: &Up) -> Result<()> {
    scale(up, "growing", "3").await?;
    wait_until(LONG, "the file registry goes on", async || match listed(up, "growing") {
        Ok(3) => Ready(()),
        other => NotYet(format!("{other:?} entries")),
    })
    .await?;
    until_view(up, "growing", "names the registry that it waits for", |view| {
        let status = &view["status"];
        let reason = status["reason"].as_str().unwrap_or_default();
        status["phase"] != "available" && reason.contains("etcd") && status["blocking"].is_string()
    })
    .await?;
    Ok(())
}

/// One whose deadline is short is killed when it has passed, and not before.
async fn is_killed_after_its_deadline(up: &Up) -> Result<()> {
    let begin = Instant::now();
    scale(up, "hasty", "1").await?;
    wait_until(LONG, "the deadline of the drain has its effect", async || match pods(up).await {
        Ok(pods) if of(&pods, "hasty").filter(|pod| !pod.ending).count() == 1 => Ready(()),
        other => Poll::NotYet(format!("{other:?}")),
    })
    .await?;
    let lived = begin.elapsed();
    ensure!(lived >= HASTY, "an instance was killed {lived:?} after it was asked to go, before its deadline");
    Ok(())
}

#[tokio::test]
async fn a_registry_that_is_down_delays_and_harms_nobody() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let mut etcd = Etcd::start(lab).await?;
        let up = Up::start(lab, Options { etcd: Some(etcd.url()), ..Options::default() }).await?;
        let clusters = ["sim-a", "sim-b"];
        let patient = json!({ "drain": { "deadline": "10m" } });
        let hasty = json!({ "drain": { "deadline": HASTY.as_millis() as u64 } });
        for (name, replicas, more) in
            [("growing", 1, &patient), ("patient", 2, &patient), ("hasty", 2, &hasty)]
        {
            apply(&up, &app(name, &clusters, replicas, "v1", more.clone()), &["--wait"]).await?;
        }
        etcd.kill().await?;
        let begin = Instant::now();
        grows_and_says_why_it_waits(&up).await?;
        scale(&up, "patient", "1").await?;
        until_view(&up, "patient", "says that its drain waits for etcd", |view| {
            let reason = view["status"]["reason"].as_str().unwrap_or_default();
            view["status"]["draining"] == 1 && reason.contains("etcd")
        })
        .await?;
        wait_until(LONG, "the page of the registry says what waits for it", async || {
            let words = ["Reachable", "no, seen", "growing", "Draining", "patient"];
            match up.cli().ok(&["registry", "status", "etcd"]).await {
                Ok(page) if words.iter().all(|word| page.contains(word)) => Ready(()),
                other => Poll::NotYet(format!("{other:?}")),
            }
        })
        .await?;
        is_killed_after_its_deadline(&up).await?;
        tokio::time::sleep_until(begin + OUTAGE).await;
        let now = pods(&up).await?;
        let alive = of(&now, "patient").filter(|pod| !pod.ending && pod.ready).count();
        ensure!(alive == 2, "an instance that etcd still names was killed: {now:#?}");
        ensure!(listed(&up, "patient")? == 1, "the file registry still names what is being drained");
        etcd.start_again(lab).await?;
        settled(&up, Some(&etcd), &[("growing", 3, "v1"), ("patient", 1, "v1"), ("hasty", 1, "v1")]).await?;
        for name in ["growing", "patient", "hasty"] {
            until_view(&up, name, "is available", |view| view["status"]["phase"] == "available").await?;
        }
        Ok(())
    })
    .await
}
