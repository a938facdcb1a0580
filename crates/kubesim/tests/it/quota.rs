//! What a namespace may use, what pods get that ask for nothing, and the classes of pods and claims.

use crate::{
    harness::{create, deployment, eventually, list, pod, sim, until},
    kubectl::Kubectl,
};

use serde_json::json;

const PODS: &str = "/api/v1/namespaces/team/pods";

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_charged_for_what_comes_and_counted_anew_when_something_goes() {
    let sim = sim("quota").await;
    let kubectl = Kubectl::new(&sim);
    kubectl.ok(&["create", "namespace", "team"]).await;
    kubectl
        .ok(&["-n", "team", "create", "quota", "few", "--hard=pods=3,count/deployments.apps=1,secrets=2"])
        .await;
    let path = "/api/v1/namespaces/team/resourcequotas/few";
    until(&sim, path, |quota| quota["status"]["used"]["pods"] == "0").await;
    let web = deployment("web", 5, "web:1");
    create(&sim, "/apis/apps/v1/namespaces/team/deployments", &web).await;
    until(&sim, path, |quota| quota["status"]["used"]["pods"] == "3").await;
    // Two pods are refused, and their owner says why.
    eventually(|| async {
        let text = kubectl.ok(&["-n", "team", "describe", "replicaset"]).await;
        let refused = "exceeded quota: few, requested: pods=1, used: pods=3, limited: pods=3";
        if text.contains(refused) { Ok(()) } else { Err(text) }
    })
    .await;
    let (success, text) =
        kubectl.run(&["-n", "team", "create", "deployment", "other", "--image=web:1"], "").await;
    let refused = "exceeded quota: few, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1";
    assert!(!success && text.contains(refused), "{text}");
    let dry = ["-n", "team", "create", "deployment", "other", "--image=web:1", "--dry-run=server"];
    let (success, text) = kubectl.run(&dry, "").await;
    assert!(!success && text.contains("exceeded quota: few"), "{text}");
    let text = kubectl.ok(&["-n", "team", "describe", "quota", "few"]).await;
    assert!(text.contains("pods") && text.contains("3     3"), "{text}");
    let text = kubectl.ok(&["-n", "team", "get", "quota"]).await;
    assert!(text.contains("count/deployments.apps: 1/1, pods: 3/3, secrets: 0/2"), "{text}");
    // Who fails to make something is not charged for it.
    let secret = ["-n", "team", "create", "secret", "generic", "one"];
    kubectl.ok(&secret).await;
    for _ in 0..3 {
        let (success, text) = kubectl.run(&secret, "").await;
        assert!(!success && text.contains("already exists"), "{text}");
    }
    kubectl.ok(&["-n", "team", "create", "secret", "generic", "two"]).await;
    kubectl.ok(&["-n", "team", "delete", "deployment", "web"]).await;
    until(&sim, path, |quota| quota["status"]["used"]["pods"] == "0").await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_refused_are_tried_again_and_their_owner_is_not_written_for_each_attempt() {
    let sim = sim("refused").await;
    let kubectl = Kubectl::new(&sim);
    kubectl.ok(&["create", "namespace", "team"]).await;
    kubectl.ok(&["-n", "team", "create", "quota", "none", "--hard=pods=0"]).await;
    create(&sim, "/apis/apps/v1/namespaces/team/deployments", &deployment("web", 2, "web:1")).await;
    let attempts = async |least: usize| {
        let sim = &sim;
        eventually(|| async move {
            let events = list(sim, "/api/v1/namespaces/team/events").await;
            let refused = events.iter().filter(|(_, event)| event["reason"] == "FailedCreate").count();
            if refused >= least { Ok(()) } else { Err(format!("{refused} attempts")) }
        })
        .await;
        let sets = list(sim, "/apis/apps/v1/namespaces/team/replicasets").await;
        sets.into_iter().map(|(_, set)| set["metadata"]["resourceVersion"].clone()).collect::<Vec<_>>()
    };
    let before = attempts(3).await;
    assert_eq!((before.len(), attempts(6).await), (1, before));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limit_ranges_fill_in_and_quotas_of_processors_insist() {
    let sim = sim("limits").await;
    let kubectl = Kubectl::new(&sim);
    kubectl.ok(&["create", "namespace", "team"]).await;
    kubectl.ok(&["-n", "team", "create", "quota", "cpu", "--hard=requests.cpu=1"]).await;
    let (success, text) = kubectl.run(&["-n", "team", "run", "bare", "--image=web:1"], "").await;
    assert!(!success && text.contains("failed quota: cpu: must specify requests.cpu for: bare"), "{text}");
    let range = r"
apiVersion: v1
kind: LimitRange
metadata: {name: usual}
spec:
  limits:
  - type: Container
    defaultRequest: {cpu: 250m}
    default: {memory: 1Gi}
    max: {memory: 2Gi}
";
    let (success, text) = kubectl.run(&["-n", "team", "apply", "-f", "-"], range).await;
    assert!(success, "{text}");
    kubectl.ok(&["-n", "team", "run", "bare", "--image=web:1"]).await;
    let path = "/api/v1/namespaces/team/resourcequotas/cpu";
    until(&sim, path, |quota| quota["status"]["used"]["requests.cpu"] == "250m").await;
    let made = until(&sim, &format!("{PODS}/bare"), |_| true).await;
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(
        *resources,
        json!({"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}})
    );
    assert_eq!(made["status"]["qosClass"], "Burstable");
    let mut large = pod("large", &json!({}));
    large["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "4Gi"}});
    let (success, text) = kubectl.run(&["-n", "team", "apply", "-f", "-"], &large.to_string()).await;
    assert!(
        !success && text.contains("maximum memory usage per Container is 2Gi, but limit is 4Gi"),
        "{text}"
    );
    let text = kubectl.ok(&["-n", "team", "describe", "limits", "usual"]).await;
    assert!(text.contains("Container") && text.contains("250m"), "{text}");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_give_pods_their_priority_and_claims_their_volumes() {
    let sim = sim("classes").await;
    let kubectl = Kubectl::new(&sim);
    let text = kubectl.ok(&["get", "priorityclasses,storageclasses,runtimeclasses"]).await;
    for known in
        ["system-node-critical", "2000001000", "standard (default)", "runtimeclass.node.k8s.io/process"]
    {
        assert!(text.contains(known), "{known}: {text}");
    }
    kubectl.ok(&["create", "priorityclass", "high", "--value=1000"]).await;
    let mut urgent = pod("urgent", &json!({}));
    urgent["spec"]["priorityClassName"] = json!("high");
    let made = create(&sim, crate::harness::PODS, &urgent).await;
    assert_eq!(
        (&made["spec"]["priority"], &made["spec"]["preemptionPolicy"]),
        (&json!(1000), &json!("PreemptLowerPriority"))
    );
    for (field, value, why) in [
        ("priorityClassName", json!("none"), "no PriorityClass with name none was found"),
        ("runtimeClassName", json!("none"), "pod rejected: RuntimeClass \"none\" not found"),
        ("priority", json!(7), "the integer value of priority (7) must not be provided in pod spec"),
    ] {
        let mut wrong = pod("wrong", &json!({}));
        wrong["spec"][field] = value;
        let (success, text) = kubectl.run(&["apply", "-f", "-"], &wrong.to_string()).await;
        assert!(!success && text.contains(why), "{text}");
    }
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = |name: &str, class: &serde_json::Value| {
        let mut claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        });
        if !class.is_null() {
            claim["spec"]["storageClassName"] = class.clone();
        }
        claim
    };
    create(&sim, claims, &claim("data", &json!(null))).await;
    let bound = until(&sim, &format!("{claims}/data"), |c| c["status"]["phase"] == "Bound").await;
    assert_eq!(bound["spec"]["storageClassName"], "standard");
    let volume = bound["spec"]["volumeName"].as_str().expect("a volume").to_owned();
    let text = kubectl.ok(&["get", "pv"]).await;
    assert!(text.contains(&volume) && text.contains("Bound") && text.contains("default/data"), "{text}");
    kubectl.ok(&["delete", "pvc", "data"]).await;
    until(&sim, "/api/v1/persistentvolumes", |list| list["items"].as_array().is_some_and(Vec::is_empty))
        .await;
    // Without a class it waits for a volume that somebody makes by hand, and that one stays.
    create(&sim, claims, &claim("by-hand", &json!(""))).await;
    create(&sim, "/api/v1/persistentvolumes", &json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
        "spec": {
            "capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": "/disk"},
        },
    }))
    .await;
    let bound = until(&sim, &format!("{claims}/by-hand"), |c| c["status"]["phase"] == "Bound").await;
    assert_eq!(bound["spec"]["volumeName"], "disk");
    // One that is kept for a claim goes to that claim, and to no other that waits.
    create(&sim, claims, &claim("early", &json!(""))).await;
    create(&sim, claims, &claim("meant", &json!(""))).await;
    create(&sim, "/api/v1/persistentvolumes", &json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "kept"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/kept"},
            "claimRef": {"namespace": "default", "name": "meant"},
        },
    }))
    .await;
    let meant = until(&sim, &format!("{claims}/meant"), |c| c["status"]["phase"] == "Bound").await;
    assert_eq!(meant["spec"]["volumeName"], "kept");
    let early = until(&sim, &format!("{claims}/early"), |_| true).await;
    assert_eq!(early["status"]["phase"], "Pending");
    kubectl.ok(&["delete", "pvc", "by-hand"]).await;
    until(&sim, "/api/v1/persistentvolumes/disk", |v| v["status"]["phase"] == "Released").await;
    sim.shutdown().await;
}
