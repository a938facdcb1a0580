//! A cluster for one test, with a namespace of its own, and what the engine's watch tells of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use crate::account::Account;
use bcs_engines::{
    Engine, Kind, News, Observed,
    kubernetes::{Kubernetes, connect},
};
use bcs_kit::Clock;
use bcs_kubesim::Kubesim;
use bcs_schemas::{
    Name,
    observation::{Endpoint, EndpointPhase, Workload},
    resource::{
        ClusterSpec, Labels,
        app::Template,
        cluster::{AgentPlace, EngineKind, SecretRef},
    },
    step::{Instance, Mark, MarkRequest, Step, StepRequest, StepResult, WorkloadKey},
};
use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::DeleteParams, config::KubeConfigOptions};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Lab {
    pub(crate) sim: Option<Kubesim>,
    pub(crate) engine: Kubernetes,
    pub(crate) client: Client,
    pub(crate) key: WorkloadKey,
    account: Account,
    _folder: tempfile::TempDir,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("is a name")
}

#[expect(clippy::disallowed_methods, reason = "a test asks its environment for a real cluster")]
fn real_cluster() -> Option<PathBuf> {
    std::env::var("BCS_TEST_KUBECONFIG").ok().map(PathBuf::from)
}

impl Lab {
    pub(crate) async fn open() -> Self {
        match real_cluster() {
            Some(file) => Self::at(None, file, tempfile::tempdir().expect("a folder")).await,
            None => Self::open_simulated().await,
        }
    }

    /// For faults that nobody can ask of a real cluster.
    pub(crate) async fn open_simulated() -> Self {
        Self::simulated(bcs_kubesim::Config { tls: true, ..Default::default() }).await
    }

    async fn simulated(config: bcs_kubesim::Config) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let sim = bcs_kubesim::start(config).await.expect("a simulator");
        let file = folder.path().join("kubeconfig");
        sim.write_kubeconfig(&file).expect("a kubeconfig");
        Self::at(Some(sim), file, folder).await
    }

    /// A simulated cluster whose pods take their time to start, as real ones do.
    pub(crate) async fn open_slow() -> Self {
        let pod_startup = std::time::Duration::from_secs(3);
        Self::simulated(bcs_kubesim::Config { pod_startup, tls: true, ..Default::default() }).await
    }

    async fn at(sim: Option<Kubesim>, file: PathBuf, folder: tempfile::TempDir) -> Self {
        let kubeconfig = kube::config::Kubeconfig::read_from(&file).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration");
        let client = Client::try_from(config).expect("a client");
        let id = Clock::system().fresh_id().simple().to_string();
        let (account, rights) = Account::make(client.clone(), &file, folder.path(), &id[20..]).await;
        let spec = ClusterSpec {
            engine: EngineKind::Kubernetes,
            kubeconfig: SecretRef { file: rights },
            context: None,
            agent: AgentPlace::Direct,
        };
        let (engine, _) = connect::connect(&spec, Clock::system()).await.expect("connects");
        let key = WorkloadKey {
            project: name(&format!("it-{}", &id[20..])),
            app: name("shop"),
            revision: name("r1"),
        };
        Self { sim, engine, client, key, account, _folder: folder }
    }

    pub(crate) fn revision(&self, revision: &str) -> WorkloadKey {
        WorkloadKey { revision: name(revision), ..self.key.clone() }
    }

    pub(crate) async fn run(&self, generation: u64, step: Step) -> StepResult {
        self.engine.execute(&StepRequest { generation, traceparent: None, not_after: None, step }).await
    }

    pub(crate) async fn mark(&self, generation: u64, workload: &WorkloadKey, mark: Mark) -> StepResult {
        let request =
            MarkRequest { generation, traceparent: None, not_after: None, workload: workload.clone(), mark };
        self.engine.mark(&request).await
    }

    /// Whether a mark is written or not, it can be written again.
    pub(crate) async fn mark_twice(&self, generation: u64, workload: &WorkloadKey, mark: Mark) {
        for attempt in ["first", "second"] {
            let result = self.mark(generation, workload, mark.clone()).await;
            assert_eq!(result, StepResult::Done, "{attempt} attempt of {mark:?}");
        }
    }

    /// A step is idempotent: what it did once it says to have done twice.
    pub(crate) async fn twice(&self, generation: u64, step: Step) {
        for attempt in ["first", "second"] {
            let result = self.run(generation, step.clone()).await;
            assert_eq!(result, StepResult::Done, "{attempt} attempt of {step:?}");
        }
    }

    pub(crate) fn world(&self) -> World {
        World::new(self.engine.watch(name("sim-a")), &self.key.project)
    }

    pub(crate) async fn close(self) {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let _ = namespaces.delete(self.key.project.as_str(), &DeleteParams::default()).await;
        self.account.forget().await;
        if let Some(sim) = self.sim {
            sim.shutdown().await;
        }
    }
}

