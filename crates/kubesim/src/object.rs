//! Reading and writing objects as JSON values by path: the generic half of the server knows no other form.

use serde_json::{Map, Value, json};

use crate::kind::Kind;

/// Where an object lives inside its collection; the order is that of lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn of(object: &Value) -> Self {
        Self::new(namespace(object), name(object))
    }
}

/// What lies at a path of plain names. `Value::pointer` makes new strings of every part, since it may be escaped; that is slow,
/// and ours never are. The empty path is the object itself.
fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(object);
    }
    path.strip_prefix('/')?.split('/').try_fold(object, |place, part| match place {
        Value::Object(fields) => fields.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or("")
}

pub(crate) fn int(object: &Value, pointer: &str) -> Option<i64> {
    at(object, pointer).and_then(Value::as_i64)
}

pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub(crate) fn version(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion").parse().unwrap_or(0)
}

pub(crate) fn deleting(object: &Value) -> bool {
    at(object, "/metadata/deletionTimestamp").is_some_and(|v| !v.is_null())
}

pub(crate) fn labels(object: &Value) -> Option<&Map<String, Value>> {
    at(object, "/metadata/labels").and_then(Value::as_object)
}

pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

pub(crate) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    labels(object)?.get(key)?.as_str()
}

pub(crate) fn owners(object: &Value) -> &[Value] {
    items(object, "/metadata/ownerReferences")
}

pub(crate) fn controller(object: &Value) -> Option<&Value> {
    owners(object).iter().find(|o| o["controller"] == Value::Bool(true))
}

/// Sets a value by path of plain field names, making the maps on the way.
pub(crate) fn set(object: &mut Value, path: &[&str], value: Value) {
    let mut place = object;
    for part in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[*part];
    }
    *place = value;
}

/// Sets a value only where none is: how defaults are written.
pub(crate) fn default(object: &mut Value, path: &[&str], value: Value) {
    let mut place = &*object;
    for part in path {
        place = &place[*part];
    }
    if place.is_null() {
        set(object, path, value);
    }
}

pub(crate) fn unset(object: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut place = object;
    for part in parents {
        match place.get_mut(*part) {
            Some(next) => place = next,
            None => return,
        }
    }
    if let Some(map) = place.as_object_mut() {
        map.remove(*last);
    }
}

pub(crate) fn owner_reference(kind: &Kind, owner: &Value) -> Value {
    json!({
        "apiVersion": kind.api_version(), "kind": kind.kind, "name": name(owner), "uid": uid(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

pub(crate) fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    items(object, "/status/conditions").iter().find(|c| c["type"] == name)
}

pub(crate) fn condition_true(object: &Value, name: &str) -> bool {
    condition(object, name).is_some_and(|c| c["status"] == "True")
}

/// Sets a condition; its transition time moves only when its status does.
pub(crate) fn set_condition(object: &mut Value, wanted: &Value, now: &str) {
    if !object["status"]["conditions"].is_array() {
        set(object, &["status", "conditions"], json!([]));
    }
    let Some(list) = object["status"]["conditions"].as_array_mut() else { return };
    let mut wanted = wanted.clone();
    match list.iter_mut().find(|c| c["type"] == wanted["type"]) {
        Some(old) => {
            let moved = old["status"] != wanted["status"];
            wanted["lastTransitionTime"] = if moved { json!(now) } else { old["lastTransitionTime"].clone() };
            if let Some(at) = old.get("lastUpdateTime") {
                let same = !moved && old["reason"] == wanted["reason"] && old["message"] == wanted["message"];
                wanted["lastUpdateTime"] = if same { at.clone() } else { json!(now) };
            }
            *old = wanted;
        }
        None => {
            wanted["lastTransitionTime"] = json!(now);
            list.push(wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_what_pointers_mean() {
        let object = json!({"a": [{"b": 1}, "c"], "": {"d": null}});
        for path in ["", "/", "a", "/a", "/a/0/b", "/a/1", "/a/2", "/a/x", "/a/0/b/c", "//d", "/missing"] {
            assert_eq!(at(&object, path), object.pointer(path), "{path:?}");
        }
    }
}
