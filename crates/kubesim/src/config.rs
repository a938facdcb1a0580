//! How a simulator is set up.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use crate::PodNetwork;

/// Settings of one simulated cluster; `Config::default()` is three nodes on a free port, in memory only.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name of the cluster: context of the kubeconfig, prefix of the node names, part of what pods answer.
    pub name: String,
    pub nodes: usize,
    /// The address that the API listens on; 127.0.0.1 by default, since whoever reaches it may ask.
    pub listen: IpAddr,
    /// By which names or addresses others reach the API, beside this machine: the certificate is for these too.
    pub hosts: Vec<String>,
    /// The port; 0 takes any free one.
    pub port: u16,
    /// Where the addresses of pods come from; by default a /16 of 127.0.0.0/8, chosen from the name and the process id. A
    /// network elsewhere has to be of this machine already: `ip route add local 10.7.1.0/24 dev eth0` lets Linux answer for
    /// all of it, to its neighbours too.
    pub pod_network: Option<PodNetwork>,
    /// Where the cluster is kept; without it, it is gone with the process.
    pub data_dir: Option<PathBuf>,
    /// The bearer token; by default a random one, kept in `data_dir` if there is one.
    pub token: Option<String>,
    /// Whether the API speaks TLS, with certificates of an authority of its own, and knows clients by theirs.
    pub tls: bool,
    /// Whether pods really listen on their ports.
    pub http: bool,
    /// Whether pods with the annotation `sim.bcs/process: "true"` or the runtime class `process` may run their commands
    /// on this machine, with all the rights of the simulator.
    pub allow_processes: bool,
    /// How long pods take to start that do not say so themselves.
    pub pod_startup: Duration,
    /// Processors, memory and number of pods of every node.
    pub node_cpu: String,
    pub node_memory: String,
    pub node_pods: usize,
    /// More nodes, of other kinds; they are numbered after the equal ones.
    pub node_profiles: Vec<NodeProfile>,
    /// How often every node renews its lease.
    pub node_lease: Duration,
    /// How long a node may be silent before it counts as lost. Real clusters wait most of a minute; by default this one
    /// does not wait at all.
    pub node_grace: Duration,
    /// The URLs of extenders of the scheduler, without their verbs (`filter`, `prioritize`); only plain HTTP.
    pub scheduler_extenders: Vec<String>,
    /// Where the randomness of faults starts.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "kubesim".to_owned(),
            nodes: 3,
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            hosts: Vec::new(),
            port: 0,
            pod_network: None,
            data_dir: None,
            token: None,
            tls: false,
            http: true,
            allow_processes: false,
            pod_startup: Duration::from_millis(50),
            node_cpu: "64".to_owned(),
            node_memory: "256Gi".to_owned(),
            node_pods: 500,
            node_profiles: Vec::new(),
            node_lease: Duration::from_secs(10),
            node_grace: Duration::ZERO,
            scheduler_extenders: Vec::new(),
            seed: 0,
        }
    }
}

/// Some nodes that are alike.
#[derive(Debug, Clone)]
pub struct NodeProfile {
    pub count: usize,
    pub cpu: String,
    pub memory: String,
    pub pods: usize,
    /// Without one, the nodes take turns in `zone-1` to `zone-3`.
    pub zone: Option<String>,
    pub arch: String,
    /// `linux` or `windows`.
    pub os: String,
    pub labels: BTreeMap<String, String>,
    /// As kubectl writes them: `key=value:NoSchedule`.
    pub taints: Vec<String>,
}

impl Default for NodeProfile {
    fn default() -> Self {
        Self {
            count: 1,
            cpu: "64".to_owned(),
            memory: "256Gi".to_owned(),
            pods: 500,
            zone: None,
            arch: "amd64".to_owned(),
            os: "linux".to_owned(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
        }
    }
}
