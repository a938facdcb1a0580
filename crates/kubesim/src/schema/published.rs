//! The schemas of the published types, as their crate describes them, with how they merge.

use std::{collections::HashMap, sync::LazyLock};

use k8s_openapi::api::{
    authentication::v1 as authentication, authorization::v1 as authorization, autoscaling::v1 as autoscaling,
    policy::v1 as policy,
};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use super::{Components, facts};
use crate::kind::{self, Kind, Shape};

/// What is sent and answered, and is no object.
const QUESTIONS: [fn(&mut SchemaGenerator) -> schemars::Schema; 9] = [
    |generator| generator.subschema_for::<authentication::SelfSubjectReview>(),
    |generator| generator.subschema_for::<authentication::TokenRequest>(),
    |generator| generator.subschema_for::<authentication::TokenReview>(),
    |generator| generator.subschema_for::<authorization::LocalSubjectAccessReview>(),
    |generator| generator.subschema_for::<authorization::SelfSubjectAccessReview>(),
    |generator| generator.subschema_for::<authorization::SelfSubjectRulesReview>(),
    |generator| generator.subschema_for::<authorization::SubjectAccessReview>(),
    |generator| generator.subschema_for::<autoscaling::Scale>(),
    |generator| generator.subschema_for::<policy::Eviction>(),
];

type Name = (&'static str, &'static str, &'static str);

fn name(kind: &Kind) -> Name {
    (kind.group, kind.version, kind.kind)
}

static PUBLISHED: LazyLock<Published> = LazyLock::new(Published::new);

struct Published {
    components: Components,
    /// By group, version and kind, the schema that only refers to its type.
    roots: HashMap<Name, Value>,
}

/// Every schema that the published types refer to.
pub(crate) fn components() -> &'static Components {
    &PUBLISHED.components
}

/// The schema of a kind that is built in.
pub(crate) fn root(kind: &Kind) -> Option<&'static Value> {
    PUBLISHED.roots.get(&name(kind))
}

impl Published {
    fn new() -> Self {
        let mut generator = SchemaGenerator::new(SchemaSettings::openapi3());
        let roots: HashMap<_, _> = kind::published()
            .iter()
            .filter_map(|kind| match &kind.shape {
                Shape::Published(of_type) => {
                    Some((name(kind), (of_type.describe)(&mut generator).to_value()))
                }
                Shape::Custom(_) => None,
            })
            .collect();
        for describe in QUESTIONS {
            describe(&mut generator);
        }
        let mut components = generator.take_definitions(true);
        for schema in components.values_mut() {
            lists_are_atomic(schema);
        }
        how_they_merge(&mut components);
        a_port_is_one_of_tcp(&mut components);
        for kind in kind::published() {
            let name = roots.get(&name(kind)).and_then(|root| root["$ref"].as_str()?.rsplit('/').next());
            if let Some(schema) = name.and_then(|name| components.get_mut(name)) {
                let typed = json!([{"group": kind.group, "version": kind.version, "kind": kind.kind}]);
                schema["x-kubernetes-group-version-kind"] = typed;
            }
        }
        Self { components, roots }
    }
}

fn lists_are_atomic(schema: &mut Value) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for property in properties.into_iter().flat_map(|map| map.values_mut()).filter(|p| p["type"] == "array") {
        property["x-kubernetes-list-type"] = json!("atomic");
    }
}

fn how_they_merge(components: &mut Components) {
    for (name, field, keys) in facts::KEYED {
        extend(components, name, field, "x-kubernetes-list-type", json!("map"));
        extend(components, name, field, "x-kubernetes-list-map-keys", json!(keys));
        if !facts::NOT_PATCHED.contains(&(name, field)) {
            patched(components, name, field, keys.first().copied());
        }
    }
    for (name, field, key) in facts::PATCHED_ONLY {
        patched(components, name, field, Some(key));
    }
    for (name, field) in facts::SETS {
        extend(components, name, field, "x-kubernetes-list-type", json!("set"));
    }
    patched(components, "meta.v1.ObjectMeta", "finalizers", None);
    for (name, field) in facts::ATOMIC_MAPS {
        extend(components, name, field, "x-kubernetes-map-type", json!("atomic"));
    }
    for name in facts::ATOMIC_TYPES {
        if let Some(schema) = find(components, name) {
            schema["x-kubernetes-map-type"] = json!("atomic");
        }
    }
}

fn patched(components: &mut Components, name: &str, field: &str, key: Option<&str>) {
    extend(components, name, field, "x-kubernetes-patch-strategy", json!("merge"));
    if let Some(key) = key {
        extend(components, name, field, "x-kubernetes-patch-merge-key", json!(key));
    }
}

/// The protocol is part of its identity, also where it is left out.
fn a_port_is_one_of_tcp(components: &mut Components) {
    for name in ["core.v1.ContainerPort", "core.v1.ServicePort", "core.v1.EndpointPort"] {
        extend(components, name, "protocol", "default", json!("TCP"));
    }
}

fn extend(components: &mut Components, name: &str, field: &str, extension: &str, value: Value) {
    let property = find(components, name).and_then(|schema| schema.get_mut("properties")?.get_mut(field));
    if let Some(property) = property {
        property[extension] = value;
    }
}

/// A type of a group that is not served has no schema.
fn find<'a>(components: &'a mut Components, name: &str) -> Option<&'a mut Value> {
    let paths = ["io.k8s.api", "io.k8s.apimachinery.pkg.apis", "io.k8s.apiextensions-apiserver.pkg.apis"];
    let full =
        paths.iter().map(|path| format!("{path}.{name}")).find(|full| components.contains_key(full))?;
    components.get_mut(&full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_about_a_field_that_is_there() {
        let facts = facts::KEYED.iter().map(|(name, field, _)| (*name, *field));
        let facts = facts.chain(facts::SETS).chain(facts::ATOMIC_MAPS).chain(facts::NOT_PATCHED);
        let served = |name: &str| components().keys().any(|full| full.ends_with(&format!(".{name}")));
        for (name, field) in facts.filter(|(name, _)| served(name)) {
            let mut all = components().clone();
            let found = find(&mut all, name).is_some_and(|schema| schema["properties"].get(field).is_some());
            assert!(found, "{name} has no {field}");
        }
        for name in ["core.v1.PodSpec", "core.v1.ServiceSpec", "meta.v1.LabelSelector", "meta.v1.ObjectMeta"]
        {
            assert!(served(name), "{name}");
        }
    }
}
