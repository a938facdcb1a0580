//! Carries out the steps that others ask for.

use std::{sync::Arc, time::Duration};

use bcs_engines::Engine;
use bcs_kit::{Tasks, bus, lease::Lease};
use bcs_schemas::{
    FieldError,
    bucket::app_prefix,
    step::{MarkRequest, Step, StepRequest, StepResult},
    subject,
};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Agent, Slot, observer::Mark};

/// How long a mark may take to reach the bucket before the step counts as failed.
const PUBLISH: Duration = Duration::from_secs(5);

/// What steps are carried out with.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) lease: Lease,
    pub(super) engine: watch::Receiver<Slot>,
    pub(super) marks: mpsc::Sender<Mark>,
}

#[derive(Clone)]
struct Executor {
    agent: Agent,
    means: Means,
}

/// Serves steps until the group stops.
pub(super) async fn serve(agent: &Agent, tasks: &Tasks, means: Means) -> Result<(), bus::Error> {
    let subject = subject::agent_steps(agent.bus.site(), &agent.cluster);
    let executor = Executor { agent: agent.clone(), means };
    let marks = executor.clone();
    let handler = move |request: Result<StepRequest, FieldError>| {
        let executor = executor.clone();
        async move {
            let result = match request {
                Ok(request) => executor.execute(&request).await,
                Err(error) => StepResult::Refused { reason: format!("step is not understood: {error}") },
            };
            executor.agent.report.step(&result);
            result
        }
    };
    agent.bus.serve(tasks, "agent-step", subject, handler).await?;
    let subject = subject::agent_marks(agent.bus.site(), &agent.cluster);
    let handler = move |request: Result<MarkRequest, FieldError>| {
        let executor = marks.clone();
        async move {
            let result = match request {
                Ok(request) => executor.mark(&request).await,
                Err(error) => StepResult::Refused { reason: format!("mark is not understood: {error}") },
            };
            executor.agent.report.step(&result);
            result
        }
    };
    agent.bus.serve(tasks, "agent-mark", subject, handler).await
}

impl Executor {
    /// The engine, if something that was asked for may begin now.
    fn may_begin(&self, not_after: Option<Timestamp>) -> Result<Arc<dyn Engine>, StepResult> {
        let now = self.agent.clock.now();
        if let Some(not_after) = not_after.filter(|not_after| now > *not_after) {
            // Whoever asked has given up, and may have planned something else since.
            let reason = format!(
                "the step was to begin before {not_after}, and it is {now} here: ask again; if that repeats itself, set the clocks"
            );
            return Err(StepResult::Failed { reason });
        }
        // What lay unread while the process was paused is perhaps somebody else's business by now. A step that begins just
        // before the lease is lost is fenced by the generation and the version that every write compares.
        if !self.means.lease.holds() {
            let reason = "this agent is not sure any more that the cluster is its own: ask again".to_owned();
            return Err(StepResult::Failed { reason });
        }
        self.means.engine.borrow().clone().map_err(|reason| StepResult::Failed { reason })
    }

    async fn mark(&self, request: &MarkRequest) -> StepResult {
        let engine = match self.may_begin(request.not_after) {
            Ok(engine) => engine,
            Err(result) => return result,
        };
        let result = engine.mark(request).await;
        tracing::debug!(cluster = %self.agent.cluster, mark = ?request.mark, ?result, "mark");
        result
    }

    async fn execute(&self, request: &StepRequest) -> StepResult {
        let engine = match self.may_begin(request.not_after) {
            Ok(engine) => engine,
            Err(result) => return result,
        };
        let result = engine.execute(request).await;
        tracing::debug!(cluster = %self.agent.cluster, step = ?request.step, ?result, "step");
        if result == StepResult::Done
            && let Step::Drain { .. } = &request.step
        {
            return self.publish(&request.step).await;
        }
        result
    }

    /// The watch will say so too, but later. Nobody may count on the drain before everybody can see it.
    async fn publish(&self, step: &Step) -> StepResult {
        let Step::Drain { workload, instance } = step else { return StepResult::Done };
        let prefix = app_prefix(&self.agent.cluster, &workload.project, &workload.app);
        let (written, told) = oneshot::channel();
        let mark = Mark { key: format!("{prefix}{}", instance.name), uid: instance.uid.clone(), written };
        let published = async { self.means.marks.send(mark).await.is_ok() && told.await == Ok(true) };
        if tokio::time::timeout(PUBLISH, published).await == Ok(true) {
            return StepResult::Done;
        }
        StepResult::Failed { reason: "the instance is drained, which could not be published yet".to_owned() }
    }
}
