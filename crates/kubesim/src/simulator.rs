//! Starting and stopping: the wiring of store, server, controllers and nodes.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{extract::connect_info::IntoMakeServiceWithConnectInfo, serve::Listener};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    Config, Faults, PodNetwork,
    access::{self, Tokens},
    admission::{self, Gate},
    clock,
    connection::{Cuttable, Peer},
    controller::{self, node, pod::Tools, recorder::Recorder},
    faults::Order,
    http::{self, Api},
    kind,
    kinds::Kinds,
    kubelet::{
        Kubelet, Settings, Trouble,
        process::log::Logs,
        usage::{self, Usage},
    },
    object::{self, Key},
    persist::{self, Identity},
    store::Store,
    task::Tasks,
    tls::{self, Authority, Certified, Door},
};

/// Why a simulator did not start, or its kubeconfig was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: is it in use? choose another port, or 0 for a free one")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(
        "pods cannot listen in {network}: expected a network of this machine, as `ip route add local {network} dev eth0` makes it"
    )]
    Network { network: PodNetwork, source: io::Error },
    #[error("the data directory {path} cannot be used")]
    Data { path: PathBuf, source: io::Error },
    #[error("the kubeconfig {path} cannot be written")]
    Kubeconfig { path: PathBuf, source: io::Error },
    #[error("the API cannot speak TLS: {0}")]
    Tls(String),
    #[error("the cluster cannot be furnished: {0}")]
    Furnish(String),
}

/// A running cluster. Dropping it leaves it running until the runtime ends; `shutdown` ends it in order.
pub struct Kubesim {
    name: String,
    address: SocketAddr,
    network: PodNetwork,
    authority: Option<Authority>,
    api: Arc<Api>,
    tasks: Tasks,
}

/// Numbers about a running cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    pub resource_version: u64,
    pub requests: u64,
    pub open_watches: u64,
    pub pods: usize,
    pub ready_pods: usize,
}

/// Starts a cluster; it is ready to be asked when this returns.
pub async fn start(config: Config) -> Result<Kubesim, Error> {
    let dir = config.data_dir.clone();
    let wrong = |source| Error::Data { path: dir.clone().unwrap_or_default(), source };
    let loaded = dir.as_deref().map(persist::load).transpose().map_err(wrong)?;
    let identity = loaded.as_ref().map(|l| &l.identity);
    let wanted = SocketAddr::from((config.listen, config.port));
    let listener = listen(wanted, identity.map_or(0, |i| i.port))?;
    let bound = listener.local_addr().map_err(|source| Error::Listen { address: wanted, source })?;
    // Who listens everywhere is found on this machine, too.
    let here = if config.listen.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { config.listen };
    let address = SocketAddr::from((here, bound.port()));
    let kept = identity.filter(|i| !i.token.is_empty()).map(|i| i.token.clone());
    let token = config.token.clone().or(kept).unwrap_or_else(clock::secret);
    let kept = identity.and_then(|i| i.network.parse().ok());
    let network = config.pod_network.or(kept).unwrap_or_else(|| PodNetwork::pick(&config.name));
    if config.http {
        network.try_listening().map_err(|source| Error::Network { network, source })?;
    }

    let kept = identity.and_then(|i| i.authority.clone());
    let authority = match kept {
        Some(kept) => Some(kept).filter(|_| config.tls),
        None if config.tls => Some(Authority::new(&config.name).map_err(untrusted)?),
        None => None,
    };

    let tasks = Tasks::default();
    let store = match (&dir, loaded) {
        (Some(dir), Some(loaded)) => {
            let identity = Identity {
                token: token.clone(),
                port: address.port(),
                network: network.to_string(),
                authority: authority.clone(),
            };
            persist::save_identity(dir, &identity).map_err(wrong)?;
            let log = persist::compact(dir, &loaded).map_err(wrong)?;
            let fresh = loaded.objects.is_empty();
            let store = Arc::new(Store::new(loaded.kinds, loaded.version, loaded.objects));
            let feed = store.changes_from_now();
            tracing::debug!(fresh, "the log is open");
            tasks.spawn_to_end(persist::follow(log, feed, tasks.stop.clone()));
            store
        }
        _ => Arc::new(Store::new(Kinds::default(), 0, Vec::new())),
    };
    furnish(&store, &config, address)?;
    let (faults, crashes) = Faults::new(Arc::clone(&store), config.seed);
    let faults = Arc::new(faults);
    let logs = Arc::new(Logs::default());
    let gate = Arc::new(Gate::new(Arc::clone(&store)));
    run_controllers(&store, &gate, (&faults, crashes), &tasks, &config, network, &logs);
    let api = Arc::new(Api {
        store,
        gate,
        faults,
        tokens: Tokens::new(token),
        logs,
        tasks: tasks.clone(),
        requests: AtomicU64::new(0),
        watches: AtomicU64::new(0),
    });
    let router = http::router(Arc::clone(&api));
    let service = router.into_make_service_with_connect_info::<Peer>();
    let lines = api.faults.lines();
    match &authority {
        Some(authority) => {
            let door = Door::new(listener, authority, &config.hosts, &tasks).map_err(untrusted)?;
            serve(&tasks, Cuttable::new(door, lines, |subject| subject), service);
        }
        None => serve(&tasks, Cuttable::new(listener, lines, |_| None), service),
    }
    Ok(Kubesim { name: config.name, address, network, authority, api, tasks })
}

