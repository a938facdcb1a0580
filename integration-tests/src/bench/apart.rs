//! `deploy` as a process of its own, for scenarios that stop and kill it. One cluster belongs to the platform, but nobody
//! carries anything out there: what is measured is what the service does with its journal and the bus.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bcs_client::Client;
use bcs_kit::bus::BusConfig;
use bcs_schemas::{Name, Service, deploy::ApplyApp, outcome::Outcome, subject::Target};
use tokio::process::Command;

use super::clusters::{self, Clusters};
use crate::harness::{Lab, NatsServer, Process, Wire, built, wait_until};

/// Anything takes less, or the run is void.
pub(super) const LONGEST: Duration = Duration::from_secs(60);

/// A bus, and what it takes to start `deploy` on it.
pub(super) struct Apart {
    pub(super) nats: NatsServer,
    pub(super) client: Client,
    journal: String,
    _clusters: Clusters,
}

impl Apart {
    /// Returns with `deploy` running. `journal` is the URL of its database, `name` tells several runs apart.
    pub(super) async fn start(lab: &Lab, name: &str, journal: String) -> Result<(Self, Process)> {
        let nats = NatsServer::start(lab, &format!("nats-{name}")).await?;
        let config = BusConfig { url: nats.url(), ..BusConfig::default() };
        let beside = format!("sqlite:{}", lab.path().join(format!("cluster-{name}.db")).display());
        let agent = service(lab, Service::Cluster, name, &nats.url(), &beside)?;
        let client = wait_until(LONGEST, "the streams are there", async || {
            Client::connect(&config, "bench").await.into()
        })
        .await?;
        let clusters = Clusters::start(lab, 1).await?;
        clusters.import(&client, 0).await?;
        let apart = Self { nats, client, journal, _clusters: clusters };
        let deploy = apart.deploy(lab, name)?;
        wait_until(LONGEST, "deploy has heard of the cluster", async || apart.apply("first").await.into())
            .await?;
        agent.stop(LONGEST).await?;
        Ok((apart, deploy))
    }

    /// One more process of the service; `called` names its log.
    pub(super) fn deploy(&self, lab: &Lab, called: &str) -> Result<Process> {
        service(lab, Service::Deploy, called, &self.nats.url(), &self.journal)
    }

    /// The same, on a way to the bus of its own.
    pub(super) fn deploy_over(&self, lab: &Lab, called: &str, wire: &Wire) -> Result<Process> {
        service(lab, Service::Deploy, called, &format!("nats://{}", wire.address()), &self.journal)
    }

    /// Asks for an application and waits for the decision.
    pub(super) async fn apply(&self, name: &str) -> Result<()> {
        let message = ApplyApp { labels: Default::default(), spec: clusters::app(0)? };
        match self.client.command(target(name)?, message).send(LONGEST).await? {
            Outcome::Accepted(_) => Ok(()),
            Outcome::Rejected(rejected) => bail!("{name} was rejected: {}", rejected.message),
        }
    }
}

/// The application of that name.
pub(super) fn target(name: &str) -> Result<Target> {
    Ok(bcs_kit::machine::target(&Name::new("bench")?, "app", &Name::new(name)?))
}

/// A service as a process of its own.
pub(super) fn service(
    lab: &Lab,
    service: Service,
    called: &str,
    nats: &str,
    journal: &str,
) -> Result<Process> {
    let mut command = Command::new(built(&format!("bcs-{service}"))?);
    command.env("BCS__BUS__URL", nats).env("BCS__JOURNAL_URL", journal);
    Process::start(lab, &format!("{service}-{called}"), command).context("a service cannot be started")
}
