//! Which pods a job lacks and which are too many. Pure.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::{index, tally};
use crate::{
    controller::{pod, replica_set::victims},
    object::{self, Key, int, text},
};

/// So many pods are made before other jobs get their turn.
const BURST: i64 = 500;

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// One entry for each pod to make, with its index if the job has such.
    pub missing: Vec<Option<i64>>,
    pub surplus: Vec<Arc<Value>>,
}

/// How many pods may run now: no more than are still needed for the completions.
fn wanted(job: &Value, active: i64) -> i64 {
    let parallel = int(job, "/spec/parallelism").unwrap_or(1);
    let succeeded = int(job, "/status/succeeded").unwrap_or(0);
    match int(job, "/spec/completions") {
        Some(completions) => (completions - succeeded).clamp(0, parallel),
        // A common work list: the first success means that nothing is left to begin.
        None if succeeded > 0 => active.min(parallel),
        None => parallel,
    }
}

pub(super) fn balance(job: &Value, pods: &[Arc<Value>]) -> Plan {
    let (active, mut surplus) =
        if index::indexed(job) { one_per_index(job, pods) } else { (all_active(pods), Vec::new()) };
    let running = i64::try_from(active.len()).unwrap_or(i64::MAX);
    let wanted = wanted(job, running);
    if running > wanted {
        let references: Vec<&Value> = active.iter().map(Arc::as_ref).collect();
        let gone: Vec<Key> = victims(&references, usize::try_from(running - wanted).unwrap_or(0))
            .into_iter()
            .map(Key::of)
            .collect();
        surplus.extend(active.into_iter().filter(|p| gone.contains(&Key::of(p))));
        return Plan { missing: Vec::new(), surplus };
    }
    // Where only a failed pod may be replaced, one that is still on its way out takes up its place.
    let waits = text(job, "/spec/podReplacementPolicy") == "Failed";
    let ending: Vec<&Arc<Value>> = pods
        .iter()
        .filter(|p| waits && object::deleting(p) && !pod::ended(p) && !tally::failed(job, p))
        .collect();
    let room = wanted - running - i64::try_from(ending.len()).unwrap_or(i64::MAX);
    let count = usize::try_from(room.clamp(0, BURST)).unwrap_or(0);
    let missing = if index::indexed(job) {
        let taken = active.iter().chain(ending).filter_map(|p| index::of_pod(p)).collect();
        free_indexes(job, pods, &taken).take(count).map(Some).collect()
    } else {
        vec![None; count]
    };
    Plan { missing, surplus }
}

fn all_active(pods: &[Arc<Value>]) -> Vec<Arc<Value>> {
    pods.iter().filter(|p| pod::active(p)).cloned().collect()
}

/// The pods that an indexed job is served by, and those whose index is done, out of range or has a pod already.
fn one_per_index(job: &Value, pods: &[Arc<Value>]) -> (Vec<Arc<Value>>, Vec<Arc<Value>>) {
    let limit = int(job, "/spec/completions").unwrap_or(0);
    let mut seen = index::listed(job, "completedIndexes");
    all_active(pods)
        .into_iter()
        .partition(|pod| index::of_pod(pod).is_some_and(|at| at < limit && seen.insert(at)))
}

fn free_indexes<'a>(
    job: &Value,
    pods: &[Arc<Value>],
    taken: &'a BTreeSet<i64>,
) -> impl Iterator<Item = i64> + 'a {
    let done = index::listed(job, "completedIndexes");
    let failed = tally::failed_indexes(job, pods);
    let limit = int(job, "/spec/completions").unwrap_or(0);
    (0..limit).filter(move |at| !taken.contains(at) && !done.contains(at) && !failed.contains(at))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods(indexes: &[i64]) -> Vec<Arc<Value>> {
        let pod = |(at, index): (usize, &i64)| {
            let metadata =
                json!({"name": format!("p{at}"), "annotations": {index::LABEL: index.to_string()}});
            Arc::new(json!({"metadata": metadata, "status": {"phase": "Running"}}))
        };
        indexes.iter().enumerate().map(pod).collect()
    }

    #[test]
    fn no_more_pods_run_than_are_needed() {
        for (what, completions, parallelism, succeeded, running, missing, surplus) in [
            ("all at once", json!(3), 5, 0, 0, 3, 0),
            ("as many as may run", json!(10), 4, 0, 1, 3, 0),
            ("the last ones", json!(10), 4, 8, 1, 1, 0),
            ("fewer are allowed now", json!(10), 1, 0, 3, 0, 2),
            ("a work list", json!(null), 3, 0, 1, 2, 0),
            ("a work list that is done", json!(null), 3, 1, 1, 0, 0),
            ("none may run", json!(3), 0, 0, 0, 0, 0),
        ] {
            let job = json!({"spec": {"completions": completions, "parallelism": parallelism}, "status": {"succeeded": succeeded}});
            let plan = balance(&job, &pods(&vec![0; running]));
            assert_eq!((plan.missing.len(), plan.surplus.len()), (missing, surplus), "{what}");
        }
    }

    #[test]
    fn every_index_has_one_pod() {
        let job = json!({
            "spec": {"completions": 5, "parallelism": 4, "completionMode": "Indexed"},
            "status": {"succeeded": 1, "completedIndexes": "1"},
        });
        let plan = balance(&job, &pods(&[0, 0, 3, 9, 1]));
        assert_eq!(plan.missing, [Some(2), Some(4)]);
        assert_eq!(plan.surplus.iter().map(|p| object::name(p)).collect::<Vec<_>>(), ["p1", "p3", "p4"]);
    }
}
