//! `bcs import cluster`: the kubeconfig stays where it is; only its path travels.

use std::path::PathBuf;

use bcs_schemas::{
    Name,
    cluster::ImportCluster,
    resource::{
        ClusterSpec, Labels,
        cluster::{AgentPlace, EngineKind, SecretRef},
        validate_labels,
    },
};
use clap::{Args, Subcommand};

use super::label::{send_to_cluster, to_cluster};
use crate::{Failure, plan::Planning, selector::pair, session::Session};

const AFTER: &str = "\
Examples:
  bcs import cluster north --kubeconfig ~/.kube/config --kube-context north --label zone=north
  bcs import cluster sim-c --kubeconfig /tmp/sim-c.yaml
  bcs import cluster sim-c --kubeconfig /tmp/sim-c.yaml --plan
  bcs import cluster eu-1 --remote    its agent runs inside it (k8s/agent), and alone has its credentials";

/// Where k8s/agent puts it.
const OF_THE_AGENT: &str = "/etc/bcs/kubeconfig";

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Take a running Kubernetes cluster into the platform
    #[command(after_help = AFTER)]
    Cluster {
        /// Its name in the platform
        name: Name,
        /// File with its credentials, on the machine of the cluster service; with --remote, of the agent
        #[arg(long, value_name = "FILE", required_unless_present = "remote")]
        kubeconfig: Option<PathBuf>,
        /// Its agent is a process of its own, which dials out to the bus; the service needs no way to the cluster
        #[arg(long)]
        remote: bool,
        /// Context inside the kubeconfig; its current one when absent
        #[arg(long, value_name = "NAME")]
        kube_context: Option<String>,
        /// Label that placements select by
        #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = pair)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        planning: Planning,
    },
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Kind::Cluster { name, kubeconfig, remote, kube_context, labels, planning } = self.kind;
        let file = kubeconfig.unwrap_or_else(|| PathBuf::from(OF_THE_AGENT));
        // What the agent has is not here, and not called as here.
        let agent = if remote { AgentPlace::Remote } else { AgentPlace::Direct };
        let file = match agent {
            AgentPlace::Remote => file,
            AgentPlace::Direct => {
                std::path::absolute(&file).map_err(|e| Failure::usage(format!("{}: {e}", file.display())))?
            }
        };
        let labels: Labels = labels.into_iter().collect();
        if let Some(error) = validate_labels(&labels).first() {
            return Err(Failure::usage(error.to_string()));
        }
        let spec = ClusterSpec {
            engine: EngineKind::Kubernetes,
            kubeconfig: SecretRef { file },
            context: kube_context,
            agent,
        };
        let _log = session.log()?;
        let client = session.connect().await?;
        let wish = to_cluster(&name, ImportCluster { labels, spec })?;
        send_to_cluster(session, &client, wish, &planning).await
    }
}
