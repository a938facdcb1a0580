//! Things to show in tests.

use bcs_schemas::{
    query::{AppPhase, AppStatus, AppView, ClusterStatus},
    resource::{Resource, app::App},
};
use serde_json::json;

fn at(text: &str) -> jiff::Timestamp {
    text.parse().expect("is an instant")
}

pub(crate) fn as_of() -> jiff::Timestamp {
    at("2026-11-22T10:00:00Z")
}

pub(crate) fn app(name: &str) -> AppView {
    let document = json!({
        "apiVersion": "bcs/v1", "kind": "App", "metadata": { "project": "demo", "name": name },
        "spec": {
            "replicas": 6, "placement": { "clusters": [{ "name": "sim-a", "weight": 2 }, { "name": "sim-b" }] },
            "image": { "repository": "shop/web", "tag": "v1" }, "ports": [{ "name": "http", "port": 8080 }],
        },
    });
    let Ok(Resource::App(App { metadata, spec, .. })) = Resource::from_value(document) else {
        panic!("the document is right")
    };
    let part = |replicas, available| ClusterStatus { replicas, available, ..ClusterStatus::default() };
    let revision = spec.template(0).revision();
    let status = AppStatus {
        phase: AppPhase::Progressing,
        observed_generation: 1,
        reason: None,
        blocking: None,
        since: at("2026-11-22T09:59:00Z"),
        deadline: None,
        revision,
        healthy_revision: None,
        replicas: 6,
        updated: 5,
        ready: 5,
        available: 4,
        draining: 1,
        clusters: [("sim-a", part(4, 3)), ("sim-b", part(2, 1))]
            .map(|(name, part)| (name.parse().expect("is a name"), part))
            .into(),
        observed_at: at("2026-11-22T09:59:58Z"),
    };
    AppView {
        project: "demo".parse().expect("is a name"),
        name: metadata.name,
        labels: metadata.labels,
        spec,
        generation: 1,
        revision: 12,
        created_at: at("2026-11-22T09:10:00Z"),
        status,
    }
}

pub(crate) fn endpoint(instance: &str) -> bcs_schemas::observation::Endpoint {
    serde_json::from_value(json!({
        "cluster": "sim-a", "project": "demo", "app": "shop-web", "revision": "6d4f", "instance": instance,
        "uid": "u-1", "node": "sim-a-0", "zone": "z1", "addresses": ["127.1.0.7"], "ports": [{ "name": "http", "port": 8080 }],
        "weight": 100, "phase": "ready", "since": "2026-11-22T09:00:00Z", "generation": 1,
        "observed_at": "2026-11-22T09:59:30Z",
    }))
    .expect("is an endpoint")
}

pub(crate) fn registration(instance: &str, registry: &str) -> bcs_schemas::observation::Registration {
    serde_json::from_value(json!({
        "cluster": "sim-a", "project": "demo", "app": "shop-web", "instance": instance, "uid": "u-1",
        "registry": registry, "address": "127.1.0.7:8080", "state": "confirmed",
        "since": "2026-11-22T09:00:01Z", "observed_at": "2026-11-22T09:59:59Z",
    }))
    .expect("is a registration")
}
