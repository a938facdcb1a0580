//! The rules: which changes of a schema are allowed in which direction.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    Flow, grown,
    shape::{Schema, Shape},
};
use crate::FieldError;

/// Keywords that say nothing about what is valid.
const WORDS: [&str; 7] = ["$schema", "$defs", "$comment", "title", "description", "examples", "deprecated"];

/// Deeper than any message; a type that holds itself ends here.
const DEPTH: usize = 24;

/// What a change does to the set of what is valid.
enum Change {
    /// More is valid: nobody who sends is hurt, but those who read.
    Wider,
    /// Less is valid.
    Narrower,
    /// Something else is valid.
    Other,
}

/// Two documents that are gone through side by side.
pub(super) struct Comparison<'a> {
    flow: Flow,
    old: &'a Value,
    new: &'a Value,
    problems: Vec<FieldError>,
}

impl<'a> Comparison<'a> {
    pub(super) const fn new(flow: Flow, old: &'a Value, new: &'a Value) -> Self {
        Self { flow, old, new, problems: Vec::new() }
    }

    pub(super) fn problems(mut self) -> Vec<FieldError> {
        let (old, new) = (self.old, self.new);
        self.schemas(&mut Vec::new(), old, new);
        self.problems
    }

    fn judge(&mut self, path: &[String], change: &Change, what: String) {
        let why = match (change, self.flow) {
            (Change::Wider, Flow::Asked) => return,
            (Change::Wider, Flow::Told) => "readers of before do not understand that",
            (Change::Narrower, Flow::Asked) => "what programs of before send would be refused",
            (Change::Narrower, Flow::Told) => "what was written before could not be read",
            (Change::Other, _) => "it means something else than before",
        };
        let field = if path.is_empty() { "the message".to_owned() } else { path.join(".") };
        self.problems.push(FieldError::new(field, format!("{what}, and {why}")));
    }

    fn inside(&mut self, path: &mut Vec<String>, step: &str, old: &Value, new: &Value) {
        if path.len() < DEPTH {
            path.push(step.to_owned());
            self.schemas(path, old, new);
            path.pop();
        }
    }

    fn schemas(&mut self, path: &mut Vec<String>, old: &Value, new: &Value) {
        let (before, after) = (Shape::of(self.old, old), Shape::of(self.new, new));
        self.keywords(path, &before.common, &after.common);
        for (label, old) in &before.alternatives {
            if let Some(new) = after.alternatives.get(label) {
                self.keywords(path, old, new);
            }
        }
        let labels = |shape: &Shape| shape.alternatives.keys().cloned().collect::<BTreeSet<_>>();
        let (had, has) = (labels(&before), labels(&after));
        let listed = |labels: &BTreeSet<String>| labels.iter().cloned().collect::<Vec<_>>().join(" or ");
        if had.len() == 1 && has.len() == 1 && had != has {
            return self.judge(path, &Change::Other, format!("is {} and was {}", listed(&has), listed(&had)));
        }
        for label in had.difference(&has) {
            self.judge(path, &Change::Narrower, format!("{label} is not possible any more"));
        }
        for label in has.difference(&had) {
            // A reader of before takes it as `unknown`.
            if label == "null" || !before.has_fallback() {
                self.judge(path, &Change::Wider, format!("{label} is possible now"));
            }
        }
    }

    /// Everything but alternatives.
    fn keywords(&mut self, path: &mut Vec<String>, old: &Schema, new: &Schema) {
        self.fields(path, old, new);
        let all: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in all.into_iter().filter(|key| !WORDS.contains(&key.as_str())) {
            let (before, after) = (old.get(key), new.get(key));
            match key.as_str() {
                "properties" | "required" => (),
                "additionalProperties" => self.others(path, before, after),
                "patternProperties" => self.by_pattern(path, before, after),
                "items" => self.inside(
                    path,
                    "[]",
                    before.unwrap_or(&Value::Bool(true)),
                    after.unwrap_or(&Value::Bool(true)),
                ),
                "minimum" | "minLength" | "minItems" => self.bound(path, key, before, after, f64::gt),
                "maximum" | "maxLength" | "maxItems" => self.bound(path, key, before, after, f64::lt),
                "format" => self.limit(path, key, before, after, wider_format),
                // Whether one pattern allows what another does cannot be told.
                "pattern" | "uniqueItems" => self.limit(path, key, before, after, |_, _| None),
                "default" => self.default(path, before, after),
                _ if before == after => (),
                _ => {
                    let shown =
                        |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
                    let words = format!("{key} is {} and was {}", shown(after), shown(before));
                    self.judge(path, &Change::Other, words);
                }
            }
        }
    }

