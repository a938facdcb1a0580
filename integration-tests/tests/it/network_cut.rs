//! The network between the leader of a service and the bus is cut, while its way to the database is not. The other
//! instance leads, and what the old one still believes harms nobody.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bcs_client::Client;
use bcs_integration_tests::harness::{Failed, Lab, Mood, NotYet, Ready, Servers, Wire, wait_until};
use bcs_schemas::{CommandId, Service};
use tokio::time::Instant;

use crate::{
    apart::{Platform, commands, under_way},
    world::LONG,
};

/// Places among the processes of the platform.
const LEADER: usize = 1;
const OTHER: usize = 2;

/// Two instances; one of them reaches the bus over a wire of its own, and leads.
async fn pair(lab: &Lab) -> Result<(Platform, Wire, Client)> {
    // On a cluster the client would learn of the servers behind the wire.
    let mut platform = Platform::on(lab, Servers::One).await?;
    let address = platform.nats.url().trim_start_matches("nats://").to_owned();
    let wire = Wire::to(address).await?;
    platform.service_over(lab, "deploy", "deploy-on-a-wire", &format!("nats://{}", wire.address()))?;
    platform.says(OTHER, "somebody else has the lease").await?;
    let ended = platform.services.remove(LEADER).stop(LONG).await?;
    ensure!(ended.success(), "an instance ended with {ended}");
    platform.leads(LEADER).await?;
    platform.service(lab, "deploy", "other-deploy")?;
    platform.says(OTHER, "somebody else has the lease").await?;
    let client = platform.client().await?;
    Ok((platform, wire, client))
}

/// Waits until more commands come. The bus is asked, and no service: every other question would go into the hole.
async fn more_come(client: &Client) -> Result<()> {
    let last = async || {
        let stream = client.bus().jetstream().get_stream(Service::Deploy.command_stream()).await?;
        Ok::<_, anyhow::Error>(stream.cached_info().state.last_sequence)
    };
    let before = last().await?;
    wait_until(LONG, "more commands come", async || match last().await {
        Ok(now) if now > before + 5 => Ready(()),
        other => NotYet(format!("{other:?}, before {before}")),
    })
    .await
}

/// Commands while the wire is cut in this way; returns how long it took until another instance had the lease.
async fn commands_without_the_wire(
    platform: &Platform,
    wire: &Wire,
    client: &Client,
    mood: Mood,
) -> Result<(Vec<CommandId>, Duration)> {
    let cutting = async {
        under_way(client).await?;
        wire.set(mood);
        let since = Instant::now();
        platform.says(OTHER, "got the lease").await?;
        let took = since.elapsed();
        platform.leads(OTHER).await?;
        Ok::<_, anyhow::Error>(took)
    };
    let (sent, took) = tokio::join!(commands(client), cutting);
    Ok((sent?, took?))
}

async fn another_leads_while_the_wire_is(mood: Mood) -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (mut platform, wire, client) = pair(lab).await?;
        let (mut sent, took) = commands_without_the_wire(&platform, &wire, &client, mood).await?;
        eprintln!("another instance had the lease {took:?} after the network was cut ({mood:?})");
        ensure!(took < Duration::from_secs(5), "it took {took:?}, which the lease rules out");
        // Mended while commands are under way: what was held in the network arrives at both ends.
        let mending = async {
            more_come(&client).await?;
            wire.set(Mood::Open);
            platform.says(LEADER, "somebody else took the lease").await?;
            platform.says(LEADER, "somebody else has the lease, waiting").await
        };
        let (more, mended) = tokio::join!(commands(&client), mending);
        mended.context("the old leader does not follow")?;
        sent.extend(more?);
        platform.balanced(&client, &sent).await?;
        // And it can take over again.
        let other = platform.services.remove(OTHER);
        let ended = other.stop(LONG).await?;
        ensure!(ended.success(), "the other one ended with {ended}");
        sent.extend(commands(&client).await.context("with the one that was cut off")?);
        platform.balanced(&client, &sent).await
    })
    .await
}

#[tokio::test]
async fn another_instance_leads_when_the_network_of_the_leader_swallows_everything() -> Result<(), Failed> {
    another_leads_while_the_wire_is(Mood::Hole).await
}

#[tokio::test]
async fn another_instance_leads_when_the_network_of_the_leader_refuses_connections() -> Result<(), Failed> {
    another_leads_while_the_wire_is(Mood::Cut).await
}
