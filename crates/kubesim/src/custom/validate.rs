//! Whether an object keeps to its structural schema, in the words of the real server.

use regex::Regex;
use serde_json::Value;

use super::{
    Custom,
    rule::{self, escaped, shown},
};
use crate::status::Cause;

/// What the schema and its rules have against an object.
pub(crate) fn check_object(custom: &Custom, object: &Value) -> Vec<Cause> {
    check_change(custom, object, None)
}

/// The same for a change, about which there may be rules as well.
pub(crate) fn check_change(custom: &Custom, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (name, property) in custom.schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = object.get(name).filter(|_| name != "metadata") {
            walk(property, value, name, &mut causes);
        }
    }
    required(&custom.schema, object, "", &mut causes);
    if causes.is_empty() {
        // Rules may count on the types.
        rules(custom, &custom.schema, ("", ""), object, old, &mut causes);
    }
    causes
}

fn rules(
    custom: &Custom,
    schema: &Value,
    (place, field): (&str, &str),
    value: &Value,
    old: Option<&Value>,
    causes: &mut Vec<Cause>,
) {
    if let Some(here) = custom.rules.get(place) {
        rule::ask(here, value, old, if field.is_empty() { "<nil>" } else { field }, causes);
    }
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let property = schema["properties"].get(name);
                let (schema, place) = match property {
                    Some(property) => (property, format!("{place}/properties/{}", escaped(name))),
                    None => (&schema["additionalProperties"], format!("{place}/additionalProperties")),
                };
                let field = if field.is_empty() { name.clone() } else { format!("{field}.{name}") };
                rules(custom, schema, (&place, &field), inner, old.and_then(|old| old.get(name)), causes);
            }
        }
        Value::Array(list) => {
            let place = format!("{place}/items");
            for (at, item) in list.iter().enumerate() {
                let before = old.and_then(|old| same_item(schema, item, old));
                rules(custom, &schema["items"], (&place, &format!("{field}[{at}]")), item, before, causes);
            }
        }
        _ => {}
    }
}

/// Items of a list with keys can be told apart, and so compared with what they were.
fn same_item<'a>(schema: &Value, item: &Value, old: &'a Value) -> Option<&'a Value> {
    let keys = schema["x-kubernetes-list-map-keys"].as_array()?;
    let same =
        |other: &&Value| keys.iter().filter_map(Value::as_str).all(|key| item.get(key) == other.get(key));
    old.as_array()?.iter().find(same)
}

struct Place<'a> {
    schema: &'a Value,
    value: &'a Value,
    field: &'a str,
    causes: &'a mut Vec<Cause>,
}

impl Place<'_> {
    fn wrong(&mut self, reason: &'static str, message: String) {
        self.causes.push(Cause { reason, field: self.field.to_owned(), message });
    }

    fn invalid(&mut self, why: &str) {
        let message = format!("Invalid value: {}: {} in body {why}", shown(self.value), self.field);
        self.wrong("FieldValueInvalid", message);
    }

    fn limit(&self, name: &str) -> Option<usize> {
        usize::try_from(self.schema[name].as_u64()?).ok()
    }
}

fn walk(schema: &Value, value: &Value, field: &str, causes: &mut Vec<Cause>) {
    let mut place = Place { schema, value, field, causes };
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if !of_type(schema, value) {
        let wanted = schema["type"].as_str().unwrap_or("integer,string").to_owned();
        return place.invalid(&format!("must be of type {wanted}: {}", shown(value)));
    }
    match value {
        Value::String(text) => string(&mut place, text),
        Value::Number(number) => bounds(&mut place, number),
        Value::Array(list) => array(&mut place, list),
        Value::Object(_) => object(&mut place),
        _ => {}
    }
    one_of(&mut place);
    combined(schema, value, field, causes);
}

fn of_type(schema: &Value, value: &Value) -> bool {
    if schema["x-kubernetes-int-or-string"] == true {
        return value.is_i64() || value.is_u64() || value.is_string();
    }
    match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        Some("number") => value.is_number(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    }
}

fn string(place: &mut Place<'_>, text: &str) {
    let length = text.chars().count();
    if place.limit("minLength").is_some_and(|least| length < least) {
        place.invalid(&format!("should be at least {} chars long", place.schema["minLength"]));
    }
    if let Some(most) = place.limit("maxLength").filter(|most| length > *most) {
        place.wrong("FieldValueTooLong", format!("Too long: may not be more than {most} bytes"));
    }
    if let Some(pattern) = place.schema["pattern"].as_str()
        && Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text))
    {
        place.invalid(&format!("should match '{pattern}'"));
    }
    let wrong_format = match place.schema["format"].as_str() {
        Some("date-time") => text.parse::<jiff::Timestamp>().is_err(),
        Some("date") => text.parse::<jiff::civil::Date>().is_err(),
        Some("ipv4") => text.parse::<std::net::Ipv4Addr>().is_err(),
        Some("ipv6") => text.parse::<std::net::Ipv6Addr>().is_err(),
        Some("uuid") => text.parse::<uuid::Uuid>().is_err(),
        _ => false,
    };
    if wrong_format {
        place
            .invalid(&format!("must be of type {}: {text:?}", place.schema["format"].as_str().unwrap_or("")));
    }
}