pub(crate) fn scale_up(key: &WorkloadKey, replicas: u32) -> Step {
    let template: Template = serde_json::from_value(json!({
        "image": { "repository": "registry.k8s.io/pause", "tag": "3.10" }, "stop_timeout": "1s",
        "ports": [{ "name": "http", "port": 8080 }],
    }))
    .expect("is a template");
    Step::ScaleUp { workload: key.clone(), template, labels: Labels::new(), register: None, replicas }
}

pub(crate) fn drain(key: &WorkloadKey, instance: &Instance) -> Step {
    Step::Drain { workload: key.clone(), instance: instance.clone() }
}

pub(crate) fn scale_down(key: &WorkloadKey, replicas: u32, victims: &[Instance]) -> Step {
    Step::ScaleDown { workload: key.clone(), replicas, from: None, victims: victims.to_vec() }
}

pub(crate) fn instance(endpoint: &Endpoint) -> Instance {
    Instance { name: endpoint.instance.clone(), uid: endpoint.uid.clone() }
}

/// What the watch has told, of one project.
pub(crate) struct World {
    news: BoxStream<'static, News>,
    project: Name,
    pub(crate) things: BTreeMap<(Kind, String), Observed>,
    listing: BTreeMap<Kind, BTreeSet<String>>,
    pub(crate) lists: BTreeMap<Kind, u32>,
    /// How often the watch of each kind broke.
    pub(crate) failures: BTreeMap<Kind, u32>,
}

impl World {
    fn new(news: BoxStream<'static, News>, project: &Name) -> Self {
        let (things, listing, lists, failures) = Default::default();
        Self { news, project: project.clone(), things, listing, lists, failures }
    }

    fn take(&mut self, news: News) {
        match news {
            News::ListBegan(kind) => drop(self.listing.insert(kind, BTreeSet::new())),
            News::Seen(it) => {
                if let Some(listing) = self.listing.get_mut(&it.kind()) {
                    listing.insert(it.key());
                }
                self.things.insert((it.kind(), it.key()), it);
            }
            News::Gone(kind, key) => drop(self.things.remove(&(kind, key))),
            News::ListEnded(kind) => {
                let listed = self.listing.remove(&kind).expect("a list began");
                self.things.retain(|(of, key), _| *of != kind || listed.contains(key));
                *self.lists.entry(kind).or_default() += 1;
            }
            News::Failed(kind, _) => *self.failures.entry(kind).or_default() += 1,
        }
    }

    /// Reads on until the world looks as wanted; says what is missing if it never does.
    pub(crate) async fn until<T>(&mut self, mut look: impl FnMut(&Self) -> Result<T, String>) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let missing = match look(self) {
                Ok(value) => return value,
                Err(missing) => missing,
            };
            match tokio::time::timeout_at(deadline, self.news.next()).await {
                Ok(news) => self.take(news.expect("a watch never ends")),
                Err(_) => panic!("waited in vain: {missing}"),
            }
        }
    }

    pub(crate) fn endpoints(&self) -> Vec<&Endpoint> {
        let ours = self.things.values().filter_map(|it| match it {
            Observed::Endpoint(it) if it.project == self.project => Some(it),
            _ => None,
        });
        ours.collect()
    }

    pub(crate) fn workload(&self, key: &WorkloadKey) -> Option<&Workload> {
        self.things.values().find_map(|it| match it {
            Observed::Workload(it) if it.project == key.project && it.revision == key.revision => Some(it),
            _ => None,
        })
    }

    pub(crate) fn of_phase(&self, phase: EndpointPhase) -> Vec<Endpoint> {
        self.endpoints().into_iter().filter(|e| e.phase == phase).cloned().collect()
    }

    /// So many ready instances, and no others.
    pub(crate) async fn ready(&mut self, count: usize) -> Vec<Endpoint> {
        self.until(|world| {
            let (ready, all) = (world.of_phase(EndpointPhase::Ready), world.endpoints().len());
            let missing = format!("{} of {all} are ready, not {count} of {count}", ready.len());
            if ready.len() == count && all == count { Ok(ready) } else { Err(missing) }
        })
        .await
    }
}
