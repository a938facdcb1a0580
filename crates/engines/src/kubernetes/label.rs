//! Every label, annotation and name that BCS writes into a cluster. They are kept there for years: never change one.

use bcs_schemas::{Name, step::WorkloadKey};

/// Who writes: the field manager of server-side apply, and the value of [`MANAGED_BY`].
pub const MANAGER: &str = "bcs";

/// Well-known label that says who looks after an object; the informers select by it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label: project of the application.
pub const PROJECT: &str = "bcs.io/project";
/// Label: the application.
pub const APP: &str = "bcs.io/app";
/// Label: revision of its template.
pub const REVISION: &str = "bcs.io/revision";

/// Annotation: generation of the intent that wrote last.
pub const GENERATION: &str = "bcs.io/generation";
/// Annotation of a pod: since when it is on its way out, RFC 3339. Never taken back.
pub const DRAINING: &str = "bcs.io/draining";
/// Annotation of a pod: relative part of the traffic.
pub const WEIGHT: &str = "bcs.io/weight";
/// Annotation of a pod: in which registries it belongs, as JSON of [`bcs_schemas::observation::Endpoint::register`].
pub const REGISTER: &str = "bcs.io/register";
/// Condition of a pod, and its readiness gate: every registry has confirmed it.
pub const REGISTERED: &str = "bcs/registered";
/// Label of a namespace or of a pod: whether a sidecar is put into pods beside their containers, `enabled` or `false`. An
/// annotation of a pod with `false` says so too.
pub const INJECT: &str = "bcs.io/inject";
/// Annotation of a pod: in which form a sidecar was put in, `native` or `plain`.
pub const INJECTED: &str = "bcs.io/injected";
/// Annotation of a pod: what its sidecar cannot do for it.
pub const INJECT_WARNING: &str = "bcs.io/inject-warning";
/// Name of the container that is put in.
pub const SIDECAR: &str = "bcs-sidecar";
/// Annotation of a pod, read by the ReplicaSet controller: among equals the lowest goes first.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The lowest cost that the controller understands.
pub const LOWEST_COST: &str = "-2147483648";
/// Deletion cost of an instance that is being drained: before all that serve, and after those whose drain is through.
pub const DRAINING_COST: &str = "-1000000";

/// Name of the ReplicaSet of a revision.
pub fn workload_name(key: &WorkloadKey) -> String {
    format!("{}-{}", key.app, key.revision)
}

/// Selector of everything that BCS looks after.
pub fn managed() -> String {
    format!("{MANAGED_BY}={MANAGER}")
}

/// Selector of everything of one application.
pub fn of_app(app: &Name) -> String {
    format!("{MANAGED_BY}={MANAGER},{APP}={app}")
}

/// Selector of the pods of one revision.
pub fn of_workload(key: &WorkloadKey) -> String {
    format!("{},{REVISION}={}", of_app(&key.app), key.revision)
}
