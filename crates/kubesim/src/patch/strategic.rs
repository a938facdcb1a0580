//! Strategic merge patch: a merge patch that knows the merge keys of lists, with `$patch` directives.

use serde_json::{Map, Value};

use crate::schema::Schema;

pub(crate) fn merge(schema: Schema, current: &Value, patch: &Value) -> Value {
    match (current, patch) {
        (Value::Object(current), Value::Object(patch)) => Value::Object(merge_map(schema, current, patch)),
        (_, Value::Object(patch)) => Value::Object(merge_map(schema, &Map::new(), patch)),
        _ => patch.clone(),
    }
}

fn merge_map(schema: Schema, current: &Map<String, Value>, patch: &Map<String, Value>) -> Map<String, Value> {
    let mut result = match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => Map::new(),
        Some("delete") => return Map::new(),
        _ => current.clone(),
    };
    retain_keys(&mut result, patch);
    for (field, value) in patch.iter().filter(|(f, _)| !f.starts_with('$')) {
        if value.is_null() {
            result.remove(field);
            continue;
        }
        let old = result.get(field).cloned().unwrap_or(Value::Null);
        let new = match value {
            Value::Array(items) => {
                merge_list(schema.field(field), old.as_array().map_or(&[][..], Vec::as_slice), items)
            }
            Value::Object(map) if map.get("$patch").and_then(Value::as_str) == Some("delete") => {
                result.remove(field);
                continue;
            }
            other => merge(schema.field(field), &old, other),
        };
        result.insert(field.clone(), new);
    }
    delete_primitives(&mut result, patch);
    set_order(&mut result, patch);
    result
}

/// `$retainKeys` names everything that may stay.
fn retain_keys(result: &mut Map<String, Value>, patch: &Map<String, Value>) {
    if let Some(Value::Array(keep)) = patch.get("$retainKeys") {
        result.retain(|key, _| keep.iter().any(|k| k == key));
    }
}

fn delete_primitives(result: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (directive, gone) in patch {
        let Some(field) = directive.strip_prefix("$deleteFromPrimitiveList/") else { continue };
        if let (Some(Value::Array(list)), Some(gone)) = (result.get_mut(field), gone.as_array()) {
            list.retain(|v| !gone.contains(v));
        }
    }
}

/// `$setElementOrder/<list>` says how the merged list is sorted; unknown items stay behind the known ones.
fn set_order(result: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (directive, order) in patch {
        let Some(field) = directive.strip_prefix("$setElementOrder/") else { continue };
        let (Some(Value::Array(list)), Some(order)) = (result.get_mut(field), order.as_array()) else {
            continue;
        };
        let same = |item: &Value, wanted: &Value| match wanted.as_object() {
            Some(keys) => keys.iter().all(|(k, v)| item.get(k) == Some(v)),
            None => item == wanted,
        };
        list.sort_by_key(|item| order.iter().position(|w| same(item, w)).unwrap_or(usize::MAX));
    }
}

fn merge_list(schema: Schema, current: &[Value], patch: &[Value]) -> Value {
    let directive = |v: &Value, name: &str| v.get("$patch").and_then(Value::as_str) == Some(name);
    if patch.iter().any(|v| directive(v, "replace")) {
        return patch.iter().filter(|v| !directive(v, "replace")).cloned().collect();
    }
    let key = match schema.patch_key() {
        Some(key) => key,
        None if schema.patch_adds() => {
            let new = patch.iter().filter(|v| !current.contains(v));
            return current.iter().chain(new).cloned().collect();
        }
        None => return Value::Array(patch.to_vec()),
    };
    let mut result = current.to_vec();
    for item in patch {
        let place = result.iter().position(|old| old.get(key).is_some() && old.get(key) == item.get(key));
        match (place, directive(item, "delete")) {
            (Some(at), true) => {
                result.remove(at);
            }
            (None, true) => {}
            (Some(at), false) => result[at] = merge(schema.item(), &result[at], item),
            (None, false) => result.push(merge(schema.item(), &Value::Null, item)),
        }
    }
    Value::Array(result)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::merge;
    use crate::kind;

    #[test]
    fn strategic_merge_follows_merge_keys_and_directives() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}], "tolerations": [{"key": "x"}]}});
        for (what, patch, pointer, expected) in [
            (
                "merges by name",
                json!({"spec": {"containers": [{"name": "b", "image": "b:2"}]}}),
                "/spec/containers",
                json!([{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:2"}]),
            ),
            (
                "adds",
                json!({"spec": {"containers": [{"name": "c", "image": "c"}]}}),
                "/spec/containers/2/name",
                json!("c"),
            ),
            (
                "deletes",
                json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}),
                "/spec/containers",
                json!([{"name": "b", "image": "b:1"}]),
            ),
            (
                "replaces by directive",
                json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}}),
                "/spec/containers",
                json!([{"name": "z"}]),
            ),
            (
                "replaces lists without keys",
                json!({"spec": {"tolerations": []}}),
                "/spec/tolerations",
                json!([]),
            ),
            (
                "orders",
                json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
                "/spec/containers/0/name",
                json!("b"),
            ),
            (
                "removes on null",
                json!({"spec": {"tolerations": null}}),
                "/spec",
                json!({"containers": pod["spec"]["containers"]}),
            ),
            (
                "replaces maps",
                json!({"spec": {"$patch": "replace", "hostname": "h"}}),
                "/spec",
                json!({"hostname": "h"}),
            ),
            (
                "retains keys",
                json!({"spec": {"$retainKeys": ["hostname"], "hostname": "h"}}),
                "/spec",
                json!({"hostname": "h"}),
            ),
        ] {
            assert_eq!(merge(kind::PODS.schema(), &pod, &patch).pointer(pointer), Some(&expected), "{what}");
        }
    }

    #[test]
    fn finalizers_are_a_set() {
        let object = json!({"metadata": {"finalizers": ["a", "b"]}});
        let patch =
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["b", "c"]}});
        assert_eq!(merge(kind::PODS.schema(), &object, &patch)["metadata"]["finalizers"], json!(["b", "c"]));
    }
}
