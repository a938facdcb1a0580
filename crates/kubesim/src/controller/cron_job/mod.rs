//! CronJobs: a job for every time of a schedule.

mod history;
pub(crate) mod schedule;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use self::schedule::Schedule;
use super::{
    Controller, Outcome,
    job::finished,
    pod::{Hands, Tools},
};
use crate::{
    clock,
    kind::{self, Kind},
    object::{self, Key, int, items, text},
    status::Status,
    store::{DeleteOptions, Event},
};

pub(crate) struct CronJobs {
    hands: Hands,
    /// The time for which no job was made, so that the reason is told once.
    skipped: HashMap<Key, Timestamp>,
}

impl Controller for CronJobs {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::CRON_JOBS, &kind::JOBS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        if *event.kind == kind::CRON_JOBS {
            queue.insert(Key::of(&event.object));
        } else if let Some(owner) = object::controller(&event.object).filter(|o| o["kind"] == "CronJob") {
            queue.insert(Key::new(object::namespace(&event.object), text(owner, "/name")));
        }
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let found = self.hands.store.get(&kind::CRON_JOBS, key).filter(|c| !object::deleting(c));
        let Some(cron_job) = found else {
            self.skipped.remove(key);
            return Ok(None);
        };
        let mut jobs = self.hands.store.owned(&kind::JOBS, object::uid(&cron_job));
        jobs.retain(|j| !object::deleting(j));
        let cron_job = self.observe_jobs(key, &cron_job, &jobs)?;
        for job in history::superfluous(&cron_job, &jobs) {
            self.delete(&cron_job, job)?;
        }
        if cron_job["spec"]["suspend"] == true {
            return Ok(None);
        }
        match Schedule::of(&cron_job) {
            Ok(schedule) => self.follow(key, &cron_job, &jobs, &schedule).await,
            Err(error) => {
                let message = format!("unparseable schedule: {}: {error}", cron_job["spec"]["schedule"]);
                self.hands.warn(&cron_job, "UnparseableSchedule", message);
                Ok(None)
            }
        }
    }
}

impl CronJobs {
    pub(crate) fn new(tools: Tools) -> Self {
        let hands = Hands::new(tools, &kind::CRON_JOBS, "cronjob-controller");
        Self { hands, skipped: HashMap::new() }
    }

    /// Notes in the status which jobs run and when one last ended well.
    fn observe_jobs(&self, key: &Key, seen: &Value, jobs: &[Arc<Value>]) -> Result<Arc<Value>, Status> {
        for gone in items(seen, "/status/active") {
            let job = jobs.iter().find(|j| object::uid(j) == gone["uid"]);
            let name = text(gone, "/name");
            match job.map(|j| finished(j)) {
                None => self.hands.note(seen, "MissingJob", format!("Active job went missing: {name}")),
                Some(Some(end)) => {
                    let message = format!("Saw completed job: {name}, condition: {end}");
                    self.hands.note(seen, "SawCompletedJob", message);
                }
                Some(None) => {}
            }
        }
        self.hands.report(key, |value| history::observe(value, jobs))
    }

    async fn follow(
        &mut self,
        key: &Key,
        cron_job: &Value,
        jobs: &[Arc<Value>],
        schedule: &Schedule,
    ) -> Outcome {
        let now = clock::now();
        let wait = |schedule: &Schedule| {
            let left = schedule.next(now)?.duration_since(now);
            // A little later, so that the time has come for sure.
            Some(Duration::try_from(left).unwrap_or_default() + Duration::from_millis(20))
        };
        let deadline = int(cron_job, "/spec/startingDeadlineSeconds");
        let oldest = deadline.and_then(|s| now.checked_sub(jiff::SignedDuration::from_secs(s)).ok());
        let since = history::last_time(cron_job).max(oldest.unwrap_or(Timestamp::MIN));
        // What is longer past than the deadline allows is past for good.
        let due = schedule.due(history::last_time(cron_job), now).filter(|(at, _)| *at >= since);
        let Some((at, missed)) = due else { return Ok(wait(schedule)) };
        if missed > schedule::MANY && deadline.is_none() {
            let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.hands.warn(cron_job, "TooManyMissedTimes", message.to_owned());
        }
        let running: Vec<&Arc<Value>> = jobs.iter().filter(|j| finished(j).is_none()).collect();
        if text(cron_job, "/spec/concurrencyPolicy") == "Forbid" && !running.is_empty() {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            self.skip(key, cron_job, at, "JobAlreadyActive", message.to_owned());
            return Ok(wait(schedule));
        }
        if text(cron_job, "/spec/concurrencyPolicy") == "Replace" {
            running.iter().try_for_each(|job| self.delete(cron_job, job))?;
        }
        self.start(key, cron_job, schedule, at).await?;
        Ok(wait(schedule))
    }

    fn skip(&mut self, key: &Key, cron_job: &Value, at: Timestamp, reason: &str, message: String) {
        if self.skipped.insert(key.clone(), at) != Some(at) {
            self.hands.warn(cron_job, reason, message);
        }
    }

    async fn start(
        &self,
        key: &Key,
        cron_job: &Value,
        schedule: &Schedule,
        at: Timestamp,
    ) -> Result<(), Status> {
        let job = history::job(cron_job, schedule, at);
        match self.hands.make(&kind::JOBS, job).await {
            Ok(job) => {
                let message = format!("Created job {}", object::name(&job));
                self.hands.note(cron_job, "SuccessfulCreate", message);
            }
            // Made before a restart that came between the job and this status.
            Err(status) if status.reason == "AlreadyExists" => {}
            Err(status) => {
                self.hands.warn(cron_job, "FailedCreate", format!("Error creating job: {status}"));
                return Err(status);
            }
        }
        self.hands.report(key, |value| {
            object::set(value, &["status", "lastScheduleTime"], json!(clock::format(at)));
        })?;
        Ok(())
    }

    fn delete(&self, cron_job: &Value, job: &Value) -> Result<(), Status> {
        let options = DeleteOptions { uid: Some(object::uid(job).to_owned()), ..DeleteOptions::default() };
        match self.hands.store.delete(&kind::JOBS, &Key::of(job), &options) {
            Err(status) if !matches!(status.code, 404 | 409) => Err(status),
            _ => {
                self.hands.note(cron_job, "SuccessfulDelete", format!("Deleted job {}", object::name(job)));
                Ok(())
            }
        }
    }
}
