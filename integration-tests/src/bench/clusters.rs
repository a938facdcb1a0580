//! Simulated clusters, all in one process of their own, whose pods do not answer unless somebody asks them something: what
//! runs in them is not measured.

use std::{io::Write, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use bcs_client::Client;
use bcs_kit::run::stop_signal;
use bcs_kubesim::Config;
use bcs_schemas::{
    Name, bucket,
    cluster::ImportCluster,
    outcome::Outcome,
    resource::{AppSpec, ClusterSpec, cluster::SecretRef},
};
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use tokio::process::Command;

use crate::harness::{Lab, NotYet, Process, Ready, wait_until};

/// How the clusters are served.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// How many
    #[arg(long)]
    count: usize,
    /// Nodes of each
    #[arg(long)]
    nodes: usize,
    /// Where their kubeconfigs are written
    #[arg(long)]
    directory: PathBuf,
    /// Pods answer HTTP
    #[arg(long)]
    http: bool,
}

const READY: &str = "ready";
/// More pods than a run makes.
const PODS: usize = 20_000;
const LONGEST: Duration = Duration::from_secs(60);

/// Name of a cluster.
pub(super) fn name(number: usize) -> String {
    format!("bench-{number}")
}

/// An application of one instance in a cluster.
pub(super) fn app(cluster: usize) -> Result<AppSpec> {
    Ok(serde_json::from_value(json!({
        "replicas": 1,
        "placement": { "clusters": [{ "name": name(cluster) }] },
        "image": { "repository": "registry.example/bench", "tag": "v1" },
    }))?)
}

/// Where the addresses of its pods come from: many clusters have a network each, and one alone has room for a million pods.
fn network(count: usize, number: usize) -> String {
    if count == 1 { "127.16.0.0/12".to_owned() } else { format!("127.{}.0.0/16", 20 + number % 200) }
}

/// Runs until it is told to stop.
pub(super) async fn serve(serve: Serve) -> Result<()> {
    let mut running = Vec::new();
    for number in 0..serve.count {
        let config = Config {
            name: name(number),
            http: serve.http,
            pod_network: Some(network(serve.count, number).parse()?),
            nodes: serve.nodes,
            node_pods: PODS,
            ..Config::default()
        };
        let cluster = bcs_kubesim::start(config).await?;
        cluster.write_kubeconfig(serve.directory.join(name(number)))?;
        running.push(cluster);
    }
    writeln!(std::io::stdout(), "{READY}")?;
    stop_signal().await;
    Ok(())
}

/// The process.
pub(super) struct Clusters {
    process: Process,
    directory: PathBuf,
}

impl Clusters {
    /// Of three nodes each.
    pub(super) async fn start(lab: &Lab, count: usize) -> Result<Self> {
        Self::of(lab, count, 3).await
    }

    pub(super) async fn of(lab: &Lab, count: usize, nodes: usize) -> Result<Self> {
        Self::launch(lab, count, nodes, &[]).await
    }

    /// One whose pods answer.
    pub(super) async fn answering(lab: &Lab, nodes: usize) -> Result<Self> {
        Self::launch(lab, 1, nodes, &["--http"]).await
    }

    async fn launch(lab: &Lab, count: usize, nodes: usize, more: &[&str]) -> Result<Self> {
        let directory = lab.path().join("kubeconfigs");
        std::fs::create_dir_all(&directory)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve-clusters", "--count", &count.to_string(), "--nodes", &nodes.to_string()]);
        command.args(more).arg("--directory").arg(&directory);
        let process = Process::start(lab, "serve-clusters", command)?;
        wait_until(LONGEST, "clusters start", async || {
            let said = process.output();
            if said.contains(READY) { Ready(()) } else { NotYet(said) }
        })
        .await?;
        Ok(Self { process, directory })
    }

    pub(super) fn pid(&self) -> Result<u32> {
        self.process.pid()
    }

    /// Takes a cluster into the platform, as a user would.
    pub(super) async fn import(&self, client: &Client, number: usize) -> Result<()> {
        let target = bcs_kit::machine::target(&Name::system(), "cluster", &Name::new(name(number))?);
        let message = ImportCluster {
            labels: Default::default(),
            spec: ClusterSpec {
                engine: Default::default(),
                kubeconfig: SecretRef { file: self.directory.join(name(number)) },
                context: None,
                agent: Default::default(),
            },
        };
        match client.command(target, message).send(LONGEST).await? {
            Outcome::Accepted(_) => Ok(()),
            Outcome::Rejected(rejected) => bail!("{} was rejected: {}", name(number), rejected.message),
        }
    }

    /// Waits until the agents of the first `count` clusters have seen everything in them.
    pub(super) async fn healthy(&self, client: &Client, count: usize) -> Result<()> {
        let beats = client.bus().bucket(bucket::CLUSTERS).await?;
        wait_until(LONGEST, "clusters are healthy", async || {
            let found = beats.list(">").await.unwrap_or_default();
            let well =
                found.values().filter(|beat| beat.synced && beat.cluster.as_str().starts_with("bench-"));
            let well = well.count();
            if well >= count { Ready(()) } else { NotYet(format!("{well} of {count}")) }
        })
        .await
    }

    /// A client of its own, past the platform.
    pub(super) async fn api(&self, number: usize) -> Result<kube::Client> {
        let path = self.directory.join(name(number));
        let kubeconfig = Kubeconfig::read_from(&path).with_context(|| path.display().to_string())?;
        let options = KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        config.proxy_url = None;
        Ok(kube::Client::try_from(config)?)
    }
}
