//! Write onto instances in which registries they belong. New ones get it from the template of their set, those that run
//! are told one by one: nothing is started anew for it.

use bcs_schemas::{resource::app::Registration, step::WorkloadKey};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::api::Patch;
use serde_json::json;

use super::{Executor, Progress, fresh, label, manager, translate, within};
use crate::kubernetes::manifest;

/// Instances that are written to at once.
const AT_ONCE: usize = 8;

impl Executor<'_> {
    pub(super) async fn register(
        &self,
        key: &WorkloadKey,
        register: Option<&[Registration]>,
        generation: u64,
    ) -> Progress {
        let Some(set) = self.set(key).await? else { return Ok(()) };
        fresh(&set.metadata, generation)?;
        let wanted = register.map(manifest::register);
        // First what is to come, or an instance that starts meanwhile would be missed.
        self.register_template(key, &set, wanted.as_deref(), generation).await?;
        let pods = self.pods_of(key, &set).await?;
        let differs = |pod: &Pod| translate::annotation(&pod.metadata, label::REGISTER) != wanted.as_deref();
        let changes: Vec<_> = pods
            .into_iter()
            .filter(differs)
            .map(|pod| self.register_pod(key, pod.metadata, wanted.as_deref()).boxed())
            .collect();
        stream::iter(changes).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    async fn register_template(
        &self,
        key: &WorkloadKey,
        set: &ReplicaSet,
        wanted: Option<&str>,
        generation: u64,
    ) -> Progress {
        let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref()?.metadata.as_ref());
        if template.and_then(|meta| translate::annotation(meta, label::REGISTER)) == wanted {
            return Ok(());
        }
        let patch = json!({
            "metadata": {
                "resourceVersion": set.metadata.resource_version,
                "annotations": { label::GENERATION: generation.to_string() },
            },
            "spec": { "template": { "metadata": { "annotations": { label::REGISTER: wanted } } } },
        });
        let name = label::workload_name(key);
        within(self.sets(key).patch(&name, &manager(), &Patch::Merge(&patch))).await?;
        Ok(())
    }

    async fn register_pod(&self, key: &WorkloadKey, pod: ObjectMeta, wanted: Option<&str>) -> Progress {
        let Some(name) = pod.name.as_deref() else { return Ok(()) };
        // Of exactly this incarnation; whatever else changes on it meanwhile is none of our business.
        let patch = json!({ "metadata": {
            "uid": pod.uid,
            "annotations": { label::REGISTER: wanted },
        }});
        match within(self.pods(key).patch_metadata(name, &manager(), &Patch::Merge(&patch))).await {
            Err(error) if error.missing() => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }
}
