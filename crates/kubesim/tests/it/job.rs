//! Jobs: how often their pods run, how they end, and what is left of them.

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};

use crate::{
    harness::{PODS, Raw, change, condition, create, eventually, list, sim, until},
    kubectl::Kubectl,
};

pub(crate) const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";

fn work() -> String {
    format!("{JOBS}/work")
}

/// A job whose pods behave as their annotations say.
pub(crate) fn job(annotations: &Value, more: &Value) -> Value {
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"},
        "spec": {"template": {
            "metadata": {"annotations": annotations},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "work:1"}]},
        }},
    });
    job["spec"]["template"]["metadata"]["annotations"]["sim.bcs/startup"] = json!("10ms");
    for (field, value) in more.as_object().into_iter().flatten() {
        job["spec"][field] = value.clone();
    }
    job
}

pub(crate) fn quick() -> Value {
    json!({"sim.bcs/complete-after": "20ms"})
}

fn crashing() -> Value {
    json!({"sim.bcs/crash-after": "10ms"})
}

pub(crate) fn is(object: &Value, name: &str) -> bool {
    condition(object, name)["status"] == "True"
}

pub(crate) async fn running(sim: &Kubesim, count: usize) -> Vec<(String, Value)> {
    eventually(|| async {
        let mut pods = list(sim, PODS).await;
        pods.retain(|(_, p)| {
            p["status"]["phase"] == "Running" && p["metadata"]["deletionTimestamp"].is_null()
        });
        if pods.len() == count { Ok(pods) } else { Err(format!("{} pods run", pods.len())) }
    })
    .await
}

pub(crate) async fn no_pods(sim: &Kubesim) {
    eventually(|| async {
        let pods = list(sim, PODS).await;
        if pods.is_empty() { Ok(()) } else { Err(format!("{pods:?}")) }
    })
    .await;
}

