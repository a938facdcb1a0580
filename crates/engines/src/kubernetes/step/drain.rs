//! Take an instance out of service. The mark is written on the pod, so it survives an agent that restarts.

use bcs_schemas::step::{Instance, WorkloadKey};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Patch;
use serde_json::json;

use super::{Executor, Progress, fresh, label, manager, translate, within};

impl Executor<'_> {
    pub(super) async fn drain(&self, key: &WorkloadKey, instance: &Instance, generation: u64) -> Progress {
        // The set's stamp first: a newer intent may want this very instance, which nobody has touched since.
        if let Some(set) = self.set(key).await? {
            fresh(&set.metadata, generation)?;
        }
        let pods = self.pods(key);
        let Some(pod) = within(pods.get_opt(&instance.name)).await? else { return Ok(()) };
        let meta = &pod.metadata;
        // Another incarnation under the same name: the one that was meant is gone, and so is its service.
        if meta.uid.as_ref() != Some(&instance.uid) {
            return Ok(());
        }
        fresh(meta, generation)?;
        if translate::annotation(meta, label::DRAINING).is_none() {
            self.mark_draining(key, instance, meta, generation).await?;
        }
        self.set_gate(key, &pod, false).await
    }

    async fn mark_draining(
        &self,
        key: &WorkloadKey,
        instance: &Instance,
        meta: &ObjectMeta,
        generation: u64,
    ) -> Progress {
        // A cost as well, long before the number falls: the controller reads pods and sets through caches of their own, and
        // may see a number before a cost that was written just before it. Not the lowest: that is for those whose drain is
        // through, or of several that drain the controller could stop the wrong one.
        let patch = json!({ "metadata": {
            "resourceVersion": meta.resource_version,
            "annotations": {
                label::DRAINING: self.now.to_string(),
                label::GENERATION: generation.to_string(),
                label::DELETION_COST: label::DRAINING_COST,
            },
        }});
        match within(self.pods(key).patch_metadata(&instance.name, &manager(), &Patch::Merge(&patch))).await {
            Err(error) if error.missing() => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }
}
