//! What a user does, from an empty platform to an empty platform, checked from outside after every step. `--wait` means
//! that it is so, so nothing is waited for here.

use anyhow::{Result, ensure};
use bcs_integration_tests::harness::{Etcd, Failed, Lab, Options, Up};
use serde_json::json;

use crate::{
    raw::{Sender, msgpack, subject},
    traffic::Traffic,
    world::{agrees, settled},
};

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/shop.yaml");

/// A platform that registers in files and in etcd.
async fn platform(lab: &Lab) -> Result<(Etcd, Up)> {
    let etcd = Etcd::start(lab).await?;
    let up = Up::start(lab, Options { etcd: Some(etcd.url()), ..Options::default() }).await?;
    Ok((etcd, up))
}

#[tokio::test]
async fn a_command_becomes_running_instances_whose_addresses_are_in_every_registry() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (etcd, up) = platform(lab).await?;
        let (cli, etcd) = (up.cli(), Some(&etcd));
        cli.ok(&["apply", "-f", SHOP, "--wait"]).await?;
        let (api, cache) = (("shop-api", 4, "v1"), ("shop-cache", 2, "v1"));
        agrees(&up, etcd, &[("shop-web", 6, "v1"), api, cache]).await?;
        what_is_shown_is_so(&up).await?;
        cli.ok(&["scale", "app", "shop-web", "--replicas", "8", "--wait"]).await?;
        agrees(&up, etcd, &[("shop-web", 8, "v1"), api, cache]).await?;
        cli.ok(&["scale", "app", "shop-web", "--replicas", "3", "--wait"]).await?;
        agrees(&up, etcd, &[("shop-web", 3, "v1"), api, cache]).await?;
        cli.ok(&["restart", "app", "shop-cache", "--wait"]).await?;
        agrees(&up, etcd, &[("shop-web", 3, "v1"), api, cache]).await?;
        cli.ok(&["delete", "app", "shop-web", "--wait"]).await?;
        agrees(&up, etcd, &[api, cache]).await?;
        ensure!(cli.run(&["get", "apps", "shop-web"]).await?.code == Some(1), "it is still there");
        let events = cli.ok(&["events", "--object", "demo/app/shop-web", "-o", "json"]).await?;
        for fact in ["applied", "scaled", "rollout-completed", "deletion-requested", "deleted"] {
            ensure!(events.contains(&format!("bcs.deploy.app.{fact}.v1")), "no event {fact}: {events}");
        }
        Ok(())
    })
    .await
}

async fn what_is_shown_is_so(up: &Up) -> Result<()> {
    let cli = up.cli();
    let apps = cli.ok(&["get", "apps"]).await?;
    ensure!(apps.contains("shop-web") && apps.contains("6/6") && apps.contains("Available"), "{apps}");
    let view = cli.json(&["get", "apps", "shop-web"]).await?;
    ensure!(view["status"]["available"] == 6 && view["status"]["phase"] == "available", "{view}");
    let described = cli.ok(&["describe", "app", "shop-web"]).await?;
    ensure!(described.contains("shop/web:v1") && described.contains("sim-b"), "{described}");
    let registrations = cli.json(&["get", "registrations"]).await?;
    let confirmed = registrations["items"].as_array().map_or(0, Vec::len);
    ensure!(confirmed == 24, "12 instances in 2 registries: {registrations}");
    cli.ok(&["status"]).await?;
    Ok(())
}

#[tokio::test]
async fn a_new_version_replaces_the_old_one_without_a_failed_request() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (etcd, up) = platform(lab).await?;
        up.cli().ok(&["apply", "-f", SHOP, "--wait"]).await?;
        let traffic = Traffic::start(&up, "shop-web")?;
        up.cli().ok(&["apply", "-f", SHOP, "--set", "image.tag=v2", "--wait"]).await?;
        let answered = traffic.stop().await?;
        ensure!(answered > 50, "only {answered} requests were made: that shows nothing");
        let wanted = [("shop-web", 6, "v2"), ("shop-api", 4, "v2"), ("shop-cache", 2, "v2")];
        agrees(&up, Some(&etcd), &wanted).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn any_program_may_command_with_json_or_messagepack() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (etcd, up) = platform(lab).await?;
        up.cli().ok(&["apply", "-f", SHOP, "--wait"]).await?;
        let rest = [("shop-api", 4, "v1"), ("shop-cache", 2, "v1")];
        let wanted = |replicas| [&[("shop-web", replicas, "v1")], &rest[..]].concat();
        up.cli().ok(&["publish", &subject("shop-web", "scale"), r#"{"replicas": 3}"#]).await?;
        settled(&up, Some(&etcd), &wanted(3)).await?;
        let sender = Sender::connect(up.nats()).await?;
        let answer = sender.ask(&subject("shop-web", "scale"), &[], r#"{"replicas": 4}"#).await?;
        ensure!(
            answer["outcome"] == "accepted" && answer["events"][0]["type"] == "bcs.deploy.app.scaled.v1",
            "{answer}"
        );
        settled(&up, Some(&etcd), &wanted(4)).await?;
        let headers = [("ce-datacontenttype", "application/msgpack"), ("ce-type", "bcs.deploy.app.scale.v1")];
        let payload = msgpack(&json!({ "replicas": 5 }))?;
        let answer = sender.ask(&subject("shop-web", "scale"), &headers, payload).await?;
        ensure!(answer["outcome"] == "accepted", "{answer}");
        settled(&up, Some(&etcd), &wanted(5)).await?;
        // Nobody waits for this one: the bus keeps it all the same.
        sender.tell(&subject("shop-web", "scale"), &[], r#"{"replicas": 2}"#).await?;
        settled(&up, Some(&etcd), &wanted(2)).await?;
        Ok(())
    })
    .await
}
