//! Tell the engine that instances are registered. Pods with a readiness gate of ours are not Ready before, so what goes by
//! that, such as Services and disruption budgets, waits for the registries too.

use bcs_schemas::step::{Instance, WorkloadKey};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Patch;
use serde_json::json;

use super::{Executor, Progress, label, manager, translate, within};

impl Executor<'_> {
    pub(super) async fn registered(&self, key: &WorkloadKey, instances: &[Instance]) -> Progress {
        for instance in instances {
            let Some(pod) = within(self.pods(key).get_opt(&instance.name)).await? else { continue };
            // What is on its way out is not let in again.
            let leaves = translate::annotation(&pod.metadata, label::DRAINING).is_some();
            if pod.metadata.uid.as_ref() == Some(&instance.uid) && !leaves {
                self.set_gate(key, &pod, true).await?;
            }
        }
        Ok(())
    }

    /// Opens or closes the gate of a pod that has one.
    pub(super) async fn set_gate(&self, key: &WorkloadKey, pod: &Pod, open: bool) -> Progress {
        let Some(name) = pod.metadata.name.as_deref() else { return Ok(()) };
        if translate::pod::registered(pod).is_none_or(|now| now == open) {
            return Ok(());
        }
        let patch = json!({
            "metadata": { "uid": pod.metadata.uid },
            "status": { "conditions": [{
                "type": label::REGISTERED,
                "status": if open { "True" } else { "False" },
                "reason": if open { "Confirmed" } else { "Draining" },
                "lastTransitionTime": self.now.to_string(),
            }]},
        });
        match within(self.pods(key).patch_status(name, &manager(), &Patch::Strategic(&patch))).await {
            Err(error) if error.missing() => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }
}