fn untrusted(error: tls::Error) -> Error {
    let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
    Error::Tls(format!("{error}{source}"))
}

fn serve<L: Listener>(
    tasks: &Tasks,
    listener: Cuttable<L>,
    service: IntoMakeServiceWithConnectInfo<axum::Router, Peer>,
) {
    let stop = tasks.stop.clone();
    tasks.spawn_to_end(async move {
        let served = axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the API server stopped");
        }
    });
}

/// The wanted port, or the last one if it is free, or any.
fn listen(wanted: SocketAddr, last: u16) -> Result<tokio::net::TcpListener, Error> {
    let bind = |address: SocketAddr| {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    };
    if wanted.port() == 0
        && last != 0
        && let Ok(listener) = bind(SocketAddr::from((wanted.ip(), last)))
    {
        return Ok(listener);
    }
    bind(wanted).map_err(|source| Error::Listen { address: wanted, source })
}

/// What every cluster has from its first moment.
fn furnish(store: &Store, config: &Config, address: SocketAddr) -> Result<(), Error> {
    let mut first: Vec<(&'static kind::Kind, Value)> = ["default", "kube-system", "kube-public", "kube-node-lease"]
        .into_iter()
        .map(|name| {
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace", "status": {"phase": "Active"}, "spec": {"finalizers": ["kubernetes"]},
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            });
            (&kind::NAMESPACES, namespace)
        })
        .collect();
    let (name, port) = if config.tls { ("https", 443) } else { ("http", 80) };
    let own = json!({"name": "kubernetes", "namespace": "default"});
    let listens = json!([{
        "addresses": [{"ip": address.ip()}], "ports": [{"name": name, "port": address.port(), "protocol": "TCP"}],
    }]);
    first.push((
        &kind::ENDPOINTS,
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": own, "subsets": listens}),
    ));
    first.push((&kind::SERVICES, json!({
        "apiVersion": "v1", "kind": "Service", "metadata": own,
        "spec": {
            "type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "sessionAffinity": "None",
            "ports": [{"name": name, "port": port, "targetPort": address.port(), "protocol": "TCP"}],
        },
        "status": {"loadBalancer": {}},
    })));
    first.extend(access::bootstrap_objects());
    first.extend(admission::bootstrap_objects());
    for (kind, object) in first {
        match store.create(kind, object) {
            Err(status) if status.reason != "AlreadyExists" => return Err(Error::Furnish(status.message)),
            _ => {}
        }
    }
    // A cluster that was kept may listen somewhere else now.
    let listens_here = |seen: &Value| {
        let mut value = seen.clone();
        value["subsets"] = listens.clone();
        Ok((value != *seen).then_some(value))
    };
    let here = store.update(&kind::ENDPOINTS, &Key::new("default", "kubernetes"), listens_here);
    here.map_err(|status| Error::Furnish(status.message))?;
    for taint in config.node_profiles.iter().flat_map(|p| &p.taints) {
        if node::parse_taint(taint).is_none() {
            return Err(Error::Furnish(format!("{taint:?} is not a taint such as key=value:NoSchedule")));
        }
    }
    node::create(store, config).map_err(|status| Error::Furnish(status.message))
}

