//! The watch: complete lists are marked, and nothing is lost when it breaks.

use bcs_engines::{Engine, Kind};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::lab::{Lab, instance, scale_down, scale_up};

#[tokio::test]
async fn every_kind_is_listed_completely() {
    let lab = Lab::open().await;
    let mut world = lab.world();
    world
        .until(|w| if w.lists.len() == Kind::ALL.len() { Ok(()) } else { Err(format!("only {:?}", w.lists)) })
        .await;
    assert!(world.things.keys().any(|(kind, _)| *kind == Kind::Nodes));
    assert_eq!(world.endpoints().len(), 0);
    lab.close().await;
}

#[tokio::test]
async fn a_cluster_describes_itself() {
    let lab = Lab::open().await;
    let description = lab.engine.probe().await.expect("answers");
    assert!(description.version.starts_with('v'), "{description:?}");
    assert!(lab.engine.capabilities().choose_victims);
    lab.close().await;
}

#[tokio::test]
async fn dropped_watches_lose_nothing() {
    let lab = Lab::open_simulated().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    for replicas in 1..=4 {
        lab.sim.as_ref().expect("is simulated").faults().drop_watches();
        lab.twice(u64::from(replicas), scale_up(&key, replicas)).await;
        world.ready(replicas as usize).await;
    }
    lab.close().await;
}

#[tokio::test]
async fn what_went_away_behind_a_gap_is_missing_in_the_next_list() {
    let lab = Lab::open_simulated().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 3)).await;
    let ready = world.ready(3).await;
    let lists = world.lists.clone();
    // The watch ends, and nobody asks for the next one while an instance is replaced and the history is forgotten.
    let faults = lab.sim.as_ref().expect("is simulated").faults();
    faults.drop_watches();
    lab.twice(1, scale_down(&key, 3, &[instance(&ready[0])])).await;
    let mut other = lab.world();
    other
        .until(|w| {
            let gone = w.endpoints().iter().all(|e| e.uid != ready[0].uid);
            if gone && w.endpoints().len() == 3 { Ok(()) } else { Err("not replaced yet".to_owned()) }
        })
        .await;
    faults.compact();
    world
        .until(|w| {
            let again = w.lists.get(&Kind::Endpoints) > lists.get(&Kind::Endpoints);
            let gone = w.endpoints().iter().all(|e| e.uid != ready[0].uid);
            if again && gone && w.endpoints().len() == 3 { Ok(()) } else { Err(format!("{:?}", w.lists)) }
        })
        .await;
    lab.close().await;
}

#[tokio::test]
async fn an_instance_that_loses_its_labels_leaves_its_key() {
    let lab = Lab::open().await;
    let key = lab.key.clone();
    let mut world = lab.world();
    lab.twice(1, scale_up(&key, 2)).await;
    let ready = world.ready(2).await;
    let pods: Api<Pod> = Api::namespaced(lab.client.clone(), key.project.as_str());
    // One is given to somebody else, one to nobody; the selector of the informer still finds both.
    for (endpoint, label) in ready.iter().zip([json!("other"), json!(null)]) {
        let patch = json!({ "metadata": { "labels": { "bcs.io/app": label } } });
        pods.patch(&endpoint.instance, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .expect("patches");
    }
    world
        .until(|w| {
            let left = w.endpoints().into_iter().filter(|e| e.app == key.app).count();
            let stale =
                w.endpoints().iter().any(|e| e.app == key.app && ready.iter().any(|r| r.uid == e.uid));
            if left == 2 && !stale { Ok(()) } else { Err(format!("{:?}", w.endpoints())) }
        })
        .await;
    lab.close().await;
}