fn bounds(place: &mut Place<'_>, number: &serde_json::Number) {
    let Some(value) = number.as_f64() else { return };
    let schema = place.schema;
    if let Some(most) = schema["maximum"].as_f64() {
        let exclusive = schema["exclusiveMaximum"] == true;
        if value > most || exclusive && value >= most {
            let or_equal = if exclusive { "" } else { " or equal to" };
            place.invalid(&format!("should be less than{or_equal} {}", schema["maximum"]));
        }
    }
    if let Some(least) = schema["minimum"].as_f64() {
        let exclusive = schema["exclusiveMinimum"] == true;
        if value < least || exclusive && value <= least {
            let or_equal = if exclusive { "" } else { " or equal to" };
            place.invalid(&format!("should be greater than{or_equal} {}", schema["minimum"]));
        }
    }
    if let Some(factor) = schema["multipleOf"].as_f64()
        && (value / factor).fract() != 0.0
    {
        place.invalid(&format!("should be a multiple of {}", schema["multipleOf"]));
    }
    let fits = match schema["format"].as_str() {
        Some("int32") => number.as_i64().is_some_and(|whole| i32::try_from(whole).is_ok()),
        Some("int64") => number.is_i64(),
        _ => true,
    };
    if !fits {
        place.invalid(&format!("must be of type {}: {number}", schema["format"].as_str().unwrap_or("")));
    }
}

fn array(place: &mut Place<'_>, list: &[Value]) {
    if let Some(most) = place.limit("maxItems").filter(|most| list.len() > *most) {
        place.wrong("FieldValueTooMany", format!("Too many: {}: must have at most {most} items", list.len()));
    }
    if let Some(least) = place.limit("minItems").filter(|least| list.len() < *least) {
        place.invalid(&format!("should have at least {least} items"));
    }
    let keys = match place.schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Some(Vec::new()),
        Some("map") => {
            let keys = place.schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            Some(keys.filter_map(Value::as_str).collect())
        }
        _ => None,
    };
    let mut seen: Vec<Value> = Vec::new();
    for (at, item) in list.iter().enumerate() {
        let field = format!("{}[{at}]", place.field);
        if let Some(keys) = &keys {
            let identity = identity(item, keys);
            if seen.contains(&identity) {
                let message = format!("Duplicate value: {identity}");
                place.causes.push(Cause { reason: "FieldValueDuplicate", field: field.clone(), message });
            }
            seen.push(identity);
        }
        walk(&place.schema["items"], item, &field, place.causes);
    }
}

fn identity(item: &Value, keys: &[&str]) -> Value {
    if keys.is_empty() {
        return item.clone();
    }
    keys.iter().filter_map(|key| Some(((*key).to_owned(), item.get(*key)?.clone()))).collect()
}

fn object(place: &mut Place<'_>) {
    let Some(map) = place.value.as_object() else { return };
    let (properties, more) = (place.schema["properties"].as_object(), &place.schema["additionalProperties"]);
    for (name, inner) in map {
        let schema = properties.and_then(|all| all.get(name)).or_else(|| more.is_object().then_some(more));
        if let Some(schema) = schema {
            walk(schema, inner, &format!("{}.{name}", place.field), place.causes);
        }
    }
    if let Some(most) = place.limit("maxProperties").filter(|most| map.len() > *most) {
        place.wrong("FieldValueTooMany", format!("Too many: {}: must have at most {most} items", map.len()));
    }
    if let Some(least) = place.limit("minProperties").filter(|least| map.len() < *least) {
        place.invalid(&format!("should have at least {least} properties"));
    }
    required(place.schema, place.value, place.field, place.causes);
}

fn required(schema: &Value, value: &Value, field: &str, causes: &mut Vec<Cause>) {
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            let dot = if field.is_empty() { "" } else { "." };
            causes.push(Cause::required(&format!("{field}{dot}{name}"), ""));
        }
    }
}

fn one_of(place: &mut Place<'_>) {
    let Some(choices) = place.schema["enum"].as_array().filter(|all| !all.contains(place.value)) else {
        return;
    };
    let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
    let message =
        format!("Unsupported value: {}: supported values: {}", shown(place.value), choices.join(", "));
    place.wrong("FieldValueNotSupported", message);
}

/// `allOf`, `anyOf`, `oneOf`, `not`: they only restrict what the structure says.
fn combined(schema: &Value, value: &Value, field: &str, causes: &mut Vec<Cause>) {
    let fits = |schema: &&Value| {
        let mut found = Vec::new();
        walk(schema, value, field, &mut found);
        found.is_empty()
    };
    for part in schema["allOf"].as_array().into_iter().flatten() {
        walk(part, value, field, causes);
    }
    let mut place = Place { schema, value, field, causes };
    if schema["anyOf"].as_array().is_some_and(|all| !all.iter().any(|part| fits(&part))) {
        place.invalid("must validate at least one schema (anyOf)");
    }
    if let Some(all) = schema["oneOf"].as_array() {
        match all.iter().filter(fits).count() {
            1 => {}
            0 => place.invalid("must validate one and only one schema (oneOf). Found none valid"),
            more => place.invalid(&format!(
                "must validate one and only one schema (oneOf). Found {more} valid alternatives"
            )),
        }
    }
    if schema["not"].is_object() && fits(&&schema["not"]) {
        place.invalid("must not validate the schema (not)");
    }
}

#[cfg(test)]
mod tests;
