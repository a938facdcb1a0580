//! The jobs of a CronJob: how one is made, what its status tells of them, which are kept. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::schedule::Schedule;
use crate::{
    controller::job::finished,
    kind,
    object::{self, int, text},
};

/// The time from which on times of the schedule count.
pub(super) fn last_time(cron_job: &Value) -> Timestamp {
    let instant = |pointer: &str| text(cron_job, pointer).parse().ok();
    instant("/status/lastScheduleTime")
        .or_else(|| instant("/metadata/creationTimestamp"))
        .unwrap_or(Timestamp::MAX)
}

/// The name comes from the time, so that no time gets two jobs.
pub(super) fn job(cron_job: &Value, schedule: &Schedule, at: Timestamp) -> Value {
    let template = &cron_job["spec"]["jobTemplate"];
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "spec": template["spec"], "status": {},
        "metadata": {
            "name": format!("{}-{}", object::name(cron_job), at.as_second() / 60),
            "namespace": object::namespace(cron_job),
            "ownerReferences": [object::owner_reference(&kind::CRON_JOBS, cron_job)],
        },
    });
    for field in ["labels", "annotations"] {
        if template["metadata"][field].is_object() {
            job["metadata"][field] = template["metadata"][field].clone();
        }
    }
    let note = "batch.kubernetes.io/cronjob-scheduled-timestamp";
    object::set(&mut job, &["metadata", "annotations", note], json!(schedule.local(at)));
    job
}

pub(super) fn observe(cron_job: &mut Value, jobs: &[Arc<Value>]) {
    let reference = |job: &Arc<Value>| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "name": object::name(job), "namespace": object::namespace(job),
            "uid": object::uid(job),
        })
    };
    let active: Vec<Value> = jobs.iter().filter(|j| finished(j).is_none()).map(reference).collect();
    if active.is_empty() {
        object::unset(cron_job, &["status", "active"]);
    } else {
        object::set(cron_job, &["status", "active"], Value::Array(active));
    }
    // Instants of one form sort like their texts.
    let ends = jobs.iter().map(|j| text(j, "/status/completionTime"));
    let last = ends.chain([text(cron_job, "/status/lastSuccessfulTime")]).max().unwrap_or("").to_owned();
    if !last.is_empty() {
        object::set(cron_job, &["status", "lastSuccessfulTime"], json!(last));
    }
}

/// Finished jobs beyond the limits, the oldest first.
pub(super) fn superfluous<'a>(cron_job: &Value, jobs: &'a [Arc<Value>]) -> Vec<&'a Value> {
    let beyond = |end: &str, field: &str| {
        let limit = int(cron_job, &format!("/spec/{field}")).and_then(|n| usize::try_from(n).ok());
        let mut ended: Vec<&Value> =
            jobs.iter().map(Arc::as_ref).filter(|j| finished(j) == Some(end)).collect();
        ended.sort_by_key(|j| (text(j, "/status/startTime").to_owned(), object::name(j).to_owned()));
        ended.truncate(ended.len().saturating_sub(limit.unwrap_or(usize::MAX)));
        ended
    };
    [beyond("Complete", "successfulJobsHistoryLimit"), beyond("Failed", "failedJobsHistoryLimit")].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(name: &str, end: &str, start: &str) -> Arc<Value> {
        Arc::new(json!({
            "metadata": {"name": name, "uid": name},
            "status": {"startTime": start, "completionTime": start, "conditions": [{"type": end, "status": "True"}]},
        }))
    }

    #[test]
    fn only_the_youngest_ends_are_kept() {
        let jobs = [
            ended("b", "Complete", "2026-01-02T00:00:00Z"),
            ended("a", "Complete", "2026-01-01T00:00:00Z"),
            ended("c", "Failed", "2026-01-03T00:00:00Z"),
            ended("d", "Running", "2026-01-04T00:00:00Z"),
        ];
        let cron_job = json!({"spec": {"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}});
        let names: Vec<&str> = superfluous(&cron_job, &jobs).into_iter().map(object::name).collect();
        assert_eq!(names, ["a", "c"]);
        let mut seen = cron_job;
        observe(&mut seen, &jobs);
        assert_eq!(seen["status"]["active"][0]["name"], "d");
    }

    #[test]
    fn a_job_tells_the_time_it_was_made_for() {
        let cron_job = json!({
            "metadata": {"name": "night", "namespace": "n"},
            "spec": {"schedule": "0 3 * * *", "timeZone": "Europe/Berlin", "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {}}},
        });
        let schedule = Schedule::of(&cron_job).expect("a schedule");
        let job = job(&cron_job, &schedule, "2026-01-11T02:00:00Z".parse().expect("an instant"));
        assert_eq!(object::name(&job), "night-29468280");
        let note = object::annotation(&job, "batch.kubernetes.io/cronjob-scheduled-timestamp");
        assert_eq!((note, object::label(&job, "a")), (Some("2026-01-11T03:00:00+01:00"), Some("b")));
    }
}
