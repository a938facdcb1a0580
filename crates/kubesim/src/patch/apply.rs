//! Server-side apply and the bookkeeping of field managers. Pure: values in, values out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    fields::{self, Fields},
    list,
};
use crate::{
    kind::Kind,
    object,
    schema::{List, Schema},
    status::Status,
};

/// Who changes an object, and through which door.
#[derive(Debug, Clone)]
pub(crate) struct Manager {
    pub name: String,
    pub subresource: String,
}

/// Fields that nobody manages.
const UNMANAGED: [&[&str]; 12] = [
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:deletionTimestamp"],
    &["f:metadata", "f:deletionGracePeriodSeconds"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:selfLink"],
];

fn managed(schema: Schema, value: &Value) -> Fields {
    let mut drop = Fields::default();
    for path in UNMANAGED {
        drop.insert(&path.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
    }
    let mut value = value.clone();
    object::unset(&mut value, &["metadata", "managedFields"]);
    Fields::of(schema, &value).minus(&drop)
}

type Entries = BTreeMap<(String, String, String), (Fields, Value)>;

fn entries(object: &Value) -> Entries {
    let one = |e: &Value| {
        let part = |p: &str| object::text(e, p).to_owned();
        (
            (part("/manager"), part("/operation"), part("/subresource")),
            (Fields::parse(&e["fieldsV1"]), e.clone()),
        )
    };
    object::items(object, "/metadata/managedFields").iter().map(one).collect()
}

fn write_entries(object: &mut Value, entries: Entries, api_version: &str) {
    let list: Vec<Value> = entries
        .into_iter()
        .filter(|(_, (set, _))| !set.is_empty())
        .map(|((manager, operation, subresource), (set, old))| {
            let mut entry = json!({
                "manager": manager, "operation": operation, "apiVersion": api_version,
                "time": old["time"], "fieldsType": "FieldsV1", "fieldsV1": set.to_value(),
            });
            if !subresource.is_empty() {
                entry["subresource"] = json!(subresource);
            }
            entry
        })
        .collect();
    object::set(object, &["metadata", "managedFields"], Value::Array(list));
}

/// Applies a configuration for a manager; `live` is `Null` when the object does not exist yet.
pub(crate) fn apply(
    kind: &'static Kind,
    live: &Value,
    config: &Value,
    manager: &Manager,
    force: bool,
    now: &str,
) -> Result<Value, Status> {
    let schema = kind.schema();
    let mut config = config.clone();
    object::unset(&mut config, &["metadata", "managedFields"]);
    let mine = (manager.name.clone(), "Apply".to_owned(), manager.subresource.clone());
    let wanted = managed(schema, &config);
    let mut all = entries(live);
    let (before, entry) = all.remove(&mine).unwrap_or_default();

    let mut conflicts = Vec::new();
    for ((other, _, _), (set, _)) in &mut all {
        for path in set.intersection(&wanted).paths() {
            let (old, new) = (fields::lookup(schema, live, &path), fields::lookup(schema, &config, &path));
            let inner = wanted_children(&wanted, &path);
            if old == new || inner {
                continue;
            }
            conflicts.push((other.clone(), fields::describe(&path)));
            let mut taken = Fields::default();
            taken.insert(&path);
            *set = set.minus(&taken);
        }
    }
    if !conflicts.is_empty() && !force {
        return Err(Status::apply_conflict(&conflicts));
    }

    let others = all.values().fold(Fields::default(), |sum, (set, _)| sum.union(set));
    let mut value = overlay(schema, live, &config);
    let mut gone = before.minus(&wanted).minus(&others).paths();
    // Items before their parts: without its keys an item could not be found any more.
    gone.sort_by_key(Vec::len);
    for path in gone {
        remove(schema, &mut value, &path, &others);
    }
    // Applying the same again must not make a new version, or whoever applies on every change never comes to rest.
    let same = conflicts.is_empty() && before == wanted && value == *live;
    all.insert(mine, (wanted, if same { entry } else { json!({"time": now}) }));
    write_entries(&mut value, all, object::text(&config, "/apiVersion"));
    Ok(value)
}

/// A path with applied fields below it is a container: its parts conflict, not itself.
fn wanted_children(wanted: &Fields, path: &[String]) -> bool {
    let mut place = wanted;
    for part in path {
        match place.children.get(part) {
            Some(next) => place = next,
            None => return false,
        }
    }
    !place.children.is_empty()
}

fn overlay(schema: Schema, live: &Value, config: &Value) -> Value {
    match (live, config) {
        (Value::Object(live), Value::Object(config)) if !schema.is_atomic() => {
            let mut result = live.clone();
            for (key, value) in config {
                let merged = overlay(schema.field(key), live.get(key).unwrap_or(&Value::Null), value);
                result.insert(key.clone(), merged);
            }
            Value::Object(result)
        }
        (Value::Array(live), Value::Array(config)) => overlay_list(schema, live, config),
        _ => config.clone(),
    }
}

fn overlay_list(schema: Schema, live: &[Value], config: &[Value]) -> Value {
    match schema.list() {
        List::Atomic => Value::Array(config.to_vec()),
        List::Set => {
            let new = config.iter().filter(|v| !live.contains(v));
            live.iter().chain(new).cloned().collect()
        }
        List::Keys(keys) => {
            let mut result = live.to_vec();
            let identity = |item: &Value| list::identity(schema.item(), &keys, item);
            for item in config {
                let id = identity(item);
                match result.iter().position(|old| identity(old) == id) {
                    Some(at) => result[at] = overlay(schema.item(), &result[at], item),
                    None => result.push(item.clone()),
                }
            }
            Value::Array(result)
        }
    }
}

fn remove(schema: Schema, value: &mut Value, path: &[String], others: &Fields) {
    let Some((first, rest)) = path.split_first() else { return };
    let below = others.children.get(first).cloned().unwrap_or_default();
    if rest.is_empty() {
        if !below.is_empty() {
            return;
        }
        match (first.strip_prefix("f:"), fields::position(schema, value, first)) {
            (Some(field), _) => {
                value.as_object_mut().map(|m| m.remove(field));
            }
            (None, Some(at)) => {
                value.as_array_mut().map(|l| l.remove(at));
            }
            (None, None) => {}
        }
        return;
    }
    if let (Some(keys), [part]) = (first.strip_prefix("k:"), rest)
        && part.strip_prefix("f:").is_some_and(|field| keys.contains(&format!("{field:?}:")))
    {
        // Somebody else still has a part of this item, so it keeps what identifies it.
        return;
    }
    let inner = match first.strip_prefix("f:") {
        Some(field) => value.get_mut(field),
        None => fields::position(schema, value, first).and_then(|at| value.get_mut(at)),
    };
    if let Some(inner) = inner {
        remove(fields::inside(schema, first), inner, rest, &below);
    }
}

/// Books an ordinary write: what changed now belongs to its manager, what vanished to nobody.
pub(crate) fn record_update(kind: &'static Kind, old: &Value, new: &mut Value, manager: &Manager, now: &str) {
    let schema = kind.schema();
    let (before, after) = (managed(schema, old), managed(schema, new));
    let removed = before.minus(&after);
    let mut changed = after.minus(&before);
    for path in after.intersection(&before).paths() {
        let moved = || fields::lookup(schema, old, &path) != fields::lookup(schema, new, &path);
        if !wanted_children(&after, &path) && moved() {
            changed.insert(&path);
        }
    }
    if removed.is_empty() && changed.is_empty() {
        if let Some(kept) = old["metadata"].get("managedFields") {
            object::set(new, &["metadata", "managedFields"], kept.clone());
        }
        return;
    }
    let mut all = entries(old);
    for (set, _) in all.values_mut() {
        *set = set.minus(&removed).minus(&changed);
    }
    let mine = (manager.name.clone(), "Update".to_owned(), manager.subresource.clone());
    let entry = all.entry(mine).or_default();
    *entry = (entry.0.union(&changed), json!({"time": now}));
    write_entries(new, all, &kind.api_version());
}

#[cfg(test)]
mod tests;
