//! Stop the named instances and let the engine keep only so many. Never raises the number.
//!
//! Two ways lead there. Usually the victims get the lowest deletion cost and the number is lowered: the controller
//! stops exactly them. But it looks at readiness *before* cost, so while another instance is not ready, that one would
//! go instead, though it may be in service and was not drained. Then the victims are deleted first, by uid, and the
//! number is lowered at once after: in between the controller may begin a replacement, but that one has no node, or has
//! not begun to run, and is the first to go when the number falls. If anything else would be stopped that may be in
//! service, nothing is lowered, and whoever asked must look again. What stays open is the moment between our look and
//! the controller's: an instance that stops being ready just then can still go instead of a victim.

use bcs_schemas::step::{Instance, WorkloadKey};
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use kube::api::{DeleteParams, Patch, Preconditions};
use serde_json::json;

use super::{ATTEMPTS, Executor, Progress, Stop, fresh, label, manager, translate, within};
use crate::kubernetes::ranking::{Candidate, doomed};

/// How many there shall be, and how many there are as far as is known.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub(super) from: Option<u32>,
    pub(super) to: u32,
}

impl Executor<'_> {
    pub(super) async fn scale_down(
        &self,
        key: &WorkloadKey,
        Number { from, to: replicas }: Number,
        victims: &[Instance],
        generation: u64,
    ) -> Progress {
        let Some(set) = self.set(key).await? else { return Ok(()) };
        fresh(&set.metadata, generation)?;
        let keep = usize::try_from(replicas).unwrap_or(usize::MAX);
        let pods = self.pods_of(key, &set).await?;
        let candidates = candidates(&pods, victims);
        let present: Vec<&Instance> =
            candidates.iter().map(|c| &c.instance).filter(|i| victims.contains(i)).collect();

        if translate::workload::replicas(&set) <= replicas {
            // Lowered already, or never higher. A victim that is still there goes now; what the set may keep beside it
            // is the set's business.
            self.cheapen(key, &pods, &present).await?;
            return self.delete(key, &present).await;
        }
        // Planned on an old view: more was started meanwhile, and the number that was worked out would stop that.
        let kept = translate::workload::replicas(&set);
        if let Some(from) = from.filter(|from| *from != kept) {
            return Err(Stop::failed(format!("{kept} are kept now, not {from}: look again")));
        }
        let surplus = candidates.len().saturating_sub(keep);
        let exactly = doomed(&candidates, keep).iter().all(|c| victims.contains(&c.instance));
        if exactly && present.len() <= surplus {
            self.cheapen(key, &pods, &present).await?;
        } else {
            let rest: Vec<Candidate> =
                candidates.iter().filter(|c| !victims.contains(&c.instance)).cloned().collect();
            if let Some(other) = doomed(&rest, keep).into_iter().find(|c| c.may_serve()) {
                let name = &other.instance.name;
                return Err(Stop::failed(format!(
                    "{name} would be stopped, which nobody named: choose again"
                )));
            }
            // A controller that sees the number before the deletions still takes these first among equals.
            self.cheapen(key, &pods, &present).await?;
            self.delete(key, &present).await?;
        }
        self.lower(key, set, replicas, generation).await
    }

    /// Makes the victims the first to go.
    async fn cheapen(&self, key: &WorkloadKey, pods: &[Pod], victims: &[&Instance]) -> Progress {
        let named = |pod: &&Pod| {
            let meta = &pod.metadata;
            victims.iter().any(|v| Some(&v.name) == meta.name.as_ref() && Some(&v.uid) == meta.uid.as_ref())
        };
        for pod in pods.iter().filter(named) {
            let Some(name) = pod.metadata.name.as_deref() else { continue };
            if translate::annotation(&pod.metadata, label::DELETION_COST) == Some(label::LOWEST_COST) {
                continue;
            }
            let patch = json!({ "metadata": {
                "resourceVersion": pod.metadata.resource_version,
                "annotations": { label::DELETION_COST: label::LOWEST_COST },
            }});
            // Gone in the meantime: the set is read again, because the sums have changed.
            match within(self.pods(key).patch_metadata(name, &manager(), &Patch::Merge(&patch))).await {
                Err(error) if error.missing() => return Err(Stop::Again),
                result => result.map(drop)?,
            }
        }
        Ok(())
    }

    /// Deletes exactly these incarnations.
    async fn delete(&self, key: &WorkloadKey, victims: &[&Instance]) -> Progress {
        for victim in victims {
            let uid = Some(victim.uid.clone());
            let preconditions = Some(Preconditions { uid, resource_version: None });
            let params = DeleteParams { preconditions, ..DeleteParams::default() };
            match within(self.pods(key).delete(&victim.name, &params)).await {
                // Not there, or under another uid: gone either way.
                Err(error) if error.missing() || error.conflict() => {}
                result => result.map(drop)?,
            }
        }
        Ok(())
    }

    /// Number and stamp in one write, onto what was compared. The controller counts on the same object all the time;
    /// as long as nobody else touches number or stamp, the write is repeated at once: the sooner the better.
    async fn lower(
        &self,
        key: &WorkloadKey,
        mut set: ReplicaSet,
        replicas: u32,
        generation: u64,
    ) -> Progress {
        let told = translate::workload::replicas(&set);
        for _ in 0..ATTEMPTS {
            match self.write(key, &set, replicas, generation).await {
                Err(Stop::Again) => {}
                other => return other,
            }
            let Some(next) = self.set(key).await? else { return Ok(()) };
            fresh(&next.metadata, generation)?;
            if next.metadata.uid != set.metadata.uid || translate::workload::replicas(&next) != told {
                return Err(Stop::Again);
            }
            set = next;
        }
        Err(Stop::Again)
    }

    async fn write(&self, key: &WorkloadKey, set: &ReplicaSet, replicas: u32, generation: u64) -> Progress {
        let patch = json!({
            "metadata": {
                "resourceVersion": set.metadata.resource_version,
                "annotations": { label::GENERATION: generation.to_string() },
            },
            "spec": { "replicas": replicas },
        });
        let name = label::workload_name(key);
        match within(self.sets(key).patch(&name, &manager(), &Patch::Merge(&patch))).await {
            Err(error) if error.missing() => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }
}

/// What the controller will count once the victims have their cost.
fn candidates(pods: &[Pod], victims: &[Instance]) -> Vec<Candidate> {
    let counted = pods.iter().filter_map(Candidate::of);
    counted.map(|c| if victims.contains(&c.instance) { c.cheapest() } else { c }).collect()
}
