//! The database of services that run apart dies in the middle of commands. Whoever waits for an outcome gets it.

use anyhow::Result;
use bcs_client::Client;
use bcs_integration_tests::harness::{Failed, Lab, NotYet, Postgres, Ready, wait_until};
use bcs_schemas::Service;

use crate::{
    apart::{Platform, SENDERS, commands},
    ledger,
    world::LONG,
};

/// Kills the database when commands are on their way, and starts it again when every sender waits for it.
async fn kill_and_restart(postgres: &mut Postgres, client: &Client) -> Result<()> {
    wait_until(LONG, "commands are on their way", async || {
        match client.service_status(Service::Deploy).await {
            Ok(status) if status.data.revision > 20 => Ready(()),
            other => NotYet(format!("{other:?}")),
        }
    })
    .await?;
    postgres.kill()?;
    wait_until(LONG, "everybody waits", async || match client.waiting_commands(Service::Deploy).await {
        Ok(Some(waiting)) if waiting >= u64::from(SENDERS) => Ready(()),
        other => NotYet(format!("{other:?} commands wait")),
    })
    .await?;
    postgres.start_again().await
}

#[tokio::test]
async fn no_command_is_lost_or_done_twice_when_postgres_is_killed() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let mut platform = Platform::start(lab).await?;
        let client = platform.client().await?;
        let killing = kill_and_restart(&mut platform.postgres, &client);
        let (sent, killed) = tokio::join!(commands(&client), killing);
        killed?;
        let events = ledger::balanced(&client, &sent?).await?;
        ledger::is_the_journal(platform.postgres.url(), "bcs_deploy.events", &events).await?;
        platform.settled(ledger::sum(&events, "busy")?.replicas).await
    })
    .await
}
