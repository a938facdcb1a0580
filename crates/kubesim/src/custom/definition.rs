//! What a CustomResourceDefinition makes of a cluster: kinds, or the reasons why it is invalid.

use serde_json::{Value, json};

use super::{Column, Custom, Scale, default::fills, rule};
use crate::{
    kind::{Kind, Shape},
    object::{self, items, text},
    status::Cause,
};

/// The published schema of what every object has.
const METADATA: &str = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Why a definition is invalid.
pub(crate) fn check(definition: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (group, plural) = (text(definition, "/spec/group"), text(definition, "/spec/names/plural"));
    let name = format!("{plural}.{group}");
    if object::name(definition) != name {
        causes.push(Cause::invalid(
            "metadata.name",
            object::name(definition),
            &format!("must be spec.names.plural+\".\"+spec.group, that is {name:?}"),
        ));
    }
    if !group.contains('.') {
        causes.push(Cause::invalid("spec.group", group, "should be a domain with at least one dot"));
    }
    let versions = items(definition, "/spec/versions");
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let shown = format!("{} versions", versions.len());
        let why = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &shown, why));
    }
    if text(definition, "/spec/conversion/strategy") == "Webhook" {
        causes.push(Cause {
            reason: "FieldValueNotSupported",
            field: "spec.conversion.strategy".to_owned(),
            message: "Unsupported value: \"Webhook\": supported values: \"None\"".to_owned(),
        });
    }
    for (at, version) in versions.iter().enumerate() {
        check_version(version, &format!("spec.versions[{at}]"), &mut causes);
    }
    causes
}

fn check_version(version: &Value, field: &str, causes: &mut Vec<Cause>) {
    let schema = &version["schema"]["openAPIV3Schema"];
    let place = format!("{field}.schema.openAPIV3Schema");
    if !schema.is_object() {
        causes.push(Cause::required(&place, "schemas are required"));
        return;
    }
    if schema["type"] != "object" {
        causes.push(Cause::invalid(
            &format!("{place}.type"),
            text(schema, "/type"),
            "must be object at the root",
        ));
    }
    structural(schema, &place, causes);
    if let Err(cause) = rule::compile(schema) {
        causes.push(Cause { field: format!("{field}.schema.{}", cause.field), ..cause });
    }
    if let Err(why) = Column::all(version) {
        causes.push(Cause::invalid(&format!("{field}.additionalPrinterColumns"), "jsonPath", &why));
    }
}

/// Every place of a structural schema has a type, or says that it has none.
fn structural(schema: &Value, field: &str, causes: &mut Vec<Cause>) {
    let free = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
    if text(schema, "/type").is_empty() && free.iter().all(|extension| schema[extension] != true) {
        causes
            .push(Cause::required(&format!("{field}.type"), "must not be empty for specified object fields"));
    }
    if schema["type"] == "array" && !schema["items"].is_object() {
        causes.push(Cause::required(&format!("{field}.items"), "must be specified"));
    }
    if schema["x-kubernetes-list-type"] == "map" && items(schema, "/x-kubernetes-list-map-keys").is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        causes.push(Cause::required(&format!("{field}.x-kubernetes-list-map-keys"), why));
    }
    if schema["properties"].is_object() && !schema["additionalProperties"].is_null() {
        causes.push(Cause {
            reason: "FieldValueForbidden",
            field: format!("{field}.additionalProperties"),
            message: "Forbidden: additionalProperties and properties are mutual exclusive".to_owned(),
        });
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        // The metadata of the root has a type of its own.
        if !(name == "metadata" && field.ends_with("openAPIV3Schema")) {
            structural(property, &format!("{field}.properties[{name}]"), causes);
        }
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            structural(&schema[inner], &format!("{field}.{inner}"), causes);
        }
    }
}

/// The kinds of its served versions, the most mature first. A kind lives as long as the process: watches read by it.
pub(crate) fn kinds(definition: &Value) -> Vec<&'static Kind> {
    let mut versions: Vec<&Value> =
        items(definition, "/spec/versions").iter().filter(|version| version["served"] == true).collect();
    versions.sort_by_key(|version| std::cmp::Reverse(maturity(text(version, "/name"))));
    versions.into_iter().filter_map(|version| kind(definition, version)).collect()
}

