//! Ephemeral containers: what `kubectl debug` adds to a pod that runs.

use serde_json::{Value, json};

use crate::{
    harness::{PODS, Raw, pod, ready},
    kubectl::Kubectl,
    stream::{RESTS, begin, process},
    witness::{gone, pod_that},
};

fn ephemeral<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let list = pod["status"]["ephemeralContainerStatuses"].as_array();
    list.and_then(|list| list.iter().find(|status| status["name"] == name)).unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_debugs_a_pod_of_processes_with_a_container_of_its_own() {
    let sim = crate::stream::sim("debug").await;
    let kubectl = Kubectl::new(&sim);
    begin(&sim, &process("a", RESTS), ready).await;
    let debug = ["debug", "a", "--image=sh:1", "-c", "look", "--target=main", "-i", "--", "sh", "-c"];
    let script = "while read line; do echo got $line on $POD_IP; [ $line = stop ] && exit 3; done";
    let (_, text) = kubectl.run(&[&debug[..], &[script]].concat(), "one\nstop\n").await;
    assert!(text.contains("got one on 127.") && text.contains("got stop on 127."), "{text}");
    let text = kubectl.ok(&["logs", "a", "-c", "look"]).await;
    assert!(text.ends_with("got stop on 127.0.0.1\n") || text.contains("got stop on 127."), "{text}");
    let text = kubectl
        .ok(&[
            "get",
            "pod",
            "a",
            "-o",
            "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode} {.status.phase}",
        ])
        .await;
    assert_eq!(text, "3 Running");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_container_is_added_to_a_pod_that_runs_and_ends_with_it() {
    let sim = crate::harness::sim("ephemeral").await;
    let kubectl = Kubectl::new(&sim);
    let raw = Raw(&sim);
    raw.post(PODS, &pod("a", &json!({"sim.bcs/brief.complete-after": "10ms"}))).await;
    pod_that(&sim, "a", ready).await;
    kubectl.ok(&["debug", "a", "--image=sh:1", "-c", "look"]).await;
    kubectl.ok(&["debug", "a", "--image=sh:missing", "-c", "absent"]).await;
    kubectl.ok(&["debug", "a", "--image=sh:1", "-c", "brief"]).await;
    let seen = pod_that(&sim, "a", |pod| {
        ephemeral(pod, "look")["state"]["running"].is_object()
            && ephemeral(pod, "absent")["state"]["waiting"]["reason"] == "ImagePullBackOff"
            && ephemeral(pod, "brief")["state"]["terminated"]["reason"] == "Completed"
    })
    .await;
    assert!(ready(&seen), "nobody waits for them: {}", seen["status"]);
    assert_eq!(seen["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"], "File");
    let text = kubectl.ok(&["logs", "a", "-c", "brief"]).await;
    assert!(text.contains("brief ended with 0"), "{text}");
    raw.send("DELETE", &format!("{PODS}/a"), "application/json", "").await;
    gone(&sim, "a").await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_debugs_a_copy_of_a_pod_and_a_node() {
    let sim = crate::harness::sim("copies").await;
    let kubectl = Kubectl::new(&sim);
    Raw(&sim).post(PODS, &pod("a", &json!({}))).await;
    let node = pod_that(&sim, "a", ready).await["spec"]["nodeName"].as_str().expect("a node").to_owned();
    kubectl.ok(&["debug", "a", "--copy-to=b", "--image=sh:1", "-c", "look", "--attach=false"]).await;
    let copy = pod_that(&sim, "b", ready).await;
    assert_eq!(copy["status"]["containerStatuses"].as_array().map(Vec::len), Some(2));
    let text = kubectl.ok(&["debug", &format!("node/{node}"), "--image=sh:1", "--attach=false"]).await;
    let name = text.split_whitespace().find(|word| word.starts_with("node-debugger-")).expect("a pod");
    assert_eq!(pod_that(&sim, name, ready).await["spec"]["nodeName"], node.as_str());
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ephemeral_containers_have_a_door_of_their_own_and_only_grow() {
    let sim = crate::harness::sim("door").await;
    let raw = Raw(&sim);
    let mut early = pod("early", &json!({}));
    early["spec"]["ephemeralContainers"] = json!([{"name": "look", "image": "sh:1"}]);
    let (code, refused) = raw.post(PODS, &early).await;
    let words = "Pod \"early\" is invalid: spec.ephemeralContainers: Forbidden: cannot be set on create";
    assert_eq!((code, &refused["message"]), (422, &json!(words)));
    raw.post(PODS, &pod("a", &json!({}))).await;
    let door = format!("{PODS}/a/ephemeralcontainers");
    let sim_of = &sim;
    let patch = |path: String, list: Value| {
        let body =
            json!({"metadata": {"labels": {"x": "y"}}, "spec": {"ephemeralContainers": list}}).to_string();
        async move { Raw(sim_of).send("PATCH", &path, "application/strategic-merge-patch+json", &body).await }
    };
    let (code, refused) = patch(format!("{PODS}/a"), json!([{"name": "look", "image": "sh:1"}])).await;
    assert!(
        code == 422 && refused["message"].as_str().is_some_and(|m| m.contains("may not change fields")),
        "{refused}"
    );
    let (code, _) = patch(door.clone(), json!([{"name": "look", "image": "sh:1"}])).await;
    assert_eq!(code, 200);
    let (code, both) = patch(door.clone(), json!([{"name": "other", "image": "sh:1"}])).await;
    let names: Vec<&Value> =
        both["spec"]["ephemeralContainers"].as_array().into_iter().flatten().map(|c| &c["name"]).collect();
    assert_eq!((code, names), (200, vec![&json!("look"), &json!("other")]));
    assert!(both["metadata"]["labels"].get("x").is_none(), "nothing else is changed there: {both}");
    let (code, refused) = patch(door.clone(), json!([{"name": "look", "image": "sh:2"}])).await;
    let words = "existing ephemeral containers \"look\" may not be changed";
    assert!(code == 422 && refused["message"].as_str().is_some_and(|m| m.contains(words)), "{refused}");
    let (_, mut seen) = raw.get(&door).await;
    seen["spec"]["ephemeralContainers"] = json!([]);
    // The kubelet may have written meanwhile.
    seen["metadata"]["resourceVersion"] = Value::Null;
    let (code, refused) = raw.send("PUT", &door, "application/json", &seen.to_string()).await;
    let words = "existing ephemeral containers \"look\" may not be removed";
    assert!(code == 422 && refused["message"].as_str().is_some_and(|m| m.contains(words)), "{refused}");
    sim.shutdown().await;
}
