//! The overlays really run: their pods are processes of this machine, on a simulated cluster that is also the first member. The
//! commands are those of the README; what a simulated cluster has not (volumes, names, images) is put in their place.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{
    Cli, Failed, LONG, Lab, NotYet, Postgres, Process, Ready, built, find, free_port, wait_until,
};
use serde_json::{Value, json};

use super::{
    PAGE,
    place::{Place, ended, rendered},
    pod::{Ground, Unpacked, as_process},
    rules::text,
    settings::journals,
};
use crate::{operations::commands_exist, other_language::example_of, world::app};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

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

/// The manifests with processes in place of containers; `buses` are the addresses of the servers of the bus.
fn processes(ground: &Ground<'_>, buses: &[String]) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for document in ground.documents {
        match text(document, "/kind") {
            "Deployment" => all.push(service(ground, document)?),
            "StatefulSet" => {
                for (number, address) in buses.iter().enumerate() {
                    all.push(server(ground, document, number, address)?);
                }
            }
            "Job" => {
                let unpacked = Unpacked::of(ground, document)?;
                all.push(as_process(&unpacked, document, built, json!({}), &[])?);
            }
            // Names of servers stand there, too.
            "ConfigMap" => {
                let moved = |all: String, (from, to): &(String, String)| all.replace(from, to);
                all.push(serde_json::from_str(&ground.words.iter().fold(document.to_string(), moved))?);
            }
            _ => all.push(document.clone()),
        }
    }
    Ok(all)
}

fn service(ground: &Ground<'_>, document: &Value) -> Result<Value> {
    let name = text(document, "/metadata/name");
    let unpacked = Unpacked::of(ground, document)?;
    let settings = unpacked.path("/etc/bcs")?.join(format!("{name}.toml"));
    let mut document = document.clone();
    let arguments = &mut document["spec"]["template"]["spec"]["containers"][0]["args"];
    let mut variables = vec![("BCS__HEALTH_ADDRESS", "$(POD_IP):8080".to_owned())];
    if let Some(further) = arguments[1].as_str() {
        // It reads both; the other one lies where it looks by itself.
        let both = std::fs::read_to_string(unpacked.path(further)?)? + &std::fs::read_to_string(&settings)?;
        std::fs::write(&settings, both)?;
    } else {
        // That is a place where it looks by itself, too.
        let journal = unpacked.path("/var/lib/bcs")?.join(format!("{name}.db"));
        variables.push(("BCS__JOURNAL_URL", format!("sqlite:{}", journal.display())));
    }
    *arguments = json!(["--config", format!("/etc/bcs/{name}.toml")]);
    as_process(&unpacked, &document, built, json!({}), &variables)
}

