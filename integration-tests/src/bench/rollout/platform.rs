//! What an update needs: a cluster whose pods answer, the services, a sidecar with two registries, and these.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bcs_client::Client;
use bcs_kit::bus::BusConfig;
use bcs_schemas::{
    Name, Service,
    deploy::ApplyApp,
    outcome::Outcome,
    query::{AppPhase, Query},
};
use serde_json::{Value, json};

use crate::{
    bench::{
        apart,
        clusters::{self, Clusters},
        registry::{Bind, Haproxy, Registry},
        site::Sidecar,
    },
    harness::{Lab, NatsServer, NotYet, Process, Ready, wait_until},
};

const PROJECT: &str = "bench";
const APP: &str = "web";
/// How long clients may remember what BIND tells.
pub(super) const TTL: &str = "3s";
const NODES: usize = 10;
/// No step of it takes longer.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) struct Platform {
    haproxy: Haproxy,
    bind: Bind,
    client: Client,
    sidecar: Sidecar,
    services: Vec<(&'static str, Process)>,
    clusters: Clusters,
    nats: NatsServer,
    /// Longer than an update takes, or it is stuck.
    patience: Duration,
}

impl Platform {
    pub(super) async fn start(lab: &Lab, instances: u32) -> Result<Self> {
        let haproxy = Haproxy::start(lab, &[format!("{APP}.{PROJECT}")]).await?;
        let bind = Bind::start(lab).await?;
        let nats = NatsServer::start(lab, "nats").await?;
        let mut services = Vec::new();
        for (name, service) in [("cluster", Service::Cluster), ("deploy", Service::Deploy)] {
            let journal = format!("sqlite:{}", lab.path().join(format!("{name}.db")).display());
            services.push((name, apart::service(lab, service, "rollout", &nats.url(), &journal)?));
        }
        let config = BusConfig { url: nats.url(), ..BusConfig::default() };
        let client = wait_until(LONGEST, "the streams are there", async || {
            Client::connect(&config, "bench").await.into()
        })
        .await?;
        let clusters = Clusters::answering(lab, NODES).await?;
        wait_until(LONGEST, "the cluster is taken in", async || clusters.import(&client, 0).await.into())
            .await?;
        clusters.healthy(&client, 1).await?;
        let documents = vec![
            document("edge", json!({ "driver": haproxy.driver() })),
            document("names", json!({ "driver": bind.driver(), "ttl": TTL })),
        ];
        let sidecar = Sidecar::start(lab, &clusters::name(0), &nats.url(), documents)?;
        wait_until(LONGEST, "the sidecar is ready", async || match sidecar.ready().await {
            true => Ready(()),
            false => NotYet("it says that it is not".to_owned()),
        })
        .await?;
        let patience = LONGEST + Duration::from_secs(2) * instances;
        Ok(Self { haproxy, bind, client, sidecar, services, clusters, nats, patience })
    }

    /// Where HAProxy takes requests.
    pub(super) fn front(&self) -> u16 {
        self.haproxy.front()
    }

    /// Port of BIND, and the name of the application there.
    pub(super) fn name_server(&self) -> (u16, String) {
        (self.bind.port(), format!("{APP}.{PROJECT}.bcs.local"))
    }

    /// Asks for the application to be so, and waits for the decision.
    pub(super) async fn apply(&self, spec: &Value) -> Result<()> {
        let target = apart::target(APP)?;
        wait_until(LONGEST, "deploy decides", async || {
            let decide = async {
                let message =
                    ApplyApp { labels: Default::default(), spec: serde_json::from_value(spec.clone())? };
                match self.client.command(target.clone(), message).send(LONGEST).await? {
                    Outcome::Accepted(_) => Ok(()),
                    Outcome::Rejected(rejected) => bail!("the app was rejected: {}", rejected.message),
                }
            };
            decide.await.into()
        })
        .await
    }

    /// Waits until all of it runs, and nothing of what was before.
    pub(super) async fn available(&self) -> Result<()> {
        let query =
            Query { project: Some(Name::new(PROJECT)?), name: Some(Name::new(APP)?), ..Query::default() };
        wait_until(self.patience, "the application is available", async || {
            let view = match self.client.app(&query).await {
                Ok(answered) => answered.data,
                Err(error) => return NotYet(error.to_string()),
            };
            let Some(view) = view else { return NotYet("there is none".to_owned()) };
            let (status, wanted) = (view.status, view.spec.replicas);
            let seen = status.observed_generation == view.generation && status.phase == AppPhase::Available;
            let all = [status.updated, status.available, status.ready].iter().all(|count| *count == wanted);
            if seen && all && status.draining == 0 { Ready(()) } else { NotYet(format!("{status:?}")) }
        })
        .await
    }

    /// Everything that runs, by what it is called.
    pub(super) fn processes(&self) -> Result<Vec<(&'static str, u32)>> {
        let registries = [("HAProxy", self.haproxy.pid()), ("BIND", self.bind.pid())];
        let mut all = vec![("nats-server", self.nats.pid()?)];
        for (name, process) in &self.services {
            all.push((name, process.pid()?));
        }
        all.extend([
            ("the sidecar", self.sidecar.pid()?),
            ("the cluster and its pods", self.clusters.pid()?),
        ]);
        for (name, pid) in registries {
            all.push((name, pid.with_context(|| format!("{name} has ended"))?));
        }
        all.push(("bcs-bench", std::process::id()));
        Ok(all)
    }
}

fn document(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "bcs/v1", "kind": "Registry", "metadata": { "name": name }, "spec": spec })
}
