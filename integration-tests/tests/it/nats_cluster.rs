//! A bus of three servers under services that run apart. One server, or all of them, go in the middle of commands:
//! whoever waits for an outcome gets it, and every event is on the bus once, in order.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bcs_client::{Client, Position};
use bcs_integration_tests::harness::{
    Cli, Failed, Lab, NatsCluster, NotYet, Process, Ready, Servers, find, free_port, wait_until,
};
use bcs_schemas::Service;
use tokio::process::Command;

use crate::{
    apart::{Platform, commands, under_way},
    other_language::example,
    world::LONG,
};

const COMMANDS: &str = Service::Deploy.command_stream();
const EVENTS: &str = Service::Deploy.event_stream();

async fn platform(lab: &Lab) -> Result<(Platform, Client)> {
    let platform = Platform::on(lab, Servers::Three).await?;
    let client = platform.client().await?;
    Ok((platform, client))
}

/// Kills the server that leads `stream` when commands are under way, and starts it again when another one leads.
async fn kill_the_leader(lab: &Lab, nats: &mut NatsCluster, client: &Client, stream: &str) -> Result<()> {
    under_way(client).await?;
    let leader = nats.leader_of(stream).await?;
    nats.kill(leader).await?;
    let next = nats.leader_of(stream).await?;
    ensure!(next != leader, "a server that is dead leads");
    nats.start_again(lab, leader)
}

#[tokio::test]
async fn no_command_is_lost_or_done_twice_when_the_leader_of_its_stream_is_killed() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (mut platform, client) = platform(lab).await?;
        let mut all = Vec::new();
        for stream in [COMMANDS, EVENTS] {
            let killing = kill_the_leader(lab, &mut platform.nats, &client, stream);
            let (sent, killed) = tokio::join!(commands(&client), killing);
            killed.with_context(|| format!("killing the leader of {stream}"))?;
            all.extend(sent?);
            platform.nats.caught_up(stream).await?;
        }
        platform.balanced(&client, &all).await
    })
    .await
}

/// How long a server is away, at least: a moment, or what `BCS_TEST_AWAY` says in seconds.
fn away() -> Result<Duration> {
    let named = std::env::var_os("BCS_TEST_AWAY").map(|text| text.to_string_lossy().parse());
    let seconds = named.transpose().context("BCS_TEST_AWAY is no number")?.unwrap_or(1);
    Ok(Duration::from_secs(seconds))
}

#[tokio::test]
async fn a_server_that_was_away_catches_up_and_the_others_can_do_without_one_more() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let (mut platform, client) = platform(lab).await?;
        let first = platform.nats.leader_of(EVENTS).await?;
        platform.nats.kill(first).await?;
        let end = tokio::time::Instant::now() + away()?;
        let mut sent = commands(&client).await?;
        while tokio::time::Instant::now() < end {
            sent.extend(commands(&client).await?);
        }
        platform.nats.start_again(lab, first)?;
        platform.nats.caught_up(EVENTS).await?;
        platform.nats.caught_up(COMMANDS).await?;
        // What was written meanwhile is on the one that came back: with it, another one can be done without.
        let second = platform.nats.leader_of(COMMANDS).await?;
        platform.nats.kill(second).await?;
        sent.extend(commands(&client).await?);
        platform.nats.start_again(lab, second)?;
        platform.balanced(&client, &sent).await
    })
    .await
}

