//! The agent of one cluster: carries out steps, publishes what it observes, and says every few seconds that it lives.
//! It runs inside the service, or alone inside the cluster, and dials out to the bus either way.

mod connection;
mod heartbeat;
mod observer;
mod outbox;
mod steps;

use std::sync::Arc;

use bcs_engines::Engine;
use bcs_kit::{Bus, Clock, Tasks, bus};
use bcs_schemas::{Name, observation::Capacity, resource::ClusterSpec};
use tokio::sync::{Notify, mpsc, watch};

use crate::config::AgentConfig;

/// An agent that is not started yet.
#[derive(Clone)]
pub struct Agent {
    /// Its cluster.
    pub cluster: Name,
    /// How the cluster is reached.
    pub spec: ClusterSpec,
    /// Settings.
    pub config: AgentConfig,
    /// Where it talks.
    pub bus: Bus,
    /// Wall time.
    pub clock: Clock,
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
    /// Starts it; it ends with `tasks`. A cluster that cannot be reached is tried for ever; meanwhile the heartbeat
    /// says why.
    pub async fn start(self, tasks: &Tasks) -> Result<(), bus::Error> {
        let (slot, engine) = watch::channel(Slot::Err("the agent is starting".to_owned()));
        let (summary_sender, summary) = watch::channel(Summary::default());
        let (marks_sender, marks) = mpsc::channel(256);
        let doubt = Arc::new(Notify::new());
        let observer = observer::Observer::open(&self, marks, summary_sender, doubt.clone());
        let observer = Box::pin(observer).await?;
        heartbeat::start(
            &self,
            tasks,
            heartbeat::Senses { engine: engine.clone(), summary, doubt: doubt.clone() },
        )
        .await?;
        steps::serve(&self, tasks, engine.clone(), marks_sender).await?;
        let stopping = tasks.stopping();
        let open = stopping.clone();
        let agent = self.clone();
        tasks.spawn("agent-engine", async move {
            tokio::select! {
                () = open.cancelled() => (),
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
