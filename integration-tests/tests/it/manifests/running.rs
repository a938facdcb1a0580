//! The overlay `dev` really runs: its pods are processes of this machine, on a simulated cluster that is also the first member. The
//! commands are those of the README; what a simulated cluster has not (volumes, names, images) is put in their place.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{
    Cli, Failed, LONG, Lab, NotYet, Process, Ready, built, find, free_port, wait_until,
};
use serde_json::{Value, json};

use super::{
    place::{Place, ended, rendered},
    pod::{Ground, Unpacked, as_process},
    rules::text,
};
use crate::{other_language::example_of, world::app};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
const OVERLAY: &str = "overlays/dev";

/// The commands up to where the manifests are applied, the line that leads to the bus, and what follows it.
struct Steps {
    before: String,
    applied: String,
    forward: String,
    after: String,
}

fn steps() -> Result<Steps> {
    let code = example_of(README, "kubernetes")?;
    let apply = code.find("kubectl apply").context("nothing is applied")?;
    let forward = code.find("kubectl -n bcs port-forward").context("nothing leads to the bus")?;
    let (line, after) = code[forward..].split_once('\n').context("nothing follows")?;
    let line = line.split(['&', '#']).next().unwrap_or(line).trim();
    Ok(Steps {
        before: code[..apply].to_owned(),
        applied: code[apply..forward].to_owned(),
        forward: line.to_owned(),
        after: after.to_owned(),
    })
}

/// Runs a piece of the commands, in the folder of the project.
async fn bash(place: &Place, code: &str) -> Result<String> {
    let (done, said) = ended(place.program("bash")?.args(["-euo", "pipefail", "-c", code])).await?;
    ensure!(done, "{code}\n{said}");
    Ok(said)
}

/// The manifests with processes in place of containers.
fn processes(ground: &Ground<'_>, bus: &str) -> Result<Vec<Value>> {
    let program = |name: &str| match name {
        "nats-server" => find(name, "NATS_SERVER_BIN", "install it"),
        ours => built(ours),
    };
    let process = |document: &Value| {
        let name = text(document, "/metadata/name");
        match text(document, "/kind") {
            "Deployment" => {
                let unpacked = Unpacked::of(ground, document)?;
                let settings = format!("/etc/bcs/{name}.toml");
                let journal = unpacked.path("/var/lib/bcs")?.join(format!("{name}.db"));
                let mut document = document.clone();
                // Both are places where it looks by itself.
                document["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["--config", settings]);
                let variables = [
                    ("BCS__HEALTH_ADDRESS", "$(POD_IP):8080".to_owned()),
                    ("BCS__JOURNAL_URL", format!("sqlite:{}", journal.display())),
                ];
                as_process(&unpacked, &document, program, json!({}), &variables)
            }
            "StatefulSet" => {
                let unpacked = Unpacked::of(ground, document)?;
                as_process(&unpacked, document, program, json!({ "sim.bcs/address": bus }), &[])
            }
            "Job" => as_process(&Unpacked::of(ground, document)?, document, program, json!({}), &[]),
            // Names of servers stand there, too.
            "ConfigMap" => {
                let said =
                    ground.words.iter().fold(document.to_string(), |all, (from, to)| all.replace(from, to));
                Ok(serde_json::from_str(&said)?)
            }
            _ => Ok(document.clone()),
        }
    };
    ground.documents.iter().map(process).collect()
}

/// Leads to the bus, as long as it lives; the port on this machine.
async fn forward(lab: &Lab, place: &Place, line: &str) -> Result<(Process, u16)> {
    let port = free_port()?;
    let line = line.replace(" 4222", &format!(" {port}:4222"));
    let mut command = place.program("bash")?;
    command.args(["-c", &format!("exec {line}")]);
    let process = Process::start(lab, "port-forward", command)?;
    wait_until(LONG, "the bus is reached", async || {
        let said = process.output();
        if said.contains("Forwarding from 127.0.0.1") { Ready(()) } else { NotYet(said) }
    })
    .await?;
    Ok((process, port))
}

/// Where the pods of the service for clusters have them.
fn clusters(folder: &Path) -> PathBuf {
    folder.join("cluster/clusters")
}

#[tokio::test]
async fn the_platform_runs_on_kubernetes_as_the_readme_says() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let place = Place::simulated(lab).await?;
        let (steps, keys, folder) = (steps()?, lab.path().join("keys"), lab.path().join("pods"));
        // The first two addresses may be given to whoever comes first.
        let network = place.sim.as_ref().context("a simulated cluster")?.pod_network().to_string();
        let bus = network.replace(".0.0/16", ".200.1");
        let shown = place.kubeconfig.display().to_string();
        let here = |code: &str| {
            code.replace(".bcs/k8s", &keys.display().to_string()).replace("eu-1.kubeconfig", &shown)
        };
        let before = here(&steps.before);
        let script = before.lines().next().context("no script")?;
        let script = script.split('#').next().unwrap_or(script);
        bash(&place, &before.replacen(script, &format!("{script} --host {bus} "), 1)).await?;

        let (documents, secrets) = (rendered(OVERLAY).await?, place.contents().await?);
        let words = [("bus.bcs.svc", bus.as_str()), ("0.0.0.0", &bus)];
        let words = words.map(|(from, to)| (from.to_owned(), to.to_owned())).into();
        let ground = Ground { documents: &documents, secrets: &secrets, folder: &folder, words };
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": processes(&ground, &bus)? });
        let file = lab.path().join("processes.json");
        std::fs::write(&file, list.to_string())?;
        let applied = steps.applied.replace(&format!("-k k8s/{OVERLAY}"), &format!("-f {}", file.display()));
        ensure!(applied != steps.applied, "the README applies something else");
        let ready = bash(&place, &applied).await;
        if ready.is_err() {
            show(lab, &place).await?;
        }
        ready?;

        let (_forward, port) = forward(lab, &place, &steps.forward).await?;
        let after = here(&steps.after).replace(":4222", &format!(":{port}"));
        let after = after.replace("/clusters/", &format!("{}/", clusters(&folder).display()));
        let said = bash(&place, &after).await?;
        ensure!(said.contains("eu-1"), "{said}");

        let cli = Cli { nats: String::new(), home: lab.path().to_owned() };
        wait_until(LONG, "the cluster is healthy", async || match cli.ok(&["get", "clusters"]).await {
            Ok(said) if said.contains("Healthy") => Ready(()),
            other => NotYet(format!("{other:?}")),
        })
        .await?;
        let document = app("shop", &["eu-1"], 2, "v1", Value::Null).to_string();
        wait_until(LONG, "deploy knows the cluster", async || {
            let applied = cli.run_with(&["apply", "-f", "-", "--wait"], Some(document.as_bytes())).await;
            applied.and_then(|ran| ran.expect(0)).into()
        })
        .await?;
        cli.ok(&["doctor", "-q"]).await?;
        cli.ok(&["delete", "app", "shop", "--wait"]).await?;
        place.close().await
    })
    .await
}

/// What the pods say, into logs that are shown.
async fn show(lab: &Lab, place: &Place) -> Result<()> {
    let pods = place.ok(&["get", "pods", "-n", "bcs", "-o", "wide"]).await?;
    std::fs::write(lab.log("pods.log"), pods)?;
    let list = place.get(&["pods", "-n", "bcs"]).await?;
    for pod in super::items(&list, "/items") {
        let name = text(pod, "/metadata/name");
        let (_, said) = place.run(&["logs", "-n", "bcs", name]).await?;
        std::fs::write(lab.log(&format!("{name}.log")), said)?;
    }
    Ok(())
}
