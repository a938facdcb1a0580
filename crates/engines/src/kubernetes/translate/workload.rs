//! Pure: a ReplicaSet as a `Workload`.

use bcs_schemas::observation::Workload;
use k8s_openapi::api::apps::v1::ReplicaSet;

use super::{Sight, generation_of, key_of};

/// None when the set is none of ours.
pub(crate) fn workload(set: &ReplicaSet, sight: Sight<'_>) -> Option<Workload> {
    let key = key_of(&set.metadata)?;
    let status = set.status.as_ref();
    let count = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    Some(Workload {
        cluster: sight.cluster.clone(),
        project: key.project,
        app: key.app,
        revision: key.revision,
        replicas: replicas(set),
        ready: count(status.and_then(|s| s.ready_replicas)),
        generation: generation_of(&set.metadata),
        reason: complaint(set),
        observed_at: sight.now,
    })
}

/// How many instances the set is told to keep: 1 when it does not say, as Kubernetes has it.
pub(crate) fn replicas(set: &ReplicaSet) -> u32 {
    let told = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    u32::try_from(told).unwrap_or(0)
}

fn complaint(set: &ReplicaSet) -> Option<String> {
    let conditions = set.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    failure.message.clone().or_else(|| failure.reason.clone())
}
