//! What the server says about itself: health, version, groups and resources, both plain and aggregated.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use serde_json::{Value, json};

use super::represent;
use crate::{
    access::review::{self, Review},
    kind::Kind,
    kinds::Kinds,
};

pub(crate) const VERSION: &str = "v1.36.0";

/// What answers without a token, as on a real server.
pub(crate) fn public(path: &str) -> Option<Response<Body>> {
    match path {
        "/healthz" | "/readyz" | "/livez" => Some(Response::new(Body::from("ok"))),
        "/version" | "/version/" => Some(represent::json(
            StatusCode::OK,
            &json!({
                "major": "1", "minor": "36", "gitVersion": VERSION, "gitCommit": "kubesim", "gitTreeState": "clean",
                "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
            }),
        )),
        _ => None,
    }
}

/// What a version of a group has: kinds of objects, and questions that are asked by creating them.
#[derive(Clone, Copy)]
enum Resource {
    Kind(&'static Kind),
    Review(&'static Review),
}

/// The versions of a group, the preferred first.
type Versions = Vec<(&'static str, Vec<Resource>)>;

fn groups(kinds: &Kinds) -> BTreeMap<&'static str, Versions> {
    let mut groups: BTreeMap<_, Versions> = BTreeMap::new();
    let kinds = kinds.all().into_iter().map(|kind| (kind.group, kind.version, Resource::Kind(kind)));
    let reviews = review::ALL.iter().map(|review| (review.group, review::VERSION, Resource::Review(review)));
    for (group, version, resource) in kinds.chain(reviews) {
        let versions = groups.entry(group).or_default();
        match versions.iter_mut().find(|(name, _)| *name == version) {
            Some((_, resources)) => resources.push(resource),
            None => versions.push((version, vec![resource])),
        }
    }
    groups
}

pub(crate) fn document(kinds: &Kinds, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let aggregated = aggregated(headers);
    let body = match (parts.as_slice(), aggregated) {
        ([top @ ("api" | "apis")], Some(version)) => return Some(aggregate(kinds, *top == "api", version)),
        (["api"], None) => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
        }),
        (["apis"], None) => json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups(kinds).iter().filter(|(g, _)| !g.is_empty()).map(|(g, v)| group(g, v)).collect::<Vec<_>>(),
        }),
        (["api", "v1"], _) => resources(kinds, "", "v1")?,
        (["apis", name], _) => groups(kinds).get(name).map(|versions| {
            let mut body = group(name, versions);
            body["kind"] = json!("APIGroup");
            body["apiVersion"] = json!("v1");
            body
        })?,
        (["apis", name, version], _) => resources(kinds, name, version)?,
        ([""], _) => {
            json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]})
        }
        _ => return None,
    };
    Some(represent::json(StatusCode::OK, &body))
}

fn group(name: &str, versions: &Versions) -> Value {
    let one = |(version, _): &(&str, Vec<Resource>)| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let versions: Vec<Value> = versions.iter().map(one).collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Subresource name, kind, group and version of its body, verbs.
fn subresources(
    kind: &Kind,
) -> Vec<(&'static str, &'static str, &'static str, &'static str, Vec<&'static str>)> {
    let mut list = Vec::new();
    if kind.status {
        list.push(("status", kind.kind, kind.group, kind.version, vec!["get", "patch", "update"]));
    }
    if kind.scale {
        list.push(("scale", "Scale", "autoscaling", "v1", vec!["get", "patch", "update"]));
    }
    for (name, body) in kind.actions {
        let group = match *body {
            "Eviction" => "policy",
            "TokenRequest" => "authentication.k8s.io",
            "CertificateSigningRequest" => "certificates.k8s.io",
            _ => "",
        };
        let verbs = match *name {
            "log" => vec!["get"],
            "finalize" => vec!["update"],
            "approval" | "ephemeralcontainers" => vec!["get", "patch", "update"],
            "attach" | "exec" | "portforward" => vec!["create", "get"],
            _ => vec!["create"],
        };
        list.push((name, body, group, "v1", verbs));
    }
    list
}

fn resources(kinds: &Kinds, group: &str, version: &str) -> Option<Value> {
    let resources = groups(kinds).remove(group)?.into_iter().find(|(name, _)| *name == version)?.1;
    let mut list = Vec::new();
    for resource in resources {
        let kind = match resource {
            Resource::Kind(kind) => kind,
            Resource::Review(review) => {
                list.push(json!({
                    "name": review.plural, "singularName": review.singular, "namespaced": review.namespaced, "kind": review.kind, "verbs": ["create"],
                }));
                continue;
            }
        };
        let mut entry = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": VERBS,
        });
        if !kind.short.is_empty() {
            entry["shortNames"] = json!(kind.short);
        }
        if !kind.categories.is_empty() {
            entry["categories"] = json!(kind.categories);
        }
        list.push(entry);
        for (name, body, group, version, verbs) in subresources(kind) {
            let mut entry = json!({
                "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced, "kind": body, "verbs": verbs,
            });
            if group != kind.group {
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            list.push(entry);
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}),
    )
}

fn aggregated(headers: &HeaderMap) -> Option<&'static str> {
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    accept.split(',').filter(|a| a.contains("as=APIGroupDiscoveryList")).find_map(|choice| {
        let mut versions = choice.split(';').filter_map(|p| p.trim().strip_prefix("v="));
        match versions.next() {
            Some("v2") => Some("v2"),
            Some("v2beta1") => Some("v2beta1"),
            _ => None,
        }
    })
}

fn aggregate(kinds: &Kinds, core: bool, version: &'static str) -> Response<Body> {
    let chosen = groups(kinds).into_iter().filter(|(group, _)| group.is_empty() == core);
    let version_of = |(version, resources): (&str, Vec<Resource>)| {
        let resources: Vec<Value> = resources.into_iter().map(aggregated_resource).collect();
        json!({"version": version, "freshness": "Current", "resources": resources})
    };
    let items: Vec<Value> = chosen
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions.into_iter().map(version_of).collect();
            json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
        })
        .collect();
    let body = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {}, "items": items,
    });
    let mut response = represent::json(StatusCode::OK, &body);
    let media = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    if let Ok(value) = HeaderValue::from_str(&media) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

fn aggregated_resource(resource: Resource) -> Value {
    let typed =
        |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let kind = match resource {
        Resource::Kind(kind) => kind,
        Resource::Review(review) => {
            return json!({
                "resource": review.plural, "singularResource": review.singular, "verbs": ["create"],
                "responseKind": typed(review.group, review::VERSION, review.kind),
                "scope": if review.namespaced { "Namespaced" } else { "Cluster" },
            });
        }
    };
    let inner: Vec<Value> = subresources(kind)
        .into_iter()
        .map(|(name, body, group, version, verbs)| {
            json!({"subresource": name, "responseKind": typed(group, version, body), "verbs": verbs})
        })
        .collect();
    json!({
        "resource": kind.plural, "singularResource": kind.singular, "shortNames": kind.short, "categories": kind.categories,
        "responseKind": typed(kind.group, kind.version, kind.kind), "verbs": VERBS,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" }, "subresources": inner,
    })
}
