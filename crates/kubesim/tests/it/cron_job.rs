//! CronJobs: which times make a job, and which jobs are kept.

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};

use crate::{
    harness::{Raw, change, create, eventually, list, sim, until},
    job::{JOBS, is, job, no_pods, quick, running, tell},
    kubectl::Kubectl,
};

const CRON_JOBS: &str = "/apis/batch/v1/namespaces/default/cronjobs";

fn cron_job(schedule: &str, more: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "night"},
        "spec": {"schedule": schedule, "suspend": true, "jobTemplate": {"spec": job(&json!({}), &json!({}))["spec"]}},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

fn night() -> String {
    format!("{CRON_JOBS}/night")
}

/// So long that no time comes by itself during a test.
const YEARLY: &str = "@every 8760h";

/// Makes a CronJob believe that its last job was made years ago, so that the next one is due at once. Its name comes
/// from its time, so another minute makes another job.
async fn let_time_pass(sim: &Kubesim, minute: u32) {
    change(sim, &night(), &json!({"spec": {"suspend": true}})).await;
    let past = json!({"status": {"lastScheduleTime": format!("2020-01-01T00:{minute:02}:00Z")}});
    change(sim, &format!("{}/status", night()), &past).await;
    change(sim, &night(), &json!({"spec": {"suspend": false}})).await;
}

async fn jobs(sim: &Kubesim, wanted: impl Fn(&[(String, Value)]) -> bool) -> Vec<(String, Value)> {
    eventually(|| async {
        let jobs = list(sim, JOBS).await;
        if wanted(&jobs) { Ok(jobs) } else { Err(format!("{jobs:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_of_the_schedule_makes_one_job() {
    let sim = sim("cron").await;
    let kubectl = Kubectl::new(&sim);
    create(&sim, CRON_JOBS, &cron_job(YEARLY, &json!({"timeZone": "Europe/Berlin"}))).await;
    let_time_pass(&sim, 0).await;
    let made = jobs(&sim, |jobs| jobs.len() == 1).await;
    let pods = running(&sim, 1).await;
    let seen = until(&sim, &night(), |c| c["status"]["active"][0]["name"] == made[0].0.as_str()).await;
    assert_ne!(seen["status"]["lastScheduleTime"], "2020-01-01T00:00:00Z");
    let text = kubectl.ok(&["get", "cronjobs"]).await;
    assert!(text.contains(YEARLY) && text.contains("Europe/Berlin"), "{text}");
    tell(&sim, &pods[0].0, &quick()).await;
    let seen = until(&sim, &night(), |c| c["status"]["lastSuccessfulTime"].is_string()).await;
    assert!(seen["status"]["active"].is_null(), "{seen}");
    Raw(&sim).send("DELETE", &night(), "application/json", "").await;
    jobs(&sim, <[_]>::is_empty).await;
    no_pods(&sim).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_forbids_or_is_replaced() {
    let sim = sim("concurrency").await;
    create(&sim, CRON_JOBS, &cron_job(YEARLY, &json!({"concurrencyPolicy": "Forbid"}))).await;
    let_time_pass(&sim, 0).await;
    let first = jobs(&sim, |jobs| jobs.len() == 1).await;
    running(&sim, 1).await;
    let_time_pass(&sim, 1).await;
    let skipped = |events: &[(String, Value)]| events.iter().any(|(_, e)| e["reason"] == "JobAlreadyActive");
    eventually(|| async {
        let events = list(&sim, "/api/v1/namespaces/default/events").await;
        if skipped(&events) { Ok(()) } else { Err("nothing was skipped".to_owned()) }
    })
    .await;
    assert_eq!(list(&sim, JOBS).await.len(), 1);
    change(&sim, &night(), &json!({"spec": {"concurrencyPolicy": "Replace"}})).await;
    jobs(&sim, |jobs| jobs.len() == 1 && jobs[0].0 != first[0].0).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_long_past_makes_no_job() {
    let sim = sim("missed").await;
    let spec = json!({"startingDeadlineSeconds": 1});
    create(&sim, CRON_JOBS, &cron_job("0 0 29 2 *", &spec)).await;
    change(
        &sim,
        &format!("{}/status", night()),
        &json!({"status": {"lastScheduleTime": "2020-01-01T00:00:00Z"}}),
    )
    .await;
    change(&sim, &night(), &json!({"spec": {"suspend": false}})).await;
    // One controller serves all in order: when the other one has its job, this one has been looked at.
    let mut other = cron_job(YEARLY, &json!({}));
    other["metadata"]["name"] = json!("other");
    create(&sim, CRON_JOBS, &other).await;
    let path = format!("{CRON_JOBS}/other");
    let past = json!({"status": {"lastScheduleTime": "2020-01-01T00:00:00Z"}});
    change(&sim, &format!("{path}/status"), &past).await;
    change(&sim, &path, &json!({"spec": {"suspend": false}})).await;
    let made = jobs(&sim, |jobs| !jobs.is_empty()).await;
    assert!(made.len() == 1 && made[0].0.starts_with("other-"), "{}", made[0].0);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_few_finished_jobs_are_kept() {
    let sim = sim("kept").await;
    let mut object = cron_job(YEARLY, &json!({"successfulJobsHistoryLimit": 1}));
    object["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["annotations"] = quick();
    create(&sim, CRON_JOBS, &object).await;
    let mut names = Vec::new();
    for minute in 0..3 {
        let_time_pass(&sim, minute).await;
        let found =
            jobs(&sim, |jobs| jobs.len() == 1 && !names.contains(&jobs[0].0) && is(&jobs[0].1, "Complete"))
                .await;
        names.push(found[0].0.clone());
    }
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_makes_a_job_from_a_cron_job_at_any_time() {
    let sim = sim("by-hand").await;
    let kubectl = Kubectl::new(&sim);
    let mut object = cron_job("0 3 * * *", &json!({}));
    object["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["annotations"] = quick();
    create(&sim, CRON_JOBS, &object).await;
    kubectl.ok(&["create", "job", "now", "--from=cronjob/night"]).await;
    kubectl.ok(&["wait", "--for=condition=complete", "job/now", "--timeout=30s"]).await;
    let text = kubectl.ok(&["describe", "cronjob", "night"]).await;
    assert!(text.contains("0 3 * * *"), "{text}");
    kubectl.ok(&["create", "cronjob", "other", "--image=work:1", "--schedule=*/5 * * * *"]).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_schedule_is_refused() {
    let sim = sim("no-schedule").await;
    for (schedule, more, field) in [
        ("61 * * * *", json!({}), "spec.schedule"),
        ("0 * * * *", json!({"timeZone": "Mars/Olympus"}), "spec.timeZone"),
        ("0 * * * *", json!({"concurrencyPolicy": "Maybe"}), "spec.concurrencyPolicy"),
    ] {
        let (code, answer) = Raw(&sim).post(CRON_JOBS, &cron_job(schedule, &more)).await;
        assert!(code == 422 && answer["message"].as_str().is_some_and(|m| m.contains(field)), "{answer}");
    }
    sim.shutdown().await;
}