/// What a reader reads through lives on one server, which need not be the one that it talks to.
#[tokio::test]
async fn a_reader_of_events_goes_on_soon_when_a_server_that_it_does_not_talk_to_is_killed()
-> Result<(), Failed> {
    Lab::run(async |lab| {
        let (mut platform, client) = platform(lab).await?;
        let elsewhere = async || {
            let before = platform.nats.readers_of(EVENTS).await?;
            let events = client.events(&[Service::Deploy], Position::New).await?;
            let talks_to = client.bus().client().server_info().server_name;
            let mut ours = platform.nats.readers_of(EVENTS).await?;
            ours.retain(|reader, _| !before.contains_key(reader));
            let lives_on = ours.into_values().next().context("the reader has no consumer")?;
            anyhow::Ok((events, lives_on, platform.nats.called(&talks_to) == Some(lives_on)))
        };
        let (mut events, lives_on) =
            wait_until(LONG, "a reader lives on another server", async || match elsewhere().await {
                Ok((events, lives_on, false)) => Ready((events, lives_on)),
                Ok((_, lives_on, true)) => NotYet(format!("this one lives on {lives_on}, to which it talks")),
                Err(error) => NotYet(format!("{error:#}")),
            })
            .await?;
        platform.nats.kill(lives_on).await?;
        commands(&client).await?;
        // The server says every five seconds that it is there, and is missed when it did not do so twice.
        let next = tokio::time::timeout(Duration::from_secs(25), events.next()).await;
        ensure!(next.context("no event came within 25 s")?.is_some(), "the events ended");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn no_command_is_lost_or_done_twice_when_all_servers_are_killed_and_started_again() -> Result<(), Failed>
{
    Lab::run(async |lab| {
        let (mut platform, client) = platform(lab).await?;
        let restart = async {
            under_way(&client).await?;
            for node in platform.nats.nodes() {
                platform.nats.kill(node).await?;
            }
            platform.nats.nodes().try_for_each(|node| platform.nats.start_again(lab, node))
        };
        let (sent, restarted) = tokio::join!(commands(&client), restart);
        restarted?;
        platform.balanced(&client, &sent?).await
    })
    .await
}

#[tokio::test]
async fn a_bus_that_grows_from_one_copy_to_three_keeps_what_it_has() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let nats = NatsCluster::start(lab, Servers::Three).await?;
        let cli = Cli { nats: nats.url(), home: lab.path().to_owned() };
        let apply = async |replicas: &[&str], copies: usize| {
            cli.ok(&[&["bus", "apply"], replicas].concat()).await?;
            for stream in [COMMANDS, EVENTS, "DLQ", "KV_leases", "KV_endpoints"] {
                let found = nats.copies(stream).await?;
                ensure!(found == copies, "after {replicas:?} {stream} has {found} copies, not {copies}");
            }
            Ok(())
        };
        apply(&[], 1).await?;
        let subject = "bcs.cmd.deploy.local.demo.app.busy.scale";
        cli.ok(&["publish", subject, r#"{"replicas": 1}"#, "--no-wait"]).await?;
        apply(&["--replicas", "3"], 3).await?;
        nats.caught_up(COMMANDS).await?;
        apply(&[], 3).await?;
        let client = Client::connect(&nats.config(), "test").await?;
        let waiting = client.bus().jetstream().get_stream(COMMANDS).await?.cached_info().state.messages;
        ensure!(waiting == 1, "{waiting} commands are kept, one was sent");
        Ok(())
    })
    .await
}

/// The settings that the documentation shows, on loopback.
#[tokio::test]
async fn the_settings_of_the_documentation_make_a_bus_of_three_servers() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let shown = example("nats")?;
        let names = ["bus-1", "bus-2", "bus-3"];
        let (mut urls, mut routes) = (Vec::new(), Vec::new());
        for _ in names {
            urls.push(format!("127.0.0.1:{}", free_port()?));
            routes.push(format!("127.0.0.1:{}", free_port()?));
        }
        let mut servers = Vec::new();
        for (place, name) in names.into_iter().enumerate() {
            let store = lab.path().join(name);
            let mut text = shown.replace("server_name: bus-1", &format!("server_name: {name}"));
            for (name, route) in names.iter().zip(&routes) {
                text = text.replace(&format!("nats-route://{name}:6222"), &format!("nats-route://{route}"));
            }
            text = text.replace("0.0.0.0:4222", &urls[place]).replace("0.0.0.0:6222", &routes[place]);
            text = text.replace("/var/lib/nats", &format!("{:?}", store.display().to_string()));
            let config = lab.path().join(format!("{name}.conf"));
            std::fs::write(&config, text)?;
            let mut command = Command::new(find("nats-server", "NATS_SERVER_BIN", "install it")?);
            command.arg("-c").arg(config);
            servers.push(Process::start(lab, name, command)?);
        }
        let cli = Cli { nats: urls.join(","), home: lab.path().to_owned() };
        wait_until(LONG, "streams and buckets are made", async || {
            let ran = cli.run(&["bus", "apply", "--replicas", "3"]).await;
            ran.and_then(|ran| ran.expect(0)).into()
        })
        .await
        .map(drop)
    })
    .await
}
