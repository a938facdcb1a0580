//! The count of pods that have ended. Pure.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    index,
    policy::{self, Action},
    tracked,
};
use crate::{
    controller::pod,
    object::{self, int, items, text},
};

/// A pod that has ended and is not let go yet, with what its end means for the job.
pub(super) struct Over {
    pub pod: Arc<Value>,
    pub succeeded: bool,
    pub action: Action,
    /// Which rule of the failure policy matched, in words.
    pub why: String,
}

pub(super) fn over(job: &Value, pods: &[Arc<Value>]) -> Vec<Over> {
    let mut found = Vec::new();
    for pod in pods.iter().filter(|p| tracked(p)) {
        let succeeded = text(pod, "/status/phase") == "Succeeded";
        if succeeded || failed(job, pod) {
            let matched = if succeeded { None } else { policy::matched(job, pod) };
            let (action, why) = matched.unwrap_or((Action::Count, String::new()));
            found.push(Over { pod: Arc::clone(pod), succeeded, action, why });
        }
    }
    found
}

/// A pod that is being deleted counts as failed at once, unless only a real failure may be replaced.
pub(super) fn failed(job: &Value, pod: &Value) -> bool {
    let phase = text(pod, "/status/phase");
    let waits = text(job, "/spec/podReplacementPolicy") == "Failed";
    // No grace left means that the node has stopped it: nobody will report a phase any more.
    let stopped = int(pod, "/metadata/deletionGracePeriodSeconds") == Some(0);
    phase == "Failed" || (phase != "Succeeded" && object::deleting(pod) && (stopped || !waits))
}

const LISTS: [&str; 2] = ["succeeded", "failed"];

/// Adds what is over to the numbers, each pod once; its uid is remembered until the pod has been let go.
pub(super) fn count(job: &mut Value, over: &[Over], pods: &[Arc<Value>]) {
    let held: BTreeSet<&str> = pods.iter().filter(|p| tracked(p)).map(|p| object::uid(p)).collect();
    let mut counted = LISTS.map(|list| {
        let mut uids = items(job, &format!("/status/uncountedTerminatedPods/{list}")).to_vec();
        uids.retain(|uid| uid.as_str().is_some_and(|u| held.contains(u)));
        uids
    });
    let mut done = index::listed(job, "completedIndexes");
    let limit = int(job, "/spec/completions").unwrap_or(0);
    let ending = object::condition_true(job, "SuccessCriteriaMet");
    for over in over {
        let uid = json!(object::uid(&over.pod));
        if counted.iter().any(|list| list.contains(&uid)) {
            continue;
        }
        let at = index::of_pod(&over.pod).filter(|at| *at < limit);
        let new = !index::indexed(job) || at.is_some_and(|at| !done.contains(&at));
        if over.succeeded && new {
            done.extend(at);
            if !index::indexed(job) {
                add(job, "succeeded");
            }
        } else if !over.succeeded && over.action != Action::Ignore && !ending {
            add(job, "failed");
        }
        counted[usize::from(!over.succeeded)].push(uid);
    }
    if index::indexed(job) {
        // Fewer completions may be wanted now than when they were counted.
        done.retain(|at| *at < limit);
        object::set(job, &["status", "completedIndexes"], json!(index::format(&done)));
        object::set(job, &["status", "succeeded"], json!(done.len()));
        if done.is_empty() {
            object::unset(job, &["status", "completedIndexes"]);
            object::unset(job, &["status", "succeeded"]);
        }
    }
    object::set(job, &["status", "uncountedTerminatedPods"], json!({}));
    for (list, uids) in LISTS.iter().zip(counted).filter(|(_, uids)| !uids.is_empty()) {
        object::set(job, &["status", "uncountedTerminatedPods", list], Value::Array(uids));
    }
}

fn add(job: &mut Value, field: &str) {
    let count = job["status"][field].as_i64().unwrap_or(0);
    object::set(job, &["status", field], json!(count + 1));
}