/// One server of the bus, at an address that is known before.
fn server(ground: &Ground<'_>, set: &Value, number: usize, address: &str) -> Result<Value> {
    let name = format!("nats-{number}");
    let words = ground.words.iter().cloned().chain([("0.0.0.0".to_owned(), address.to_owned())]).collect();
    let folder = ground.folder.join(&name);
    let unpacked = Unpacked::of(&Ground { folder: &folder, words, ..*ground }, set)?;
    let program = |name: &str| find(name, "NATS_SERVER_BIN", "install it");
    let set = as_process(&unpacked, set, program, json!({ "sim.bcs/address": address }), &[])?;
    if set["spec"]["replicas"] == 1 {
        return Ok(set);
    }
    // All pods of a set are alike, and each of these is to have an address of its own.
    let mut pod = set["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["namespace"] = json!("bcs");
    let volumes = pod["spec"]["volumes"].as_array_mut().context("volumes")?;
    volumes.push(json!({ "name": "data", "emptyDir": {} }));
    Ok(pod)
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

/// A platform that runs, and what was made on the way.
struct Running {
    place: Place,
    cli: Cli,
    _forward: Process,
}

/// Does what the README says, with this overlay and so many servers of the bus; the first cluster is taken in then.
async fn running(lab: &Lab, overlay: &str, servers: usize, journal: Option<&str>) -> Result<Running> {
    let place = Place::simulated(lab).await?;
    let (steps, keys, folder) = (steps()?, lab.path().join("keys"), lab.path().join("pods"));
    // The first addresses are given to whoever comes first.
    let network = place.sim.as_ref().context("a simulated cluster")?.pod_network().to_string();
    let buses: Vec<String> =
        (1..=servers).map(|i| network.replace(".0.0/16", &format!(".200.{i}"))).collect();
    let shown = place.kubeconfig.display().to_string();
    let here =
        |code: &str| code.replace(".bcs/k8s", &keys.display().to_string()).replace("eu-1.kubeconfig", &shown);
    let hosts: Vec<String> = buses.iter().map(|address| format!("--host {address}")).collect();
    let script = format!("scripts/k8s-secrets {}", keys.display());
    bash(&place, &here(&steps.before).replacen(&script, &format!("{script} {}", hosts.join(" ")), 1)).await?;

    let (documents, mut secrets) = (rendered(overlay).await?, place.contents().await?);
    secrets.extend(journal.map(journals).unwrap_or_default());
    let mut words = vec![("bus.bcs.svc".to_owned(), buses[0].clone())];
    words.extend(buses.iter().enumerate().map(|(i, at)| (format!("nats-{i}.nats.bcs.svc"), at.clone())));
    let ground = Ground { documents: &documents, secrets: &secrets, folder: &folder, words };
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": processes(&ground, &buses)? });
    let file = lab.path().join("processes.json");
    std::fs::write(&file, list.to_string())?;
    let applied = steps.applied.replace("-k k8s/overlays/dev", &format!("-f {}", file.display()));
    ensure!(applied != steps.applied, "the README applies something else");
    let ready = bash(&place, &applied).await;
    if ready.is_err() {
        show(lab, &place).await?;
    }
    ready?;

    let (forward, port) = forward(lab, &place, &steps.forward).await?;
    // Where the pods of the service for clusters have them.
    let clusters = format!("{}/", folder.join("cluster/clusters").display());
    let after = here(&steps.after).replace(":4222", &format!(":{port}")).replace("/clusters/", &clusters);
    let said = bash(&place, &after).await?;
    ensure!(said.contains("eu-1"), "{said}");
    let cli = Cli { nats: String::new(), home: lab.path().to_owned() };
    wait_until(LONG, "the cluster is healthy", async || match cli.ok(&["get", "clusters"]).await {
        Ok(said) if said.contains("Healthy") => Ready(()),
        other => NotYet(format!("{other:?}")),
    })
    .await?;
    Ok(Running { place, cli, _forward: forward })
}

impl Running {
    /// Waits until an application runs in the cluster, in so many instances.
    async fn applies(&self, replicas: u32) -> Result<()> {
        let document = app("shop", &["eu-1"], replicas, "v1", Value::Null).to_string();
        wait_until(LONG, "the application runs", async || {
            let applied = self.cli.run_with(&["apply", "-f", "-", "--wait"], Some(document.as_bytes())).await;
            applied.and_then(|ran| ran.expect(0)).into()
        })
        .await
        .map(drop)
    }
}

#[tokio::test]
async fn the_platform_runs_on_kubernetes_as_the_readme_says() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let platform = running(lab, "overlays/dev", 1, None).await?;
        platform.applies(2).await?;
        platform.cli.ok(&["doctor", "-q"]).await?;
        commands_exist(&platform.cli, &std::fs::read_to_string(PAGE)?).await?;
        // Nobody but its agent has to reach such a cluster.
        let import = platform.cli.ok(&["import", "cluster", "far", "--remote"]).await?;
        ensure!(import.contains("far"), "{import}");
        platform.place.close().await
    })
    .await
}

#[tokio::test]
async fn with_two_of_each_the_platform_goes_on_when_one_of_each_is_deleted() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let postgres = Postgres::start(lab).await?;
        let platform = running(lab, "overlays/ha", 3, Some(postgres.url())).await?;
        platform.applies(1).await?;
        platform.cli.ok(&["doctor", "-q", "--replicas", "3"]).await?;
        let list =
            platform.place.get(&["pods", "-n", "bcs", "-l", "app.kubernetes.io/component=service"]).await?;
        let mut victims = BTreeMap::new();
        for pod in super::items(&list, "/items") {
            victims
                .insert(text(pod, "/metadata/labels/app.kubernetes.io~1name"), text(pod, "/metadata/name"));
        }
        ensure!(victims.len() == 4, "there are four services: {victims:?}");
        let delete = ["delete", "pod", "-n", "bcs", "--wait=false"];
        let delete: Vec<&str> = delete.into_iter().chain(victims.into_values()).collect();
        platform.place.ok(&delete).await?;
        platform.applies(3).await?;
        platform.place.runs("bcs").await?;
        platform.place.close().await
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
