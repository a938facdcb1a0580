//! What the platform is told when a version is recorded: enough for every event to occur with everything that it can say,
//! and for the state in the end to hold something of every kind.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bcs_kit::machine::StateMachine;
use bcs_schemas::Service;
use serde_json::{Value, json};

use super::{recording::Recording, state};
use crate::{
    harness::{Kubesim, LONG, Lab, NotYet, Options, Ready, Up, wait_until},
    outside,
};

/// Longer than it takes to notice silence.
const NOTICED_WITHIN: Duration = Duration::from_secs(75);

/// A service, its recording, and the state that `bcs replay` tells.
pub(super) type Told = (Service, Recording, String);

/// Tells the story, and takes the journals of a platform that was killed in the middle.
pub(super) async fn tell(lab: &Lab) -> Result<Vec<Told>> {
    let mut up = Up::start(lab, Options::default()).await?;
    let outside = Kubesim::start(lab, "sim-c", 2).await?;
    clusters(&up, &outside).await?;
    applications(&up).await?;
    changes(&up).await?;
    nodes(&up, &outside).await?;
    leftovers(&up, &outside).await?;
    refusals(&up).await?;
    // A clean stop leaves a snapshot, and what follows lies behind it.
    up.stop().await?;
    up.start_again(lab).await?;
    healthy(&up, "sim-c").await?;
    after_the_snapshot(&up, &outside).await?;
    up.kill().await?;

    let cluster = take::<bcs_cluster::domain::State>(&up, Service::Cluster).await?;
    let deploy = take::<bcs_deploy::domain::state::Deploy>(&up, Service::Deploy).await?;
    up.start_again(lab).await?;
    let mut told = Vec::new();
    for (service, recording) in [(Service::Cluster, cluster), (Service::Deploy, deploy)] {
        let end = recording.events()?.last().context("nothing was decided")?.seq;
        let snapshot = recording.snapshot().context("there is no snapshot")?;
        ensure!(snapshot < end, "nothing was decided behind the snapshot at {snapshot} of {service}");
        let (name, until) = (service.to_string(), end.to_string());
        let text = up.cli().ok(&["replay", "--service", &name, "--until", &until]).await?;
        told.push((service, recording, text));
    }
    up.stop().await?;
    Ok(told)
}

async fn take<S: StateMachine>(up: &Up, service: Service) -> Result<Recording> {
    let url = format!("sqlite:{}", up.journal(service.as_str()).display());
    Recording::take(&url, service.as_str(), S::SNAPSHOT_VERSION, state::after_each::<S>).await
}

/// Clusters by command line and by message, with everything that can be said of one.
async fn clusters(up: &Up, outside: &Kubesim) -> Result<()> {
    let file = outside.kubeconfig.to_str().context("a path of characters")?;
    let cli = up.cli();
    let import = ["import", "cluster", "sim-c", "--kubeconfig", file, "--kube-context", "sim-c"];
    cli.ok(&[&import[..], &["--label", "tier=outside"]].concat()).await?;
    // Nobody runs its agent, so nothing is known of it.
    let far =
        json!({ "labels": { "tier": "far" }, "spec": { "kubeconfig": { "file": file }, "agent": "remote" } });
    command(up, "far", "import", &far).await?;
    for name in ["sim-a", "sim-b"] {
        cli.ok(&["label", "cluster", name, "tier=inside"]).await?;
    }
    healthy(up, "sim-c").await
}

/// Every option of an application.
async fn applications(up: &Up) -> Result<()> {
    let full = json!({
        "replicas": 3,
        "placement": { "clusters": [{ "name": "sim-a", "weight": 2 }, { "name": "sim-b" }] },
        "image": { "repository": "shop/full", "tag": "v1" },
        "command": ["/shop"],
        "args": ["--port", "8080"],
        "env": { "MODE": "live" },
        "ports": [{ "name": "http", "port": 8080 }, { "name": "dns", "port": 5353, "protocol": "UDP" }],
        "resources": { "cpu": "250m", "memory": "128Mi" },
        "annotations": { "sim.bcs/startup": "20ms" },
        "stopTimeout": "5s",
        "register": [{ "registry": "file", "port": "http", "name": "front", "weight": 50 }],
        "readinessGate": true,
        "update": { "progressDeadline": "2m", "maxSurge": 2 },
        "drain": { "deadline": "20s", "onDeadline": "ask" },
    });
    apply(up, "full", &full, &["--wait"]).await?;
    let selector = json!({ "selector": { "matchLabels": { "tier": "inside" }, "weights": { "sim-b": 2 } } });
    apply(up, "chosen", &simple(3, "v1", selector), &["--wait"]).await?;
    apply(up, "plain", &simple(2, "v1", on(&["sim-a"])), &["--wait"]).await
}

