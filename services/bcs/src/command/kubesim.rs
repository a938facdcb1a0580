//! `bcs kubesim`: one simulated cluster in this process, until it is told to stop.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use bcs_kit::run::stop_signal;
use bcs_schemas::Name;
use clap::Args;

use crate::{Failure, output, session::Session};

const AFTER: &str = "\
Examples:
  bcs kubesim --nodes 3 --kubeconfig /tmp/sim.yaml
  KUBECONFIG=/tmp/sim.yaml kubectl get nodes
  bcs kubesim --kubeconfig local.yaml --listen 0.0.0.0 --port 6443 --host sim-a --remote-kubeconfig sim-a.yaml

Whoever reaches the API still needs the token that is in the kubeconfig. Pods listen on loopback; a --pod-network elsewhere has to be
of this machine: `ip route add local 10.7.1.0/24 dev eth0` lets Linux answer for all of it.";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct Arguments {
    /// How many nodes
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Address that the API listens on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    listen: IpAddr,
    /// Port of the API; 0 takes any free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where the kubeconfig is written
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// Name or address by which others reach the API
    #[arg(long, value_name = "NAME", requires = "remote_kubeconfig")]
    host: Option<String>,
    /// Where the kubeconfig for those others is written
    #[arg(long, value_name = "FILE", requires = "host")]
    remote_kubeconfig: Option<PathBuf>,
    /// Where the addresses of pods come from, such as 127.20.0.0/16
    #[arg(long, value_name = "NETWORK")]
    pod_network: Option<bcs_kubesim::PodNetwork>,
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
            listen: self.listen,
            hosts: self.host.iter().cloned().collect(),
            port: self.port,
            pod_network: self.pod_network,
            data_dir: self.data,
            tls: true,
            ..bcs_kubesim::Config::default()
        };
        let cluster = bcs_kubesim::start(config).await.map_err(failed)?;
        cluster.write_kubeconfig(&self.kubeconfig).map_err(failed)?;
        if let Some((host, file)) = self.host.as_deref().zip(self.remote_kubeconfig.as_deref()) {
            cluster.write_kubeconfig_for(host, file).map_err(failed)?;
        }
        let file = self.kubeconfig.display();
        output::line(format!("cluster {} with {} nodes answers at {}", self.name, self.nodes, cluster.url()));
        output::line(format!("try: KUBECONFIG={file} kubectl get nodes; stop with Ctrl-C"));
        stop_signal().await;
        cluster.shutdown().await;
        Ok(())
    }
}
