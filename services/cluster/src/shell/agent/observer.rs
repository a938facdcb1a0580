//! From the engine's news to the buckets.

use std::{sync::Arc, time::Duration};

use bcs_engines::{Kind, News, Observed};
use bcs_kit::{Bus, Clock, bus, lease::Lease};
use bcs_schemas::{
    Name,
    bucket::{ENDPOINTS, NODES, WORKLOADS, of_cluster},
    observation::{Endpoint, Node, Workload},
};
use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{Agent, Report, Slot, Summary, metrics::Standing, outbox::Outbox};
use crate::domain::{
    eyesight::Eyesight,
    mirror::{drained, placed, sum},
    zones::Zones,
};

/// News taken up before they are written.
const BATCH: usize = 512;
/// What could not be written is tried again after this long.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the summary is made though nothing happens: that a failure is long over is told by nobody.
const LOOK: Duration = Duration::from_secs(5);
/// How often the buckets are compared with what was written, beside every time that the bus comes back or somebody else
/// wrote there.
const AUDIT: Duration = Duration::from_secs(300);

/// An instance that was drained just now.
pub(super) struct Mark {
    pub(super) key: String,
    pub(super) uid: String,
    /// Told whether the bucket says so.
    pub(super) written: oneshot::Sender<bool>,
}

/// Whom it tells, and whether it may.
pub(super) struct Sink {
    pub(super) lease: Lease,
    pub(super) summary: watch::Sender<Summary>,
    /// Told when a watch fails.
    pub(super) doubt: Arc<Notify>,
}

pub(super) struct Observer {
    cluster: Name,
    report: Report,
    bus: Bus,
    clock: Clock,
    endpoints: Outbox<Endpoint>,
    workloads: Outbox<Workload>,
    nodes: Outbox<Node>,
    zones: Zones,
    marks: mpsc::Receiver<Mark>,
    sink: Sink,
    eyesight: Eyesight,
    /// The buckets are to be compared with what was written.
    doubted: bool,
    /// Everything was written, and nothing since made it doubtful.
    settled: bool,
}

impl Observer {
    /// Reads what stands in the buckets.
    pub(super) async fn open(
        agent: &Agent,
        marks: mpsc::Receiver<Mark>,
        sink: Sink,
    ) -> Result<Self, bus::Error> {
        let (bus, ours) = (&agent.bus, of_cluster(&agent.cluster));
        let nodes = Outbox::open(bus.bucket(NODES).await?, &ours, &agent.report).await?;
        Ok(Self {
            cluster: agent.cluster.clone(),
            report: agent.report.clone(),
            bus: bus.clone(),
            clock: agent.clock.clone(),
            endpoints: Outbox::open(bus.bucket(ENDPOINTS).await?, &ours, &agent.report).await?,
            workloads: Outbox::open(bus.bucket(WORKLOADS).await?, &ours, &agent.report).await?,
            zones: Zones::of(nodes.mirror.values()),
            nodes,
            marks,
            sink,
            eyesight: Eyesight::default(),
            // It may take long until there is an engine.
            doubted: true,
            settled: false,
        })
    }

    /// Observes for ever, through whatever engine there is.
    pub(super) async fn observe(mut self, mut engine: watch::Receiver<Slot>) {
        let mut news = self.look_through(&mut engine);
        let mut clean = true;
        let mut told = Vec::new();
        let mut audits = tokio::time::interval(AUDIT);
        let bus = self.bus.clone();
        let mut reconnected = bus.reconnected().boxed();
        loop {
            let pause = if clean && !self.doubted { LOOK } else { AGAIN };
            tokio::select! {
                Ok(()) = engine.changed() => news = self.look_through(&mut engine),
                Some(one) = news.next() => self.take(one),
                Some(mark) = self.marks.recv() => told.push(self.mark(mark)),
                () = &mut reconnected => {
                    reconnected = bus.reconnected().boxed();
                    // Polled once, it counts from now on, and misses none while the buckets are read.
                    let _ = (&mut reconnected).now_or_never();
                    (self.doubted, self.settled) = (true, false);
                    self.sum_up();
                }
                // An agent that was replaced and does not know it, or one that replaced us: then our lease is lost too.
                () = self.endpoints.contradicted() => self.doubted = true,
                () = self.workloads.contradicted() => self.doubted = true,
                () = self.nodes.contradicted() => self.doubted = true,
                _ = audits.tick() => self.doubted = true,
                () = tokio::time::sleep(pause) => (),
            }
            self.take_what_is_there(&mut news);
            clean = self.flush(&mut told).await;
            if self.doubted {
                self.audit().await;
                clean = self.flush(&mut told).await;
            }
            self.settled |= clean && !self.doubted && self.complete();
            self.sum_up();
        }
    }

