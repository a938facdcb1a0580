//! `--set path=value`: a value below `spec` of every App. The schema says what may stand there, so that nobody has to
//! know that a tag is a string and `1.25` would be a number.

use std::collections::BTreeSet;

use bcs_schemas::{FieldError, resource::app::AppSpec};
use serde_json::Value;

/// A value to set below `spec` of every App: `image.tag=v2`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    path: Vec<Step>,
    /// The value as it was typed.
    text: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Item(usize),
}

impl std::str::FromStr for Setting {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?}: expected path=value, such as image.tag=v2 or ports[0].port=80");
        let (path, value) = text.split_once('=').ok_or_else(form)?;
        let mut steps = Vec::new();
        for part in parts(path) {
            let mut pieces = part.split('[');
            let field = pieces.next().filter(|field| !field.is_empty()).ok_or_else(form)?;
            steps.push(Step::Field(field.to_owned()));
            for piece in pieces {
                let item = piece.strip_suffix(']').and_then(|n| n.parse().ok()).ok_or_else(form)?;
                steps.push(Step::Item(item));
            }
        }
        Ok(Self { path: steps, text: value.to_owned() })
    }
}

/// The parts between dots; `\.` is a dot inside a part, as keys of annotations have them.
fn parts(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = path.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = letter == '\\' && letters.next_if_eq(&'.').is_some();
        match (letter, parts.last_mut()) {
            ('.', _) => parts.push(String::new()),
            (letter, Some(part)) => part.push(if escaped { '.' } else { letter }),
            (_, None) => (),
        }
    }
    parts
}

impl Setting {
    /// Sets it in the document of an App.
    pub(super) fn apply(&self, document: &mut Value) -> Result<(), FieldError> {
        let mut at = &mut document["spec"];
        let mut walked = "spec".to_owned();
        for step in &self.path {
            if at.is_null() {
                *at = Value::Object(serde_json::Map::new());
            }
            at = match (step, at) {
                (Step::Field(name), Value::Object(fields)) => {
                    walked = format!("{walked}.{name}");
                    fields.entry(name.clone()).or_insert(Value::Null)
                }
                (Step::Item(index), Value::Array(items)) => {
                    let length = items.len();
                    let missing = || {
                        FieldError::new(&walked, format!("has {length} items, and [{index}] was to be set"))
                    };
                    let item = items.get_mut(*index).ok_or_else(missing)?;
                    walked = format!("{walked}[{index}]");
                    item
                }
                (Step::Field(name), _) => {
                    return Err(FieldError::new(walked, format!("has no fields, and {name} was to be set")));
                }
                (Step::Item(index), _) => {
                    return Err(FieldError::new(walked, format!("is no list, and [{index}] was to be set")));
                }
            };
        }
        let schema = schemars::schema_for!(AppSpec).to_value();
        *at = self.value(&types(&schema, &self.path), &walked)?;
        Ok(())
    }

    /// The text as YAML where that is what may stand there, else as it is if a string may. What fits nowhere is left to
    /// the reader of the document, who says what was expected.
    fn value(&self, types: &BTreeSet<String>, walked: &str) -> Result<Value, FieldError> {
        let string = types.contains("string");
        let read = serde_saphyr::from_str::<Value>(&self.text);
        let quoted = self.text.starts_with(['"', '\'']);
        match read {
            Ok(Value::String(text)) if quoted || !string => Ok(Value::String(text)),
            Ok(value) if !value.is_string() && (!string || fits(&value, types)) => Ok(value),
            _ if string => Ok(Value::String(self.text.clone())),
            Ok(value) => Ok(value),
            Err(_) => Err(FieldError::new(walked, format!("{:?} is no YAML", self.text))),
        }
    }
}

fn fits(value: &Value, types: &BTreeSet<String>) -> bool {
    let names: &[&str] = match value {
        Value::Null => &["null"],
        Value::Bool(_) => &["boolean"],
        Value::Number(number) if number.is_f64() => &["number"],
        Value::Number(_) => &["integer", "number"],
        Value::String(_) => &["string"],
        Value::Array(_) => &["array"],
        Value::Object(_) => &["object"],
    };
    names.iter().any(|name| types.contains(*name))
}

/// The JSON types of what may stand at a path; none when the schema knows no such path.
fn types(schema: &Value, path: &[Step]) -> BTreeSet<String> {
    let mut at = forms(schema, schema);
    for step in path {
        at = at.into_iter().flat_map(|form| below(form, step)).flat_map(|form| forms(schema, form)).collect();
    }
    let of = |form: &&Value| match &form["type"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    at.iter().flat_map(of).collect()
}

/// A schema, with references followed and alternatives apart.
fn forms<'a>(root: &'a Value, form: &'a Value) -> Vec<&'a Value> {
    if let Some(place) = form["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        return root.pointer(place).map(|form| forms(root, form)).unwrap_or_default();
    }
    let alternatives = ["anyOf", "oneOf"].iter().filter_map(|word| form[word].as_array()).flatten();
    let alternatives: Vec<&Value> = alternatives.flat_map(|form| forms(root, form)).collect();
    if alternatives.is_empty() { vec![form] } else { alternatives }
}

fn below<'a>(form: &'a Value, step: &Step) -> Vec<&'a Value> {
    match step {
        Step::Item(_) => form.get("items").into_iter().collect(),
        Step::Field(name) => match form["properties"].get(name) {
            Some(known) => vec![known],
            None => {
                let patterns = form["patternProperties"].as_object().into_iter().flat_map(|p| p.values());
                patterns.chain(form.get("additionalProperties")).filter(|form| form.is_object()).collect()
            }
        },
    }
}
