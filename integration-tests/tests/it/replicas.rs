//! Two instances of a service on one journal. One leads; when it is killed, stopped or paused, the other goes on, and
//! nothing is lost, done twice or out of order.

use anyhow::{Context, Result, ensure};
use bcs_client::Client;
use bcs_integration_tests::harness::{Failed, Lab, NotYet, Ready, wait_until};
use bcs_schemas::Service;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::{
    apart::{Platform, commands},
    ledger,
    world::LONG,
};

/// Places among the processes of the platform.
const LEADER: usize = 1;
const OTHER: usize = 2;

async fn pair(lab: &Lab) -> Result<(Platform, Client)> {
    let mut platform = Platform::start(lab).await?;
    leads(&platform, LEADER).await?;
    platform.service(lab, "deploy", "second-deploy")?;
    wait_until(LONG, "the other one waits for the lease", async || {
        let said = platform.services[OTHER].output();
        if said.contains("somebody else has the lease") { Ready(()) } else { NotYet(said) }
    })
    .await?;
    let client = platform.client().await?;
    Ok((platform, client))
}

async fn leads(platform: &Platform, place: usize) -> Result<()> {
    wait_until(LONG, "an instance leads", async || {
        let said = platform.services[place].output();
        if said.contains("this instance decides") { Ready(()) } else { NotYet(said) }
    })
    .await
}

/// Waits until commands are on their way.
async fn under_way(client: &Client) -> Result<()> {
    wait_until(LONG, "commands are on their way", async || {
        match client.service_status(Service::Deploy).await {
            Ok(status) if status.data.revision > 20 => Ready(()),
            other => NotYet(format!("{other:?}")),
        }
    })
    .await
}

async fn balanced(platform: &Platform, client: &Client, sent: &[bcs_schemas::CommandId]) -> Result<()> {
    let events = ledger::balanced(client, sent).await?;
    ledger::is_the_journal(platform.postgres.url(), "bcs_deploy.events", &events).await?;
    platform.settled(ledger::sum(&events, "busy")?.replicas).await
}

#[tokio::test]
async fn when_the_leader_is_killed_another_instance_goes_on() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (mut platform, client) = pair(lab).await?;
        let leader = platform.services.remove(LEADER);
        let killing = async {
            under_way(&client).await?;
            leader.kill().await?;
            let since = Instant::now();
            leads(&platform, OTHER - 1).await?;
            Ok::<_, anyhow::Error>(since.elapsed())
        };
        let (sent, took) = tokio::join!(commands(&client), killing);
        println!("another instance led {:?} after the kill", took?);
        balanced(&platform, &client, &sent?).await
    })
    .await
}

#[tokio::test]
async fn a_leader_that_is_paused_and_resumed_follows_and_harms_nothing() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (mut platform, client) = pair(lab).await?;
        let pausing = async {
            under_way(&client).await?;
            platform.services[LEADER].signal(Signal::STOP)?;
            leads(&platform, OTHER).await
        };
        let (sent, paused) = tokio::join!(commands(&client), pausing);
        paused?;
        let mut sent = sent?;
        platform.services[LEADER].signal(Signal::CONT)?;
        wait_until(LONG, "it hears that another one has the lease", async || {
            let said = platform.services[LEADER].output();
            if said.contains("somebody else has the lease") { Ready(()) } else { NotYet(said) }
        })
        .await?;
        sent.extend(commands(&client).await?);
        balanced(&platform, &client, &sent).await?;
        // And it can take over again.
        let other = platform.services.remove(OTHER);
        let ended = other.stop(LONG).await?;
        ensure!(ended.success(), "the other one ended with {ended}");
        let last = commands(&client).await.context("with the one that was paused")?;
        sent.extend(last);
        balanced(&platform, &client, &sent).await
    })
    .await
}
