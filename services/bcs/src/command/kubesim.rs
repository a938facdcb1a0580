//! `bcs kubesim`: one simulated cluster in this process, until it is told to stop.

use std::path::PathBuf;

use bcs_kit::run::stop_signal;
use bcs_schemas::Name;
use clap::Args;

use crate::{Failure, output, session::Session};

const AFTER: &str = "\
Examples:
  bcs kubesim --nodes 3 --kubeconfig /tmp/sim.yaml
  KUBECONFIG=/tmp/sim.yaml kubectl get nodes";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Port on 127.0.0.1; 0 takes any free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where the kubeconfig is written
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Name of the cluster
    #[arg(long, default_value = "kubesim")]
    name: Name,
    /// Where the cluster is kept; without it, it is gone with the process
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
}

impl Arguments {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let _log = session.log()?;
        let failed = |e: bcs_kubesim::Error| Failure::failed(bcs_kit::telemetry::chain(&e));
        let config = bcs_kubesim::Config {
            name: self.name.to_string(),
            nodes: self.nodes,
            port: self.port,
            data_dir: self.data,
            tls: true,
            ..bcs_kubesim::Config::default()
        };
        let cluster = bcs_kubesim::start(config).await.map_err(failed)?;
        cluster.write_kubeconfig(&self.kubeconfig).map_err(failed)?;
        let file = self.kubeconfig.display();
        output::line(format!("cluster {} with {} nodes answers at {}", self.name, self.nodes, cluster.url()));
        output::line(format!("try: KUBECONFIG={file} kubectl get nodes; stop with Ctrl-C"));
        stop_signal().await;
        cluster.shutdown().await;
        Ok(())
    }
}
