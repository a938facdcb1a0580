//! Sets of fields in the notation of `managedFields` (FieldsV1), with the set operations that apply needs.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::list;
use crate::schema::{List, Schema};

/// A node of the tree; `member` says that the path up to here belongs to the set itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    pub member: bool,
    pub children: BTreeMap<String, Fields>,
}

impl Fields {
    fn leaf() -> Self {
        Self { member: true, children: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(Self::is_empty)
    }

    pub(crate) fn parse(value: &Value) -> Self {
        let Some(map) = value.as_object() else { return Self::leaf() };
        if map.is_empty() {
            return Self::leaf();
        }
        let children =
            map.iter().filter(|(k, _)| *k != ".").map(|(k, v)| (k.clone(), Self::parse(v))).collect();
        Self { member: map.contains_key("."), children }
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (key, child) in &self.children {
            map.insert(key.clone(), child.to_value());
        }
        Value::Object(map)
    }

    /// Every field that an object of this shape sets. Items of keyed lists are members themselves.
    pub(crate) fn of(schema: Schema, value: &Value) -> Self {
        match value {
            Value::Object(map) if !map.is_empty() && !schema.is_atomic() => {
                let child = |(k, v): (&String, &Value)| (format!("f:{k}"), Self::of(schema.field(k), v));
                Self { member: false, children: map.iter().map(child).collect() }
            }
            Value::Array(items) if !items.is_empty() => Self::of_list(schema, items),
            _ => Self::leaf(),
        }
    }

    fn of_list(schema: Schema, items: &[Value]) -> Self {
        let children = match schema.list() {
            List::Atomic => return Self::leaf(),
            List::Set => items.iter().map(|v| (format!("v:{v}"), Self::leaf())).collect(),
            List::Keys(keys) => items
                .iter()
                .map(|item| {
                    let mut set = Self::of(schema.item(), item);
                    set.member = true;
                    (format!("k:{}", Value::Object(list::identity(schema.item(), &keys, item))), set)
                })
                .collect(),
        };
        Self { member: false, children }
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut result = self.clone();
        result.member |= other.member;
        for (key, child) in &other.children {
            let merged = result.children.get(key).map_or_else(|| child.clone(), |mine| mine.union(child));
            result.children.insert(key.clone(), merged);
        }
        result
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        let child = |(key, mine): (&String, &Self)| {
            let left = other.children.get(key).map_or_else(|| mine.clone(), |o| mine.minus(o));
            (!left.is_empty()).then(|| (key.clone(), left))
        };
        Self {
            member: self.member && !other.member,
            children: self.children.iter().filter_map(child).collect(),
        }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let child = |(key, mine): (&String, &Self)| {
            let both = mine.intersection(other.children.get(key)?);
            (!both.is_empty()).then(|| (key.clone(), both))
        };
        Self {
            member: self.member && other.member,
            children: self.children.iter().filter_map(child).collect(),
        }
    }

    /// Every member as the list of steps that lead to it, outer before inner.
    pub(crate) fn paths(&self) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect(&self, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        if self.member {
            found.push(path.clone());
        }
        for (key, child) in &self.children {
            path.push(key.clone());
            child.collect(path, found);
            path.pop();
        }
    }

    pub(crate) fn insert(&mut self, path: &[String]) {
        match path.split_first() {
            None => self.member = true,
            Some((first, rest)) => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }
}

/// The place that a step of a path leads to.
pub(crate) fn inside(schema: Schema, step: &str) -> Schema {
    step.strip_prefix("f:").map_or_else(|| schema.item(), |field| schema.field(field))
}

pub(crate) fn position(schema: Schema, value: &Value, step: &str) -> Option<usize> {
    let list = value.as_array()?;
    if let Some(keys) = step.strip_prefix("k:") {
        let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
        let names: Vec<&str> = keys.keys().map(String::as_str).collect();
        return list.iter().position(|item| list::identity(schema.item(), &names, item) == keys);
    }
    let wanted: Value = serde_json::from_str(step.strip_prefix("v:")?).ok()?;
    list.iter().position(|item| *item == wanted)
}

/// Follows a path: fields, items by their keys, values of sets.
pub(crate) fn lookup<'a>(schema: Schema, value: &'a Value, path: &[String]) -> Option<&'a Value> {
    let (mut schema, mut value) = (schema, value);
    for step in path {
        value = match step.strip_prefix("f:") {
            Some(field) => value.get(field)?,
            None => value.as_array()?.get(position(schema, value, step)?)?,
        };
        schema = inside(schema, step);
    }
    Some(value)
}

/// The notation of error messages: `.spec.containers[name="a"].image`.
pub(crate) fn describe(path: &[String]) -> String {
    let one = |part: &String| match part.split_at(2) {
        ("f:", field) => format!(".{field}"),
        ("k:", keys) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", keys.join(","))
        }
        (_, value) => format!("[={value}]"),
    };
    path.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::kind;

    #[test]
    fn fields_of_an_object_use_keys_and_atoms() {
        let object = json!({"spec": {"nodeSelector": {"a": "b"}, "priority": 1, "containers": [{"name": "c", "image": "i", "args": ["x"]}]}});
        let expected = json!({"f:spec": {"f:nodeSelector": {}, "f:priority": {}, "f:containers":
            {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}, "f:args": {}}}}});
        let fields = Fields::of(kind::PODS.schema(), &object);
        assert_eq!(fields.to_value(), expected);
        assert_eq!(Fields::parse(&expected), fields);
    }

    fn fields() -> impl Strategy<Value = Fields> {
        let leaf = any::<bool>().prop_map(|_| Fields::leaf());
        leaf.prop_recursive(3, 20, 4, |inner| {
            (any::<bool>(), prop::collection::btree_map("f:[a-d]", inner, 1..4))
                .prop_map(|(member, children)| Fields { member, children })
        })
    }

    proptest! {
        #[test]
        fn writing_and_parsing_agree(a in fields()) {
            prop_assert_eq!(Fields::parse(&a.to_value()), a);
        }

        #[test]
        fn set_operations_partition(a in fields(), b in fields()) {
            let mut parts: Vec<_> = a.minus(&b).paths();
            parts.extend(a.intersection(&b).paths());
            parts.sort();
            let mut all = a.paths();
            all.sort();
            prop_assert_eq!(parts, all);
            prop_assert!(a.minus(&a.union(&b)).is_empty());
        }
    }
}
