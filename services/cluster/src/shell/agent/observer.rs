//! From the engine's news to the buckets.

use std::{collections::BTreeMap, time::Duration};

use bcs_engines::{Kind, News, Observed};
use bcs_kit::{Clock, bus};
use bcs_schemas::{
    Name,
    bucket::{ENDPOINTS, NODES, WORKLOADS, of_cluster},
    observation::{Endpoint, Node, Workload},
};
use futures::{FutureExt, StreamExt, stream::BoxStream};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Agent, Slot, Summary, outbox::Outbox};
use crate::domain::mirror::{drained, sum};

/// News taken up before they are written.
const BATCH: usize = 512;
/// What could not be written is tried again after this long.
const AGAIN: Duration = Duration::from_secs(1);

/// An instance that was drained just now.
pub(super) struct Mark {
    pub(super) key: String,
    pub(super) uid: String,
    /// Told whether the bucket says so.
    pub(super) written: oneshot::Sender<bool>,
}

pub(super) struct Observer {
    cluster: Name,
    clock: Clock,
    endpoints: Outbox<Endpoint>,
    workloads: Outbox<Workload>,
    nodes: Outbox<Node>,
    marks: mpsc::Receiver<Mark>,
    summary: watch::Sender<Summary>,
    /// Why a kind was not listed yet.
    obstacles: BTreeMap<Kind, String>,
}

impl Observer {
    /// Reads what stands in the buckets.
    pub(super) async fn open(
        agent: &Agent,
        marks: mpsc::Receiver<Mark>,
        summary: watch::Sender<Summary>,
    ) -> Result<Self, bus::Error> {
        let (bus, ours) = (&agent.bus, of_cluster(&agent.cluster));
        Ok(Self {
            cluster: agent.cluster.clone(),
            clock: agent.clock.clone(),
            endpoints: Outbox::open(bus.bucket(ENDPOINTS).await?, &ours).await?,
            workloads: Outbox::open(bus.bucket(WORKLOADS).await?, &ours).await?,
            nodes: Outbox::open(bus.bucket(NODES).await?, &ours).await?,
            marks,
            summary,
            obstacles: BTreeMap::new(),
        })
    }

    /// Observes for ever, once there is an engine.
    pub(super) async fn observe(mut self, mut engine: watch::Receiver<Slot>) {
        let mut news = match engine.wait_for(Result::is_ok).await.as_deref() {
            Ok(Ok(engine)) => engine.watch(self.cluster.clone()),
            // The sender is gone: the agent stops.
            _ => return,
        };
        let mut clean = true;
        let mut told = Vec::new();
        loop {
            tokio::select! {
                Some(one) = news.next() => self.take(one),
                Some(mark) = self.marks.recv() => told.push(self.mark(mark)),
                () = tokio::time::sleep(AGAIN), if !clean => (),
            }
            self.take_what_is_there(&mut news);
            clean = self.flush().await;
            for written in told.drain(..) {
                let written: oneshot::Sender<bool> = written;
                // Whoever asked may have given up.
                let _ = written.send(clean);
            }
            self.sum_up();
        }
    }

    fn take_what_is_there(&mut self, news: &mut BoxStream<'static, News>) {
        for _ in 0..BATCH {
            match news.next().now_or_never() {
                Some(Some(one)) => self.take(one),
                _ => break,
            }
        }
    }

    fn take(&mut self, news: News) {
        if let News::ListEnded(kind) = &news {
            self.obstacles.remove(kind);
        }
        match news {
            News::ListBegan(Kind::Endpoints) => self.endpoints.mirror.list_began(),
            News::ListBegan(Kind::Workloads) => self.workloads.mirror.list_began(),
            News::ListBegan(Kind::Nodes) => self.nodes.mirror.list_began(),
            News::Seen(Observed::Endpoint(it)) => self.endpoints.seen(it),
            News::Seen(Observed::Workload(it)) => self.workloads.seen(it),
            News::Seen(Observed::Node(it)) => self.nodes.seen(it),
            News::Gone(Kind::Endpoints, key) => self.endpoints.gone(key),
            News::Gone(Kind::Workloads, key) => self.workloads.gone(key),
            News::Gone(Kind::Nodes, key) => self.nodes.gone(key),
            News::ListEnded(Kind::Endpoints) => self.endpoints.list_ended(),
            News::ListEnded(Kind::Workloads) => self.workloads.list_ended(),
            News::ListEnded(Kind::Nodes) => self.nodes.list_ended(),
            News::Failed(kind, reason) => {
                self.obstacles.insert(kind, reason.clone());
                tracing::warn!(cluster = %self.cluster, ?kind, reason, "watch failed, trying again");
            }
        }
    }

    fn mark(&mut self, mark: Mark) -> oneshot::Sender<bool> {
        let changed = drained(&mut self.endpoints.mirror, &mark.key, &mark.uid, self.clock.now());
        self.endpoints.put(changed);
        mark.written
    }

    /// Endpoints first: traffic hangs on them.
    async fn flush(&mut self) -> bool {
        let endpoints = self.endpoints.flush().await;
        let workloads = self.workloads.flush().await;
        self.nodes.flush().await && workloads && endpoints
    }

    fn sum_up(&self) {
        let (nodes, nodes_ready, capacity) = sum(self.nodes.mirror.values());
        let synced = self.endpoints.mirror.complete()
            && self.workloads.mirror.complete()
            && self.nodes.mirror.complete();
        let obstacle =
            self.obstacles.iter().next().map(|(kind, why)| format!("{kind:?} cannot be listed: {why}"));
        let obstacle = obstacle.filter(|_| !synced);
        self.summary.send_replace(Summary { synced, nodes, nodes_ready, capacity, obstacle });
    }
}
