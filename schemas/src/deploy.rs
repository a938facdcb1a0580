//! Commands and events of `deploy`: applications and their rollouts.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Name,
    message::message_set,
    resource::{AppSpec, Labels, app::Template},
};

/// `app.apply`: create the application, or make it what this says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyApp {
    /// Free key-value pairs.
    #[serde(default)]
    pub labels: Labels,
    /// What is wanted.
    pub spec: AppSpec,
}

/// `app.scale`: change the number of instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleApp {
    /// How many instances, over all clusters together.
    pub replicas: u32,
    /// Names of instances to remove first when the number shrinks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// `app.restart`: replace every instance by a fresh one of the same revision, surge first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartApp {}

/// `app.delete`: drain and stop every instance, then forget the application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteApp {
    /// Let nothing hold it up for ever: a drain whose deadline passed goes on even where `onDeadline` is `ask`, and what
    /// a cluster without news holds is stopped when it is back. May be asked for while a deletion is under way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

message_set! {
    /// What `deploy` can be asked to do.
    DeployCommand of Deploy, strict: true {
        ApplyApp => "app" "apply" v 1,
        ScaleApp => "app" "scale" v 1,
        RestartApp => "app" "restart" v 1,
        DeleteApp => "app" "delete" v 1,
    }
}

/// `app.applied`: a spec was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AppApplied {
    /// Counts the intents accepted for this application, from 1. Whatever carries out an older one is refused.
    pub generation: u64,
    /// Free key-value pairs.
    pub labels: Labels,
    /// What is wanted.
    pub spec: AppSpec,
}

/// `app.scaled`: another number of instances was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppScaled {
    /// See [`AppApplied::generation`].
    pub generation: u64,
    /// How many instances.
    pub replicas: u32,
    /// Names of instances to remove first.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// `app.restarted`: a restart was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppRestarted {
    /// See [`AppApplied::generation`].
    pub generation: u64,
    /// How many restarts were accepted so far.
    pub restarts: u64,
}

/// `app.placed`: which cluster holds how many instances from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppPlaced {
    /// Instances by cluster. A cluster that is absent holds none.
    pub shares: BTreeMap<Name, u32>,
}

/// `app.rollout-started`: a new revision begins to replace the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutStarted {
    /// The revision.
    pub revision: Name,
    /// What its instances are.
    pub template: Template,
}

/// `app.rollout-completed`: every wanted instance runs the revision and is available.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutCompleted {
    /// The revision.
    pub revision: Name,
}

/// `app.rollout-stalled`: the rollout does not move on and waits for a new intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutStalled {
    /// The revision.
    pub revision: Name,
    /// One sentence that says why.
    pub reason: String,
    /// What it waits for: `sim-a/shop-web-6d4f-x2x1z`.
    pub blocking: String,
}

/// `app.deletion-requested`: the application is to go; its instances are drained first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppDeletionRequested {
    /// See [`AppApplied::generation`].
    pub generation: u64,
    /// See [`DeleteApp::force`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// `app.deleted`: the application is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppDeleted {
    /// Clusters that may still hold something of it, because they were removed from the platform or gave no news. It is
    /// stopped when they are back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub leftovers: BTreeSet<Name>,
}

/// `app.leftovers-stopped`: clusters that came back hold nothing of a deleted application any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftoversStopped {
    /// The clusters.
    pub clusters: BTreeSet<Name>,
}

/// `cluster.joined`: `deploy` learned of a cluster, or of other labels of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterJoined {
    /// Its labels, which selectors look at.
    pub labels: Labels,
}

/// `cluster.left`: `deploy` learned that a cluster was removed from the platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterLeft {}

message_set! {
    /// What `deploy` has decided.
    DeployEvent of Deploy, strict: false {
        AppApplied => "app" "applied" v 1,
        AppScaled => "app" "scaled" v 1,
        AppRestarted => "app" "restarted" v 1,
        AppPlaced => "app" "placed" v 1,
        RolloutStarted => "app" "rollout-started" v 1,
        RolloutCompleted => "app" "rollout-completed" v 1,
        RolloutStalled => "app" "rollout-stalled" v 1,
        AppDeletionRequested => "app" "deletion-requested" v 1,
        AppDeleted => "app" "deleted" v 1,
        LeftoversStopped => "app" "leftovers-stopped" v 1,
        ClusterJoined => "cluster" "joined" v 1,
        ClusterLeft => "cluster" "left" v 1,
    }
}
