//! Probes the engine every few seconds and says what came of it.

use std::sync::Arc;

use bcs_engines::Description;
use bcs_kit::{Tasks, bus, lease::Lease, telemetry::chain};
use bcs_schemas::{FieldError, bucket::CLUSTERS, observation::ClusterHealth, query::Query, subject};
use tokio::{
    sync::{Notify, watch},
    time::MissedTickBehavior,
};

use super::{Agent, Slot, Summary};

/// What a heartbeat is made from.
#[derive(Clone)]
pub(super) struct Senses {
    pub(super) engine: watch::Receiver<Slot>,
    pub(super) summary: watch::Receiver<Summary>,
    /// Told when the engine does not answer.
    pub(super) doubt: Arc<Notify>,
}

#[derive(Clone)]
struct Probe {
    agent: Agent,
    senses: Senses,
}

/// Beats until the group stops; also answers those who want to know at once.
pub(super) async fn start(
    agent: &Agent,
    tasks: &Tasks,
    lease: &Lease,
    senses: Senses,
) -> Result<(), bus::Error> {
    let probe = Probe { agent: agent.clone(), senses };
    let bucket = agent.bus.bucket(CLUSTERS).await?;
    let at_once = probe.clone();
    let subject = subject::agent_probe(agent.bus.site(), &agent.cluster);
    let answer = move |_: Result<Query, FieldError>| {
        let probe = at_once.clone();
        async move { probe.take().await }
    };
    agent.bus.serve(tasks, "agent-probe", subject, answer).await?;
    let (stopping, lease) = (tasks.stopping(), lease.clone());
    tasks.spawn("agent-heartbeat", async move {
        // A pause of zero would panic the timer.
        let pause = probe.agent.config.heartbeat.std().max(std::time::Duration::from_millis(10));
        let mut beat = tokio::time::interval(pause);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                _ = beat.tick() => (),
            }
            let health = tokio::select! {
                () = stopping.cancelled() => break,
                health = probe.take() => health,
            };
            if !lease.holds() {
                continue;
            }
            if let Err(error) = bucket.put(&health).await {
                tracing::warn!(cluster = %health.cluster, error = chain(&error), "heartbeat was not written");
            }
        }
    });
    Ok(())
}

impl Probe {
    async fn take(&self) -> ClusterHealth {
        let outcome = self.ask().await;
        let Summary { synced, nodes, nodes_ready, capacity, obstacle } = self.senses.summary.borrow().clone();
        let reachable = outcome.is_ok();
        let (version, reason) = match outcome {
            Ok(description) => (Some(description.version), obstacle),
            Err(reason) => (None, Some(reason)),
        };
        ClusterHealth {
            cluster: self.agent.cluster.clone(),
            reachable,
            reason,
            synced,
            version,
            nodes,
            nodes_ready,
            capacity,
            observed_at: self.agent.clock.now(),
        }
    }

    async fn ask(&self) -> Result<Description, String> {
        let engine = self.senses.engine.borrow().clone()?;
        let within = self.agent.config.probe_timeout;
        let answer = match tokio::time::timeout(within.std(), engine.probe()).await {
            Ok(probed) => probed.map_err(|e| e.to_string()),
            Err(_) => Err(format!("no answer within {within}")),
        };
        if answer.is_err() {
            self.senses.doubt.notify_one();
        }
        answer
    }
}