    /// The news of the present engine. What was known stays known until this one has listed everything.
    fn look_through(&self, engine: &mut watch::Receiver<Slot>) -> BoxStream<'static, News> {
        match &*engine.borrow_and_update() {
            Ok(engine) => engine.watch(self.cluster.clone()),
            Err(_) => stream::pending().boxed(),
        }
    }

    /// Compares the buckets with what was written.
    async fn audit(&mut self) {
        let found = [self.endpoints.audit().await, self.workloads.audit().await, self.nodes.audit().await];
        self.report.mended(found.iter().flatten().sum());
        self.doubted = found.contains(&None);
        self.settled &= found.iter().all(|differing| *differing == Some(0));
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
        match &news {
            News::Seen(it) => self.eyesight.works(it.kind()),
            News::Gone(kind, _) => self.eyesight.works(*kind),
            News::ListEnded(kind) => {
                self.report.listed(*kind);
                self.eyesight.works(*kind);
            }
            // That a list began says only that it was asked for.
            News::ListBegan(_) | News::Failed(..) => {}
        }
        match news {
            News::ListBegan(Kind::Endpoints) => self.endpoints.mirror.list_began(),
            News::ListBegan(Kind::Workloads) => self.workloads.mirror.list_began(),
            News::ListBegan(Kind::Nodes) => self.nodes.mirror.list_began(),
            News::Seen(Observed::Endpoint(it)) => self.endpoints.seen(self.zones.place(it)),
            News::Seen(Observed::Workload(it)) => self.workloads.seen(it),
            News::Seen(Observed::Node(it)) => {
                if self.zones.learn(&it) {
                    let moved = placed(&mut self.endpoints.mirror, &self.zones, &it.name);
                    moved.into_iter().for_each(|endpoint| self.endpoints.put(Some(endpoint)));
                }
                self.nodes.seen(it);
            }
            News::Gone(Kind::Endpoints, key) => self.endpoints.gone(key),
            News::Gone(Kind::Workloads, key) => self.workloads.gone(key),
            News::Gone(Kind::Nodes, key) => {
                self.nodes.gone(key);
                self.zones = Zones::of(self.nodes.mirror.values());
            }
            News::ListEnded(Kind::Endpoints) => self.endpoints.list_ended(),
            News::ListEnded(Kind::Workloads) => self.workloads.list_ended(),
            News::ListEnded(Kind::Nodes) => {
                self.nodes.list_ended();
                self.zones = Zones::of(self.nodes.mirror.values());
            }
            News::Failed(kind, reason) => {
                self.eyesight.failed(kind, reason.clone(), self.clock.now());
                self.sink.doubt.notify_one();
                tracing::warn!(cluster = %self.cluster, ?kind, reason, "watch failed, trying again");
            }
        }
    }

    /// The key, and whom to tell.
    fn mark(&mut self, mark: Mark) -> (String, oneshot::Sender<bool>) {
        let changed = drained(&mut self.endpoints.mirror, &mark.key, &mark.uid, self.clock.now());
        self.endpoints.put(changed);
        (mark.key, mark.written)
    }

    /// Endpoints first: traffic hangs on them. Who waits for one is told as soon as that one is written, whatever becomes
    /// of the rest.
    async fn flush(&mut self, told: &mut Vec<(String, oneshot::Sender<bool>)>) -> bool {
        // What may not be written now stays due, and what somebody waits for counts as not written.
        if !self.sink.lease.holds() {
            told.clear();
            return false;
        }
        let endpoints = self.endpoints.flush().await;
        for (key, written) in told.drain(..) {
            // Whoever asked may have given up.
            let _ = written.send(!self.endpoints.is_due(&key));
        }
        let workloads = self.workloads.flush().await;
        self.nodes.flush().await && workloads && endpoints
    }

    fn complete(&self) -> bool {
        self.endpoints.mirror.complete() && self.workloads.mirror.complete() && self.nodes.mirror.complete()
    }

    fn sum_up(&self) {
        let (nodes, nodes_ready, capacity) = sum(self.nodes.mirror.values());
        let blind = self.eyesight.blind(self.clock.now());
        let synced = self.settled && blind.is_none();
        let obstacle = blind.or_else(|| self.eyesight.obstacle()).filter(|_| !synced);
        let unseen =
            || obstacle.clone().unwrap_or_else(|| "not everything was seen and written yet".to_owned());
        self.report.stands(Standing::Leading(if synced { Ok(()) } else { Err(unseen()) }));
        self.sink.summary.send_replace(Summary { synced, nodes, nodes_ready, capacity, obstacle });
    }
}
