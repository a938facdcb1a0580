//! Steps on their way to the agents.

use std::time::Duration;

use bcs_kit::{Bus, Clock, bus, telemetry};
use bcs_schemas::{
    step::{Instance, Mark, MarkRequest, Step, StepRequest, StepResult, WorkloadKey},
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
        let (generation, traceparent) = (app.generation, telemetry::current_traceparent());
        let not_after = self.clock.now().saturating_add(patience).ok();
        let site = self.bus.site();
        let asked: Result<StepResult, bus::Error> = match wire(key, app, step) {
            Wire::Step(step) => {
                let request = StepRequest { generation, traceparent, not_after, step };
                self.bus.insist(subject::agent_steps(site, cluster), &request, PATIENCE).await
            }
            Wire::Mark(workload, mark) => {
                let request = MarkRequest { generation, traceparent, not_after, workload, mark };
                self.bus.insist(subject::agent_marks(site, cluster), &request, PATIENCE).await
            }
        };
        let result = asked.map_err(|e| format!("agent of cluster {cluster}: {}", telemetry::chain(&e)))?;
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

/// What an agent is sent.
enum Wire {
    Step(Step),
    Mark(WorkloadKey, Mark),
}

fn wire(key: &AppKey, app: &App, step: &PlannedStep) -> Wire {
    let workload =
        WorkloadKey { project: key.project.clone(), app: key.name.clone(), revision: step.revision.clone() };
    let instance = |victim: &Victim| Instance { name: victim.name.clone(), uid: victim.uid.clone() };
    Wire::Step(match &step.action {
        Action::ScaleUp(replicas) => Step::ScaleUp {
            workload,
            template: app.template.clone(),
            labels: app.labels.clone(),
            register: app.spec.register.clone(),
            replicas: *replicas,
        },
        Action::Register => {
            return Wire::Mark(workload, Mark::Register { register: app.spec.register.clone() });
        }
        Action::Registered(instances) => {
            let instances = instances.iter().map(instance).collect();
            return Wire::Mark(workload, Mark::Registered { instances });
        }
        Action::Drain(victim) => Step::Drain { workload, instance: instance(victim) },
        Action::ScaleDown { keep, from, victims } => Step::ScaleDown {
            workload,
            replicas: *keep,
            from: Some(*from),
            victims: victims.iter().map(instance).collect(),
        },
        Action::Remove => Step::Remove { workload },
    })
}
