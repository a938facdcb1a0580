//! How a job stands: begun, suspended, to end well or badly, ended. Pure.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{index, tally};
use crate::{
    clock,
    controller::pod,
    object::{self, int, items, text},
};

/// `Complete` or `Failed`, once the job is one of them.
pub(crate) fn finished(job: &Value) -> Option<&'static str> {
    ["Complete", "Failed"].into_iter().find(|name| object::condition_true(job, name))
}

/// Whether it is clear how the job ends, although pods may still be on their way out.
pub(super) fn decided(job: &Value) -> bool {
    ["FailureTarget", "SuccessCriteriaMet"].iter().any(|name| object::condition_true(job, name))
}

pub(super) fn set(job: &mut Value, name: &str, reason: &str, message: &str, now: Timestamp) {
    put(job, name, "True", reason, message, now);
}

fn put(job: &mut Value, name: &str, state: &str, reason: &str, message: &str, now: Timestamp) {
    let stamp = clock::format(now);
    let mut condition = json!({"type": name, "status": state, "reason": reason, "message": message});
    let old = object::condition(job, name).map(|c| c["lastProbeTime"].clone());
    condition["lastProbeTime"] = old.unwrap_or_else(|| json!(stamp));
    object::set_condition(job, &condition, &stamp);
}

/// Starts the clock, or stops it while the job is suspended.
pub(super) fn begin(job: &mut Value, now: Timestamp) {
    let was = object::condition_true(job, "Suspended");
    if decided(job) {
        return;
    }
    if job["spec"]["suspend"] == true {
        if !was {
            put(job, "Suspended", "True", "JobSuspended", "Job suspended", now);
        }
        object::unset(job, &["status", "startTime"]);
        return;
    }
    if was {
        put(job, "Suspended", "False", "JobResumed", "Job resumed", now);
    }
    object::default(job, &["status", "startTime"], json!(clock::format(now)));
}

/// Notes how the job is going to end, as soon as that is clear.
pub(super) fn judge(job: &mut Value, pods: &[Arc<Value>], now: Timestamp) {
    if decided(job) {
        return;
    }
    if let Some((reason, message)) = failure(job, pods, now) {
        set(job, "FailureTarget", reason, message, now);
    } else if let Some((reason, message)) = success(job, pods) {
        set(job, "SuccessCriteriaMet", reason, &message, now);
    }
}