/// Wishes about applications that there are.
async fn changes(up: &Up) -> Result<()> {
    let cli = up.cli();
    cli.ok(&["scale", "app", "plain", "--replicas", "3", "--wait"]).await?;
    let pods = outside::pods(&[up.cluster("sim-a")?]).await?;
    let victim = pods.iter().find(|pod| pod.app == "plain").context("plain has no instance")?;
    cli.ok(&["scale", "app", "plain", "--replicas", "2", "--remove", &victim.name, "--wait"]).await?;
    cli.ok(&["restart", "app", "plain", "--wait"]).await?;
    // Applications that were chosen by label follow it.
    cli.ok(&["label", "cluster", "sim-b", "tier=other"]).await?;
    let mut stuck = simple(1, "v1", on(&["sim-b"]));
    stuck["update"] = json!({ "progressDeadline": "2s", "maxSurge": "50%" });
    apply(up, "stuck", &stuck, &["--wait"]).await?;
    stuck["image"]["tag"] = json!("missing");
    apply(up, "stuck", &stuck, &[]).await?;
    decided(up, "app", "stuck", "rollout-stalled").await?;
    // One that is made again counts on.
    apply(up, "again", &simple(1, "v1", on(&["sim-b"])), &["--wait"]).await?;
    cli.ok(&["delete", "app", "again", "--wait"]).await?;
    apply(up, "again", &simple(1, "v2", on(&["sim-b"])), &["--wait"]).await
}

/// Nodes that are closed, opened, and gone while something is asked of them.
async fn nodes(up: &Up, outside: &Kubesim) -> Result<()> {
    let cli = up.cli();
    let list = outside.server.get("/api/v1/nodes").await?;
    let names: Vec<&str> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|n| n["metadata"]["name"].as_str())
        .collect();
    let gone = *names.first().context("sim-c has no node")?;
    cli.ok(&["cordon", "sim-c", gone]).await?;
    cli.ok(&["uncordon", "sim-c", gone]).await?;
    cli.ok(&["cordon", "sim-c", gone]).await?;
    wait_until(LONG, "the node is closed", async || {
        match outside.server.get(&format!("/api/v1/nodes/{gone}")).await {
            Ok(node) if node["spec"]["unschedulable"] == true => Ready(()),
            other => NotYet(format!("{other:?}")),
        }
    })
    .await?;
    outside.server.delete(&format!("/api/v1/nodes/{gone}")).await?;
    decided(up, "cluster", "sim-c", "node-gone").await?;
    let open = up.cluster("sim-a")?.get("/api/v1/nodes").await?;
    let open = open["items"][0]["metadata"]["name"].as_str().context("sim-a has no node")?;
    cli.ok(&["cordon", "sim-a", open]).await?;
    Ok(())
}

/// An application is deleted while its cluster is away; what is left is stopped when that is back.
async fn leftovers(up: &Up, outside: &Kubesim) -> Result<()> {
    let cli = up.cli();
    apply(up, "away", &simple(1, "v1", on(&["sim-c"])), &["--wait"]).await?;
    cli.ok(&["delete", "cluster", "sim-c"]).await?;
    cli.ok(&["delete", "app", "away", "--wait"]).await?;
    let file = outside.kubeconfig.to_str().context("a path of characters")?;
    cli.ok(&["import", "cluster", "sim-c", "--kubeconfig", file, "--label", "tier=outside"]).await?;
    decided(up, "app", "away", "leftovers-stopped").await?;
    command(up, "far", "remove", &json!({})).await
}

