//! The agent: steps in, observations out.

use std::{collections::BTreeMap, fmt::Debug};

use bcs_schemas::{
    bucket::{Bucket, CLUSTERS, ENDPOINTS, Keyed, NODES, WORKLOADS},
    observation::{Endpoint, EndpointPhase},
    resource::{Labels, app::Template},
    step::{Instance, Step, StepRequest, StepResult, WorkloadKey},
};
use serde_json::json;

use crate::site::{LONG, Site, name, until};

pub(crate) fn key() -> WorkloadKey {
    WorkloadKey { project: name("demo"), app: name("shop"), revision: name("r1") }
}

pub(crate) fn scale_up(replicas: u32) -> Step {
    let template: Template = serde_json::from_value(json!({
        "image": { "repository": "shop", "tag": "1" }, "stop_timeout": "1s",
        "ports": [{ "name": "http", "port": 8080 }],
    }))
    .expect("is a template");
    Step::ScaleUp { workload: key(), template, labels: Labels::new(), register: None, replicas }
}

fn drain(instance: &Instance) -> Step {
    Step::Drain { workload: key(), instance: instance.clone() }
}

fn instance(endpoint: &Endpoint) -> Instance {
    Instance { name: endpoint.instance.clone(), uid: endpoint.uid.clone() }
}

pub(crate) fn ready(count: usize) -> impl FnMut(Vec<Endpoint>) -> Result<Vec<Endpoint>, String> {
    move |all| {
        let ready: Vec<Endpoint> = all.iter().filter(|e| e.phase == EndpointPhase::Ready).cloned().collect();
        if ready.len() == count && all.len() == count { Ok(ready) } else { Err(format!("{all:?}")) }
    }
}

#[tokio::test]
async fn from_import_over_endpoints_and_drain_to_scale_down() {
    let site = Site::open().await;
    site.with_cluster("sim-a").await;
    let endpoints = site.view(ENDPOINTS).await;
    assert_eq!(site.step("sim-a", 1, scale_up(3)).await, StepResult::Done);
    let three = until(&endpoints, ready(3)).await;
    let victim = instance(&three[1]);

    assert_eq!(site.step("sim-a", 1, drain(&victim)).await, StepResult::Done);
    // The bucket says so before the step is answered.
    let store = site.bus.bucket(ENDPOINTS).await.expect("a bucket");
    let (drained, _) =
        store.get(&format!("sim-a.demo.shop.{}", victim.name)).await.expect("reads").expect("is there");
    assert_eq!((drained.phase, drained.stopping), (EndpointPhase::Draining, false));

    let down = Step::ScaleDown { workload: key(), replicas: 2, from: Some(3), victims: vec![victim.clone()] };
    assert_eq!(site.step("sim-a", 1, down.clone()).await, StepResult::Done);
    assert_eq!(site.step("sim-a", 1, down).await, StepResult::Done);
    let two = until(&endpoints, ready(2)).await;
    assert!(two.iter().all(|e| e.uid != victim.uid));
    assert_eq!(site.step("sim-a", 0, scale_up(9)).await, StepResult::Stale { stamped: 1 });
    site.close().await;
}

#[tokio::test]
async fn an_instance_is_in_the_zone_of_its_node() {
    let site = Site::open().await;
    site.with_cluster("sim-a").await;
    let endpoints = site.view(ENDPOINTS).await;
    assert_eq!(site.step("sim-a", 1, scale_up(6)).await, StepResult::Done);
    let nodes = held(&site, NODES).await.expect("reads");
    let in_their_zones = |all: Vec<Endpoint>| {
        let placed = |endpoint: &&Endpoint| {
            let node = endpoint.node.as_ref().and_then(|node| nodes.get(&format!("sim-a.{node}")));
            endpoint.zone.is_some() && endpoint.zone == node.and_then(|node| node.zone.clone())
        };
        if all.iter().filter(placed).count() == 6 { Ok(()) } else { Err(format!("{all:?}")) }
    };
    until(&endpoints, in_their_zones).await;
    site.close().await;
}

