//! Every settings file in a ConfigMap is given to the program that it is for.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bcs_cluster::remote::Arguments;
use bcs_integration_tests::harness::{Failed, Lab, built, find};
use clap::Parser as _;
use serde_json::Value;

use super::{
    OVERLAYS,
    place::{Place, ended, rendered},
    pod::{Contents, Ground, Unpacked},
    rules::{items, text},
};

/// Exit code for settings that cannot be used.
const MISCONFIGURED: i32 = 2;

/// Every absolute path that a file of settings names.
fn paths(settings: &toml::Value) -> Vec<String> {
    match settings {
        toml::Value::Table(table) => table.values().flat_map(paths).collect(),
        toml::Value::Array(all) => all.iter().flat_map(paths).collect(),
        toml::Value::String(text) if text.starts_with('/') => vec![text.clone()],
        _ => Vec::new(),
    }
}

/// What the ConfigMaps behind `envFrom` hold.
fn variables(documents: &[Value], container: &Value) -> Vec<(String, String)> {
    let names = items(container, "/envFrom").iter().map(|source| &source["configMapRef"]["name"]);
    let maps = names.filter_map(|name| {
        documents.iter().find(|d| d["kind"] == "ConfigMap" && d["metadata"]["name"] == *name)
    });
    let values = maps.filter_map(|map| map["data"].as_object()).flatten();
    values.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// How a service ends that is started with this file, and what it says.
async fn started(
    place: &Place,
    service: &str,
    file: &Path,
    env: &[(String, String)],
) -> Result<(i32, String)> {
    let mut command = place.program(built(&format!("bcs-{service}"))?.to_str().context("a path")?)?;
    // It reads its settings, asks the one that runs here whether it is ready, and ends.
    command.arg("--config").arg(file).arg("--ready").envs(env.iter().cloned());
    let output = command.output().await?;
    Ok((output.status.code().context("an exit code")?, String::from_utf8_lossy(&output.stderr).into_owned()))
}

async fn service(place: &Place, ground: &Ground<'_>, workload: &Value) -> Result<()> {
    let name = text(workload, "/metadata/name");
    let container = &workload["spec"]["template"]["spec"]["containers"][0];
    let unpacked = Unpacked::of(ground, workload)?;
    let env = variables(ground.documents, container);
    let file = unpacked.path("/etc/bcs")?.join(format!("{name}.toml"));
    let settings =
        std::fs::read_to_string(&file).with_context(|| format!("{name} has no settings of its name"))?;
    for path in paths(&toml::from_str(&settings)?) {
        ensure!(Path::new(&path).is_file(), "{name}.toml names {path}, which no Secret brings");
    }
    let mut files = vec![file];
    // What else it is told to read.
    let line = unpacked.line(container, built)?;
    let further = line.iter().skip_while(|word| *word != "--config").nth(1);
    files.extend(further.map(Into::into));
    for file in files {
        let (code, said) = started(place, name, &file, &env).await?;
        ensure!(code != MISCONFIGURED, "{}: {said}", file.display());
        let wrong = file.with_extension("wrong");
        std::fs::write(&wrong, std::fs::read_to_string(&file)?.replacen('=', "s =", 1))?;
        let (code, said) = started(place, name, &wrong, &env).await?;
        ensure!(code == MISCONFIGURED, "{} would be taken: {said}", wrong.display());
    }
    Ok(())
}

async fn bus(place: &Place, ground: &Ground<'_>, workload: &Value) -> Result<()> {
    let unpacked = Unpacked::of(ground, workload)?;
    let container = &workload["spec"]["template"]["spec"]["containers"][0];
    let server = |_: &str| find("nats-server", "NATS_SERVER_BIN", "install it");
    let line = unpacked.line(container, server)?;
    let mut command = place.program(&line[0])?;
    let (taken, said) = ended(command.args(&line[1..]).arg("-t").env("POD_NAME", "nats-0")).await?;
    ensure!(taken, "nats-server does not take its settings: {said}");
    let all = std::fs::read_to_string(unpacked.path("/etc/nats/settings")?.join("nats.conf"))?;
    ensure!(all.contains("sync_interval: always"), "what nats-server acknowledges can be lost");
    Ok(())
}

async fn job(place: &Place, ground: &Ground<'_>, workload: &Value) -> Result<()> {
    let unpacked = Unpacked::of(ground, workload)?;
    let container = &workload["spec"]["template"]["spec"]["containers"][0];
    let env = variables(ground.documents, container);
    let url = env.iter().find(|(key, _)| key == "BCS__BUS__URL").context("no address of the bus")?;
    let mut command = place.program("bcs")?;
    command.args(["context", "show"]).env("BCS_CONFIG", unpacked.path("/etc/bcs")?.join("cli.toml"));
    let (understood, said) = ended(command.env("BCS_NATS_URL", &url.1)).await?;
    ensure!(understood && said.contains(&url.1) && said.contains("platform.nk"), "{said}");
    Ok(())
}

#[tokio::test]
async fn programs_understand_the_settings_that_they_are_given() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let place = Place::simulated(lab).await?;
        place.secrets(lab, &[]).await?;
        let mut secrets = place.contents().await?;
        secrets.extend(journals("postgres://bcs:secret@db.example/bcs?sslmode=verify-full"));
        for overlay in OVERLAYS {
            let documents = rendered(overlay).await?;
            let folder = lab.path().join(overlay);
            let ground =
                Ground { documents: &documents, secrets: &secrets, folder: &folder, words: Vec::new() };
            let mut seen = 0;
            for document in &documents {
                match text(document, "/kind") {
                    "Deployment" => service(&place, &ground, document).await?,
                    "StatefulSet" => bus(&place, &ground, document).await?,
                    "Job" => job(&place, &ground, document).await?,
                    _ => continue,
                }
                seen += 1;
            }
            ensure!(seen == 6, "{overlay} has {seen} workloads");
        }
        place.close().await
    })
    .await
}

