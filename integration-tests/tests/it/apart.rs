//! Services as processes of their own, with their journals on one PostgreSQL, and senders of commands.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bcs_client::Client;
use bcs_integration_tests::harness::{
    Cli, Kubesim, Lab, NatsServer, NotYet, Postgres, Process, Ready, built, wait_until,
};
use bcs_kit::bus::BusConfig;
use bcs_schemas::{CommandId, deploy::ScaleApp, outcome::Outcome, subject::Target};
use futures::future::try_join_all;
use serde_json::Value;
use tokio::process::Command;

use crate::world::{self, LONG, app, pod};

/// Senders at once, each with one command in flight.
pub(crate) const SENDERS: u32 = 4;
/// Commands of each sender.
const COMMANDS: u32 = 15;

/// A bus, a database, a cluster, and the services between them.
pub(crate) struct Platform {
    pub(crate) nats: NatsServer,
    pub(crate) postgres: Postgres,
    cluster: Kubesim,
    /// In the order of their start: cluster, deploy, and what a test adds.
    pub(crate) services: Vec<Process>,
    cli: Cli,
}

impl Platform {
    pub(crate) async fn start(lab: &Lab) -> Result<Self> {
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
    pub(crate) fn service(&mut self, lab: &Lab, service: &str, called: &str) -> Result<()> {
        let mut command = Command::new(built(&format!("bcs-{service}"))?);
        command.env("BCS__BUS__URL", self.nats.url()).env("BCS__JOURNAL_URL", self.postgres.url());
        self.services.push(Process::start(lab, called, command)?);
        Ok(())
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        let config = BusConfig { url: self.nats.url(), ..BusConfig::default() };
        Ok(Client::connect(&config, "test").await?)
    }

    /// Waits until the cluster runs what the events of the application add up to.
    pub(crate) async fn settled(&self, replicas: u64) -> Result<()> {
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
pub(crate) async fn commands(client: &Client) -> Result<Vec<CommandId>> {
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
