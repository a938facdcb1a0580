//! JSON Schemas as schemars writes them, brought into one form: the same type has the same shape, whether it is referred
//! to or written out, and whether the variants of an enum have documentation or not.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Keywords and their values.
pub(super) type Schema = Map<String, Value>;

/// What a schema allows: one of several things, each under a label that stays the same while it changes inside.
pub(super) struct Shape {
    /// By label: `"pending"`, `type = "drain"`, `string`, `null`.
    pub(super) alternatives: BTreeMap<String, Schema>,
    /// What holds for all of them.
    pub(super) common: Schema,
}

impl Shape {
    /// The shape of a schema in the document `root`.
    pub(super) fn of(root: &Value, schema: &Value) -> Self {
        let mut common = resolved(root, schema);
        let mut alternatives = BTreeMap::new();
        let several = list_alternatives(root, &mut common, &mut alternatives);
        if !several {
            let whole = std::mem::take(&mut common);
            alternatives.insert(type_of(&whole), whole);
        }
        Self { alternatives, common }
    }

    /// Whether readers have something to read as which they do not know.
    pub(super) fn has_fallback(&self) -> bool {
        self.alternatives.keys().any(|label| label.ends_with(r#""unknown""#))
    }
}

/// Moves the alternatives out of a schema that lists some, those of listed enums with them.
fn list_alternatives(root: &Value, schema: &mut Schema, into: &mut BTreeMap<String, Schema>) -> bool {
    // Variants of an enum stand in `oneOf` or `enum`; `anyOf` is an `Option`, or an enum without a tag.
    for (keyword, tagged) in [("oneOf", true), ("anyOf", false)] {
        let Some(Value::Array(listed)) = schema.remove(keyword) else { continue };
        for one in &listed {
            let mut one = resolved(root, one);
            if !list_alternatives(root, &mut one, into) {
                add(into, label(&one, tagged), one);
            }
        }
        schema.remove("type");
        return true;
    }
    if let Some(Value::Array(values)) = schema.remove("enum") {
        for value in values {
            let one = Schema::from_iter([("const".to_owned(), value)]);
            add(into, label(&one, true), one);
        }
        schema.remove("type");
        return true;
    }
    if let Some(Value::Array(types)) = schema.get("type").cloned() {
        let rest = std::mem::take(schema);
        for ty in types {
            let mut one = if ty == "null" { Schema::new() } else { rest.clone() };
            one.remove("default");
            one.insert("type".to_owned(), ty);
            add(into, type_of(&one), one);
        }
        // It belongs to the whole.
        schema.extend(rest.into_iter().filter(|(key, _)| key == "default"));
        return true;
    }
    false
}

fn add(into: &mut BTreeMap<String, Schema>, label: String, mut one: Schema) {
    // The type of a constant is that of its value.
    if one.contains_key("const") {
        one.remove("type");
    }
    let mut free = label.clone();
    let mut count = 1;
    while into.contains_key(&free) {
        count += 1;
        free = format!("{label} ({count})");
    }
    into.insert(free, one);
}

fn label(one: &Schema, tagged: bool) -> String {
    if let Some(value) = one.get("const") {
        return value.to_string();
    }
    let properties = one.get("properties").and_then(Value::as_object);
    let constant =
        properties.and_then(|all| all.iter().find_map(|(key, value)| Some((key, value.get("const")?))));
    if let Some((key, value)) = constant {
        return format!("{key} = {value}");
    }
    let closed = one.get("additionalProperties") == Some(&Value::Bool(false));
    match properties.map(|all| all.keys().collect::<Vec<_>>()).as_deref() {
        Some([only]) if tagged && closed => (*only).clone(),
        _ => type_of(one),
    }
}

fn type_of(schema: &Schema) -> String {
    match schema.get("type") {
        Some(Value::String(ty)) => ty.clone(),
        _ if schema.contains_key("const") => schema["const"].to_string(),
        _ => "anything".to_owned(),
    }
}

/// A schema with what it refers to in it.
fn resolved(root: &Value, schema: &Value) -> Schema {
    let mut all = match schema {
        Value::Object(all) => all.clone(),
        Value::Bool(false) => Schema::from_iter([("not".to_owned(), Value::Object(Schema::new()))]),
        _ => Schema::new(),
    };
    while let Some(Value::String(reference)) = all.remove("$ref") {
        let target = root.pointer(reference.trim_start_matches('#')).and_then(Value::as_object);
        for (key, value) in target.into_iter().flatten() {
            match (all.get_mut(key), value) {
                (None, value) => drop(all.insert(key.clone(), value.clone())),
                // The tag of a variant stands beside the fields of its content.
                (Some(Value::Object(ours)), Value::Object(theirs)) if key == "properties" => {
                    ours.extend(theirs.clone());
                }
                (Some(Value::Array(ours)), Value::Array(theirs)) if key == "required" => {
                    ours.extend(theirs.clone());
                }
                // What stands beside a reference is about this place.
                _ => (),
            }
        }
    }
    all
}
