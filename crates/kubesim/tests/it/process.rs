//! Pods whose containers are real processes.

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};

use crate::{
    harness::{PODS, Raw, eventually, pod, ready, sim},
    kubectl::Kubectl,
    witness::{event, gone, pod_that, sim_with},
};

async fn with_processes(name: &str) -> Kubesim {
    sim_with(name, |config| config.allow_processes = true).await
}

/// A pod that runs a script once. As in every command of a container, `$$` stands for a plain dollar.
fn script(name: &str, script: &str) -> Value {
    let mut pod = pod(name, &json!({"sim.bcs/process": "true"}));
    pod["spec"]["containers"][0] =
        json!({"name": "main", "image": "sh:1", "command": ["/bin/sh", "-c", script]});
    pod["spec"]["restartPolicy"] = json!("Never");
    pod
}

async fn log(sim: &Kubesim, name: &str, query: &str) -> String {
    let (code, text) = Raw(sim).get(&format!("{PODS}/{name}/log?{query}")).await;
    assert_eq!(code, 200, "{text}");
    text.as_str().map_or_else(|| text.to_string(), str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_its_environment_and_its_output_is_the_log() {
    let sim = with_processes("environment").await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"colour": "blue"}});
    Raw(&sim).post("/api/v1/namespaces/default/configmaps", &map).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"key": "hush"}});
    Raw(&sim).post("/api/v1/namespaces/default/secrets", &secret).await;
    let mut pod = script("a", "echo $GREETING $colour $KEY; pwd; echo $1 >&2; echo end");
    let container = &mut pod["spec"]["containers"][0];
    container["args"] = json!(["sh", "$(NAME)!"]);
    container["workingDir"] = json!("/tmp");
    container["envFrom"] = json!([{"configMapRef": {"name": "c"}}]);
    container["env"] = json!([
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "GREETING", "value": "hello-$(NAME)"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
    ]);
    Raw(&sim).post(PODS, &pod).await;
    let done = pod_that(&sim, "a", |p| p["status"]["phase"] == "Succeeded").await;
    assert_eq!(done["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    let text = log(&sim, "a", "").await;
    for part in ["hello-a blue hush\n", "/tmp\n", "a!\n", "end\n"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(log(&sim, "a", "limitBytes=5").await.len(), 5);
    assert_eq!(log(&sim, "a", "tailLines=2").await.lines().count(), 2);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_signals_and_failed_starts_are_reported() {
    let sim = with_processes("exits").await;
    Raw(&sim).post(PODS, &script("code", "echo why; exit 3")).await;
    Raw(&sim).post(PODS, &script("signal", "kill -9 $$$$")).await;
    let mut absent = script("absent", "");
    absent["spec"]["containers"][0]["command"] = json!(["/no/such/program"]);
    Raw(&sim).post(PODS, &absent).await;
    let mut waiting = script("waiting", "exit 0");
    waiting["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "later"}}]);
    Raw(&sim).post(PODS, &waiting).await;
    for (name, code, reason) in
        [("code", 3, "Error"), ("signal", 137, "Error"), ("absent", 128, "StartError")]
    {
        let pod = pod_that(&sim, name, |p| p["status"]["phase"] == "Failed").await;
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(code), &json!(reason)), "{name}");
    }
    pod_that(&sim, "waiting", |p| {
        p["status"]["containerStatuses"][0]["state"]["waiting"]
            == json!({"reason": "CreateContainerConfigError", "message": "configmap \"later\" not found"})
    })
    .await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}, "data": {}});
    Raw(&sim).post("/api/v1/namespaces/default/configmaps", &map).await;
    pod_that(&sim, "waiting", |p| p["status"]["phase"] == "Succeeded").await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_asked_to_stop_and_killed_when_it_does_not() {
    let sim = with_processes("signals").await;
    // What it does last it does to a file, which outlives its log.
    let dir = tempfile::tempdir().expect("a directory");
    let mark = dir.path().join("mark");
    let polite =
        format!("trap 'echo bye > {}; exit 0' TERM; echo up; while :; do sleep 0.05; done", mark.display());
    Raw(&sim).post(PODS, &script("polite", &polite)).await;
    Raw(&sim).post(PODS, &script("stubborn", "trap '' TERM; echo up; while :; do sleep 0.05; done")).await;
    for (name, grace) in [("polite", 3600), ("stubborn", 1)] {
        eventually(|| async {
            let (_, text) = Raw(&sim).get(&format!("{PODS}/{name}/log")).await;
            if text == json!("up\n") { Ok(()) } else { Err(text.to_string()) }
        })
        .await;
        let body = json!({"gracePeriodSeconds": grace}).to_string();
        Raw(&sim).send("DELETE", &format!("{PODS}/{name}"), "application/json", &body).await;
        gone(&sim, name).await;
    }
    assert_eq!(std::fs::read_to_string(mark).expect("a mark"), "bye\n");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_probes_and_hooks_run_beside_the_process() {
    let sim = with_processes("exec").await;
    let dir = tempfile::tempdir().expect("a directory");
    let (door, mark) = (dir.path().join("door"), dir.path().join("mark"));
    let mut pod = script("a", "trap 'exit 0' TERM; while :; do sleep 0.05; done");
    let container = &mut pod["spec"]["containers"][0];
    container["readinessProbe"] = json!({"exec": {"command": ["/bin/sh", "-c", format!("test -e {} || (echo closed; exit 1)", door.display())]}, "periodSeconds": 1});
    container["lifecycle"] = json!({"preStop": {"exec": {"command": ["/bin/sh", "-c", format!("echo $POD_IP > {}", mark.display())]}}});
    Raw(&sim).post(PODS, &pod).await;
    event(&sim, "a", "Unhealthy", "Readiness probe failed: closed").await;
    std::fs::write(&door, "").expect("opened");
    let open = pod_that(&sim, "a", ready).await;
    Raw(&sim).send("DELETE", &format!("{PODS}/a"), "application/json", "").await;
    gone(&sim, "a").await;
    let said = std::fs::read_to_string(mark).expect("a mark");
    assert_eq!(json!(said.trim()), open["status"]["podIP"]);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_run_only_where_that_is_allowed() {
    let sim = sim("forbidden").await;
    Raw(&sim).post(PODS, &script("a", "exit 0")).await;
    event(&sim, "a", "FailedCreatePodSandBox", "this cluster does not run processes").await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_end_with_the_simulator() {
    let sim = with_processes("together").await;
    Raw(&sim).post(PODS, &script("a", "sleep 3600 & echo $$$$ $!; wait")).await;
    let pids = eventually(|| async {
        let (_, text) = Raw(&sim).get(&format!("{PODS}/a/log")).await;
        let text = text.as_str().unwrap_or("").to_owned();
        if text.ends_with('\n') { Ok(text) } else { Err(text) }
    })
    .await;
    sim.shutdown().await;
    for pid in pids.split_whitespace() {
        eventually(|| async move {
            // One that has ended and whose new parent has not noticed yet is as good as gone.
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") { Ok(()) } else { Err(state) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_logs_of_processes() {
    let sim = with_processes("logs").await;
    let kubectl = Kubectl::new(&sim);
    let mut pod = script("a", "echo one; echo two; sleep 0.2; exit 1");
    pod["spec"]["restartPolicy"] = json!("OnFailure");
    let second = json!({"name": "second", "image": "sh:1", "command": ["/bin/sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.1; done"]});
    pod["spec"]["containers"].as_array_mut().expect("a list").push(second);
    Raw(&sim).post(PODS, &pod).await;
    pod_that(&sim, "a", |p| p["status"]["containerStatuses"][0]["restartCount"].as_i64() > Some(0)).await;
    assert_eq!(kubectl.ok(&["logs", "a", "-c", "main", "--previous"]).await, "one\ntwo\n");
    assert_eq!(kubectl.ok(&["logs", "a", "-c", "main", "--previous", "--tail=1"]).await, "two\n");
    let text = kubectl.ok(&["logs", "a", "-c", "second", "-f"]).await;
    assert_eq!(text, "line 1\nline 2\nline 3\n");
    let text = kubectl.ok(&["logs", "a", "-c", "second", "--timestamps", "--since=1h"]).await;
    assert!(text.lines().count() == 3 && text.contains("Z line 1\n"), "{text}");
    let (code, refused) = Raw(&sim).get(&format!("{PODS}/a/log")).await;
    let words = "a container name must be specified for pod a, choose one of: [main second]";
    assert_eq!((code, &refused["message"]), (400, &json!(words)));
    let (_, refused) = Raw(&sim).get(&format!("{PODS}/a/log?container=second&previous=true")).await;
    assert_eq!(refused["message"], "previous terminated container \"second\" in pod \"a\" not found");
    sim.shutdown().await;
}