fn run_controllers(
    store: &Arc<Store>,
    gate: &Arc<Gate>,
    (faults, crashes): (&Faults, mpsc::UnboundedReceiver<Order>),
    tasks: &Tasks,
    config: &Config,
    network: PodNetwork,
    logs: &Arc<Logs>,
) {
    let recorder = Arc::new(Recorder::new(Arc::clone(store)));
    let (s, r) = (|| Arc::clone(store), || Arc::clone(&recorder));
    let tools = || Tools { store: s(), recorder: r(), gate: Arc::clone(gate) };
    let settings = Settings {
        cluster: config.name.clone(),
        network,
        listen: config.http,
        startup: config.pod_startup,
        allow_processes: config.allow_processes,
        logs: Arc::clone(logs),
    };
    let trouble = Trouble { down: faults.nodes_down(), starts: faults.starts(), crashes };
    let kubelet = Kubelet::new(s(), r(), tasks.clone(), settings, trouble);
    tasks.spawn(controller::run(s(), controller::replica_set::ReplicaSets::new(tools())));
    tasks.spawn(controller::run(s(), controller::replica_set::ReplicaSets::replication(tools())));
    tasks.spawn(controller::run(s(), controller::deployment::Deployments::new(tools())));
    tasks.spawn(controller::run(s(), controller::stateful_set::StatefulSets::new(tools())));
    tasks.spawn(controller::run(s(), controller::daemon_set::DaemonSets::new(tools())));
    tasks.spawn(controller::run(s(), controller::job::Jobs::new(tools())));
    tasks.spawn(controller::run(s(), controller::cron_job::CronJobs::new(tools())));
    tasks.spawn(controller::run(s(), controller::autoscaler::Autoscalers::new(tools())));
    tasks.spawn(controller::run(s(), controller::metric::Metrics { store: s() }));
    tasks.spawn(controller::run(s(), controller::volume::Volumes::new(s())));
    tasks.spawn(controller::run(s(), controller::quota::Quotas { store: s(), gate: Arc::clone(gate) }));
    let extenders = config.scheduler_extenders.clone();
    tasks.spawn(controller::run(s(), controller::scheduler::Scheduler::new(s(), r(), extenders)));
    tasks.spawn(controller::run(s(), controller::service::Services::new(s())));
    tasks.spawn(controller::run(s(), controller::endpoint::Endpoints { store: s() }));
    tasks.spawn(controller::run(s(), controller::endpoint::mirror::Mirrors::new(s())));
    tasks.spawn(controller::run(s(), controller::garbage::Garbage { store: s() }));
    tasks.spawn(controller::run(s(), controller::namespace::Namespaces { store: s() }));
    tasks.spawn(controller::run(s(), controller::definition::Definitions { store: s() }));
    tasks.spawn(controller::run(s(), controller::disruption::Budgets { store: s() }));
    tasks.spawn(controller::run(s(), kubelet));
    tasks.spawn(controller::run(s(), node::Taints { store: s(), recorder: r() }));
    let tainted = Default::default();
    tasks.spawn(controller::run(s(), node::Evictions { store: s(), recorder: r(), tainted }));
    tasks.spawn(controller::run(s(), node::Orphans { store: s(), missing: Default::default() }));
    tasks.spawn(node::follow(s(), faults.nodes_down(), config.node_grace));
    tasks.spawn(node::renew(s(), faults.nodes_down(), config.node_lease));
}

