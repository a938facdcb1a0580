//! Steps, carried out. Every write that follows a comparison carries the resource version that was compared, so two
//! executors cannot both win; the loser reads and compares again.

mod cordon;
mod drain;
mod gate;
mod namespace;
mod register;
mod remove;
mod scale_down;
mod scale_up;

use std::time::Duration;

use bcs_schemas::step::{Mark, MarkRequest, Step, StepRequest, StepResult, WorkloadKey};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::ReplicaSet,
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{ListParams, PatchParams},
};

use super::{
    call::{self, within},
    label, translate,
};

/// How often a step begins again because somebody else wrote in between. Of several writers one always wins, so this
/// bounds how many can compete.
const ATTEMPTS: u32 = 40;
/// Pause before a step begins again, for each time that it did so already.
const PAUSE: Duration = Duration::from_millis(5);

/// How a step ends before its last line.
pub(crate) enum Stop {
    /// This is the result.
    Result(StepResult),
    /// Somebody else wrote in between: begin again.
    Again,
}

impl From<call::Error> for Stop {
    fn from(error: call::Error) -> Self {
        if error.conflict() { Self::Again } else { Self::Result(error.into()) }
    }
}

impl Stop {
    fn refused(reason: impl Into<String>) -> Self {
        Self::Result(StepResult::Refused { reason: reason.into() })
    }

    fn failed(reason: impl Into<String>) -> Self {
        Self::Result(StepResult::Failed { reason: reason.into() })
    }
}

/// Done, when nothing stopped it.
type Progress = Result<(), Stop>;

/// What is to be done.
#[derive(Clone, Copy)]
pub(crate) enum Order<'a> {
    Step(&'a StepRequest),
    Mark(&'a MarkRequest),
}

/// Carries out one step.
#[derive(Clone, Copy)]
pub(crate) struct Executor<'a> {
    pub(crate) client: &'a Client,
    pub(crate) now: Timestamp,
}

impl Executor<'_> {
    /// Until it is done, or cannot be.
    pub(crate) async fn run(&self, order: Order<'_>) -> StepResult {
        for attempt in 0..ATTEMPTS {
            let attempted = match order {
                Order::Step(request) => self.attempt(request).await,
                Order::Mark(request) => self.mark(request).await,
            };
            match attempted {
                Ok(()) => return StepResult::Done,
                Err(Stop::Result(result)) => return result,
                Err(Stop::Again) => tokio::time::sleep(PAUSE * attempt).await,
            }
        }
        StepResult::Failed { reason: "somebody else keeps changing the object".to_owned() }
    }

    async fn attempt(&self, request: &StepRequest) -> Progress {
        let generation = request.generation;
        match &request.step {
            Step::ScaleUp { workload, template, labels, register, replicas } => {
                let register = register.as_deref();
                let wanted =
                    scale_up::Wanted { key: workload, template, labels, register, replicas: *replicas };
                self.scale_up(wanted, generation).await
            }
            Step::Drain { workload, instance } => self.drain(workload, instance, generation).await,
            Step::ScaleDown { workload, replicas, from, victims } => {
                let number = scale_down::Number { from: *from, to: *replicas };
                self.scale_down(workload, number, victims, generation).await
            }
            Step::Remove { workload } => self.remove(workload, generation).await,
            Step::Cordon { node, cordoned } => self.cordon(node, *cordoned, generation).await,
        }
    }

    async fn mark(&self, MarkRequest { generation, workload, mark, .. }: &MarkRequest) -> Progress {
        match mark {
            Mark::Register { register } => self.register(workload, register.as_deref(), *generation).await,
            Mark::Registered { instances } => self.registered(workload, instances).await,
            Mark::Unknown => Err(Stop::refused("the mark is not understood: run a newer agent")),
        }
    }

    fn sets(&self, key: &WorkloadKey) -> Api<ReplicaSet> {
        Api::namespaced(self.client.clone(), key.project.as_str())
    }

    fn pods(&self, key: &WorkloadKey) -> Api<Pod> {
        Api::namespaced(self.client.clone(), key.project.as_str())
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// The set of a revision, if there is one that is not being deleted.
    async fn set(&self, key: &WorkloadKey) -> Result<Option<ReplicaSet>, Stop> {
        let found = within(self.sets(key).get_opt(&label::workload_name(key))).await?;
        match found {
            Some(set) if translate::key_of(&set.metadata).as_ref() != Some(key) => {
                let name = label::workload_name(key);
                Err(Stop::refused(format!("ReplicaSet {name} in namespace {} is none of ours", key.project)))
            }
            found => Ok(found),
        }
    }

    /// The pods that belong to a set. Labels alone can be forged; the owner's uid cannot.
    async fn pods_of(&self, key: &WorkloadKey, set: &ReplicaSet) -> Result<Vec<Pod>, Stop> {
        let selector = ListParams::default().labels(&label::of_workload(key));
        let list = within(self.pods(key).list(&selector)).await?;
        let owned = |pod: &Pod| {
            let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
            owners.iter().any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref())
        };
        Ok(list.items.into_iter().filter(owned).collect())
    }
}

/// Stops a step whose intent is older than the one that wrote last.
fn fresh(stamped: &ObjectMeta, generation: u64) -> Progress {
    let stamped = translate::generation_of(stamped);
    if stamped > generation { Err(Stop::Result(StepResult::Stale { stamped })) } else { Ok(()) }
}

/// Writes as BCS.
fn manager() -> PatchParams {
    PatchParams { field_manager: Some(label::MANAGER.to_owned()), ..PatchParams::default() }
}
