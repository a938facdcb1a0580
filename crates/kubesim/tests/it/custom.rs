//! Custom resources, from their definition to their end.

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    harness::{Raw, client, eventually, sim},
    kubectl::Kubectl,
};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const TABS: &str = "/apis/example.com/v1/namespaces/default/tabs";
const MERGE: &str = "application/merge-patch+json";

fn definition() -> Value {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["size"],
            "x-kubernetes-validations": [{"rule": "self.size <= self.most", "message": "size is more than most"}],
            "properties": {
                "size": {"type": "integer", "minimum": 0},
                "most": {"type": "integer", "default": 10},
                "name": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "name is immutable"}]},
                "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
                    "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "weight": {"type": "integer"}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }},
        "status": {"type": "object", "properties": {"size": {"type": "integer"}, "selector": {"type": "string"}}},
    }});
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector"}},
            "additionalPrinterColumns": [
                {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                {"name": "Most", "type": "integer", "jsonPath": ".spec.most", "priority": 1},
                {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            ],
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "tabs.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "versions": [version("v1beta1", false), version("v1", true)],
            "names": {"plural": "tabs", "kind": "Tab", "shortNames": ["tb"], "categories": ["all"]},
        },
    })
}

fn tab(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Tab", "metadata": {"name": name}, "spec": spec})
}