fn failure(job: &Value, pods: &[Arc<Value>], now: Timestamp) -> Option<(&'static str, &'static str)> {
    let failed = int(job, "/status/failed").unwrap_or(0);
    let limit = int(job, "/spec/backoffLimit").unwrap_or(6);
    if failed > limit || restarted_too_often(job, pods, limit) {
        return Some(("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    if deadline(job, now).is_some_and(|left| left.is_zero()) {
        return Some(("DeadlineExceeded", "Job was active longer than specified deadline"));
    }
    if !index::indexed(job) || job["spec"]["backoffLimitPerIndex"].is_null() {
        return None;
    }
    let failed = i64::try_from(tally::failed_indexes(job, pods).len()).unwrap_or(i64::MAX);
    if int(job, "/spec/maxFailedIndexes").is_some_and(|most| failed > most) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(("MaxFailedIndexesExceeded", message));
    }
    let done = int(job, "/status/succeeded").unwrap_or(0);
    let all = int(job, "/spec/completions").unwrap_or(0);
    (failed > 0 && failed + done >= all).then_some(("FailedIndexes", "Job has failed indexes"))
}

/// Pods that are restarted in place do not fail; their restarts count instead.
fn restarted_too_often(job: &Value, pods: &[Arc<Value>], limit: i64) -> bool {
    if text(job, "/spec/template/spec/restartPolicy") != "OnFailure" {
        return false;
    }
    let running = pods.iter().filter(|p| matches!(text(p, "/status/phase"), "Running" | "Pending"));
    let statuses = running.flat_map(|p| {
        items(p, "/status/initContainerStatuses").iter().chain(items(p, "/status/containerStatuses"))
    });
    let restarts: i64 = statuses.filter_map(|s| int(s, "/restartCount")).sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

fn success(job: &Value, pods: &[Arc<Value>]) -> Option<(&'static str, String)> {
    if let Some(at) = items(job, "/spec/successPolicy/rules").iter().position(|rule| fulfilled(job, rule)) {
        return Some(("SuccessPolicy", format!("Matched rules at index {at}")));
    }
    let succeeded = int(job, "/status/succeeded").unwrap_or(0);
    let reached = match int(job, "/spec/completions") {
        Some(wanted) => succeeded >= wanted,
        None => succeeded > 0 && !pods.iter().any(|p| pod::active(p)),
    };
    reached.then(|| ("CompletionsReached", "Reached expected number of succeeded pods".to_owned()))
}

/// Whether enough of the indexes that a rule names have succeeded.
fn fulfilled(job: &Value, rule: &Value) -> bool {
    let done = index::listed(job, "completedIndexes");
    let (done, all) = match rule["succeededIndexes"].as_str() {
        Some(text) => {
            let named = index::parse(text);
            (done.intersection(&named).count(), named.len())
        }
        None => (done.len(), usize::MAX),
    };
    let needed = rule["succeededCount"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(all);
    done >= needed
}

/// Ends the job when its last pod has ended and been counted.
pub(super) fn conclude(job: &mut Value, pods: &[Arc<Value>], now: Timestamp) {
    let uncounted = job["status"]["uncountedTerminatedPods"].as_object().is_some_and(|m| !m.is_empty());
    if uncounted || pods.iter().any(|p| !pod::ended(p)) {
        return;
    }
    for (target, end) in [("SuccessCriteriaMet", "Complete"), ("FailureTarget", "Failed")] {
        let Some(why) = object::condition(job, target).filter(|c| c["status"] == "True").cloned() else {
            continue;
        };
        set(job, end, text(&why, "/reason"), text(&why, "/message"), now);
        if end == "Complete" {
            object::set(job, &["status", "completionTime"], json!(clock::format(now)));
        }
    }
}

/// What is left of a number of seconds that count from `start`.
fn left(seconds: Option<i64>, start: &str, now: Timestamp) -> Option<Duration> {
    let start: Timestamp = start.parse().ok()?;
    let left = seconds? - now.duration_since(start).as_secs();
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}

/// What is left of the time that the job may take.
fn deadline(job: &Value, now: Timestamp) -> Option<Duration> {
    left(int(job, "/spec/activeDeadlineSeconds"), text(job, "/status/startTime"), now)
}

/// How long to wait before looking at the deadline again.
pub(super) fn patience(job: &Value, now: Timestamp) -> Option<Duration> {
    deadline(job, now).filter(|_| !decided(job)).map(|left| left.max(Duration::from_millis(100)))
}

/// How long a finished job is still kept; `None` is for ever.
pub(super) fn time_to_live(job: &Value, now: Timestamp) -> Option<Duration> {
    let end = object::condition(job, finished(job)?).map_or("", |c| text(c, "/lastTransitionTime"));
    left(int(job, "/spec/ttlSecondsAfterFinished"), end, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("an instant")
    }

    fn pod(phase: &str, restarts: i64) -> Arc<Value> {
        Arc::new(json!({"status": {"phase": phase, "containerStatuses": [{"restartCount": restarts}]}}))
    }

    #[test]
    fn a_job_ends_for_the_reason_that_comes_first() {
        let indexed =
            |more: Value| crate::patch::merge(&json!({"completionMode": "Indexed", "completions": 3}), &more);
        for (what, spec, status, pods, expected) in [
            ("goes on", json!({"completions": 2}), json!({"succeeded": 1}), vec![], None),
            (
                "enough",
                json!({"completions": 2}),
                json!({"succeeded": 2}),
                vec![],
                Some("CompletionsReached"),
            ),
            ("a work list with workers", json!({}), json!({"succeeded": 1}), vec![pod("Running", 0)], None),
            (
                "a work list that is done",
                json!({}),
                json!({"succeeded": 1}),
                vec![],
                Some("CompletionsReached"),
            ),
            ("may fail", json!({"completions": 1, "backoffLimit": 2}), json!({"failed": 2}), vec![], None),
            (
                "fails too often",
                json!({"completions": 1, "backoffLimit": 2}),
                json!({"failed": 3}),
                vec![],
                Some("BackoffLimitExceeded"),
            ),
            (
                "restarts too often",
                json!({"completions": 1, "backoffLimit": 2, "template": {"spec": {"restartPolicy": "OnFailure"}}}),
                json!({}),
                vec![pod("Running", 2)],
                Some("BackoffLimitExceeded"),
            ),
            (
                "too late",
                json!({"completions": 1, "activeDeadlineSeconds": 10}),
                json!({"startTime": clock::format(at(-10))}),
                vec![],
                Some("DeadlineExceeded"),
            ),
            (
                "one index failed, the others did not",
                indexed(json!({"backoffLimitPerIndex": 0})),
                json!({"succeeded": 2, "completedIndexes": "0,2", "failedIndexes": "1"}),
                vec![],
                Some("FailedIndexes"),
            ),
            (
                "too many indexes failed",
                indexed(json!({"backoffLimitPerIndex": 0, "maxFailedIndexes": 0})),
                json!({"failedIndexes": "1"}),
                vec![],
                Some("MaxFailedIndexesExceeded"),
            ),
            (
                "one index is enough",
                indexed(
                    json!({"successPolicy": {"rules": [{"succeededIndexes": "1-2", "succeededCount": 1}]}}),
                ),
                json!({"succeeded": 1, "completedIndexes": "2"}),
                vec![],
                Some("SuccessPolicy"),
            ),
        ] {
            let mut job = json!({"spec": spec, "status": status});
            judge(&mut job, &pods, at(0));
            let found = items(&job, "/status/conditions").first().map(|c| text(c, "/reason").to_owned());
            assert_eq!(found.as_deref(), expected, "{what}");
        }
    }

    #[test]
    fn a_job_has_ended_when_its_last_pod_has() {
        let mut job = json!({"spec": {"ttlSecondsAfterFinished": 5}});
        set(&mut job, "SuccessCriteriaMet", "CompletionsReached", "m", at(0));
        conclude(&mut job, &[pod("Running", 0)], at(1));
        assert_eq!(finished(&job), None);
        conclude(&mut job, &[pod("Succeeded", 0)], at(2));
        assert_eq!(finished(&job), Some("Complete"));
        assert_eq!(time_to_live(&job, at(3)), Some(Duration::from_secs(4)));
        assert_eq!(time_to_live(&job, at(9)), Some(Duration::ZERO));
    }

    #[test]
    fn suspension_stops_the_clock() {
        let mut job = json!({"spec": {"suspend": true}});
        begin(&mut job, at(0));
        assert!(object::condition_true(&job, "Suspended") && job["status"]["startTime"].is_null());
        job["spec"]["suspend"] = json!(false);
        begin(&mut job, at(9));
        assert_eq!(job["status"]["startTime"], json!(clock::format(at(9))));
        assert_eq!(object::condition(&job, "Suspended").map(|c| text(c, "/reason")), Some("JobResumed"));
    }
}
