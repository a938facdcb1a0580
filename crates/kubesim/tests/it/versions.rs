//! Kinds that are served in two versions: whoever writes in one, others read in the other.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use serde_json::json;

use crate::{
    harness::{DEPLOYMENTS, PODS, Raw, change, client, create, deployment, eventually, pod, sim, until},
    kubectl::Kubectl,
};

const OLD: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
const NEW: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_is_the_same_in_both_versions() {
    let sim = sim("autoscalers").await;
    create(&sim, DEPLOYMENTS, &deployment("web", 1, "web:1")).await;
    let old = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2, "maxReplicas": 4, "targetCPUUtilizationPercentage": 60,
        },
    });
    let made = create(&sim, OLD, &old).await;
    assert_eq!(
        (&made["apiVersion"], &made["spec"]["targetCPUUtilizationPercentage"]),
        (&json!("autoscaling/v1"), &json!(60))
    );
    until(&sim, &format!("{DEPLOYMENTS}/web"), |web| web["spec"]["replicas"] == 2).await;
    let (_, new) = Raw(&sim).get(&format!("{NEW}/web")).await;
    assert_eq!(new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 60);
    let old =
        change(&sim, &format!("{OLD}/web"), &json!({"spec": {"targetCPUUtilizationPercentage": 75}})).await;
    assert_eq!(old["apiVersion"], "autoscaling/v1");
    let (_, new) = Raw(&sim).get(&format!("{NEW}/web")).await;
    assert_eq!(new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 75);
    let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 50}}});
    let metrics = [new["spec"]["metrics"][0].clone(), memory];
    change(&sim, &format!("{NEW}/web"), &json!({"spec": {"metrics": metrics}})).await;
    // What the old version has no words for is not lost by those who write in it.
    let old = change(&sim, &format!("{OLD}/web"), &json!({"spec": {"maxReplicas": 9}})).await;
    assert!(
        old["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"]
            .as_str()
            .is_some_and(|m| m.contains("memory"))
    );
    let (_, new) = Raw(&sim).get(&format!("{NEW}/web")).await;
    assert_eq!(
        (&new["spec"]["maxReplicas"], new["spec"]["metrics"].as_array().map(Vec::len)),
        (&json!(9), Some(2))
    );
    let kubectl = Kubectl::new(&sim);
    let text = kubectl.ok(&["get", "horizontalpodautoscalers.v1.autoscaling", "web", "-o", "yaml"]).await;
    assert!(text.contains("targetCPUUtilizationPercentage: 75"), "{text}");
    let text = kubectl.ok(&["explain", "hpa.spec", "--api-version=autoscaling/v1"]).await;
    assert!(text.contains("targetCPUUtilizationPercentage"), "{text}");
    let text = kubectl.ok(&["get", "hpa"]).await;
    assert!(text.contains("Deployment/web") && text.contains("cpu: <unknown>/75%"), "{text}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_the_new_group_are_told_by_kubectl() {
    let sim = sim("events").await;
    let made = create(&sim, PODS, &pod("web", &json!({}))).await;
    let recorder = Recorder::new(client(&sim).await, "night-watch".into());
    let about: ObjectReference = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web", "uid": made["metadata"]["uid"],
    }))
    .expect("a reference");
    let event = Event {
        type_: EventType::Warning,
        reason: "Noise".into(),
        note: Some("something moves".into()),
        action: "Watching".into(),
        secondary: None,
    };
    recorder.publish(&event, &about).await.expect("is taken");
    recorder.publish(&event, &about).await.expect("is counted");
    let kubectl = Kubectl::new(&sim);
    eventually(|| async {
        let text = kubectl.ok(&["describe", "pod", "web"]).await;
        let line = text.lines().find(|line| line.contains("Noise")).unwrap_or("").to_owned();
        if line.contains("night-watch") && line.contains("something moves") { Ok(()) } else { Err(text) }
    })
    .await;
    let text = kubectl.ok(&["get", "events.events.k8s.io", "-o", "yaml"]).await;
    assert!(
        text.contains("note: something moves") && text.contains("reportingController: night-watch"),
        "{text}"
    );
    let text = kubectl.ok(&["get", "events.events.k8s.io"]).await;
    assert!(text.contains("pod/web") && text.contains("something moves"), "{text}");
    sim.shutdown().await;
}
