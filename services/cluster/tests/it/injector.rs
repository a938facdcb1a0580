//! The webhook that puts sidecars into pods, on a simulated cluster with the manifests that users are given: real HTTPS, and a token
//! that may do what they allow and nothing else.

use std::time::Duration;

use bcs_engines::kubernetes::label;
use bcs_schemas::step::StepResult;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{
    hall::{CONFIGURATION, Hall, SECRET, waiting},
    kubectl,
    manifest::MANIFESTS,
};

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_sidecars_are_not_known_it_is_a_container_that_outlives_the_hold() {
    let hall = Hall::open().await;
    let replica = hall.replica_with("a", "native = false");
    replica.ready().await;
    let asks = [(label::INJECT.to_owned(), "enabled".to_owned())].into();
    assert_eq!(hall.scale_up("plain", asks, 1).await, StepResult::Done);
    let pods = hall.running("plain", 1).await;
    assert_eq!(names(&pods[0]["spec"]["containers"]), ["bcs-sidecar", "main"]);
    for container in pods[0]["spec"]["containers"].as_array().expect("containers") {
        assert_eq!(container["lifecycle"]["preStop"]["httpGet"]["path"], "/hold");
    }
    assert_eq!(pods[0]["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"], "main");
    replica.stop().await;
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_of_an_application_that_asks_for_it_runs_with_the_sidecar_by_the_rights_of_the_manifests() {
    let hall = Hall::open().await;
    let replica = hall.replica("a", &hall.clock);
    replica.ready().await;
    let labels =
        |word: Option<&str>| word.map(|word| (label::INJECT.to_owned(), word.to_owned())).into_iter();
    assert_eq!(hall.scale_up("asks", labels(Some("enabled")).collect(), 2).await, StepResult::Done);
    assert_eq!(hall.scale_up("does-not", labels(None).collect(), 1).await, StepResult::Done);
    for pod in hall.running("asks", 2).await {
        assert_eq!(names(&pod["spec"]["initContainers"]), ["bcs-sidecar"]);
        assert_eq!(pod["spec"]["initContainers"][0]["restartPolicy"], "Always");
        let main = &pod["spec"]["containers"][0];
        assert_eq!(main["lifecycle"]["preStop"]["httpGet"]["path"], "/hold");
        assert_eq!(main["lifecycle"]["preStop"]["httpGet"]["port"], 8190);
        assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 90);
        assert_eq!(pod["metadata"]["annotations"][label::INJECTED], "native");
        assert_eq!(names(&pod["status"]["initContainerStatuses"]), ["bcs-sidecar"]);
    }
    let without = hall.running("does-not", 1).await;
    assert_eq!(without[0]["spec"]["initContainers"], Value::Null);

    // Where the namespace asks, the application need not, and may refuse.
    hall.change(
        "/api/v1/namespaces/shop",
        &json!({ "metadata": { "labels": { label::INJECT: "enabled" } } }),
    )
    .await;
    assert_eq!(hall.scale_up("by-namespace", labels(None).collect(), 1).await, StepResult::Done);
    assert_eq!(hall.scale_up("refuses", labels(Some("false")).collect(), 1).await, StepResult::Done);
    assert_eq!(hall.scale_up("asks-twice", labels(Some("enabled")).collect(), 1).await, StepResult::Done);
    for (app, expected) in
        [("by-namespace", &["bcs-sidecar"][..]), ("refuses", &[]), ("asks-twice", &["bcs-sidecar"])]
    {
        let pods = hall.running(app, 1).await;
        assert_eq!(names(&pods[0]["spec"]["initContainers"]), expected, "{app}");
    }
    // What is none of ours comes as it was written, and whoever makes it reads why.
    let stranger = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "stranger", "namespace": "shop" },
        "spec": { "containers": [{ "name": "main", "image": "x:1" }] },
    });
    let said = kubectl::apply(&hall.admin, &stranger.to_string()).await;
    assert!(said.contains("bcs-sidecar is not put in") && said.contains("bcs.io/app"), "{said}");
    let stranger = hall.get("/api/v1/namespaces/shop/pods/stranger").await;
    assert_eq!(stranger["spec"]["initContainers"], Value::Null);
    replica.stop().await;
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_made_all_the_same_when_the_webhook_is_gone() {
    let hall = Hall::open().await;
    let replica = hall.replica("a", &hall.clock);
    replica.ready().await;
    replica.stop().await;
    let asks = || [(label::INJECT.to_owned(), "enabled".to_owned())].into();
    assert_eq!(hall.scale_up("orphan", asks(), 1).await, StepResult::Done);
    let pods = hall.running("orphan", 1).await;
    assert_eq!(pods[0]["spec"]["initContainers"], Value::Null);
    // It comes back with the same authority, and is asked again.
    let before = hall.bundle().await;
    let again = hall.replica("a", &hall.clock);
    again.ready().await;
    assert_eq!(hall.bundle().await, before);
    assert_eq!(hall.scale_up("orphan", asks(), 2).await, StepResult::Done);
    waiting("one with and one without", async || {
        let pods = hall.pods("orphan").await;
        let with = pods.iter().filter(|pod| !names(&pod["spec"]["initContainers"]).is_empty()).count();
        if (pods.len(), with) == (2, 1) { Ok(()) } else { Err(format!("{} of {}", with, pods.len())) }
    })
    .await;
    again.stop().await;
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_whose_life_is_half_over_is_replaced_and_nobody_is_missed_meanwhile() {
    let hall = Hall::open().await;
    // Half a year and more ago by our clock; the API server goes by the real one.
    let clock = hall.clock_in_the_past(SignedDuration::from_hours(200 * 24));
    let replica = hall.replica("a", &clock);
    replica.ready().await;
    let before = hall.bundle().await;
    assert_eq!(certificates(&before), 1);
    clock.advance(SignedDuration::from_hours(200 * 24));
    let after = waiting("a new authority, and the one before", async || {
        let bundle = hall.bundle().await;
        if certificates(&bundle) == 2 && bundle.ends_with(&before) { Ok(bundle) } else { Err(bundle) }
    })
    .await;
    assert_eq!(hall.secret("ca.crt").await.as_deref(), Some(after.as_str()));
    // The present one answers, not only the one before.
    waiting("a certificate of the new authority", async || {
        hall.ask(&after[..after.len() - before.len()], "POST", "/inject", "{}").await.map(drop)
    })
    .await;
    let asks = [(label::INJECT.to_owned(), "enabled".to_owned())].into();
    assert_eq!(hall.scale_up("renewed", asks, 1).await, StepResult::Done);
    let pods = hall.running("renewed", 1).await;
    assert_eq!(names(&pods[0]["spec"]["initContainers"]), ["bcs-sidecar"]);
    replica.stop().await;
    hall.close().await;
}

fn certificates(pem: &str) -> usize {
    pem.matches("BEGIN CERTIFICATE").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_agree_on_one_authority_and_make_another_when_it_is_lost_or_damaged() {
    let hall = Hall::open().await;
    // All at once, at addresses of their own.
    let replicas = ["a", "b", "c"].map(|name| hall.replica_elsewhere(name, &hall.clock));
    for replica in &replicas {
        replica.ready().await;
    }
    let first = hall.bundle().await;
    assert_eq!(hall.secret("ca.crt").await.as_deref(), Some(first.as_str()));
    for replica in &replicas {
        hall.ask_at(replica.address, &first, "POST", "/inject", "{}").await.expect("is believed");
    }
    let path = format!("/api/v1/namespaces/bcs-system/secrets/{SECRET}");
    let mut bundle = first;
    for harm in [None, Some(json!({ "data": { "ca.key": "bm8ga2V5" } })), Some(json!({ "data": null }))] {
        match &harm {
            None => hall.delete(&path).await,
            Some(change) => hall.change(&path, change).await,
        }
        let after = waiting("another authority, which all believe", async || {
            let after = hall.bundle().await;
            if after == bundle || hall.secret("ca.crt").await.as_deref() != Some(after.as_str()) {
                return Err("the one before".to_owned());
            }
            let newest = &after[..after.find("-----END").unwrap_or(0) + "-----END CERTIFICATE-----\n".len()];
            for replica in &replicas {
                hall.ask_at(replica.address, newest, "POST", "/inject", "{}").await?;
            }
            Ok(after)
        })
        .await;
        assert_eq!(certificates(&after), 2, "the one before is believed for a while: {harm:?}");
        bundle = after;
    }
    for replica in replicas {
        replica.stop().await;
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_until_it_is_there() {
    let hall = Hall::bare().await;
    let replica = hall.replica("a", &hall.clock);
    let missing = |words: &'static str| {
        let replica = &replica;
        waiting(words, async move || match replica.report.injection() {
            Err(why) if why.contains(words) => Ok(()),
            other => Err(format!("{other:?}")),
        })
    };
    missing("forbidden").await;
    kubectl::apply(&hall.admin, MANIFESTS[1].1).await;
    missing("MutatingWebhookConfiguration bcs-sidecar-injector does not exist: apply k8s/injector").await;
    kubectl::apply(&hall.admin, MANIFESTS[2].1).await;
    replica.ready().await;
    // What is gone later harms nobody who is believed already.
    hall.delete(CONFIGURATION).await;
    tokio::time::timeout(Duration::from_secs(30), async {
        kubectl::apply(&hall.admin, MANIFESTS[2].1).await;
        waiting("believed again", async || match hall.bundle().await {
            bundle if bundle.is_empty() => Err("nobody is".to_owned()),
            _ => Ok(()),
        })
        .await;
    })
    .await
    .expect("in time");
    assert_eq!(replica.report.injection(), Ok(()));
    replica.stop().await;
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_wrongly_is_told_why_and_a_question_has_its_answer() {
    let hall = Hall::open().await;
    let replica = hall.replica("a", &hall.clock);
    replica.ready().await;
    let bundle = hall.bundle().await;
    let large = "x".repeat((3 << 20) + 1);
    for (method, path, body, status, words) in [
        ("GET", "/inject", "", 405, "expected POST"),
        ("POST", "/", "{}", 404, "only /inject"),
        ("POST", "/inject", "{", 400, "no AdmissionReview in JSON"),
        ("POST", "/inject", "{}", 400, "expected admission.k8s.io/v1"),
        ("POST", "/inject", &large, 413, "larger than 3 MiB"),
    ] {
        let (found, text) = hall.ask(&bundle, method, path, body).await.expect("an answer");
        assert!(found == status && text.contains(words), "{method} {path}: {found} {text}");
    }
    let question = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u7", "kind": { "group": "", "version": "v1", "kind": "Pod" }, "operation": "CREATE",
            "namespace": "shop", "dryRun": true, "object": { "metadata": {}, "spec": { "containers": [] } },
        },
    });
    // The API server adds its patience to the address.
    let (status, text) =
        hall.ask(&bundle, "POST", "/inject?timeout=3s", &question.to_string()).await.expect("an answer");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (status, &answer["response"]["uid"], &answer["response"]["allowed"]),
        (200, &json!("u7"), &json!(true))
    );
    assert!(answer["response"]["warnings"][0].as_str().is_some_and(|w| w.contains("it lacks")), "{answer}");
    // Who says nothing keeps nobody from being heard.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(tokio::net::TcpStream::connect(replica.address).await.expect("connects"));
    }
    let (status, _) = hall.ask(&bundle, "POST", "/inject", "{}").await.expect("an answer");
    assert_eq!(status, 400);
    replica.stop().await;
    hall.close().await;
}