/// The numbers of pods that have not ended, and the indexes that have failed for good.
pub(super) fn status(job: &mut Value, pods: &[Arc<Value>]) {
    let count = |good: &dyn Fn(&Value) -> bool| pods.iter().filter(|p| good(p)).count();
    let active = count(&pod::active);
    for (field, count) in [
        ("active", active),
        ("ready", count(&|p| pod::active(p) && pod::ready(p))),
        ("terminating", count(&|p| object::deleting(p) && !pod::ended(p))),
    ] {
        object::set(job, &["status", field], json!(count));
    }
    if active == 0 {
        object::unset(job, &["status", "active"]);
    }
    if !job["spec"]["backoffLimitPerIndex"].is_null() {
        let failed = failed_indexes(job, pods);
        object::set(job, &["status", "failedIndexes"], json!(index::format(&failed)));
    }
}

/// How often the pods of an index have failed.
pub(super) fn failures_of(job: &Value, at: i64, pods: &[Arc<Value>]) -> i64 {
    let mine = pods.iter().filter(|p| index::of_pod(p) == Some(at) && failed(job, p));
    let counts = mine.filter(|p| !matches!(policy::matched(job, p), Some((Action::Ignore, _))));
    counts.map(|p| earlier_failures(p) + 1).max().unwrap_or(0)
}

pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";

/// How often its index had failed when the pod was made.
fn earlier_failures(pod: &Value) -> i64 {
    object::annotation(pod, FAILURES).and_then(|c| c.parse().ok()).unwrap_or(0)
}

/// Indexes that get no further pod: known ones, and those beyond their limit now.
pub(super) fn failed_indexes(job: &Value, pods: &[Arc<Value>]) -> BTreeSet<i64> {
    let mut failed = index::listed(job, "failedIndexes");
    let Some(limit) = int(job, "/spec/backoffLimitPerIndex") else { return failed };
    for pod in pods.iter().filter(|p| self::failed(job, p)) {
        let Some(at) = index::of_pod(pod) else { continue };
        let at_once = matches!(policy::matched(job, pod), Some((Action::FailIndex, _)));
        if at_once || failures_of(job, at, pods) > limit {
            failed.insert(at);
        }
    }
    &failed - &index::listed(job, "completedIndexes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, phase: &str, index: i64) -> Arc<Value> {
        Arc::new(json!({
            "metadata": {
                "uid": uid, "finalizers": [super::super::FINALIZER],
                "annotations": {index::LABEL: index.to_string()},
            },
            "status": {"phase": phase},
        }))
    }

    #[test]
    fn every_end_is_counted_once() {
        let mut job = json!({"spec": {"completions": 3, "completionMode": "Indexed"}, "status": {}});
        let pods = [
            pod("a", "Succeeded", 0),
            pod("b", "Failed", 1),
            pod("c", "Running", 2),
            pod("d", "Succeeded", 9),
        ];
        for _ in 0..2 {
            let over = over(&job, &pods);
            assert_eq!(over.len(), 3);
            count(&mut job, &over, &pods);
        }
        assert_eq!(
            job["status"],
            json!({
                "succeeded": 1, "failed": 1, "completedIndexes": "0",
                "uncountedTerminatedPods": {"succeeded": ["a", "d"], "failed": ["b"]},
            })
        );
        count(&mut job, &[], &[]);
        assert_eq!(job["status"]["uncountedTerminatedPods"], json!({}));
        job["status"]["completedIndexes"] = json!("0-2");
        job["spec"]["completions"] = json!(2);
        count(&mut job, &[], &[]);
        assert_eq!(
            [&job["status"]["completedIndexes"], &job["status"]["succeeded"]],
            [&json!("0,1"), &json!(2)]
        );
    }

    #[test]
    fn a_deleted_pod_has_failed_at_once_or_when_it_has_stopped() {
        let deleted = |grace: i64| json!({"metadata": {"deletionTimestamp": "t", "deletionGracePeriodSeconds": grace}, "status": {"phase": "Running"}});
        for (policy, grace, expected) in
            [("TerminatingOrFailed", 30, true), ("Failed", 30, false), ("Failed", 0, true)]
        {
            let job = json!({"spec": {"podReplacementPolicy": policy}});
            assert_eq!(failed(&job, &deleted(grace)), expected, "{policy} {grace}");
        }
    }
}
