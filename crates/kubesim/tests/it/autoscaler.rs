//! HorizontalPodAutoscalers and the metrics that they and `kubectl top` read.

use bcs_kubesim::Kubesim;
use serde_json::{Value, json};

use crate::{
    harness::{
        DEPLOYMENTS, PODS, Raw, condition, create, deployment, eventually, list, ready_pods, sim, until,
    },
    kubectl::Kubectl,
};

const AUTOSCALERS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";

/// A deployment whose pods ask for 100m and use as much as they say.
fn web(replicas: u32, used: &str) -> Value {
    let mut web = deployment("web", replicas, "web:1");
    web["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "100m"}});
    web["spec"]["template"]["metadata"]["annotations"]["sim.bcs/cpu"] = json!(used);
    web["spec"]["template"]["metadata"]["annotations"]["sim.bcs/memory"] = json!("64Mi");
    web
}

fn autoscaler() -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2, "maxReplicas": 6, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
        },
    })
}

async fn all_use(sim: &Kubesim, cpu: &str) {
    let patch = json!({"metadata": {"annotations": {"sim.bcs/cpu": cpu}}}).to_string();
    for (name, _) in list(sim, PODS).await {
        let path = format!("{PODS}/{name}");
        let (code, answer) = Raw(sim).send("PATCH", &path, "application/merge-patch+json", &patch).await;
        // The first of them may already have made others superfluous.
        assert!(matches!(code, 200 | 404), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_pods_follows_their_use() {
    let sim = sim("scaled").await;
    create(&sim, DEPLOYMENTS, &web(2, "50m")).await;
    ready_pods(&sim, 2).await;
    create(&sim, AUTOSCALERS, &autoscaler()).await;
    let path = format!("{AUTOSCALERS}/web");
    let seen = until(&sim, &path, |a| condition(a, "ScalingActive")["status"] == "True").await;
    assert_eq!(seen["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"], 50);
    // However many pods come, the first two stay as busy as they are.
    all_use(&sim, "200m").await;
    let full = |a: &Value| {
        a["status"]["currentReplicas"] == 6 && condition(a, "ScalingLimited")["reason"] == "TooManyReplicas"
    };
    until(&sim, &path, full).await;
    ready_pods(&sim, 6).await;
    let text = Kubectl::new(&sim).ok(&["get", "hpa"]).await;
    assert!(text.contains("Deployment/web") && text.contains("/50%"), "{text}");
    let seen = eventually(|| async {
        // Again and again, for pods may still have come in between.
        all_use(&sim, "1m").await;
        let (_, seen) = Raw(&sim).get(&path).await;
        if seen["status"]["currentReplicas"] == 2 { Ok(seen) } else { Err(seen["status"].to_string()) }
    })
    .await;
    assert_eq!(condition(&seen, "AbleToScale")["status"], "True");
    ready_pods(&sim, 2).await;
    let text = Kubectl::new(&sim).ok(&["describe", "hpa", "web"]).await;
    assert!(text.contains("SuccessfulRescale") && text.contains("New size: 6"), "{text}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_what_pods_use_and_autoscalers_follow_it() {
    let sim = sim("top").await;
    let kubectl = Kubectl::new(&sim);
    create(&sim, DEPLOYMENTS, &web(2, "250m")).await;
    let pods = ready_pods(&sim, 2).await;
    let name = pods[0]["metadata"]["name"].as_str().expect("a name");
    eventually(|| async {
        let (success, text) = kubectl.run(&["top", "pods"], "").await;
        if success && text.matches("250m").count() == 2 && text.contains("64Mi") && text.contains(name) {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    eventually(|| async {
        let (success, text) = kubectl.run(&["top", "nodes"], "").await;
        if success && text.contains("250m") { Ok(()) } else { Err(text) }
    })
    .await;
    // Without a metric the target is eighty percent of the processors asked for.
    let mut plain = autoscaler();
    plain["spec"] = json!({"scaleTargetRef": plain["spec"]["scaleTargetRef"], "maxReplicas": 3});
    create(&sim, AUTOSCALERS, &plain).await;
    until(&sim, &format!("{AUTOSCALERS}/web"), |a| a["status"]["currentReplicas"] == 3).await;
    kubectl.ok(&["delete", "deployment", "web", "--timeout=30s"]).await;
    ready_pods(&sim, 0).await;
    eventually(|| async {
        let left = list(&sim, "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods").await;
        if left.is_empty() { Ok(()) } else { Err(format!("{} pods are still measured", left.len())) }
    })
    .await;
    let seen =
        until(&sim, &format!("{AUTOSCALERS}/web"), |a| condition(a, "AbleToScale")["status"] == "False")
            .await;
    assert_eq!(condition(&seen, "AbleToScale")["reason"], "FailedGetScale");
    sim.shutdown().await;
}
