//! Services as processes of their own, with their journals on one PostgreSQL, which dies in the middle of commands. Whoever
//! waits for an outcome gets it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bcs_client::Client;
use bcs_integration_tests::harness::{
    Cli, Failed, Kubesim, Lab, NatsServer, NotYet, Postgres, Process, Ready, built, wait_until,
};
use bcs_kit::bus::BusConfig;
use bcs_schemas::{CommandId, Service, deploy::ScaleApp, outcome::Outcome, subject::Target};
use futures::future::try_join_all;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    ledger,
    world::{self, LONG, app, pod},
};

/// Senders at once, each with one command in flight.
const SENDERS: u32 = 4;
/// Commands of each sender.
const COMMANDS: u32 = 15;

/// A bus, a database, a cluster, and the services between them.
struct Platform {
    nats: NatsServer,
    postgres: Postgres,
    cluster: Kubesim,
    services: Vec<Process>,
    cli: Cli,
}

impl Platform {
    async fn start(lab: &Lab) -> Result<Self> {
        let (nats, postgres) = (NatsServer::start(lab, "nats").await?, Postgres::start(lab).await?);
        let cluster = Kubesim::start(lab, "sim-a", 3).await?;
        let cli = Cli { nats: nats.url(), home: lab.path().to_owned() };
        let mut platform = Self { nats, postgres, cluster, services: Vec::new(), cli };
        for service in ["cluster", "deploy"] {
            platform.service(lab, service, service)?;
        }
        let kubeconfig = platform.cluster.kubeconfig.display().to_string();
        platform.cli.ok(&["import", "cluster", "sim-a", "--kubeconfig", &kubeconfig]).await?;
        let document = app("busy", &["sim-a"], 1, "v1", Value::Null).to_string();
        wait_until(LONG, "deploy has heard of the cluster", async || {
            let applied = platform.cli.run_with(&["apply", "-f", "-"], Some(document.as_bytes())).await;
            applied.and_then(|ran| ran.expect(0)).into()
        })
        .await?;
        platform.settled(1).await?;
        Ok(platform)
    }

    /// Starts one more process of a service; `called` names its log.
    fn service(&mut self, lab: &Lab, service: &str, called: &str) -> Result<()> {
        let mut command = Command::new(built(&format!("bcs-{service}"))?);
        command.env("BCS__BUS__URL", self.nats.url()).env("BCS__JOURNAL_URL", self.postgres.url());
        self.services.push(Process::start(lab, called, command)?);
        Ok(())
    }

    async fn client(&self) -> Result<Client> {
        let config = BusConfig { url: self.nats.url(), ..BusConfig::default() };
        Ok(Client::connect(&config, "test").await?)
    }

    /// Waits until the cluster runs what the events of the application add up to.
    async fn settled(&self, replicas: u64) -> Result<()> {
        wait_until(LONG, "the cluster runs what was decided", async || {
            let list = match self.cluster.server.get("/api/v1/pods").await {
                Ok(list) => list,
                Err(error) => return NotYet(error.to_string()),
            };
            let pods: Vec<world::Pod> =
                list["items"].as_array().into_iter().flatten().filter_map(pod).collect();
            let serving = pods.iter().filter(|pod| pod.ready && !pod.ending).count();
            let fits = u64::try_from(serving) == Ok(replicas) && pods.len() == serving;
            if fits { Ready(()) } else { NotYet(format!("{replicas} are wanted: {pods:?}")) }
        })
        .await
    }
}

/// Commands of several senders; each goes on with the same id until it has an outcome.
async fn commands(client: &Client) -> Result<Vec<CommandId>> {
    let target: Target = "demo/app/busy".parse().ok().context("is a target")?;
    let sender = async |sender: u32| {
        let mut sent = Vec::new();
        for number in 0..COMMANDS {
            let id = client.fresh_id();
            let message = ScaleApp { replicas: 1 + (sender + number) % 3, remove: Vec::new() };
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
    };
    let sent: Vec<Vec<CommandId>> = try_join_all((0..SENDERS).map(sender)).await?;
    Ok(sent.concat())
}

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

#[tokio::test]
async fn two_services_on_one_journal_lose_no_command_and_do_none_twice() -> Result<(), Failed> {
    Lab::run(async |lab| {
        let mut platform = Platform::start(lab).await?;
        platform.service(lab, "deploy", "second-deploy")?;
        let client = platform.client().await?;
        let sent = commands(&client).await?;
        let events = ledger::balanced(&client, &sent).await?;
        ledger::is_the_journal(platform.postgres.url(), "bcs_deploy.events", &events).await?;
        Ok(())
    })
    .await
}
