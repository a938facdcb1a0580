//! Let the engine keep at least so many instances of a revision. Never lowers the number.

use bcs_schemas::{
    Name,
    resource::{
        Labels,
        app::{Registration, Template},
    },
    step::WorkloadKey,
};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::{
    Api,
    api::{ListParams, Patch, PostParams},
};

use super::{Executor, Progress, Stop, fresh, label, manager, translate, within};
use crate::kubernetes::manifest;

/// What is wanted.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) key: &'a WorkloadKey,
    pub template: &'a Template,
    pub labels: &'a Labels,
    pub register: Option<&'a [Registration]>,
    pub replicas: u32,
}

impl Executor<'_> {
    pub(super) async fn scale_up(&self, wanted: Wanted<'_>, generation: u64) -> Progress {
        match self.set(wanted.key).await? {
            None => self.create(wanted, generation).await,
            Some(set) => self.raise(wanted, &set, generation).await,
        }
    }

    /// By POST and not by apply: of two that create at once, one must lose and look again.
    async fn create(&self, wanted: Wanted<'_>, generation: u64) -> Progress {
        // At once: every round trip counts for those who wait, and neither depends on the other.
        let WorkloadKey { project, app, .. } = wanted.key;
        tokio::try_join!(
            self.ensure_namespace(project),
            self.fresh_among_siblings(project, app, generation)
        )?;
        let set = manifest(wanted, wanted.replicas, generation)?;
        let params = PostParams { field_manager: Some(label::MANAGER.to_owned()), dry_run: false };
        within(self.sets(wanted.key).create(&params, &set)).await?;
        Ok(())
    }

    async fn raise(&self, wanted: Wanted<'_>, set: &ReplicaSet, generation: u64) -> Progress {
        fresh(&set.metadata, generation)?;
        if set.metadata.deletion_timestamp.is_some() {
            return Err(Stop::failed(format!("{} is still being deleted", label::workload_name(wanted.key))));
        }
        let current = translate::workload::replicas(set);
        if current >= wanted.replicas && translate::generation_of(&set.metadata) == generation {
            return Ok(());
        }
        let mut next = manifest(wanted, current.max(wanted.replicas), generation)?;
        // Applied only onto what was compared: this is what makes `force` safe.
        next.metadata.resource_version.clone_from(&set.metadata.resource_version);
        let name = label::workload_name(wanted.key);
        within(self.sets(wanted.key).patch(&name, &manager().force(), &Patch::Apply(&next))).await?;
        Ok(())
    }

    /// A set that was removed carries no stamp any more. The application's other sets still do, and they keep a stale
    /// executor from bringing an old revision back.
    async fn fresh_among_siblings(&self, project: &Name, app: &Name, generation: u64) -> Progress {
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), project.as_str());
        let siblings = within(sets.list(&ListParams::default().labels(&label::of_app(app)))).await?;
        siblings.items.iter().try_for_each(|sibling| fresh(&sibling.metadata, generation))
    }
}

fn manifest(wanted: Wanted<'_>, replicas: u32, generation: u64) -> Result<ReplicaSet, Stop> {
    let Wanted { key, template, labels, register, .. } = wanted;
    let replicas =
        i32::try_from(replicas).map_err(|_| Stop::refused("more replicas than Kubernetes can count"))?;
    Ok(manifest::replica_set(manifest::Wanted { key, template, labels, register, replicas, generation }))
}
