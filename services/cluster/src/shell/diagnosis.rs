//! Listens to heartbeats and journals a cluster's health when enough of them agree.

use std::collections::BTreeMap;

use bcs_kit::{
    Clock,
    machine::{Machine, target},
    run::Deps,
    telemetry::chain,
};
use bcs_schemas::{CommandId, Millis, Name, observation::ClusterHealth};

use jiff::Timestamp;

use super::Observed;
use crate::{
    Config,
    domain::{
        State,
        health::{Hysteresis, Thresholds},
        state::Internal,
    },
};

struct Diagnosis {
    thresholds: Thresholds,
    every: Millis,
    machine: Machine<State>,
    observed: Observed,
    clock: Clock,
    patients: BTreeMap<Name, Hysteresis>,
    /// When the last heartbeat of each was made.
    heard: BTreeMap<Name, Timestamp>,
}

/// Listens until the group stops.
pub(crate) fn start(config: &Config, machine: Machine<State>, observed: Observed, deps: &Deps) {
    let diagnosis = Diagnosis {
        thresholds: config.hysteresis,
        every: config.judge_every,
        machine,
        observed,
        clock: deps.clock.clone(),
        patients: BTreeMap::new(),
        heard: BTreeMap::new(),
    };
    let stopping = deps.tasks.stopping();
    deps.tasks.spawn("diagnosis", async move {
        tokio::select! {
            () = stopping.cancelled() => (),
            () = diagnosis.listen() => (),
        }
    });
}

impl Diagnosis {
    async fn listen(mut self) {
        let mut changes = self.observed.clusters.changes();
        // What was written before anybody listened says nothing about now.
        self.observed.clusters.synced().await;
        let before = self.observed.clusters.snapshot();
        self.heard = before.values().map(|h| (h.cluster.clone(), h.observed_at)).collect();
        // A pause of zero would panic the timer.
        let mut every = tokio::time::interval(self.every.std().max(std::time::Duration::from_millis(10)));
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(change) => if let Some(heartbeat) = change.value {
                        self.hear(&heartbeat);
                    },
                    None => return,
                },
                _ = every.tick() => (),
            }
            self.judge().await;
        }
    }

    /// A view that read everything again repeats what it had: the same heartbeat twice is one heartbeat.
    fn hear(&mut self, heartbeat: &ClusterHealth) {
        let last = self.heard.insert(heartbeat.cluster.clone(), heartbeat.observed_at);
        if last == Some(heartbeat.observed_at) {
            return;
        }
        self.admit();
        let complaint = (!heartbeat.reachable)
            .then(|| heartbeat.reason.clone().unwrap_or_else(|| "its engine does not answer".to_owned()));
        if let Some(patient) = self.patients.get_mut(&heartbeat.cluster) {
            patient.hear(complaint.as_deref(), self.clock.now());
        }
    }

    fn admit(&mut self) {
        let live = self.machine.live();
        self.patients.retain(|name, _| live.state.members.contains_key(name));
        for (name, member) in &live.state.members {
            self.patients
                .entry(name.clone())
                .or_insert_with(|| Hysteresis::new(self.thresholds, member.health, self.clock.now()));
        }
    }

    async fn judge(&mut self) {
        self.admit();
        let live = self.machine.live();
        for (name, patient) in &self.patients {
            let verdict = patient.judge(self.clock.now());
            let decided = live.state.members.get(name).map(|m| m.health);
            if decided.is_none_or(|health| health == verdict.health) {
                continue;
            }
            let target = target(&Name::system(), "cluster", name);
            // Derived from what it is decided upon: deciding twice is deciding once.
            let cause = format!("{target} at {}", live.revision(&target));
            let id = CommandId::derived(&cause, &format!("health {}", verdict.health));
            let wish = Internal::SetHealth { to: verdict.health, reason: verdict.reason };
            if let Err(error) = self.machine.submit(id, target, wish).await {
                tracing::warn!(cluster = %name, error = chain(&error), "health was not journaled");
            }
        }
    }
}