/// `v2` before `v1`, both before `v1beta1`, all before other names: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/
fn maturity(version: &str) -> (u8, u64, u64) {
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..digits].parse() else { return (0, 0, 0) };
    let (stage, minor) = match &rest[digits..] {
        "" => return (3, major, 0),
        stage if stage.starts_with("beta") => (2, &stage[4..]),
        stage if stage.starts_with("alpha") => (1, &stage[5..]),
        _ => return (0, 0, 0),
    };
    minor.parse().map_or((0, 0, 0), |minor| (stage, major, minor))
}

fn kind(definition: &Value, version: &Value) -> Option<&'static Kind> {
    let names = &definition["spec"]["names"];
    let list = |pointer: &str| -> &'static [&'static str] {
        let words: Vec<&'static str> =
            items(names, pointer).iter().filter_map(Value::as_str).map(keep).collect();
        words.leak()
    };
    let kind = text(names, "/kind");
    let singular = match text(names, "/singular") {
        "" => kind.to_lowercase(),
        given => given.to_owned(),
    };
    let custom = custom(version)?;
    Some(Box::leak(Box::new(Kind {
        id: keep(object::name(definition)),
        group: keep(text(definition, "/spec/group")),
        version: keep(text(version, "/name")),
        kind: keep(kind),
        plural: keep(text(names, "/plural")),
        singular: keep(&singular),
        short: list("/shortNames"),
        categories: list("/categories"),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
        status: version["subresources"]["status"].is_object(),
        scale: custom.scale.is_some(),
        actions: &[],
        shape: Shape::Custom(custom),
    })))
}

fn keep(text: &str) -> &'static str {
    text.to_owned().leak()
}

fn custom(version: &Value) -> Option<Custom> {
    let mut schema = version["schema"]["openAPIV3Schema"].clone();
    let rules = rule::compile(&schema).ok()?;
    let word = json!({"type": "string"});
    for (name, of_type) in [("apiVersion", &word), ("kind", &word), ("metadata", &json!({"$ref": METADATA}))]
    {
        object::set(&mut schema, &["properties", name], of_type.clone());
    }
    let path = |pointer: &str| -> Option<Vec<String>> {
        let path = text(&version["subresources"]["scale"], pointer).strip_prefix('.')?;
        Some(path.split('.').map(str::to_owned).collect())
    };
    let scale = path("/specReplicasPath").zip(path("/statusReplicasPath")).map(|(spec, status)| Scale {
        spec_replicas: spec,
        status_replicas: status,
        selector: path("/labelSelectorPath"),
    });
    let columns = Column::all(version).ok()?;
    let defaults = fills(&schema);
    Some(Custom { schema, defaults, columns, scale, stored: version["storage"] == true, rules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mature_versions_come_first() {
        let mut versions = ["foo", "v1beta1", "v2", "v1alpha2", "v10", "v1", "v1beta2"];
        versions.sort_by_key(|version| std::cmp::Reverse(maturity(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha2", "foo"]);
    }

    #[test]
    fn a_definition_that_makes_no_sense_is_refused_with_every_reason() {
        let definition = json!({"metadata": {"name": "x"}, "spec": {
        "group": "example", "names": {"plural": "tabs", "kind": "Tab"}, "scope": "Namespaced", "versions": [
            {"name": "v1", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"properties": {"size": {"type": "integer"}}}, "list": {"type": "array"}}}}},
            {"name": "v2", "served": true, "storage": false},
        ]}});
        let fields: Vec<String> = check(&definition).into_iter().map(|cause| cause.field).collect();
        let expected = [
            "metadata.name",
            "spec.group",
            "spec.versions",
            "spec.versions[0].schema.openAPIV3Schema.properties[list].items",
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].type",
            "spec.versions[1].schema.openAPIV3Schema",
        ];
        assert_eq!(fields, expected);
    }
}
