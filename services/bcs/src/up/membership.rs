//! The simulated clusters become members of the platform by command, as a user would import them, and again whenever
//! they are missing: only a cluster that somebody removed on purpose stays out.

use std::{fs, path::Path, time::Duration};

use bcs_client::{Client, Position};
use bcs_kubesim::Kubesim;
use bcs_schemas::{
    Name, Service,
    cluster::ImportCluster,
    outcome::Outcome,
    query::{ClusterView, Query},
    resource::{ClusterSpec, Labels, cluster::SecretRef},
};
use tokio::time::Instant;

use super::{clusters::CLUSTERS, data::DataDir, platform::name};
use crate::{Failure, output};

/// A cluster is imported within this time, or something is wrong.
const IMPORT_WITHIN: Duration = Duration::from_secs(30);

/// What is to be done about one cluster.
#[derive(Debug, PartialEq)]
enum Step {
    /// It is a member, or whatever a user made of it.
    Leave,
    /// It is imported with these labels.
    Import(Labels),
    /// It was removed on purpose.
    StayOut,
}

/// Compares what the platform knows of a cluster with where its kubeconfig lies.
fn step(member: Option<&ClusterView>, kubeconfig: &Path, removed: bool, standard: Labels) -> Step {
    match member {
        Some(member) => {
            let known = &member.spec.kubeconfig.file;
            // The data directory was moved.
            if known != kubeconfig && !known.exists() {
                Step::Import(member.labels.clone())
            } else {
                Step::Leave
            }
        }
        None if removed => Step::StayOut,
        None => Step::Import(standard),
    }
}

/// Makes every cluster a member that should be one.
pub(super) async fn converge(data: &DataDir, clusters: &[Kubesim], client: &Client) -> Result<(), Failure> {
    ready(client).await?;
    let members = client.clusters(&Query::default()).await?.data;
    for cluster in clusters {
        let name = name(cluster.name())?;
        let member = members.iter().find(|member| member.name == name);
        let removed = match member {
            Some(_) => false,
            None => removed(client, &name).await? || data.removed(&name).exists(),
        };
        remember(&data.removed(&name), removed)?;
        let kubeconfig = data.kubeconfig(name.as_str());
        match step(member, &kubeconfig, removed, labels(&name)) {
            Step::Leave => (),
            Step::Import(labels) => import(client, &name, &kubeconfig, labels).await?,
            Step::StayOut => output::note(format!(
                "cluster {name} stays out, because it was removed: `bcs import cluster {name} --kubeconfig {} --label \
                 environment=local` takes it in again",
                kubeconfig.display()
            )),
        }
    }
    Ok(())
}

fn labels(name: &Name) -> Labels {
    let region =
        CLUSTERS.iter().find(|cluster| cluster.0 == name.as_str()).map_or("none", |cluster| cluster.2);
    [("environment", "local"), ("region", region)].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

/// Waits until the service answers and the bus has all of its events.
async fn ready(client: &Client) -> Result<(), Failure> {
    let deadline = Instant::now() + IMPORT_WITHIN;
    loop {
        let why = match client.service_status(Service::Cluster).await {
            Ok(status) if status.data.unpublished == 0 => return Ok(()),
            Ok(status) => format!("{} of its events are not published yet", status.data.unpublished),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            return Err(Failure::failed(format!("the cluster service is not ready: {why}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether its removal is the last that happened to it.
async fn removed(client: &Client, name: &Name) -> Result<bool, Failure> {
    let target = bcs_kit::machine::target(&Name::system(), "cluster", name);
    let mut events = client.events_about(&target, &[Service::Cluster], Position::All).await?;
    let mut last = None;
    while let Some(event) = events.next_past().await {
        last = Some(event.headers.type_name.verb);
    }
    Ok(last.as_deref() == Some("removed"))
}

/// The bus forgets events after a while, and this must not be forgotten.
fn remember(mark: &Path, removed: bool) -> Result<(), Failure> {
    let done = match (removed, mark.exists()) {
        (true, false) => fs::write(mark, ""),
        (false, true) => fs::remove_file(mark),
        _ => Ok(()),
    };
    done.map_err(|e| Failure::failed(format!("{} cannot be written: {e}", mark.display())))
}

async fn import(client: &Client, name: &Name, kubeconfig: &Path, labels: Labels) -> Result<(), Failure> {
    let target = bcs_kit::machine::target(&Name::system(), "cluster", name);
    let spec = ClusterSpec {
        engine: Default::default(),
        kubeconfig: SecretRef { file: kubeconfig.to_owned() },
        context: None,
        agent: Default::default(),
    };
    match client.command(target, ImportCluster { labels, spec }).actor("bcs up").send(IMPORT_WITHIN).await? {
        Outcome::Accepted(_) => Ok(()),
        Outcome::Rejected(rejected) => {
            Err(Failure::rejected(&format!("import of cluster {name}"), &rejected))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(kubeconfig: &Path) -> ClusterView {
        serde_json::from_value(serde_json::json!({
            "name": "sim-a", "labels": { "mine": "yes" }, "generation": 3, "revision": 9, "health": "healthy",
            "since": "2026-11-22T09:00:00Z", "reason": null, "observed_at": null, "version": null,
            "nodes": 0, "nodes_ready": 0, "capacity": { "cpu_millis": 0, "memory_bytes": 0, "instances": 0 },
            "spec": { "engine": "kubernetes", "agent": "direct", "kubeconfig": { "file": kubeconfig } },
        }))
        .expect("is a cluster")
    }

    #[test]
    fn what_is_missing_is_imported_and_what_a_user_did_is_left_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, other) = (dir.path().join("kubeconfig"), dir.path().join("other"));
        fs::write(&other, "").expect("writes");
        let standard = || Labels::from([("region".to_owned(), "eu".to_owned())]);
        let step = |member: Option<&ClusterView>, removed| step(member, &ours, removed, standard());
        assert_eq!(step(None, false), Step::Import(standard()));
        assert_eq!(step(None, true), Step::StayOut);
        assert_eq!(step(Some(&member(&ours)), false), Step::Leave);
        assert_eq!(step(Some(&member(&other)), false), Step::Leave, "a user pointed it elsewhere");
        let moved = member(&dir.path().join("former/kubeconfig"));
        assert_eq!(step(Some(&moved), false), Step::Import(moved.labels.clone()), "its labels are kept");
    }
}
