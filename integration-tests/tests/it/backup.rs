//! What `scripts/backup` saved from a running platform, `scripts/restore` brings back when bus and journals are gone: the same
//! state, the same history, and nothing is decided or told twice.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use bcs_integration_tests::harness::{
    Failed, Lab, NatsCluster, NatsServer, Options, Postgres, Ran, Servers, Up, bcs,
};
use bcs_schemas::CommandId;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    apart::{Platform, commands, make_users},
    doctor::until_well,
    ledger,
    raw::{Sender, subject},
    world::{app, apply, settled, until_view},
};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts");
/// Longer than either script takes on a busy machine.
const ENDS_WITHIN: Duration = Duration::from_secs(120);

/// Runs a script against a bus.
async fn script(lab: &Lab, nats: &str, name: &str, arguments: &[&Path]) -> Result<Ran> {
    let mut command = Command::new(format!("{SCRIPTS}/{name}"));
    command.args(arguments).env("BCS_BIN", bcs()?).env("BCS_NATS_URL", nats).kill_on_drop(true);
    command.env("BCS_CONFIG", lab.path().join("none.toml"));
    let output = tokio::time::timeout(ENDS_WITHIN, command.output()).await;
    let output = output.with_context(|| format!("{name} hangs"))??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let line = format!("scripts/{name}");
    Ok(Ran { line, code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
}

/// What must be the same afterwards, as a person sees it.
async fn known(up: &Up) -> Result<Vec<Value>> {
    let cli = up.cli();
    let app = cli.json(&["get", "app", "shop"]).await?;
    let wanted = serde_json::json!([app["spec"], app["generation"], app["labels"]]);
    let history = cli.json(&["history", "app", "shop", "--all"]).await?["items"].clone();
    Ok(vec![wanted, history, cli.json(&["dlq", "ls"]).await?])
}

async fn scale(up: &Up, replicas: u32) -> Result<CommandId> {
    let payload = format!("{{\"replicas\": {replicas}}}");
    let outcome = up.cli().json(&["publish", &subject("shop", "scale"), &payload]).await?;
    ensure!(outcome["outcome"] == "accepted", "{outcome}");
    Ok(outcome["command_id"].as_str().context("an id")?.parse()?)
}

#[tokio::test]
async fn what_was_backed_up_comes_back_with_its_history_and_commands_go_on() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let mut up = Up::start(lab, Options::default()).await?;
        apply(&up, &app("shop", &["sim-a", "sim-b"], 3, "v1", Value::Null), &["--wait"]).await?;
        let first = scale(&up, 4).await?;
        let letter = Sender::connect(up.nats()).await?;
        letter.tell(&subject("shop", "scale"), &[("ce-type", "bcs.deploy.app.scale.v9")], "{}").await?;
        let before = settled(&up, None, &[("shop", 4, "v1")]).await?;
        until_view(&up, "shop", "has nothing more to decide", |view| {
            view["status"]["healthy_revision"] == view["status"]["revision"]
        })
        .await?;
        let (journals, saved) = (up.data().join("journal"), lab.path().join("saved"));
        let to_journals = [Path::new("--journals"), journals.as_path()];
        script(lab, up.nats(), "backup", &[&[saved.as_path()], &to_journals[..]].concat())
            .await?
            .expect(0)?;
        let was = known(&up).await?;
        ensure!(was[2].as_array().is_some_and(|letters| letters.len() == 1), "{was:#?}");
        let again =
            script(lab, up.nats(), "backup", &[&[saved.as_path()], &to_journals[..]].concat()).await?;
        ensure!(again.expect(1)?.stderr.contains("exists"), "a backup was written over");
        let running =
            script(lab, up.nats(), "restore", &[&[saved.as_path()], &to_journals[..]].concat()).await?;
        ensure!(running.expect(1)?.stderr.contains("nothing was changed"), "restored over what runs");

        up.stop().await?;
        std::fs::remove_dir_all(&journals)?;
        std::fs::remove_dir_all(up.data().join("nats"))?;
        let mut nats = NatsServer::start(lab, "data/nats").await?;
        damaged(lab, &nats, &saved, &journals).await?;
        script(lab, &nats.url(), "restore", &[&[saved.as_path()], &to_journals[..]].concat())
            .await?
            .expect(0)?;
        nats.stop(ENDS_WITHIN).await?;

        up.start_again(lab).await?;
        ensure!(known(&up).await? == was, "it was {was:#?}, and is {:#?}", known(&up).await?);
        ensure!(settled(&up, None, &[("shop", 4, "v1")]).await? == before, "instances were replaced");
        up.cli().ok(&["dlq", "drop", was[2][0]["number"].to_string().as_str()]).await?;
        let second = scale(&up, 2).await?;
        settled(&up, None, &[("shop", 2, "v1")]).await?;
        let events = ledger::balanced(&up.client().await?, &[first, second]).await?;
        let journal = format!("sqlite:{}", up.journal("deploy").display());
        ledger::is_the_journal(&journal, "events", &events).await?;
        until_well(&up.cli(), &[]).await.map(drop)
    })
    .await
}

#[tokio::test]
async fn journals_in_postgresql_come_back_in_another_database_beside_another_bus() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let mut platform = Platform::start(lab).await?;
        let client = platform.client().await?;
        let mut sent = commands(&client).await?;
        platform.balanced(&client, &sent).await?;
        let saved = lab.path().join("saved");
        let from = [saved.as_path(), Path::new("--postgres"), Path::new(platform.postgres.url())];
        script(lab, &platform.nats.url(), "backup", &from).await?.expect(0)?;
        // What is decided after a backup is lost with it.
        platform.stop().await?;

        let nats = NatsCluster::start_in(lab, "another-bus", Servers::asked()).await?;
        let postgres = Postgres::start(lab).await?;
        let to = [saved.as_path(), Path::new("--postgres"), Path::new(postgres.url())];
        let refused = async |why: &str| {
            let said = script(lab, &nats.url(), "restore", &to).await?.expect(1)?.stderr;
            ensure!(said.contains(why) && said.contains("nothing was changed"), "{said}");
            Ok(())
        };
        refused("role \"cluster\" does not exist").await?;
        make_users(&postgres).await?;
        postgres.sql("CREATE SCHEMA bcs_deploy").await?;
        refused("schema \"bcs_deploy\" already exists").await?;
        postgres.sql("DROP SCHEMA bcs_deploy").await?;
        script(lab, &nats.url(), "restore", &to).await?.expect(0)?;
        refused("exist on this bus").await?;
        platform.move_to(lab, nats, postgres).await?;

        let client = platform.client().await?;
        sent.extend(commands(&client).await?);
        platform.balanced(&client, &sent).await
    })
    .await
}

/// A copy with one changed byte is refused before anything is restored.
async fn damaged(lab: &Lab, nats: &NatsServer, saved: &Path, journals: &Path) -> Result<()> {
    let file = saved.join("journals/deploy.db");
    let good = std::fs::read(&file)?;
    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    std::fs::write(&file, bad)?;
    let ran = script(lab, &nats.url(), "restore", &[saved, Path::new("--journals"), journals]).await?;
    ensure!(ran.expect(1)?.stderr.contains("deploy.db is damaged"), "damage was not noticed");
    ensure!(!journals.exists(), "something was restored");
    std::fs::write(&file, good)?;
    Ok(())
}
