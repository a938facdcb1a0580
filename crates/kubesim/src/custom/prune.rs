//! Pruning: what a structural schema does not name is dropped.

use serde_json::{Map, Value};

use crate::validate;

/// Drops unknown fields; their paths, as `spec.unknown` or `spec.items[0].unknown`.
pub(crate) fn prune(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut found = Vec::new();
    let properties = schema["properties"].as_object();
    let Some(map) = object.as_object_mut() else { return found };
    if preserves(schema) {
        for (name, inner) in map.iter_mut().filter(|(name, _)| !is_of_every_object(name)) {
            if let Some(property) = properties.and_then(|all| all.get(name)) {
                walk(property, inner, name, &mut found);
            }
        }
        return found;
    }
    map.retain(|name, inner| {
        if is_of_every_object(name) {
            return true;
        }
        match properties.and_then(|all| all.get(name)) {
            Some(property) => {
                walk(property, inner, name, &mut found);
                true
            }
            None => {
                found.push(name.clone());
                false
            }
        }
    });
    found
}

fn is_of_every_object(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

fn preserves(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
}

fn walk(schema: &Value, value: &mut Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => walk_map(schema, map, path, found),
        Value::Array(list) => {
            for (at, item) in list.iter_mut().enumerate() {
                walk(&schema["items"], item, &format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}

fn walk_map(schema: &Value, map: &mut Map<String, Value>, path: &str, found: &mut Vec<String>) {
    let (properties, more) = (schema["properties"].as_object(), &schema["additionalProperties"]);
    let embedded = schema["x-kubernetes-embedded-resource"] == true;
    map.retain(|name, inner| {
        let path = format!("{path}.{name}");
        if embedded && is_of_every_object(name) {
            if name == "metadata" {
                // What is wrong in another way is for the rules of the schema.
                found.extend(validate::prune_metadata(inner, &path).unwrap_or_default());
            }
            return true;
        }
        if let Some(property) = properties.and_then(|all| all.get(name)) {
            walk(property, inner, &path, found);
            return true;
        }
        if more.is_object() {
            walk(more, inner, &path, found);
            return true;
        }
        let kept = preserves(schema) || *more == true;
        if !kept {
            found.push(path);
        }
        kept
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_schema_does_not_name_is_dropped_and_told() {
        let schema = json!({"properties": {"spec": {"properties": {
            "list": {"items": {"properties": {"a": {}}}},
            "map": {"additionalProperties": {"properties": {"a": {}}}},
            "free": {"x-kubernetes-preserve-unknown-fields": true, "properties": {"known": {"properties": {}}}},
            "inner": {"x-kubernetes-embedded-resource": true, "properties": {"spec": {"properties": {}}}},
        }}}});
        let mut object = json!({
            "apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"}, "more": 1,
            "spec": {
                "list": [{"a": 1, "b": 2}], "map": {"k": {"a": 1, "b": 2}}, "free": {"known": {"x": 1}, "any": {"y": 1}},
                "inner": {"kind": "Pod", "metadata": {"name": "p", "own": 1}, "spec": {"z": 1}}, "unknown": {},
            },
        });
        let mut told = prune(&schema, &mut object);
        told.sort();
        let expected = [
            "more",
            "spec.free.known.x",
            "spec.inner.metadata.own",
            "spec.inner.spec.z",
            "spec.list[0].b",
            "spec.map.k.b",
            "spec.unknown",
        ];
        assert_eq!(told, expected);
        assert_eq!(object["spec"]["free"]["any"], json!({"y": 1}));
        assert_eq!(object["spec"]["list"], json!([{"a": 1}]));
        assert_eq!(object["spec"]["inner"]["kind"], "Pod");
    }
}