impl Kubesim {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the API answers, without credentials.
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub fn token(&self) -> &str {
        self.api.tokens.admin()
    }

    pub fn pod_network(&self) -> PodNetwork {
        self.network
    }

    /// The text of a kubeconfig (YAML) with one context that may do everything, for this machine.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_to(&self.address.to_string())
    }

    /// The same for those who reach the API by one of `Config::hosts`.
    pub fn kubeconfig_for(&self, host: &str) -> String {
        self.kubeconfig_to(&format!("{host}:{}", self.address.port()))
    }

    fn kubeconfig_to(&self, place: &str) -> String {
        let (name, token) = (&self.name, self.api.tokens.admin());
        let cluster = match &self.authority {
            Some(authority) => {
                let trusted = STANDARD.encode(&authority.certificate);
                format!("server: https://{place}\n    certificate-authority-data: {trusted}")
            }
            // kubectl sends no token over plain HTTP, but it does send the user part of the address.
            None => format!("server: http://kubesim:{token}@{place}"),
        };
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name:?}\nclusters:\n- name: {name:?}\n  cluster:\n    \
             {cluster}\nusers:\n- name: {name:?}\n  user:\n    token: {token:?}\ncontexts:\n- name: {name:?}\n  context:\n    \
             cluster: {name:?}\n    user: {name:?}\n    namespace: default\n"
        )
    }

    /// The certificate of the authority, as PEM, when the API speaks TLS.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_ref().map(|authority| authority.certificate.as_str())
    }

    /// A certificate for a client of this name and group, when the API speaks TLS.
    pub fn client_certificate(&self, name: &str, group: Option<&str>) -> Option<Result<Certified, Error>> {
        Some(self.authority.as_ref()?.client(name, group).map_err(untrusted))
    }

    /// Writes the kubeconfig so that only its owner can read it: it contains the token.
    pub fn write_kubeconfig(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        Self::write_secret(path.as_ref(), &self.kubeconfig())
    }

    /// The same for those who reach the API by one of `Config::hosts`.
    pub fn write_kubeconfig_for(&self, host: &str, path: impl AsRef<Path>) -> Result<(), Error> {
        Self::write_secret(path.as_ref(), &self.kubeconfig_for(host))
    }

    fn write_secret(path: &Path, text: &str) -> Result<(), Error> {
        use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};

        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| Error::Kubeconfig { path: path.to_owned(), source })
    }

    pub fn faults(&self) -> &Faults {
        &self.api.faults
    }

    pub fn stats(&self) -> Stats {
        let pods = self.api.store.list(&kind::PODS, "");
        Stats {
            resource_version: pods.version,
            requests: self.api.requests.load(Ordering::Relaxed),
            open_watches: self.api.watches.load(Ordering::Relaxed),
            ready_pods: pods.objects.iter().filter(|p| object::condition_true(p, "Ready")).count(),
            pods: pods.objects.len(),
        }
    }

    /// What the containers of a pod use, as its annotations `sim.bcs/cpu` and `sim.bcs/memory` tell it.
    pub fn usage(&self, namespace: &str, pod: &str) -> Vec<Usage> {
        let pod = self.api.store.get(&kind::PODS, &Key::new(namespace, pod));
        pod.map(|pod| usage::of(&pod, clock::now())).unwrap_or_default()
    }

    /// Ends watches, pods and controllers, and waits until the log is written.
    pub async fn shutdown(self) {
        self.tasks.shutdown().await;
    }
}
