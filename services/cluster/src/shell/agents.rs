//! One agent for each direct cluster, started and stopped as clusters come and go.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bcs_kit::{Tasks, machine::Machine, run::Deps, telemetry::chain};
use bcs_schemas::{
    Name,
    bucket::CLUSTERS,
    resource::{ClusterSpec, cluster::AgentPlace},
};

use super::{
    agent::{Agent, Metrics},
    decided,
};
use crate::{
    config::{AgentConfig, Injection},
    domain::State,
};

/// How often the agents are compared with the state, beside every decision.
const LOOK: Duration = Duration::from_secs(5);
/// How long an agent may take to finish what it does, and to give its lease away.
const WIND_DOWN: Duration = Duration::from_secs(8);

struct Running {
    spec: ClusterSpec,
    tasks: Tasks,
}

struct Agents {
    config: AgentConfig,
    injections: BTreeMap<Name, Arc<Injection>>,
    machine: Machine<State>,
    deps: Deps,
    metrics: Metrics,
    running: BTreeMap<Name, Running>,
}

/// Follows the state until the group stops.
pub(crate) fn start(
    config: AgentConfig,
    injections: BTreeMap<Name, Arc<Injection>>,
    machine: Machine<State>,
    deps: &Deps,
) {
    let metrics = Metrics::register(&deps.health);
    let running = BTreeMap::new();
    let agents = Agents { config, injections, machine, deps: deps.clone(), metrics, running };
    deps.tasks.spawn("agents", agents.follow());
}

impl Agents {
    async fn follow(mut self) {
        let stopping = self.deps.tasks.stopping();
        let mut touched = self.machine.touched();
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                more = decided(&mut touched) => if !more { break },
                _ = looks.tick() => (),
            }
            let wanted = wanted(&self.machine.live().state);
            self.match_up(wanted).await;
        }
        for (_, running) in self.running {
            running.tasks.stop(WIND_DOWN).await;
        }
    }

    async fn match_up(&mut self, wanted: BTreeMap<Name, ClusterSpec>) {
        // A task that panicked has stopped its whole agent.
        let good = |name: &Name, running: &Running| {
            wanted.get(name) == Some(&running.spec) && !running.tasks.stopping().is_cancelled()
        };
        let surplus: Vec<Name> = self
            .running
            .iter()
            .filter(|(name, running)| !good(name, running))
            .map(|(name, _)| name.clone())
            .collect();
        for name in surplus {
            self.stop(&name).await;
        }
        for (name, spec) in wanted {
            if self.running.contains_key(&name) {
                continue;
            }
            let tasks = self.deps.tasks.child();
            let agent = Agent {
                cluster: name.clone(),
                spec: spec.clone(),
                config: self.config,
                injection: self.injections.get(&name).cloned(),
                bus: self.deps.bus.clone(),
                clock: self.deps.clock.clone(),
                report: self.metrics.of(&name),
            };
            agent.start(&tasks);
            self.running.insert(name, Running { spec, tasks });
        }
    }

    /// What runs in a removed cluster goes on running, so what was observed there is left to grow old. Only its
    /// heartbeat is taken away: nobody will send one.
    async fn stop(&mut self, name: &Name) {
        let Some(running) = self.running.remove(name) else { return };
        running.tasks.stop(WIND_DOWN).await;
        if self.machine.live().state.members.contains_key(name) {
            return;
        }
        let removed = async { self.deps.bus.bucket(CLUSTERS).await?.delete(name.as_str()).await };
        if let Err(error) = removed.await {
            tracing::warn!(cluster = %name, error = chain(&error), "heartbeat was not removed");
        }
    }
}

fn wanted(state: &State) -> BTreeMap<Name, ClusterSpec> {
    let direct = state.members.iter().filter(|(_, member)| member.spec.agent == AgentPlace::Direct);
    direct.map(|(name, member)| (name.clone(), member.spec.clone())).collect()
}
