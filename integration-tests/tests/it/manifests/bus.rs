//! The three servers of the overlay `ha`, with its settings and the password that the script made, on loopback.

use std::path::Path;

use anyhow::{Context, Result};
use bcs_integration_tests::harness::{Failed, LONG, Lab, Process, find, free_port, wait_until};
use serde_json::Value;
use tokio::process::Command;

use super::{
    place::{Place, ended, rendered},
    pod::{Ground, Unpacked},
    rules::text,
};

const SERVERS: [&str; 3] = ["nats-0", "nats-1", "nats-2"];

/// The ports of one server: of clients, of the other servers, of probes.
type Ports = [u16; 3];

/// Starts one, with everything in a folder of its own.
fn server(
    lab: &Lab,
    ground: &Ground<'_>,
    name: &str,
    ports: Ports,
    all: &[Ports],
    set: &Value,
) -> Result<Process> {
    let mut words: Vec<(String, String)> = [4222, 6222, 8222]
        .iter()
        .zip(ports)
        .map(|(port, here)| (format!("0.0.0.0:{port}"), format!("127.0.0.1:{here}")))
        .collect();
    for (other, [_, route, _]) in SERVERS.iter().zip(all) {
        words.push((format!("{other}.nats.bcs.svc:6222"), format!("127.0.0.1:{route}")));
    }
    let folder = ground.folder.join(name);
    let unpacked = Unpacked::of(&Ground { folder: &folder, words, ..*ground }, set)?;
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let line = unpacked.line(container, |_| find("nats-server", "NATS_SERVER_BIN", "install it"))?;
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).env("POD_NAME", name);
    Process::start(lab, name, command)
}

/// What the Job does, from here; what it says when it cannot.
async fn made(place: &Place, keys: &Path, job: &Path, url: &str) -> Result<()> {
    let text = std::fs::read_to_string(job)?.replace("/var/run/secrets/bcs", &keys.display().to_string());
    let file = job.with_extension("here");
    std::fs::write(&file, text)?;
    let mut command = place.program("bcs")?;
    command.args(["bus", "apply", "--replicas", "3"]).env("BCS_CONFIG", file).env("BCS_NATS_URL", url);
    let (done, said) = ended(&mut command).await?;
    if done { Ok(()) } else { anyhow::bail!(said) }
}

#[tokio::test]
async fn the_servers_of_the_overlay_find_each_other_and_keep_a_copy_each() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let place = Place::simulated(lab).await?;
        let keys = place.secrets(lab, &[]).await?;
        let (documents, secrets) = (rendered("overlays/ha").await?, place.contents().await?);
        let folder = lab.path().join("pods");
        let ground = Ground { documents: &documents, secrets: &secrets, folder: &folder, words: Vec::new() };
        let of_kind = |kind: &str| documents.iter().find(|d| d["kind"] == kind).context(kind.to_owned());
        let set = of_kind("StatefulSet")?;
        let mut ports = Vec::new();
        for _ in SERVERS {
            ports.push([free_port()?, free_port()?, free_port()?]);
        }
        let mut servers = Vec::new();
        for (name, own) in SERVERS.into_iter().zip(&ports) {
            servers.push(server(lab, &ground, name, *own, &ports, set)?);
        }
        let urls: Vec<String> = ports.iter().map(|[port, ..]| format!("tls://127.0.0.1:{port}")).collect();
        let job = Unpacked::of(&ground, of_kind("Job")?)?.path("/etc/bcs")?.join("cli.toml");
        // The places that the Job names are those of its own folder.
        let settings = text(settings_of(&documents)?, "/data/cli.toml").to_owned();
        std::fs::write(&job, settings)?;
        wait_until(LONG, "streams have a copy on each", async || {
            made(&place, &keys, &job, &urls.join(",")).await.into()
        })
        .await?;
        place.close().await
    })
    .await
}

/// The ConfigMap of the Job.
fn settings_of(documents: &[Value]) -> Result<&Value> {
    documents.iter().find(|d| d["data"].get("cli.toml").is_some()).context("no context for the Job")
}
