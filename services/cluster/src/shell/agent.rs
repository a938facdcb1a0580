//! The agent of one cluster: carries out steps, publishes what it observes, and says every few seconds that it lives.
//! It runs inside the service, or alone inside the cluster, and dials out to the bus either way. Of several agents of one
//! cluster only the one with the lease does anything.

mod connection;
mod heartbeat;
mod metrics;
mod observer;
mod outbox;
mod steps;

use std::sync::Arc;

use bcs_engines::Engine;
use bcs_kit::{
    Bus, Clock, Tasks, bus,
    lease::{Candidate, Lease},
};
use bcs_schemas::{Name, bucket::agent_lease, observation::Capacity, resource::ClusterSpec};
use tokio::sync::{Notify, mpsc, watch};

use super::injector::Injector;
use crate::config::{AgentConfig, Injection};
use metrics::Standing;
pub use metrics::{Metrics, Report};

/// An agent that is not started yet.
#[derive(Clone)]
pub struct Agent {
    /// Its cluster.
    pub cluster: Name,
    /// How the cluster is reached.
    pub spec: ClusterSpec,
    /// Settings.
    pub config: AgentConfig,
    /// How sidecars are put into pods, if they are.
    pub injection: Option<Arc<Injection>>,
    /// Where it talks.
    pub bus: Bus,
    /// Wall time.
    pub clock: Clock,
    /// What it tells about itself.
    pub report: Report,
}

/// The engine, once it is open; before that, why it is not.
type Slot = Result<Arc<dyn Engine>, String>;

/// What the heartbeat tells beside the probe.
#[derive(Clone, Debug, Default)]
struct Summary {
    synced: bool,
    nodes: u32,
    nodes_ready: u32,
    capacity: Capacity,
    /// Why not everything was seen yet.
    obstacle: Option<String>,
}

impl Agent {
    /// Starts it as soon as no other agent has its cluster; it ends with `tasks`. A cluster that cannot be reached is
    /// tried for ever; meanwhile the heartbeat says why. Its webhook does not wait for its turn: API servers ask every agent.
    pub fn start(self, tasks: &Tasks) {
        self.report.stands(Standing::Waiting);
        if let Some(settings) = self.injection.clone() {
            let Self { cluster, spec, clock, report, .. } = self.clone();
            Injector { cluster, spec, settings, clock, report }.start(tasks);
        }
        let candidate = Candidate::new(&self.bus, &self.clock, agent_lease(&self.cluster));
        let work = candidate.lead(tasks.clone(), move |lease, tasks| {
            let agent = self.clone();
            async move { Box::pin(agent.begin(lease, &tasks)).await }
        });
        tasks.spawn("agent", work);
    }

    async fn begin(self, lease: Lease, tasks: &Tasks) -> Result<(), bus::Error> {
        let (slot, engine) = watch::channel(Slot::Err("the agent is starting".to_owned()));
        let (summary_sender, summary) = watch::channel(Summary::default());
        let (marks_sender, marks) = mpsc::channel(256);
        let doubt = Arc::new(Notify::new());
        let sink = observer::Sink { lease: lease.clone(), summary: summary_sender, doubt: doubt.clone() };
        let observer = Box::pin(observer::Observer::open(&self, marks, sink)).await?;
        let senses = heartbeat::Senses { engine: engine.clone(), summary, doubt: doubt.clone() };
        heartbeat::start(&self, tasks, &lease, senses).await?;
        steps::serve(&self, tasks, steps::Means { lease, engine: engine.clone(), marks: marks_sender })
            .await?;
        let stopping = tasks.stopping();
        let open = stopping.clone();
        let agent = self.clone();
        tasks.spawn("agent-engine", async move {
            let report = agent.report.clone();
            tokio::select! {
                () = open.cancelled() => report.stands(Standing::Waiting),
                () = connection::keep(agent, slot, doubt) => (),
            }
        });
        tasks.spawn("agent-observer", async move {
            tokio::select! {
                () = stopping.cancelled() => (),
                () = observer.observe(engine) => (),
            }
        });
        tracing::info!(cluster = %self.cluster, "agent started");
        Ok(())
    }
}
