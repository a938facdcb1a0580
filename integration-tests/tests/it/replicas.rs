//! Two instances of a service on one journal. One leads; when it is killed, stopped or paused, the other goes on, and
//! nothing is lost, done twice or out of order.

use anyhow::{Context, Result, ensure};
use bcs_client::Client;
use bcs_integration_tests::harness::{Failed, Lab};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::{
    apart::{Platform, commands, under_way},
    world::LONG,
};

/// Places among the processes of the platform.
const LEADER: usize = 1;
const OTHER: usize = 2;

async fn pair(lab: &Lab) -> Result<(Platform, Client)> {
    let mut platform = Platform::start(lab).await?;
    platform.leads(LEADER).await?;
    platform.service(lab, "deploy", "second-deploy")?;
    platform.says(OTHER, "somebody else has the lease").await?;
    let client = platform.client().await?;
    Ok((platform, client))
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
            platform.leads(OTHER - 1).await?;
            Ok::<_, anyhow::Error>(since.elapsed())
        };
        let (sent, took) = tokio::join!(commands(&client), killing);
        println!("another instance led {:?} after the kill", took?);
        platform.balanced(&client, &sent?).await
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
            platform.leads(OTHER).await
        };
        let (sent, paused) = tokio::join!(commands(&client), pausing);
        paused?;
        let mut sent = sent?;
        platform.services[LEADER].signal(Signal::CONT)?;
        platform.says(LEADER, "somebody else has the lease").await?;
        sent.extend(commands(&client).await?);
        platform.balanced(&client, &sent).await?;
        // And it can take over again.
        let other = platform.services.remove(OTHER);
        let ended = other.stop(LONG).await?;
        ensure!(ended.success(), "the other one ended with {ended}");
        let last = commands(&client).await.context("with the one that was paused")?;
        sent.extend(last);
        platform.balanced(&client, &sent).await
    })
    .await
}
