//! How a simulator is set up.

use std::{path::PathBuf, time::Duration};

use crate::PodNetwork;

/// Settings of one simulated cluster; `Config::default()` is three nodes on a free port, in memory only.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name of the cluster: context of the kubeconfig, prefix of the node names, part of what pods answer.
    pub name: String,
    pub nodes: usize,
    /// The port on 127.0.0.1; 0 takes any free one.
    pub port: u16,
    /// Where the addresses of pods come from; by default a /16 chosen from the name and the process id.
    pub pod_network: Option<PodNetwork>,
    /// Where the cluster is kept; without it, it is gone with the process.
    pub data_dir: Option<PathBuf>,
    /// The bearer token; by default a random one, kept in `data_dir` if there is one.
    pub token: Option<String>,
    /// Whether the API speaks TLS, with certificates of an authority of its own, and knows clients by theirs.
    pub tls: bool,
    /// Whether pods really listen on their ports.
    pub http: bool,
    /// How long pods take to start that do not say so themselves.
    pub pod_startup: Duration,
    /// Processors, memory and number of pods of every node.
    pub node_cpu: String,
    pub node_memory: String,
    pub node_pods: usize,
    /// Where the randomness of faults starts.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "kubesim".to_owned(),
            nodes: 3,
            port: 0,
            pod_network: None,
            data_dir: None,
            token: None,
            tls: false,
            http: true,
            pod_startup: Duration::from_millis(50),
            node_cpu: "64".to_owned(),
            node_memory: "256Gi".to_owned(),
            node_pods: 500,
            seed: 0,
        }
    }
}
