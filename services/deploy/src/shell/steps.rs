//! Steps on their way to the agents.

use std::time::Duration;

use bcs_kit::{Bus, Clock, telemetry};
use bcs_schemas::{
    step::{Instance, Step, StepRequest, StepResult, WorkloadKey},
    subject,
};
use jiff::SignedDuration;

use crate::domain::{
    app::{App, AppKey},
    plan::{Action, PlannedStep, Victim},
};

/// An agent answers within this time, or another step is planned. Longer than an agent may take, so that no step is
/// under way twice.
const PATIENCE: Duration = Duration::from_secs(35);

/// The agents, behind the bus.
pub(crate) struct Agents {
    pub(crate) bus: Bus,
    pub(crate) clock: Clock,
}

impl Agents {
    /// Asks the agent of the step's cluster; the error says what it said.
    pub(crate) async fn execute(&self, key: &AppKey, app: &App, step: &PlannedStep) -> Result<(), String> {
        let PlannedStep { cluster, .. } = step;
        let patience = SignedDuration::try_from(PATIENCE).unwrap_or_default();
        let request = StepRequest {
            generation: app.generation,
            traceparent: telemetry::current_traceparent(),
            not_after: self.clock.now().saturating_add(patience).ok(),
            step: wire(key, app, step),
        };
        let subject = subject::agent_steps(self.bus.site(), cluster);
        let result: StepResult = self
            .bus
            .insist(subject, &request, PATIENCE)
            .await
            .map_err(|e| format!("agent of cluster {cluster}: {}", telemetry::chain(&e)))?;
        tracing::debug!(app = %key, %cluster, ?step, ?result, "step");
        match result {
            StepResult::Done => Ok(()),
            // Usually a newer intent of ours is on its way to this reconciler as well; if not, it must be seen.
            StepResult::Stale { stamped } => {
                Err(format!("cluster {cluster} holds generation {stamped}, newer than {}", app.generation))
            }
            StepResult::Failed { reason } => Err(format!("cluster {cluster}: {reason}")),
            StepResult::Refused { reason } => Err(format!("cluster {cluster} refuses: {reason}")),
        }
    }
}

fn wire(key: &AppKey, app: &App, step: &PlannedStep) -> Step {
    let workload =
        WorkloadKey { project: key.project.clone(), app: key.name.clone(), revision: step.revision.clone() };
    let instance = |victim: &Victim| Instance { name: victim.name.clone(), uid: victim.uid.clone() };
    match &step.action {
        Action::ScaleUp(replicas) => Step::ScaleUp {
            workload,
            template: app.template.clone(),
            labels: app.labels.clone(),
            register: app.spec.register.clone(),
            replicas: *replicas,
        },
        Action::Register => Step::Register { workload, register: app.spec.register.clone() },
        Action::Drain(victim) => Step::Drain { workload, instance: instance(victim) },
        Action::ScaleDown { keep, from, victims } => Step::ScaleDown {
            workload,
            replicas: *keep,
            from: Some(*from),
            victims: victims.iter().map(instance).collect(),
        },
        Action::Remove => Step::Remove { workload },
    }
}
