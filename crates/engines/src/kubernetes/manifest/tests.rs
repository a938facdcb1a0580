use bcs_schemas::Name;
use serde_json::json;

use super::*;

fn key() -> WorkloadKey {
    let name = |text: &str| Name::new(text).expect("is a name");
    WorkloadKey { project: name("demo"), app: name("shop"), revision: name("5f3a") }
}

fn template(value: serde_json::Value) -> Template {
    let mut all = json!({ "image": { "repository": "r/shop", "tag": "1" }, "stop_timeout": "1500ms" });
    all.as_object_mut().expect("an object").extend(value.as_object().expect("an object").clone());
    serde_json::from_value(all).expect("is a template")
}

fn written(template: &Template, labels: &Labels) -> serde_json::Value {
    let key = key();
    let set = replica_set(Wanted { key: &key, template, labels, register: None, replicas: 3, generation: 7 });
    serde_json::to_value(set).expect("is JSON")
}

#[test]
fn a_revision_becomes_a_replica_set_in_the_namespace_of_its_project() {
    let template = template(json!({
        "ports": [{ "name": "http", "port": 8080 }, { "name": "dns", "port": 53, "protocol": "UDP" }],
        "env": { "LEVEL": "info" }, "args": ["-v"], "resources": { "cpu": "250m", "memory": "64Mi" },
        "annotations": { "example.org/a": "b" },
    }));
    let set = written(&template, &Labels::from([("tier".to_owned(), "web".to_owned())]));
    assert_eq!(set["metadata"]["name"], "shop-5f3a");
    assert_eq!(set["metadata"]["namespace"], "demo");
    assert_eq!(set["metadata"]["annotations"], json!({ "bcs.io/generation": "7" }));
    assert_eq!(set["spec"]["replicas"], 3);
    let pod = &set["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"]["tier"], "web");
    assert_eq!(pod["metadata"]["annotations"], json!({ "bcs.io/generation": "7", "example.org/a": "b" }));
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 2);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], "r/shop:1");
    assert_eq!(container["args"], json!(["-v"]));
    assert_eq!(container["command"], json!(null));
    assert_eq!(container["ports"][1], json!({ "name": "dns", "containerPort": 53, "protocol": "UDP" }));
    assert_eq!(
        container["resources"],
        json!({ "limits": { "memory": "64Mi" }, "requests": { "cpu": "250m", "memory": "64Mi" } })
    );
}

#[test]
fn labels_of_a_user_cannot_forge_ours_and_stay_out_of_the_selector() {
    let hostile = [(label::APP, "other"), (label::MANAGED_BY, "me"), ("tier", "web")];
    let hostile = hostile.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let set = written(&template(json!({})), &hostile);
    assert_eq!(set["spec"]["template"]["metadata"]["labels"][label::APP], "shop");
    assert_eq!(set["metadata"]["labels"][label::MANAGED_BY], "bcs");
    let selector = json!({ label::PROJECT: "demo", label::APP: "shop", label::REVISION: "5f3a" });
    assert_eq!(set["spec"]["selector"]["matchLabels"], selector);
}
