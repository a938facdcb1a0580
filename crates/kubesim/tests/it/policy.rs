//! Admission policies in CEL, as kubectl meets them.

use serde_json::{Value, json};

use crate::{
    harness::{DEPLOYMENTS, Raw, change, create, deployment, sim},
    kubectl::Kubectl,
};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_refuses_or_warns_as_its_binding_says_also_of_changes_and_scales() {
    let sim = sim("policy").await;
    let kubectl = Kubectl::new(&sim);
    let policies = format!("{GROUP}/validatingadmissionpolicies");
    let bindings = format!("{GROUP}/validatingadmissionpolicybindings");
    let rules = json!([{"operations": ["CREATE", "UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "deployments/scale"]}]);
    let policy = json!({"metadata": {"name": "few"}, "spec": {
        "matchConstraints": {"resourceRules": rules}, "variables": [{"name": "wanted", "expression": "object.spec.replicas"}],
        "validations": [{"expression": "variables.wanted <= 2", "messageExpression": "'no more than 2, not ' + string(variables.wanted)"}],
    }});
    let made = create(&sim, &policies, &policy).await;
    assert_eq!(
        (&made["spec"]["failurePolicy"], &made["spec"]["matchConstraints"]["matchPolicy"]),
        (&json!("Fail"), &json!("Equivalent"))
    );
    let mut broken = policy.clone();
    broken["spec"]["validations"][0]["expression"] = json!("object.");
    let (code, refused) = Raw(&sim).post(&policies, &broken).await;
    assert_eq!(code, 422);
    assert!(
        refused["message"].as_str().is_some_and(|m| m.contains("spec.validations[0].expression")),
        "{refused}"
    );
    create(&sim, DEPLOYMENTS, &deployment("before", 3, "web:1")).await;
    let binding = json!({"metadata": {"name": "everywhere"}, "spec": {"policyName": "few", "validationActions": ["Deny"]}});
    create(&sim, &bindings, &binding).await;
    let says =
        "ValidatingAdmissionPolicy 'few' with binding 'everywhere' denied request: no more than 2, not 3";
    let (code, refused) = Raw(&sim).post(DEPLOYMENTS, &deployment("after", 3, "web:1")).await;
    assert_eq!((code, &refused["reason"]), (422, &json!("Invalid")));
    assert_eq!(refused["message"], format!("deployments.apps \"after\" is forbidden: {says}"));
    create(&sim, DEPLOYMENTS, &deployment("after", 2, "web:1")).await;
    let (good, told) = kubectl.run(&["scale", "deployment", "after", "--replicas=3"], "").await;
    assert!(!good && told.contains(says), "{told}");
    change(&sim, &format!("{bindings}/everywhere"), &json!({"spec": {"validationActions": ["Warn"]}})).await;
    let (good, told) = kubectl.run(&["scale", "deployment", "after", "--replicas=3"], "").await;
    assert!(
        good && told.contains("Warning: Validation failed for ValidatingAdmissionPolicy 'few'"),
        "{told}"
    );
    let table = kubectl.ok(&["get", "validatingadmissionpolicies,validatingadmissionpolicybindings"]).await;
    assert!(table.contains("VALIDATIONS") && table.contains("POLICYNAME"), "{table}");
    let other = json!({"spec": {"matchResources": {"namespaceSelector": {"matchLabels": {"strict": "yes"}}}, "validationActions": ["Deny"]}});
    change(&sim, &format!("{bindings}/everywhere"), &other).await;
    create(&sim, DEPLOYMENTS, &deployment("elsewhere", 5, "web:1")).await;
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_body_has_twice_is_told_and_refused_when_strict() {
    let sim = sim("twice").await;
    let path = "/api/v1/namespaces/default/configmaps";
    let body = r#"{"metadata": {"name": "a"}, "data": {"x": "1", "x": "2"}, "more": 1}"#;
    let (code, refused) =
        Raw(&sim).send("POST", &format!("{path}?fieldValidation=Strict"), "application/json", body).await;
    let why = "strict decoding error: unknown field \"more\", duplicate field \"data.x\"";
    assert_eq!((code, &refused["message"]), (400, &json!(why)));
    let (code, made) = Raw(&sim).send("POST", path, "application/json", body).await;
    assert_eq!((code, &made["data"]["x"]), (201, &json!("2")));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_expired_goes_on_from_its_last_name() {
    let sim = sim("goes-on").await;
    let path = "/api/v1/namespaces/default/configmaps";
    for name in ["a", "b", "d"] {
        create(&sim, path, &json!({"metadata": {"name": name}})).await;
    }
    let (_, first) = Raw(&sim).get(&format!("{path}?limit=2")).await;
    let token = first["metadata"]["continue"].as_str().expect("more");
    create(&sim, path, &json!({"metadata": {"name": "c"}})).await;
    sim.faults().compact();
    let (code, expired) = Raw(&sim).get(&format!("{path}?limit=2&continue={token}")).await;
    assert_eq!((code, &expired["reason"]), (410, &json!("Expired")));
    let token = expired["metadata"]["continue"].as_str().expect("a token that goes on");
    let (code, rest) = Raw(&sim).get(&format!("{path}?limit=2&continue={token}")).await;
    let names: Vec<&Value> =
        rest["items"].as_array().into_iter().flatten().map(|o| &o["metadata"]["name"]).collect();
    assert_eq!(
        (code, names),
        (200, vec!["c", "d"].into_iter().map(Value::from).collect::<Vec<_>>().iter().collect())
    );
    sim.shutdown().await;
}