/// Tells one pod that is running already how to end.
pub(crate) async fn tell(sim: &Kubesim, pod: &str, annotations: &Value) {
    change(sim, &format!("{PODS}/{pod}"), &json!({"metadata": {"annotations": annotations}})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_ends_when_its_pods_have_ended_well_often_enough() {
    let sim = sim("complete").await;
    let kubectl = Kubectl::new(&sim);
    create(&sim, JOBS, &job(&quick(), &json!({"completions": 5, "parallelism": 2}))).await;
    eventually(|| async {
        let pods = list(&sim, PODS).await;
        let ended = |p: &Value| matches!(p["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let active = pods.iter().filter(|(_, p)| !ended(p)).count();
        assert!(active <= 2, "{active} pods at once");
        let (_, job) = Raw(&sim).get(&work()).await;
        if is(&job, "Complete") { Ok(()) } else { Err(job["status"].to_string()) }
    })
    .await;
    kubectl.ok(&["wait", "--for=condition=complete", "job/work", "--timeout=30s"]).await;
    let (_, done) = Raw(&sim).get(&work()).await;
    assert_eq!(
        [&done["status"]["succeeded"], &done["status"]["uncountedTerminatedPods"]],
        [&json!(5), &json!({})]
    );
    assert!(is(&done, "SuccessCriteriaMet") && done["status"]["completionTime"].is_string(), "{done}");
    let pods = list(&sim, PODS).await;
    assert!(
        pods.len() == 5
            && pods.iter().all(|(_, p)| p["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty))
    );
    let text = kubectl.ok(&["get", "jobs"]).await;
    assert!(text.contains("Complete") && text.contains("5/5"), "{text}");
    let text = kubectl.ok(&["describe", "job", "work"]).await;
    assert!(text.contains("5 Succeeded") && text.contains("Completed"), "{text}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_index_of_a_job_ends_well_once() {
    let sim = sim("indexed").await;
    let spec = json!({"completions": 4, "parallelism": 4, "completionMode": "Indexed"});
    create(&sim, JOBS, &job(&json!({}), &spec)).await;
    let pods = running(&sim, 4).await;
    for (at, (name, pod)) in pods.iter().enumerate() {
        assert!(name.starts_with(&format!("work-{at}-")), "{name}");
        assert_eq!(pod["spec"]["hostname"], format!("work-{at}"));
        assert_eq!(
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"],
            at.to_string()
        );
        assert_eq!(pod["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
    }
    for at in [0, 2, 3] {
        tell(&sim, &pods[at].0, &quick()).await;
    }
    until(&sim, &work(), |j| j["status"]["completedIndexes"] == "0,2,3").await;
    // The last one fails once and is tried again under its index.
    tell(&sim, &pods[1].0, &crashing()).await;
    let again = running(&sim, 1).await;
    assert!(again[0].0.starts_with("work-1-") && again[0].0 != pods[1].0, "{}", again[0].0);
    tell(&sim, &again[0].0, &quick()).await;
    let done = until(&sim, &work(), |j| is(j, "Complete")).await;
    assert_eq!([&done["status"]["completedIndexes"], &done["status"]["failed"]], [&json!("0-3"), &json!(1)]);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_pods_fail_too_often_has_failed() {
    let sim = sim("backoff").await;
    create(&sim, JOBS, &job(&crashing(), &json!({"backoffLimit": 1}))).await;
    let failed = until(&sim, &work(), |j| is(j, "Failed")).await;
    assert_eq!(condition(&failed, "Failed")["reason"], "BackoffLimitExceeded");
    assert!(is(&failed, "FailureTarget"));
    assert_eq!(failed["status"]["failed"], 2);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_restarted_in_place_count_by_their_restarts() {
    let sim = sim("restarts").await;
    let mut object = job(&crashing(), &json!({"backoffLimit": 2}));
    object["spec"]["template"]["spec"]["restartPolicy"] = json!("OnFailure");
    create(&sim, JOBS, &object).await;
    let failed = until(&sim, &work(), |j| is(j, "Failed")).await;
    assert_eq!(condition(&failed, "Failed")["reason"], "BackoffLimitExceeded");
    assert_eq!(failed["status"]["failed"], 1);
    no_pods(&sim).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_fails_for_good_does_not_hold_up_the_others() {
    let sim = sim("per-index").await;
    let spec =
        json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 0});
    create(&sim, JOBS, &job(&json!({}), &spec)).await;
    let pods = running(&sim, 3).await;
    tell(&sim, &pods[1].0, &crashing()).await;
    until(&sim, &work(), |j| j["status"]["failedIndexes"] == "1").await;
    for at in [0, 2] {
        tell(&sim, &pods[at].0, &quick()).await;
    }
    let failed = until(&sim, &work(), |j| is(j, "Failed")).await;
    assert_eq!(condition(&failed, "Failed")["reason"], "FailedIndexes");
    assert_eq!(failed["status"]["completedIndexes"], "0,2");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_policy_ends_a_job_at_the_first_pod() {
    let sim = sim("policy").await;
    let rule = json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}});
    let spec = json!({"parallelism": 2, "completions": 2, "podFailurePolicy": {"rules": [rule]}});
    create(&sim, JOBS, &job(&json!({}), &spec)).await;
    let pods = running(&sim, 2).await;
    tell(&sim, &pods[0].0, &crashing()).await;
    let failed = until(&sim, &work(), |j| is(j, "Failed")).await;
    assert_eq!(condition(&failed, "Failed")["reason"], "PodFailurePolicy");
    let message = condition(&failed, "Failed")["message"].as_str().unwrap_or("").to_owned();
    assert!(message.contains("failed with exit code 1 matching FailJob rule at index 0"), "{message}");
    running(&sim, 0).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_job_has_no_pods_until_it_is_resumed() {
    let sim = sim("suspend").await;
    create(&sim, JOBS, &job(&json!({}), &json!({"suspend": true}))).await;
    let seen = until(&sim, &work(), |j| is(j, "Suspended")).await;
    assert!(seen["status"]["startTime"].is_null() && list(&sim, PODS).await.is_empty());
    change(&sim, &work(), &json!({"spec": {"suspend": false}})).await;
    running(&sim, 1).await;
    change(&sim, &work(), &json!({"spec": {"suspend": true}})).await;
    no_pods(&sim).await;
    let text = Kubectl::new(&sim).ok(&["get", "job", "work"]).await;
    assert!(text.contains("Suspended"), "{text}");
    change(&sim, &work(), &json!({"spec": {"suspend": false}})).await;
    let pods = running(&sim, 1).await;
    tell(&sim, &pods[0].0, &quick()).await;
    let done = until(&sim, &work(), |j| is(j, "Complete")).await;
    assert!(done["status"]["failed"].is_null() && !is(&done, "Suspended"), "{done}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_too_long_fails_and_goes_when_its_time_is_over() {
    let sim = sim("late").await;
    create(&sim, JOBS, &job(&json!({}), &json!({"activeDeadlineSeconds": 1}))).await;
    let failed = until(&sim, &work(), |j| is(j, "Failed")).await;
    assert_eq!(condition(&failed, "Failed")["reason"], "DeadlineExceeded");
    change(&sim, &work(), &json!({"spec": {"ttlSecondsAfterFinished": 1}})).await;
    until(&sim, &work(), |j| j["code"] == 404).await;
    no_pods(&sim).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_somebody_deletes_is_replaced_and_a_job_takes_its_pods_along() {
    let sim = sim("lost-pod").await;
    create(&sim, JOBS, &job(&json!({}), &json!({}))).await;
    let first = running(&sim, 1).await;
    Raw(&sim).send("DELETE", &format!("{PODS}/{}", first[0].0), "application/json", "").await;
    eventually(|| async {
        let pods = running(&sim, 1).await;
        if pods[0].0 == first[0].0 { Err("still the first pod".to_owned()) } else { Ok(()) }
    })
    .await;
    until(&sim, &work(), |j| j["status"]["failed"] == 1 && j["status"]["active"] == 1).await;
    Kubectl::new(&sim).ok(&["delete", "job", "work", "--timeout=30s"]).await;
    no_pods(&sim).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_make_no_sense_are_refused() {
    let sim = sim("nonsense").await;
    let mut always = job(&json!({}), &json!({}));
    always["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
    let indexed = job(&json!({}), &json!({"completionMode": "Indexed", "parallelism": 1}));
    for (object, field) in [(always, "restartPolicy"), (indexed, "spec.completions")] {
        let (code, answer) = Raw(&sim).post(JOBS, &object).await;
        assert!(code == 422 && answer["message"].as_str().is_some_and(|m| m.contains(field)), "{answer}");
    }
    create(&sim, JOBS, &job(&json!({}), &json!({}))).await;
    let patch = json!({"spec": {"completions": 7}}).to_string();
    let (code, _) = Raw(&sim).send("PATCH", &work(), "application/merge-patch+json", &patch).await;
    assert_eq!(code, 422);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_not_held_by_a_job_that_let_them_go_or_whose_namespace_ends() {
    let sim = sim("let-go").await;
    let kubectl = Kubectl::new(&sim);
    create(&sim, JOBS, &job(&json!({}), &json!({}))).await;
    let pods = running(&sim, 1).await;
    kubectl.ok(&["delete", "job", "work", "--cascade=orphan", "--timeout=30s"]).await;
    let free = until(&sim, &format!("{PODS}/{}", pods[0].0), |p| {
        p["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
    })
    .await;
    assert_eq!(free["status"]["phase"], "Running", "{free}");
    kubectl.ok(&["delete", "pod", &pods[0].0, "--timeout=30s"]).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}});
    create(&sim, "/api/v1/namespaces", &namespace).await;
    create(&sim, "/apis/batch/v1/namespaces/team/jobs", &job(&json!({}), &json!({"parallelism": 3}))).await;
    until(&sim, "/apis/batch/v1/namespaces/team/jobs/work", |j| j["status"]["ready"] == 3).await;
    kubectl.ok(&["delete", "namespace", "team", "--timeout=30s"]).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indexed_job_grows_and_shrinks_with_its_parallelism() {
    let sim = sim("elastic").await;
    let spec = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"});
    create(&sim, JOBS, &job(&json!({}), &spec)).await;
    let pods = running(&sim, 3).await;
    change(&sim, &work(), &json!({"spec": {"completions": 4, "parallelism": 4}})).await;
    let more = running(&sim, 4).await;
    assert!(more[3].0.starts_with("work-3-"), "{}", more[3].0);
    change(&sim, &work(), &json!({"spec": {"completions": 1, "parallelism": 1}})).await;
    let left = running(&sim, 1).await;
    assert_eq!(left[0].0, pods[0].0);
    tell(&sim, &left[0].0, &quick()).await;
    let done = until(&sim, &work(), |j| is(j, "Complete")).await;
    assert!(done["status"]["failed"].is_null(), "{done}");
    sim.shutdown().await;
}
