//! The bus dies in the middle of commands, and `bcs up` starts it again. Whoever waits for an outcome gets it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bcs_client::Client;
use bcs_integration_tests::harness::{Etcd, Failed, Lab, NotYet, Options, Ready, Up, wait_until};
use bcs_schemas::{CommandId, deploy::ScaleApp, outcome::Outcome, subject::Target};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    ledger,
    world::{LONG, app, apply, settled},
};

/// How often the bus is killed.
const KILLS: u32 = 5;
/// Commands while it is killed.
const COMMANDS: u32 = 40;

/// Sends commands one after another, each with the same id until it has an outcome.
async fn command(client: &Client) -> Result<Vec<CommandId>> {
    let target: Target = "demo/app/busy".parse().ok().context("is a target")?;
    let mut sent = Vec::new();
    for number in 0..COMMANDS {
        let id = client.fresh_id();
        let message = ScaleApp { replicas: 1 + number % 3, remove: Vec::new() };
        let outcome = wait_until(LONG, "an outcome", async || {
            let command = client.command(target.clone(), message.clone()).id(id);
            match command.send(Duration::from_secs(20)).await {
                Ok(outcome) => Ready(outcome),
                Err(error) => NotYet(error.to_string()),
            }
        })
        .await?;
        ensure!(matches!(outcome, Outcome::Accepted(_)), "command {number}: {outcome:?}");
        sent.push(id);
    }
    Ok(sent)
}

/// Kills the bus, and again when it answers again.
async fn kill(up: &Up) -> Result<()> {
    for _ in 0..KILLS {
        let before = up.nats_pid()?;
        up.signal_nats(Signal::KILL)?;
        wait_until(LONG, "bcs up starts nats-server again", async || match up.nats_pid() {
            Ok(now) if now != before => match up.plain().await {
                Ok(_) => Ready(()),
                Err(error) => NotYet(error.to_string()),
            },
            other => NotYet(format!("{other:?}")),
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn no_command_is_lost_or_done_twice_when_the_bus_is_killed() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let etcd = Etcd::start(lab).await?;
        let up = Up::start(lab, Options { etcd: Some(etcd.url()), ..Options::default() }).await?;
        apply(&up, &app("busy", &["sim-a", "sim-b"], 1, "v1", Value::Null), &["--wait"]).await?;
        let client = up.client().await?;
        let (sent, killed) = tokio::join!(command(&client), kill(&up));
        killed?;
        let events = ledger::balanced(&client, &sent?).await?;
        let sum = ledger::sum(&events, "busy")?;
        ensure!(sum.replicas == u64::from(1 + (COMMANDS - 1) % 3), "the last command does not hold: {sum:?}");
        settled(&up, Some(&etcd), &[("busy", usize::try_from(sum.replicas)?, "v1")]).await?;
        Ok(())
    })
    .await
}