async fn define(raw: &Raw<'_>) {
    let (code, made) = raw.post(DEFINITIONS, &definition()).await;
    assert_eq!(code, 201, "{made}");
    eventually(|| async {
        let (_, definition) = raw.get(&format!("{DEFINITIONS}/tabs.example.com")).await;
        let conditions = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let established = conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True");
        if established { Ok(()) } else { Err(definition.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_makes_a_kind_that_validates_and_fills_in_and_prunes() {
    let sim = sim("custom").await;
    let raw = Raw(&sim);
    assert_eq!(raw.get(TABS).await.0, 404);
    define(&raw).await;
    let (code, made) =
        raw.post(TABS, &tab("a", &json!({"size": 3, "unknown": 1, "free": {"x": {"y": 1}}}))).await;
    assert_eq!(
        (code, &made["spec"]),
        (201, &json!({"size": 3, "most": 10, "free": {"x": {"y": 1}}})),
        "{made}"
    );
    assert_eq!(made["metadata"]["generation"], 1);
    for (spec, field, words) in [
        (json!({"size": "3"}), "spec.size", "must be of type integer: \"3\""),
        (json!({}), "spec.size", "Required value"),
        (json!({"size": -1}), "spec.size", "should be greater than or equal to 0"),
        (json!({"size": 11}), "spec", "size is more than most"),
        (json!({"size": 1, "parts": [{"name": "x"}, {"name": "x"}]}), "spec.parts[1]", "Duplicate value"),
    ] {
        let (code, refused) = raw.post(TABS, &tab("b", &spec)).await;
        let cause = &refused["details"]["causes"][0];
        assert_eq!(
            (code, refused["reason"].as_str(), cause["field"].as_str()),
            (422, Some("Invalid"), Some(field)),
            "{refused}"
        );
        assert!(cause["message"].as_str().is_some_and(|message| message.contains(words)), "{refused}");
        assert!(
            refused["message"].as_str().is_some_and(|m| m.starts_with("Tab.example.com \"b\" is invalid: ")),
            "{refused}"
        );
    }
    let strict = format!("{TABS}?fieldValidation=Strict");
    let (code, refused) = raw.post(&strict, &tab("c", &json!({"size": 1, "unknown": 1}))).await;
    assert_eq!(
        (code, refused["message"].as_str()),
        (400, Some("strict decoding error: unknown field \"spec.unknown\""))
    );
    // A rule about a change.
    let one = format!("{TABS}/a");
    assert_eq!(raw.send("PATCH", &one, MERGE, r#"{"spec":{"name":"x"}}"#).await.0, 200);
    let (code, refused) = raw.send("PATCH", &one, MERGE, r#"{"spec":{"name":"y"}}"#).await;
    assert!(code == 422 && refused.to_string().contains("name is immutable"), "{refused}");
    let (code, _) = raw.send("PATCH", &one, "application/strategic-merge-patch+json", "{}").await;
    assert_eq!(code, 415, "nobody knows its merge keys");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_scale_and_versions_of_a_custom_resource_are_its_own() {
    let sim = sim("subresources").await;
    let raw = Raw(&sim);
    define(&raw).await;
    let mut first = tab("a", &json!({"size": 3}));
    first["status"] = json!({"size": 9});
    let (_, made) = raw.post(TABS, &first).await;
    assert!(made.get("status").is_none(), "nobody sets the status of what is new: {made}");
    let status = format!("{TABS}/a/status");
    let (code, done) = raw
        .send("PATCH", &status, MERGE, r#"{"status":{"size":2,"selector":"a=b"},"spec":{"size":1}}"#)
        .await;
    assert_eq!((code, &done["spec"]["size"], &done["status"]["size"]), (200, &json!(3), &json!(2)), "{done}");
    assert_eq!(done["metadata"]["generation"], 1, "a status is not wanted by anybody");
    let scale = format!("{TABS}/a/scale");
    let (_, shown) = raw.get(&scale).await;
    assert_eq!(
        (&shown["spec"], &shown["status"]),
        (&json!({"replicas": 3}), &json!({"replicas": 2, "selector": "a=b"}))
    );
    let (code, _) = raw.send("PATCH", &scale, MERGE, r#"{"spec":{"replicas":5}}"#).await;
    assert_eq!(code, 200);
    let (_, older) = raw.get("/apis/example.com/v1beta1/namespaces/default/tabs/a").await;
    assert_eq!(
        (older["apiVersion"].as_str(), &older["spec"]["size"]),
        (Some("example.com/v1beta1"), &json!(5))
    );
    assert_eq!(older["metadata"]["generation"], 2);
    let written = json!({"apiVersion": "example.com/v1beta1", "kind": "Tab", "metadata": {"name": "b"}, "spec": {"size": 1}});
    let (code, made) = raw.post("/apis/example.com/v1beta1/namespaces/default/tabs", &written).await;
    assert_eq!(code, 201, "{made}");
    let (_, all) = raw.get(TABS).await;
    let versions: Vec<&str> =
        all["items"].as_array().expect("a list").iter().filter_map(|t| t["apiVersion"].as_str()).collect();
    assert_eq!(versions, ["example.com/v1", "example.com/v1"]);
    let (_, group) = raw.get("/apis/example.com").await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
    sim.shutdown().await;
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Tab"))
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_with_keys_merge_by_them_when_applied() {
    let sim = sim("applied").await;
    define(&Raw(&sim)).await;
    let client: Client = client(&sim).await;
    let tabs: Api<DynamicObject> = Api::default_namespaced_with(client, &resource());
    let apply = async |manager: &str, parts: Value| {
        let wanted = tab("a", &json!({"size": 1, "parts": parts}));
        tabs.patch("a", &PatchParams::apply(manager), &Patch::Apply(wanted)).await
    };
    apply("one", json!([{"name": "x", "weight": 1}])).await.expect("applies");
    let both = apply("two", json!([{"name": "y", "weight": 2}])).await.expect("applies");
    assert_eq!(both.data["spec"]["parts"], json!([{"name": "x", "weight": 1}, {"name": "y", "weight": 2}]));
    let conflict = apply("two", json!([{"name": "x", "weight": 3}])).await.expect_err("is the other's");
    assert!(conflict.to_string().contains("conflict with \"one\""), "{conflict}");
    let left = apply("one", json!([])).await.expect("applies");
    assert_eq!(left.data["spec"]["parts"], json!([{"name": "y", "weight": 2}]));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_definition_goes_its_objects_go_first_and_the_kind_is_gone() {
    let sim = sim("ended").await;
    let raw = Raw(&sim);
    define(&raw).await;
    let mut held = tab("a", &json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    raw.post(TABS, &held).await;
    let (code, _) =
        raw.send("DELETE", &format!("{DEFINITIONS}/tabs.example.com"), "application/json", "").await;
    assert_eq!(code, 200);
    eventually(|| async {
        let (_, tab) = raw.get(&format!("{TABS}/a")).await;
        if tab["metadata"]["deletionTimestamp"].is_string() { Ok(()) } else { Err(tab.to_string()) }
    })
    .await;
    let (code, refused) = raw.post(TABS, &tab("b", &json!({"size": 1}))).await;
    assert_eq!(code, 405, "{refused}");
    raw.send("PATCH", &format!("{TABS}/a"), MERGE, r#"{"metadata":{"finalizers":null}}"#).await;
    eventually(|| async {
        match raw.get(TABS).await {
            (404, _) => Ok(()),
            (code, body) => Err(format!("{code} {body}")),
        }
    })
    .await;
    define(&raw).await;
    assert_eq!(raw.get(TABS).await.1["items"], json!([]), "it begins anew");
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_of_a_taken_kind_is_not_established() {
    let sim = sim("taken").await;
    let raw = Raw(&sim);
    define(&raw).await;
    let mut second = definition();
    second["metadata"]["name"] = json!("tabletops.example.com");
    second["spec"]["names"] = json!({"plural": "tabletops", "kind": "Tab"});
    assert_eq!(raw.post(DEFINITIONS, &second).await.0, 201);
    eventually(|| async {
        let (_, definition) = raw.get(&format!("{DEFINITIONS}/tabletops.example.com")).await;
        let refused = definition["status"]["conditions"].to_string().contains("\"Tab\\\" is already in use");
        if refused { Ok(()) } else { Err(definition.to_string()) }
    })
    .await;
    assert_eq!(raw.get("/apis/example.com/v1/tabletops").await.0, 404);
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_knows_a_custom_resource_as_any_other() {
    let sim = sim("tabs").await;
    let kubectl = Kubectl::new(&sim);
    let (success, text) = kubectl.run(&["apply", "-f", "-"], &definition().to_string()).await;
    assert!(success, "{text}");
    kubectl.ok(&["wait", "--for=condition=Established", "crd/tabs.example.com", "--timeout=30s"]).await;
    let (success, text) =
        kubectl.run(&["apply", "-f", "-"], &tab("a", &json!({"size": 3})).to_string()).await;
    assert!(success && text.contains("tab.example.com/a created"), "{text}");
    let (success, text) =
        kubectl.run(&["apply", "-f", "-"], &tab("a", &json!({"size": 4})).to_string()).await;
    assert!(success && text.contains("tab.example.com/a configured"), "{text}");
    let text = kubectl.ok(&["get", "tb"]).await;
    assert!(text.contains("SIZE") && !text.contains("MOST") && text.contains("a      4"), "{text}");
    let text = kubectl.ok(&["get", "tabs", "-o", "wide"]).await;
    assert!(text.contains("MOST") && text.contains("10"), "{text}");
    let text = kubectl.ok(&["explain", "tab.spec.parts"]).await;
    assert!(text.contains("weight") && text.contains("<integer>"), "{text}");
    kubectl.ok(&["scale", "tab/a", "--replicas=2"]).await;
    let (success, text) =
        kubectl.run(&["apply", "-f", "-"], &tab("a", &json!({"size": 3, "x": 1})).to_string()).await;
    assert!(!success && text.contains("unknown field \"spec.x\""), "{text}");
    kubectl.ok(&["delete", "crd", "tabs.example.com", "--timeout=30s"]).await;
    // It may still remember that there was such a kind.
    let (success, text) = kubectl.run(&["get", "tabs"], "").await;
    assert!(!success && text.contains("resource"), "{text}");
    sim.shutdown().await;
}