    fn fields(&mut self, path: &mut Vec<String>, old: &Schema, new: &Schema) {
        let (had, has) = (properties(old), properties(new));
        let (needed, needs) = (required(old), required(new));
        for (name, before) in &had {
            let Some(after) = has.get(name) else {
                path.push((*name).to_owned());
                self.judge(path, &Change::Narrower, "is gone".to_owned());
                path.pop();
                continue;
            };
            self.inside(path, name, before, after);
            path.push((*name).to_owned());
            match (needed.contains(name), needs.contains(name)) {
                (false, true) => self.judge(path, &Change::Narrower, "has become required".to_owned()),
                (true, false) => self.judge(path, &Change::Wider, "may be absent now".to_owned()),
                _ => (),
            }
            path.pop();
        }
        let closed = old.get("additionalProperties") == Some(&Value::Bool(false));
        for name in has.keys().filter(|name| !had.contains_key(*name)) {
            path.push((*name).to_owned());
            if needs.contains(name) {
                self.judge(path, &Change::Narrower, "is new and required".to_owned());
            } else if closed {
                self.judge(path, &Change::Wider, "is new where no other fields are read".to_owned());
            }
            path.pop();
        }
    }

    /// Fields that are not listed.
    fn others(&mut self, path: &mut Vec<String>, before: Option<&Value>, after: Option<&Value>) {
        let any = Value::Bool(true);
        let (before, after) = (before.unwrap_or(&any), after.unwrap_or(&any));
        match (before, after) {
            (Value::Object(_), Value::Object(_)) => self.inside(path, "*", before, after),
            _ if before == after => (),
            (_, Value::Bool(true)) | (Value::Bool(false), _) => {
                self.judge(path, &Change::Wider, "may have other fields now".to_owned());
            }
            _ => self.judge(path, &Change::Narrower, "may not have any other field any more".to_owned()),
        }
    }

    fn by_pattern(&mut self, path: &mut Vec<String>, before: Option<&Value>, after: Option<&Value>) {
        let (none, all) = (Map::new(), |value: Option<&'_ Value>| value.and_then(Value::as_object).cloned());
        let (before, after) = (all(before).unwrap_or_default(), all(after).unwrap_or(none));
        if before.keys().ne(after.keys()) {
            self.judge(path, &Change::Other, "has other names of its fields".to_owned());
        }
        for (pattern, old) in &before {
            if let Some(new) = after.get(pattern) {
                self.inside(path, "*", old, new);
            }
        }
    }

    /// A number beyond which nothing is valid; `tighter(new, old)` when less is.
    fn bound(
        &mut self,
        path: &[String],
        key: &str,
        before: Option<&Value>,
        after: Option<&Value>,
        tighter: fn(&f64, &f64) -> bool,
    ) {
        self.limit(path, key, before, after, |old, new| Some(!tighter(&new.as_f64()?, &old.as_f64()?)));
    }

    /// A keyword without which everything is valid; `wider` tells whether its new value allows more.
    fn limit(
        &mut self,
        path: &[String],
        key: &str,
        before: Option<&Value>,
        after: Option<&Value>,
        wider: impl Fn(&Value, &Value) -> Option<bool>,
    ) {
        let (change, words) = match (before, after) {
            _ if before == after => return,
            (Some(old), Some(new)) => {
                let change = match wider(old, new) {
                    Some(true) => Change::Wider,
                    Some(false) => Change::Narrower,
                    None => Change::Other,
                };
                (change, format!("{key} is {new} and was {old}"))
            }
            (Some(old), None) => (Change::Wider, format!("{key} was {old} and is open now")),
            (None, Some(new)) => (Change::Narrower, format!("{key} is {new} and was open")),
            (None, None) => return,
        };
        self.judge(path, &change, words);
    }

    /// Who left the field out meant the old default.
    fn default(&mut self, path: &[String], before: Option<&Value>, after: Option<&Value>) {
        if let (Some(old), Some(new)) = (before, after)
            && !grown(old, new)
        {
            self.judge(path, &Change::Other, format!("is {new} when absent and was {old}"));
        }
    }
}

fn properties(schema: &Schema) -> BTreeMap<&str, &Value> {
    let all = schema.get("properties").and_then(Value::as_object);
    all.into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect()
}

fn required(schema: &Schema) -> BTreeSet<&str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether a format of numbers holds more than another one; unknown of formats of other kinds.
fn wider_format(old: &Value, new: &Value) -> Option<bool> {
    let bits = |value: &Value| {
        let text = value.as_str()?;
        let digits = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let kind = text.strip_suffix(digits)?;
        ["uint", "int"].contains(&kind).then_some((kind.to_owned(), digits.parse::<u32>().ok()?))
    };
    let ((old_kind, old_bits), (new_kind, new_bits)) = (bits(old)?, bits(new)?);
    (old_kind == new_kind).then_some(new_bits > old_bits)
}