/// Commands that are refused have outcomes too.
async fn refusals(up: &Up) -> Result<()> {
    let cli = up.cli();
    cli.run(&["scale", "app", "nobody", "--replicas", "1"]).await?.expect(3)?;
    cli.run(&["publish", "bcs.cmd.deploy.local.demo.app.plain.scale", r#"{"replicas": -1}"#])
        .await?
        .expect(3)?;
    cli.run(&["publish", "bcs.cmd.deploy.local.demo.app.plain.scale", r#"{"replicas": 1, "now": true}"#])
        .await?
        .expect(3)?;
    Ok(())
}

/// A cluster falls silent, and with it stays what is to be deleted there.
async fn after_the_snapshot(up: &Up, outside: &Kubesim) -> Result<()> {
    let cli = up.cli();
    for (name, clusters) in [("forced", &["sim-a", "sim-c"][..]), ("held-up", &["sim-c"])] {
        apply(up, name, &simple(2, "v1", on(clusters)), &["--wait"]).await?;
    }
    apply(up, "plain", &simple(2, "v2", on(&["sim-a", "sim-b"])), &["--wait"]).await?;
    cli.ok(&["label", "cluster", "sim-b", "tier=inside"]).await?;
    outside.process.signal(rustix::process::Signal::STOP)?;
    for health in ["suspect", "failed"] {
        health_is(up, "sim-c", &[health, "failed", "unknown"]).await?;
    }
    cli.ok(&["delete", "app", "held-up"]).await?;
    cli.ok(&["delete", "app", "forced", "--force", "--wait"]).await?;
    // It comes back, and goes again for good.
    outside.process.signal(rustix::process::Signal::CONT)?;
    healthy(up, "sim-c").await?;
    decided(up, "app", "forced", "leftovers-stopped").await?;
    apply(up, "forced", &simple(2, "v1", on(&["sim-a", "sim-c"])), &["--wait"]).await?;
    apply(up, "waiting", &simple(1, "v1", on(&["sim-c"])), &["--wait"]).await?;
    outside.process.signal(rustix::process::Signal::STOP)?;
    health_is(up, "sim-c", &["failed", "unknown"]).await?;
    cli.ok(&["delete", "app", "waiting"]).await?;
    cli.ok(&["delete", "app", "forced", "--force", "--wait"]).await.map(drop)
}

fn on(clusters: &[&str]) -> Value {
    let clusters: Vec<Value> = clusters.iter().map(|name| json!({ "name": name })).collect();
    json!({ "clusters": clusters })
}

/// An application that nobody registers.
fn simple(replicas: u32, tag: &str, placement: Value) -> Value {
    json!({
        "replicas": replicas,
        "placement": placement,
        "image": { "repository": "shop/simple", "tag": tag },
        "annotations": { "sim.bcs/startup": "20ms" },
        "register": [],
    })
}

async fn apply(up: &Up, name: &str, spec: &Value, options: &[&str]) -> Result<()> {
    let metadata = json!({ "name": name, "labels": { "team": "shop" } });
    let document = json!({ "apiVersion": "bcs/v1", "kind": "App", "metadata": metadata, "spec": spec });
    let arguments = [&["apply", "-f", "-"], options].concat();
    up.cli().run_with(&arguments, Some(document.to_string().as_bytes())).await?.expect(0)?;
    Ok(())
}

/// A command about a cluster, as any program sends it.
async fn command(up: &Up, cluster: &str, verb: &str, payload: &Value) -> Result<()> {
    let subject = format!("bcs.cmd.cluster.local.system.cluster.{cluster}.{verb}");
    up.cli().ok(&["publish", &subject, &payload.to_string()]).await.map(drop)
}

async fn healthy(up: &Up, cluster: &str) -> Result<()> {
    health_is(up, cluster, &["healthy"]).await
}

async fn health_is(up: &Up, cluster: &str, healths: &[&str]) -> Result<()> {
    wait_until(NOTICED_WITHIN, &format!("{cluster} is one of {healths:?}"), async || {
        match up.cli().json(&["get", "clusters", cluster]).await {
            Ok(view) if healths.iter().any(|health| view["health"] == *health) => Ready(()),
            other => NotYet(format!("{other:?}")),
        }
    })
    .await
}

/// Waits until the journal says so of an object.
async fn decided(up: &Up, kind: &str, name: &str, fact: &str) -> Result<()> {
    wait_until(LONG, &format!("{fact} of {name}"), async || {
        let history = match up.cli().json(&["history", kind, name, "--all"]).await {
            Ok(history) => history,
            Err(error) => return NotYet(format!("{error:#}")),
        };
        let events = history["items"].as_array().cloned().unwrap_or_default();
        let fits = |event: &Value| event["type"].as_str().is_some_and(|ty| ty.contains(&format!(".{fact}.")));
        if events.iter().any(fits) { Ready(()) } else { NotYet(format!("{history}")) }
    })
    .await
}
