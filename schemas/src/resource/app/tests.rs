use super::*;
use crate::resource::Resource;

fn shop() -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "bcs/v1", "kind": "App",
        "metadata": { "project": "demo", "name": "shop-web" },
        "spec": {
            "replicas": 6,
            "placement": { "clusters": [{ "name": "sim-a", "weight": 2 }, { "name": "sim-b" }] },
            "image": { "repository": "shop/web", "tag": "v1" },
            "ports": [{ "name": "http", "port": 8080 }],
        }
    })
}

fn read(change: impl FnOnce(&mut serde_json::Value)) -> Result<Resource, Vec<FieldError>> {
    let mut value = shop();
    change(&mut value);
    let resource = Resource::from_value(value).map_err(|e| vec![e])?;
    let errors = resource.validate();
    if errors.is_empty() { Ok(resource) } else { Err(errors) }
}

#[test]
fn a_good_document_is_read_with_its_defaults() {
    let Ok(Resource::App(app)) = read(|_| ()) else { panic!("the document is good") };
    assert_eq!(app.spec.drain.deadline, Millis::from_secs(30));
    assert_eq!(app.spec.placement.clusters[1].weight, 1);
    let again = serde_json::to_value(&app).and_then(serde_json::from_value::<App>);
    assert_eq!(again.ok(), Some(app));
}

#[test]
fn every_mistake_is_named_with_its_field() {
    type Change = fn(&mut serde_json::Value);
    let cases: &[(Change, &str, &str)] = &[
        (|v| v["kind"] = "Pod".into(), "kind", "expected one of App"),
        (|v| v["apiVersion"] = "bcs/v9".into(), "apiVersion", "bcs/v1"),
        (|v| v["metadata"]["name"] = "Shop".into(), "metadata.name", "DNS label"),
        (|v| v["metadata"]["labels"] = serde_json::json!({ "a b": "c" }), "metadata.labels", "63 letters"),
        (|v| v["spec"]["replicas"] = (-1).into(), "spec.replicas", "-1"),
        (|v| v["spec"]["replicas"] = 2_000_000.into(), "spec.replicas", "0 to 100000"),
        (|v| v["spec"]["image"]["tag"] = "".into(), "spec.image.tag", "no image name"),
        (|v| v["spec"]["colour"] = "red".into(), "spec.colour", "unknown field"),
        (|v| v["spec"]["ports"][0]["port"] = 0.into(), "spec.ports[0].port", "1 to 65535"),
        (|v| v["spec"]["placement"] = serde_json::json!({}), "spec.placement", "names no cluster"),
        (
            |v| v["spec"]["placement"]["clusters"][1]["name"] = "sim-a".into(),
            "spec.placement.clusters[1].name",
            "twice",
        ),
        (
            |v| v["spec"]["register"] = serde_json::json!([{ "registry": "dns", "port": "grpc" }]),
            "spec.register[0].port",
            "no port",
        ),
        (
            |v| v["spec"]["register"] = serde_json::json!([{ "registry": "dns" }, { "registry": "dns" }]),
            "spec.register[1].registry",
            "twice",
        ),
        (
            |v| v["spec"]["register"] = serde_json::json!([{ "registry": "dns", "weight": 257 }]),
            "spec.register[0].weight",
            "0 to 256",
        ),
        (
            |v| v["spec"]["register"] = serde_json::json!([{ "registry": "dns", "name": "a.b" }]),
            "spec.register[0].name",
            "DNS label",
        ),
        (
            |v| v["spec"]["resources"] = serde_json::json!({ "cpu": "lots" }),
            "spec.resources.cpu",
            "no quantity",
        ),
        (
            |v| v["spec"]["drain"] = serde_json::json!({ "deadline": "soon" }),
            "spec.drain.deadline",
            "no duration",
        ),
    ];
    for (change, field, words) in cases {
        let errors = read(change).expect_err(field);
        let fits = |e: &FieldError| e.field.starts_with(field) && e.problem.contains(words);
        assert!(errors.iter().any(fits), "{field}: {errors:?}");
    }
}

#[test]
fn a_revision_follows_the_template_and_nothing_else() {
    let revision = |change: fn(&mut serde_json::Value)| match read(change) {
        Ok(Resource::App(app)) => app.spec.template(0).revision(),
        other => panic!("{other:?}"),
    };
    let first = revision(|_| ());
    assert_eq!(revision(|v| v["spec"]["replicas"] = 9.into()), first);
    assert_ne!(revision(|v| v["spec"]["image"]["tag"] = "v2".into()), first);
}
