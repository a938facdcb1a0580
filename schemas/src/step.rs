//! Steps: what a reconciler asks an agent to do in its cluster. Every step is idempotent and carries a generation; an
//! agent refuses one whose generation is below the one stamped on the object, so a stale executor moves nothing back.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Name,
    resource::{
        Labels,
        app::{Registration, Template},
    },
};

/// A step and the intent that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepRequest {
    /// Generation of the intent.
    pub generation: u64,
    /// W3C trace context.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// When whoever asked gives up and plans anew: an agent refuses to begin it later. Clocks must agree within seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// What to do.
    pub step: Step,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Step {
    /// Let the engine keep at least this many instances of a revision. Never lowers the number.
    ScaleUp {
        /// Of what.
        workload: WorkloadKey,
        /// What an instance is.
        template: Template,
        /// Labels of the application.
        labels: Labels,
        /// In which registries the instances belong: see [`crate::observation::Endpoint::register`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        register: Option<Vec<Registration>>,
        /// How many.
        replicas: u32,
    },
    /// Take an instance out of service: mark it `Draining`, for good.
    Drain {
        /// Of what.
        workload: WorkloadKey,
        /// The instance.
        instance: Instance,
    },
    /// Stop the named instances and let the engine keep only this many. Never raises the number.
    ScaleDown {
        /// Of what.
        workload: WorkloadKey,
        /// How many remain.
        replicas: u32,
        /// How many it keeps now, as far as whoever asks can see: when it keeps another number, which is above the one that
        /// shall remain, the step fails. Absent: not compared.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u32>,
        /// Which ones go.
        victims: Vec<Instance>,
    },
    /// Delete what the engine keeps of a revision, which has no instances any more.
    Remove {
        /// Of what.
        workload: WorkloadKey,
    },
    /// Close a node for new instances, or open it.
    Cordon {
        /// The node.
        node: String,
        /// Closed, or open.
        cordoned: bool,
    },
}

/// Something to be written onto instances, which keep running. A message beside [`StepRequest`]: an agent of before does not
/// know it, and is not there for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MarkRequest {
    /// Generation of the intent.
    pub generation: u64,
    /// W3C trace context.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// As in [`StepRequest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// Of what.
    pub workload: WorkloadKey,
    /// What to write.
    pub mark: Mark,
}

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Mark {
    /// In which registries the instances belong, and those to come.
    Register {
        /// See [`crate::observation::Endpoint::register`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        register: Option<Vec<Registration>>,
    },
    /// Every registry has confirmed these instances: whoever waits for that counts them as ready now.
    Registered {
        /// Which ones.
        instances: Vec<Instance>,
    },
    /// Written by a newer version of the platform.
    #[serde(other)]
    Unknown,
}

/// A revision of an application, in the cluster of the agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadKey {
    /// Project.
    pub project: Name,
    /// Application.
    pub app: Name,
    /// Revision.
    pub revision: Name,
}

/// One incarnation of an instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// Name in its cluster.
    pub name: String,
    /// Which incarnation.
    pub uid: String,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum StepResult {
    /// Done, or was so already.
    Done,
    /// The object carries a newer generation: whoever asked must look again.
    Stale {
        /// The stamped generation.
        stamped: u64,
    },
    /// Could not be done now; trying again can help.
    Failed {
        /// One sentence.
        reason: String,
    },
    /// Cannot be done; trying again will not help.
    Refused {
        /// One sentence.
        reason: String,
    },
}