#[tokio::test]
async fn an_agent_that_restarts_removes_what_went_away_and_keeps_the_rest() {
    let mut site = Site::open().await;
    site.with_cluster("sim-a").await;
    let endpoints = site.view(ENDPOINTS).await;
    let workloads = site.view(WORKLOADS).await;
    site.step("sim-a", 1, scale_up(3)).await;
    let before = until(&endpoints, ready(3)).await;
    assert_eq!(site.step("sim-a", 1, drain(&instance(&before[0]))).await, StepResult::Done);
    until(&workloads, |all| match &all[..] {
        [one] if one.ready == 3 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    site.stop().await;
    assert_eq!(endpoints.snapshot().len(), 3, "silence removes nothing");

    // While nobody looks, an instance is replaced.
    let store = site.bus.bucket(ENDPOINTS).await.expect("a bucket");
    let ghost = Endpoint { instance: "ghost".to_owned(), uid: "ghost".to_owned(), ..before[1].clone() };
    store.put(&ghost).await.expect("writes");
    let of_other = Endpoint { cluster: name("sim-ab"), ..ghost.clone() };
    store.put(&of_other).await.expect("writes");
    site.start().await;
    until(&endpoints, |all| {
        let ours = all.iter().filter(|e| e.cluster == name("sim-a"));
        let phases: Vec<(&str, EndpointPhase)> = ours.map(|e| (e.uid.as_str(), e.phase)).collect();
        let drains = phases.contains(&(before[0].uid.as_str(), EndpointPhase::Draining));
        if phases.len() == 3 && drains && all.len() == 4 { Ok(()) } else { Err(format!("{phases:?}")) }
    })
    .await;
    site.close().await;
}

#[tokio::test]
async fn what_somebody_else_writes_over_observations_is_mended_at_once() {
    let site = Site::open().await;
    site.with_cluster("sim-a").await;
    let endpoints = site.view(ENDPOINTS).await;
    site.step("sim-a", 1, scale_up(3)).await;
    let three = until(&endpoints, ready(3)).await;
    let before = held(&site, ENDPOINTS).await.expect("reads");
    // As by an agent that was replaced and does not know it: one is missing, one is old, one is long gone.
    let store = site.bus.bucket(ENDPOINTS).await.expect("a bucket");
    store.delete(&three[0].key()).await.expect("deletes");
    holds_again(&site, ENDPOINTS, &before).await;
    let old = Endpoint { phase: EndpointPhase::Starting, ..three[1].clone() };
    store.put(&old).await.expect("writes");
    holds_again(&site, ENDPOINTS, &before).await;
    let ghost = Endpoint { instance: "ghost".to_owned(), uid: "ghost".to_owned(), ..three[2].clone() };
    store.put(&ghost).await.expect("writes");
    holds_again(&site, ENDPOINTS, &before).await;
    site.close().await;
}

#[tokio::test]
async fn a_step_that_comes_too_late_is_not_begun() {
    let site = Site::open().await;
    site.with_cluster("sim-a").await;
    let ask = |not_after: &str, replicas| StepRequest {
        generation: 1,
        traceparent: None,
        not_after: Some(not_after.parse().expect("a time")),
        step: scale_up(replicas),
    };
    let late = site.ask("sim-a", ask("2020-01-01T00:00:00Z", 3)).await;
    assert!(matches!(&late, StepResult::Failed { reason } if reason.contains("2020-01-01")), "{late:?}");
    assert_eq!(site.ask("sim-a", ask("2999-01-01T00:00:00Z", 1)).await, StepResult::Done);
    let endpoints = site.view(ENDPOINTS).await;
    until(&endpoints, ready(1)).await;
    site.close().await;
}

/// What the bucket itself holds, as soon as it can be read.
async fn held<T: Keyed>(site: &Site, bucket: Bucket<T>) -> Result<BTreeMap<String, T>, String> {
    let store = site.bus.bucket(bucket).await.map_err(|e| e.to_string())?;
    store.list(">").await.map_err(|e| e.to_string())
}

async fn holds_again<T: Keyed + PartialEq + Debug>(
    site: &Site,
    bucket: Bucket<T>,
    wanted: &BTreeMap<String, T>,
) {
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        let found = held(site, bucket).await;
        if found.as_ref() == Ok(wanted) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{} holds {found:?}, not {wanted:?}", bucket.name);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_bus_that_forgot_everything_is_told_again_without_asking_the_cluster() {
    let mut site = Site::open().await;
    site.with_cluster("sim-a").await;
    let (endpoints, workloads) = (site.view(ENDPOINTS).await, site.view(WORKLOADS).await);
    site.step("sim-a", 1, scale_up(3)).await;
    let three = until(&endpoints, ready(3)).await;
    assert_eq!(site.step("sim-a", 1, drain(&instance(&three[0]))).await, StepResult::Done);
    until(&workloads, |all| match &all[..] {
        [one] if one.ready == 3 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let told = (
        held(&site, ENDPOINTS).await.expect("reads"),
        held(&site, WORKLOADS).await.expect("reads"),
        held(&site, NODES).await.expect("reads"),
    );
    assert_eq!((told.0.len(), told.1.len(), told.2.len()), (3, 1, 3));
    let lists = site.metrics("bcs_agent_relists_total").await;
    assert_eq!(lists.len(), 3, "one of each kind: {lists:?}");

    site.wipe_bus();
    holds_again(&site, ENDPOINTS, &told.0).await;
    holds_again(&site, WORKLOADS, &told.1).await;
    holds_again(&site, NODES, &told.2).await;
    // A heartbeat from before may still be in the view: ask the bucket.
    let deadline = tokio::time::Instant::now() + LONG;
    while !held(&site, CLUSTERS).await.is_ok_and(|all| all.values().any(|h| h.synced && h.reachable)) {
        assert!(tokio::time::Instant::now() < deadline, "its heartbeat does not come back");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(site.metrics("bcs_agent_relists_total").await, lists);
    assert_eq!(site.step("sim-a", 1, scale_up(4)).await, StepResult::Done);
    site.close().await;
}
