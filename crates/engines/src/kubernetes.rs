//! The Kubernetes engine. A revision of an application is one ReplicaSet in the namespace of its project. It lives on
//! without BCS; whatever BCS must remember about it is written on it.

mod call;
pub mod connect;
pub mod label;
mod manifest;
mod ranking;
pub mod recognize;
mod step;
mod translate;
pub mod trust;
mod watch;

use std::time::Duration;

use bcs_kit::Clock;
use bcs_schemas::{
    Name,
    resource::cluster::EngineKind,
    step::{MarkRequest, StepRequest, StepResult},
};
use futures::{FutureExt, future::BoxFuture, stream::BoxStream};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, api::ListParams};

use crate::{Capabilities, Description, Engine, News, ProbeError};

/// How long a step may take, over all of its calls.
const STEP_DEADLINE: Duration = Duration::from_secs(25);

/// An engine that talks to one Kubernetes API server.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    clock: Clock,
}

impl Kubernetes {
    /// An engine on a connection that was made already.
    pub const fn new(client: Client, clock: Clock) -> Self {
        Self { client, clock }
    }

    async fn describe(&self) -> Result<Description, ProbeError> {
        let version = call::within(self.client.apiserver_version()).await?;
        // Everybody may read the version. Only this says whether the credentials are good for anything.
        let nodes = Api::<Node>::all(self.client.clone());
        call::within(nodes.list(&ListParams::default().limit(1))).await?;
        Ok(Description { version: version.git_version })
    }
}

impl Kubernetes {
    async fn carry_out(&self, order: step::Order<'_>) -> StepResult {
        let executor = step::Executor { client: &self.client, now: self.clock.now() };
        tokio::time::timeout(STEP_DEADLINE, executor.run(order)).await.unwrap_or_else(|_| {
            StepResult::Failed {
                reason: format!("the cluster did not finish the step within {} s", STEP_DEADLINE.as_secs()),
            }
        })
    }
}

impl Engine for Kubernetes {
    fn kind(&self) -> EngineKind {
        EngineKind::Kubernetes
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            choose_victims: true,
            durable_drain: true,
            // Only where the application asks for a readiness gate: pods stay unready for ever while no agent runs.
            drain_gate: false,
            autonomous: true,
            cordon: true,
            fixed_ip: false,
            resize_in_place: false,
            exec: false,
            logs: false,
        }
    }

    fn probe(&self) -> BoxFuture<'_, Result<Description, ProbeError>> {
        self.describe().boxed()
    }

    fn execute<'a>(&'a self, request: &'a StepRequest) -> BoxFuture<'a, StepResult> {
        self.carry_out(step::Order::Step(request)).boxed()
    }

    fn mark<'a>(&'a self, request: &'a MarkRequest) -> BoxFuture<'a, StepResult> {
        self.carry_out(step::Order::Mark(request)).boxed()
    }

    fn watch(&self, cluster: Name) -> BoxStream<'static, News> {
        watch::all(self.client.clone(), cluster, self.clock.clone())
    }
}
