//! Pods that name the address that they want.

use serde_json::json;

use crate::{
    harness::{PODS, Raw, pod, ready},
    witness::{event, gone, pod_that, sim_with},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_the_address_that_it_names_if_that_is_free_and_ours() {
    let network = "127.251.0.0/16".parse().expect("a network");
    let sim = sim_with("address", |config| config.pod_network = Some(network)).await;
    let wants = |name: &str, address: &str| pod(name, &json!({"sim.bcs/address": address}));
    Raw(&sim).post(PODS, &wants("first", "127.251.7.7")).await;
    let first = pod_that(&sim, "first", ready).await;
    assert_eq!(first["status"]["podIP"], "127.251.7.7");
    Raw(&sim).post(PODS, &wants("second", "127.251.7.7")).await;
    Raw(&sim).post(PODS, &wants("foreign", "127.252.0.1")).await;
    Raw(&sim).post(PODS, &wants("nonsense", "here")).await;
    event(&sim, "second", "FailedCreatePodSandBox", "the address 127.251.7.7 is taken by another pod").await;
    event(&sim, "foreign", "FailedCreatePodSandBox", "is not one of the pod network 127.251.0.0/16").await;
    event(&sim, "nonsense", "FailedCreatePodSandBox", "is not one of the pod network").await;
    let waiting = pod_that(&sim, "second", |p| p["status"]["containerStatuses"].is_array()).await;
    assert_eq!(waiting["status"]["phase"], "Pending");
    assert!(waiting["status"]["podIP"].is_null());
    Raw(&sim).send("DELETE", &format!("{PODS}/first"), "application/json", "").await;
    gone(&sim, "first").await;
    let second = pod_that(&sim, "second", ready).await;
    assert_eq!(second["status"]["podIP"], "127.251.7.7");
    sim.shutdown().await;
}
