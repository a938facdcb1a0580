//! Commands in containers and attaching to them, as kubectl and plain clients do it.

use bcs_kubesim::Kubesim;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};

use crate::{
    harness::{client, eventually, pod, ready},
    kubectl::Kubectl,
    witness::sim_with,
};

/// A cluster that runs processes. It speaks TLS: without, kubectl knows the token by the user part of the address, and with that
/// opens no WebSocket.
pub(crate) async fn sim(name: &str) -> Kubesim {
    sim_with(name, |config| (config.allow_processes, config.tls) = (true, true)).await
}

pub(crate) async fn pods(sim: &Kubesim) -> Api<Pod> {
    Api::default_namespaced(client(sim).await)
}

/// A pod with one container that is a real process.
pub(crate) fn process(name: &str, script: &str) -> Value {
    let mut pod = pod(name, &json!({"sim.bcs/process": "true", "sim.bcs/startup": "10ms"}));
    pod["spec"]["containers"][0] =
        json!({"name": "main", "image": "sh:1", "command": ["/bin/sh", "-c", script]});
    pod["spec"]["terminationGracePeriodSeconds"] = json!(1);
    pod
}

/// A process that does nothing until it is told to stop.
pub(crate) const RESTS: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

/// Makes a pod, and waits until it is as wanted.
pub(crate) async fn begin(sim: &Kubesim, pod: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let (pods, wanted) = (pods(sim).await, &wanted);
    let pod: Pod = serde_json::from_value(pod.clone()).expect("a pod");
    let name = pod.metadata.name.clone().expect("a name");
    pods.create(&Default::default(), &pod).await.expect("made");
    let (pods, name) = (&pods, &name);
    eventually(|| async move {
        let pod = pods.get(name).await.map_err(|error| error.to_string())?;
        let pod = serde_json::to_value(&pod).expect("JSON");
        if wanted(&pod) { Ok(pod) } else { Err(pod["status"].to_string()) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_runs_commands_in_a_container_that_is_a_process() {
    let sim = sim("exec").await;
    let kubectl = Kubectl::new(&sim);
    let dir = tempfile::tempdir().expect("a directory");
    let mut pod = process("a", RESTS);
    pod["spec"]["containers"][0]["env"] = json!([{"name": "COLOUR", "value": "blue"}]);
    pod["spec"]["containers"][0]["workingDir"] = json!(dir.path());
    let pod = begin(&sim, &pod, ready).await;
    let text =
        kubectl.ok(&["exec", "a", "--", "sh", "-c", "echo $COLOUR $POD_IP; pwd; echo problem >&2"]).await;
    let address = pod["status"]["podIP"].as_str().expect("an address");
    assert_eq!(text, format!("blue {address}\n{}\nproblem\n", dir.path().display()));
    let (success, text) = kubectl.run(&["exec", "a", "--", "sh", "-c", "exit 7"], "").await;
    assert!(!success && text.contains("command terminated with exit code 7"), "{text}");
    let (success, text) = kubectl.run(&["exec", "-i", "a", "--", "tr", "a-z", "A-Z"], "some words\n").await;
    assert!(success && text == "SOME WORDS\n", "{text}");
    let (success, text) = kubectl.run(&["exec", "a", "--", "nothing-of-the-kind"], "").await;
    assert!(
        !success && text.contains("exec: \"nothing-of-the-kind\": executable file not found in $PATH"),
        "{text}"
    );
    // More than fits into the pipes and buffers on the way.
    let text = kubectl
        .ok(&["exec", "a", "--", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo end"])
        .await;
    assert!(text.len() == 3_000_004 && text.ends_with("xend\n"), "{}", text.len());
    sim.shutdown().await;
}
