//! Services as processes of their own, with their journals on one PostgreSQL, and senders of commands.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bcs_client::Client;
use bcs_integration_tests::harness::{
    Cli, Kubesim, Lab, NatsCluster, NotYet, Postgres, Process, Ready, Servers, built, wait_until,
};
use bcs_schemas::{CommandId, Service, deploy::ScaleApp, outcome::Outcome, subject::Target};
use futures::future::try_join_all;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    ledger,
    world::{self, LONG, app, pod},
};

/// Senders at once, each with one command in flight.
pub(crate) const SENDERS: u32 = 4;
/// Commands of each sender.
const COMMANDS: u32 = 15;

/// A bus, a database, a cluster, and the services between them.
pub(crate) struct Platform {
    pub(crate) nats: NatsCluster,
    pub(crate) postgres: Postgres,
    cluster: Kubesim,
    /// In the order of their start: cluster, deploy, and what a test adds.
    pub(crate) services: Vec<Process>,
    cli: Cli,
}

impl Platform {
    pub(crate) async fn start(lab: &Lab) -> Result<Self> {
        Self::on(lab, Servers::asked()).await
    }

    /// With a bus of so many servers.
    pub(crate) async fn on(lab: &Lab, servers: Servers) -> Result<Self> {
        let (nats, postgres) = (NatsCluster::start(lab, servers).await?, Postgres::start(lab).await?);
        make_users(&postgres).await?;
        let cluster = Kubesim::start(lab, "sim-a", 3).await?;
        let cli = Cli { nats: nats.url(), home: lab.path().to_owned() };
        let mut platform = Self { nats, postgres, cluster, services: Vec::new(), cli };
        for service in ["cluster", "deploy"] {
            platform.service(lab, service, service)?;
        }
        let kubeconfig = platform.cluster.kubeconfig.display().to_string();
        let import = ["import", "cluster", "sim-a", "--kubeconfig", &kubeconfig];
        // The services may still wait for the servers of their bus to find each other.
        wait_until(LONG, "the cluster is taken in", async || {
            platform.cli.run(&import).await.and_then(|ran| ran.expect(0)).into()
        })
        .await?;
        let document = app("busy", &["sim-a"], 1, "v1", Value::Null).to_string();
        wait_until(LONG, "deploy has heard of the cluster", async || {
            let applied = platform.cli.run_with(&["apply", "-f", "-"], Some(document.as_bytes())).await;
            applied.and_then(|ran| ran.expect(0)).into()
        })
        .await?;
        platform.settled(1).await?;
        Ok(platform)
    }

    /// Ends the services, and starts them on another bus with another database.
    pub(crate) async fn move_to(&mut self, lab: &Lab, nats: NatsCluster, postgres: Postgres) -> Result<()> {
        self.stop().await?;
        self.cli = Cli { nats: nats.url(), home: lab.path().to_owned() };
        (self.nats, self.postgres) = (nats, postgres);
        for (service, called) in [("cluster", "cluster-moved"), ("deploy", "deploy-moved")] {
            self.service(lab, service, called)?;
        }
        Ok(())
    }

    /// Ends the services.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        for process in self.services.drain(..) {
            process.stop(LONG).await?;
        }
        Ok(())
    }

    /// Starts one more process of a service; `called` names its log.
    pub(crate) fn service(&mut self, lab: &Lab, service: &str, called: &str) -> Result<()> {
        self.service_over(lab, service, called, &self.nats.url())
    }

    /// The same; it reaches the bus at this address.
    pub(crate) fn service_over(&mut self, lab: &Lab, service: &str, called: &str, bus: &str) -> Result<()> {
        let mut command = Command::new(built(&format!("bcs-{service}"))?);
        command
            .env("BCS__BUS__URL", bus)
            .env("BCS__BUS__REPLICAS", self.nats.replicas().to_string())
            .env("BCS__JOURNAL_URL", self.postgres.url_of(service));
        self.services.push(Process::start(lab, called, command)?);
        Ok(())
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(Client::connect(&self.nats.config(), "test").await?)
    }

    /// Waits until a process has said so in its log.
    pub(crate) async fn says(&self, place: usize, words: &str) -> Result<()> {
        wait_until(LONG, words, async || {
            let said = self.services[place].output();
            if said.contains(words) { Ready(()) } else { NotYet(said) }
        })
        .await
    }

    /// Waits until an instance leads.
    pub(crate) async fn leads(&self, place: usize) -> Result<()> {
        self.says(place, "this instance decides").await
    }

    /// Waits until every command is decided and carried out; checks the books on the bus against the journal.
    pub(crate) async fn balanced(&self, client: &Client, sent: &[CommandId]) -> Result<()> {
        let events = ledger::balanced(client, sent).await?;
        ledger::is_the_journal(self.postgres.url(), "bcs_deploy.events", &events).await?;
        self.settled(ledger::sum(&events, "busy")?.replicas).await
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

/// One for each service, to whom its journal belongs and nothing else.
pub(crate) async fn make_users(postgres: &Postgres) -> Result<()> {
    for user in ["cluster", "deploy"] {
        let sql = format!("CREATE ROLE {user} LOGIN; GRANT CREATE ON DATABASE postgres TO {user}");
        postgres.sql(&sql).await?;
    }
    Ok(())
}

/// Waits until commands are on their way.
pub(crate) async fn under_way(client: &Client) -> Result<()> {
    let begun = wait_until(LONG, "the service answers", async || revision(client).await.into()).await?;
    wait_until(LONG, "commands are on their way", async || match revision(client).await {
        Ok(now) if now > begun + 10 => Ready(()),
        other => NotYet(format!("{other:?}, begun at {begun}")),
    })
    .await
}

async fn revision(client: &Client) -> Result<u64> {
    Ok(client.service_status(Service::Deploy).await?.data.revision)
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
