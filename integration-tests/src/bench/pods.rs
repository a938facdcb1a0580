//! How many nodes and pods a simulated cluster bears, and how fast they come: kubesim alone, in a process of its own, asked by plain
//! clients. Its pods do not listen here: a hundred thousand sockets are more than a machine gives one process.

mod fan_out;
mod pages;

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Namespace};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::json;
use tokio::time::Instant;

use super::{
    clusters::Clusters,
    report::{Report, Row, Target},
    usage::Watched,
};
use crate::harness::{Lab, NotYet, Ready, wait_until};

/// What is to be there: so many clusters of so many nodes and pods each.
#[derive(Clone, Copy, Debug)]
struct Size {
    clusters: usize,
    nodes: usize,
    pods: usize,
}

/// A deployment has at most this many; they come in turns over namespaces.
const REPLICAS: usize = 1000;
const NAMESPACES: usize = 10;
const LONGEST: Duration = Duration::from_secs(600);

/// What a real control plane took on a machine of this size with ten simulated nodes, and how much memory.
const REAL_500: f64 = 6.6;
const REAL_10_000: f64 = 145.0;
const REAL_MIB: f64 = 1.3 * 1024.0;

/// Runs the scenario, once: nothing in it takes turns with a floor.
pub(super) async fn run(lab: &Lab) -> Result<Report> {
    let small = Crowd::raise(lab, Size { clusters: 1, nodes: 10, pods: 500 }).await?;
    let mut rows = vec![small.seconds("500 pods on 10 nodes are Ready").target(Target::Below(REAL_500))];
    drop(small);
    let middle = Crowd::raise(lab, Size { clusters: 1, nodes: 10, pods: 10_000 }).await?;
    rows.push(middle.seconds("10,000 pods on 10 nodes are Ready").target(Target::Below(REAL_10_000)));
    rows.push(middle.peak("peak RSS with 10,000 pods")?.target(Target::Below(REAL_MIB)));
    rows.extend(fan_out::measure(&middle).await?);
    drop(middle);
    let large = Crowd::raise(lab, Size { clusters: 1, nodes: 5000, pods: 100_000 }).await?;
    rows.push(large.seconds("100,000 pods on 5,000 nodes are Ready"));
    rows.push(large.per_cpu("pods Ready per second of CPU").target(Target::AtLeast(2000.0)));
    rows.push(large.peak("peak RSS with 100,000 pods and 5,000 nodes")?.target(Target::Below(3072.0)));
    rows.extend(pages::measure(&large).await?);
    drop(large);
    let many = Crowd::raise(lab, Size { clusters: 100, nodes: 3, pods: 1000 }).await?;
    rows.push(many.seconds("1,000 pods in each of 100 clusters are Ready"));
    rows.push(many.per_cpu("pods Ready per second of CPU, 100 clusters"));
    rows.push(many.peak("peak RSS of 100 clusters of 1,000 pods")?);
    let versions = vec![
        "kubesim alone, its pods do not listen; targets of seconds and of memory with 10 nodes: a real \
                         control plane on a machine of this size"
            .to_owned(),
    ];
    Ok(Report { rows, versions, ..Report::default() })
}

/// Clusters full of pods, and what it took to fill them.
struct Crowd {
    clusters: Clusters,
    process: Watched,
    size: Size,
    took: Duration,
    cpu: f64,
}

impl Crowd {
    async fn raise(lab: &Lab, size: Size) -> Result<Self> {
        let clusters = Clusters::of(lab, size.clusters, size.nodes).await?;
        let process = Watched::new("clusters", clusters.pid()?);
        let apis = try_join_all((0..size.clusters).map(|number| clusters.api(number))).await?;
        let (begin, cpu) = (Instant::now(), process.cpu()?);
        try_join_all(apis.iter().map(|api| fill(api, size.pods))).await?;
        for api in &apis {
            wait_until(LONGEST, "pods are ready", async || match ready(api).await {
                Ok(ready) if ready == size.pods => Ready(()),
                Ok(ready) => NotYet(format!("{ready} of {}", size.pods)),
                Err(error) => NotYet(format!("{error:#}")),
            })
            .await?;
        }
        let (took, cpu) = (begin.elapsed(), process.cpu()? - cpu);
        Ok(Self { clusters, process, size, took, cpu })
    }

    async fn api(&self) -> Result<Client> {
        self.clusters.api(0).await
    }

    fn seconds(&self, metric: &str) -> Row {
        Row::new(metric, "s", self.took.as_secs_f64())
    }

    fn per_cpu(&self, metric: &str) -> Row {
        let pods = u32::try_from(self.size.clusters * self.size.pods).unwrap_or(u32::MAX);
        Row::new(metric, "1/s", f64::from(pods) / self.cpu)
    }

    fn peak(&self, metric: &str) -> Result<Row> {
        Ok(Row::new(metric, "MiB", self.process.peak()?))
    }
}

fn namespace(number: usize) -> String {
    format!("crowd-{}", number % NAMESPACES)
}

/// Deployments with so many pods in all.
async fn fill(client: &Client, pods: usize) -> Result<()> {
    let each = REPLICAS.min(pods.div_ceil(5));
    let count = pods / each;
    for number in 0..NAMESPACES.min(count) {
        let object = json!({"metadata": {"name": namespace(number)}});
        let object: Namespace = serde_json::from_value(object)?;
        Api::all(client.clone()).create(&PostParams::default(), &object).await?;
    }
    for number in 0..count {
        let name = format!("web-{number}");
        let object: Deployment = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "replicas": each, "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{
                        "name": "main", "image": "registry.example/web:1", "ports": [{"containerPort": 8080}],
                        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                    }]},
                },
            },
        }))?;
        let api: Api<Deployment> = Api::namespaced(client.clone(), &namespace(number));
        api.create(&PostParams::default(), &object).await?;
    }
    Ok(())
}

/// How many pods the deployments count as ready.
async fn ready(client: &Client) -> Result<usize> {
    let list = Api::<Deployment>::all(client.clone()).list(&ListParams::default()).await?;
    let ready = list.items.iter().filter_map(|d| d.status.as_ref()?.ready_replicas);
    usize::try_from(ready.sum::<i32>()).context("a negative number of pods")
}
