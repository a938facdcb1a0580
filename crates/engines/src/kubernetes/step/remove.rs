//! Delete what the engine keeps of a revision that has no instances any more.

use bcs_schemas::step::WorkloadKey;
use kube::api::{DeleteParams, Preconditions};

use super::{Executor, Progress, Stop, fresh, label, translate, within};

impl Executor<'_> {
    pub(super) async fn remove(&self, key: &WorkloadKey, generation: u64) -> Progress {
        let Some(set) = self.set(key).await? else { return Ok(()) };
        fresh(&set.metadata, generation)?;
        let name = label::workload_name(key);
        let told = translate::workload::replicas(&set);
        if told > 0 {
            return Err(Stop::refused(format!("{name} is to keep {told} instances: scale it down first")));
        }
        let running = set.status.as_ref().map_or(0, |s| s.replicas);
        if running > 0 {
            return Err(Stop::failed(format!("{name} still has {running} instances")));
        }
        // Only what was compared. Pods that take their time to stop are not counted any more; they are collected
        // behind the set without losing their grace.
        let preconditions = Some(Preconditions {
            uid: set.metadata.uid.clone(),
            resource_version: set.metadata.resource_version.clone(),
        });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        match within(self.sets(key).delete(&name, &params)).await {
            Err(error) if error.missing() => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }
}
