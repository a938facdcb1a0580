//! A sidecar beside an instance, on a bus that asks everybody for a key: the one for holding up an end opens nothing else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{Failed, Lab, NotYet, Process, Ready, built, free_port, wait_until};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::secure::platform;

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/shop.yaml");
const LONG: Duration = Duration::from_secs(60);

/// A sidecar with these settings.
fn with(lab: &Lab, name: &str, settings: &Value) -> Result<Command> {
    let file = lab.path().join(format!("{name}.toml"));
    std::fs::write(&file, toml::to_string(settings)?)?;
    let mut command = Command::new(built("bcs-discovery-sidecar")?);
    command.arg("--config").arg(file).kill_on_drop(true);
    Ok(command)
}

#[tokio::test]
async fn a_sidecar_that_may_only_read_holds_an_instance_until_it_is_out() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (mut up, cli) = platform(lab, "info").await?;
        cli.ok(&["apply", "-f", SHOP, "--wait"]).await?;
        let endpoints = cli.ok(&["get", "endpoints", "shop-web", "-o", "json"]).await?;
        let endpoints: Value = serde_json::from_str(&endpoints)?;
        let items = endpoints["items"].as_array().or(endpoints.as_array()).context("no list")?;
        let here = items.iter().find(|endpoint| endpoint["cluster"] == "sim-a").context("none in sim-a")?;
        let instance = here["instance"].as_str().context("no name")?;

        let (health, bus) = (free_port()?, up.with_key("holder-demo.sim-a"));
        let settings = json!({
            "cluster": "sim-a",
            "health_address": format!("127.0.0.1:{health}"),
            "bus": { "url": bus.url, "credentials": bus.credentials, "ca": bus.ca, "inbox": "_INBOX_holder-demo.sim-a" },
            "beside": { "project": "demo", "app": "shop-web", "instance": instance },
        });
        let mut keeping = settings.clone();
        keeping["owner"] = json!("eu1");
        keeping["registries"] = json!([{
            "apiVersion": "bcs/v1", "kind": "Registry", "metadata": { "name": "names" },
            "spec": { "driver": { "etcd": { "endpoints": ["http://127.0.0.1:1"] } } },
        }]);
        let refused = tokio::time::timeout(LONG, with(lab, "keeping", &keeping)?.output()).await;
        let refused = refused.context("a sidecar that may not keep its registry does not end")??;
        let said = String::from_utf8_lossy(&refused.stderr);
        ensure!(!refused.status.success() && said.contains("bus.credentials"), "{}: {said}", refused.status);
        let sidecar = Process::start(lab, "holder", with(lab, "holder", &settings)?)?;
        let ask = async |path: &str| reqwest::get(format!("http://127.0.0.1:{health}/{path}")).await;
        wait_until(LONG, "the sidecar is ready", async || match ask("readyz").await {
            Ok(answer) if answer.status().is_success() => Ready(()),
            Ok(answer) => NotYet(answer.text().await.unwrap_or_default()),
            Err(error) => NotYet(error.to_string()),
        })
        .await?;

        let mut hold = Box::pin(ask("hold"));
        let early = tokio::time::timeout(Duration::from_secs(1), &mut hold).await;
        ensure!(early.is_err(), "it was let go while it serves: {early:?}");
        let (held, deleted) = tokio::join!(hold, cli.ok(&["delete", "app", "shop-web", "--wait"]));
        deleted?;
        let (status, words) = { let held = held?; (held.status(), held.text().await?) };
        ensure!(status.is_success() && words.contains("out of every registry"), "{status}: {words}");
        sidecar.stop(LONG).await?;
        up.stop().await
    })
    .await
}