/// As the documentation lets people make it.
pub(super) fn journals(url: &str) -> Contents {
    let line = format!("journal_url = \"{url}\"\n");
    let files =
        ["cluster", "deploy", "network", "metrics"].map(|name| (format!("{name}.toml"), line.clone()));
    Contents::from([("journals".to_owned(), files.into())])
}

#[tokio::test]
async fn the_agent_understands_how_it_is_started() -> Result<(), Failed> {
    Lab::run(async |_| {
        let documents = rendered("agent").await?;
        let of_kind = |kind: &str| documents.iter().find(|d| d["kind"] == kind).context(kind.to_owned());
        let container = &of_kind("Deployment")?["spec"]["template"]["spec"]["containers"][0];
        let data = &of_kind("ConfigMap")?["data"];
        let words = items(container, "/command").iter().chain(items(container, "/args"));
        let words: Vec<String> = words
            .filter_map(Value::as_str)
            .map(|word| {
                items(container, "/env").iter().fold(word.to_owned(), |word, variable| {
                    let key = text(variable, "/valueFrom/configMapKeyRef/key");
                    word.replace(
                        &format!("$({})", text(variable, "/name")),
                        data[key].as_str().unwrap_or_default(),
                    )
                })
            })
            .collect();
        ensure!(words[..2] == ["bcs-cluster", "agent"], "{words:?}");
        let arguments = Arguments::try_parse_from(&words[1..])?;
        ensure!(
            arguments.cluster.as_str() == "eu-1" && arguments.nats.starts_with("tls://"),
            "{arguments:?}"
        );
        ensure!(arguments.credentials.is_some_and(|file| file.ends_with("agent-eu-1.nk")), "{words:?}");
        let kubeconfig: Value = serde_saphyr::from_str(text(data, "/kubeconfig"))?;
        ensure!(kubeconfig["current-context"] == "here", "{kubeconfig}");
        Ok(())
    })
    .await
}
