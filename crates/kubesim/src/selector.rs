//! Label and field selectors: parsing their query syntax and matching objects.

use serde_json::Value;

use crate::{
    kind::{self, Kind},
    object,
};

/// The labels of an object.
pub(crate) type Map = serde_json::Map<String, Value>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels(Vec<Requirement>);

#[derive(Debug, thiserror::Error)]
#[error("unable to parse requirement: {0}")]
pub(crate) struct Error(String);

impl Labels {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        split_outside_brackets(text)
            .into_iter()
            .map(str::trim)
            .filter(|p| !p.is_empty())
            .map(requirement)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// From the `selector` of a workload (`matchLabels` and `matchExpressions`).
    pub(crate) fn from_object(selector: &Value) -> Self {
        let mut list = Self::from_map(selector["matchLabels"].as_object()).0;
        for e in object::items(selector, "/matchExpressions") {
            let key = object::text(e, "/key").to_owned();
            let values =
                object::items(e, "/values").iter().filter_map(Value::as_str).map(str::to_owned).collect();
            list.push(match object::text(e, "/operator") {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                _ => Requirement::Absent(key),
            });
        }
        Self(list)
    }

    /// From the `selector` of an object that owns pods: that of a replication controller only knows labels.
    pub(crate) fn of_owner(kind: &Kind, owner: &Value) -> Self {
        let selector = &owner["spec"]["selector"];
        if *kind == kind::REPLICATION_CONTROLLERS {
            return Self::from_map(selector.as_object());
        }
        Self::from_object(selector)
    }

    pub(crate) fn from_map(labels: Option<&Map>) -> Self {
        let one =
            |(k, v): (&String, &Value)| Requirement::In(k.clone(), vec![v.as_str().unwrap_or("").to_owned()]);
        Self(labels.into_iter().flatten().map(one).collect())
    }

    /// Asks for one more label: this value, or any other than it.
    pub(crate) fn add(&mut self, key: &str, value: &str, same: bool) {
        let (key, values) = (key.to_owned(), vec![value.to_owned()]);
        self.0.push(if same { Requirement::In(key, values) } else { Requirement::NotIn(key, values) });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn matches(&self, labels: Option<&Map>) -> bool {
        let value = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        self.0.iter().all(|r| match r {
            Requirement::In(key, values) => value(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::NotIn(key, values) => value(key).is_none_or(|v| !values.iter().any(|w| w == v)),
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::Absent(key) => value(key).is_none(),
        })
    }
}

impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |r: &Requirement| match r {
            Requirement::In(k, v) if v.len() == 1 => format!("{k}={}", v[0]),
            Requirement::In(k, v) => format!("{k} in ({})", v.join(",")),
            Requirement::NotIn(k, v) => format!("{k} notin ({})", v.join(",")),
            Requirement::Exists(k) => k.clone(),
            Requirement::Absent(k) => format!("!{k}"),
        };
        f.write_str(&self.0.iter().map(part).collect::<Vec<_>>().join(","))
    }
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(text: &str) -> Result<Requirement, Error> {
    let wrong = || Error(text.to_owned());
    if let Some(open) = text.find('(') {
        let inner = text[open + 1..].strip_suffix(')').ok_or_else(wrong)?;
        let values = inner.split(',').map(|v| v.trim().to_owned()).collect();
        let mut words = text[..open].split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(k), Some("in"), None) => Ok(Requirement::In(key(k)?, values)),
            (Some(k), Some("notin"), None) => Ok(Requirement::NotIn(key(k)?, values)),
            _ => Err(wrong()),
        };
    }
    if let Some((k, v)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(k)?, vec![value(v)?]));
    }
    if let Some((k, v)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(key(k)?, vec![value(v)?]));
    }
    match text.strip_prefix('!') {
        Some(k) => Ok(Requirement::Absent(key(k)?)),
        None => Ok(Requirement::Exists(key(text)?)),
    }
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')
}

fn key(text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.is_empty() || !text.chars().all(allowed) {
        Err(Error(text.to_owned()))
    } else {
        Ok(text.to_owned())
    }
}

fn value(text: &str) -> Result<String, Error> {
    let text = text.trim();
    if text.chars().all(allowed) { Ok(text.to_owned()) } else { Err(Error(text.to_owned())) }
}

/// Field selectors know equality only, on a few paths, as the real server does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, bool, String)>);

const FIELDS: [&str; 14] = [
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "status.phase",
    "status.podIP",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.unschedulable",
    "type",
    "reason",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.kind",
    "involvedObject.uid",
];

impl Fields {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let one = |part: &str| {
            let (field, equal, value) = match part.split_once("!=") {
                Some((f, v)) => (f, false, v),
                None => {
                    let (f, v) = part
                        .split_once("==")
                        .or_else(|| part.split_once('='))
                        .ok_or_else(|| Error(part.to_owned()))?;
                    (f, true, v)
                }
            };
            let known = FIELDS.contains(&field) || field.starts_with("involvedObject.");
            if known {
                Ok((field.to_owned(), equal, value.to_owned()))
            } else {
                Err(Error(format!("field label not supported: {field}")))
            }
        };
        text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(one).collect::<Result<_, _>>().map(Self)
    }

    /// The one name that it selects.
    pub(crate) fn name(&self) -> Option<String> {
        let named = self.0.iter().find(|(field, equal, _)| field == "metadata.name" && *equal)?;
        Some(named.2.clone())
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, equal, wanted)| {
            let found = object.pointer(&format!("/{}", field.replace('.', "/")));
            let found = match found {
                Some(Value::String(s)) => s.clone(),
                Some(Value::Bool(b)) => b.to_string(),
                _ if field == "spec.unschedulable" => "false".to_owned(),
                _ => String::new(),
            };
            (found == *wanted) == *equal
        })
    }
}

/// Both selectors of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    pub labels: Labels,
    pub fields: Fields,
}

impl Selector {
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.matches(object::labels(object)) && self.fields.matches(object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn label_selectors_match_as_documented() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        for (selector, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=api", false),
            ("app!=api", true),
            ("other!=x", true),
            ("app in (api, web)", true),
            ("app notin (api,web)", false),
            ("other notin (x)", true),
            ("app", true),
            ("!app", false),
            ("!other,app in (web),tier", true),
        ] {
            let parsed = Labels::parse(selector).expect(selector);
            assert_eq!(parsed.matches(labels(&object)), expected, "{selector}");
        }
    }

    fn labels(object: &Value) -> Option<&Map> {
        object::labels(object)
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for selector in ["app in web", "app in (web", "=web", "a b", "app=a b", "app like (x)"] {
            assert!(Labels::parse(selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn selectors_of_workloads_understand_expressions() {
        let selector = Labels::from_object(&json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}, {"key": "old", "operator": "DoesNotExist"}],
        }));
        assert_eq!(
            selector.to_string(),
            "app=web,tier in (front),!old".replace("tier in (front)", "tier=front")
        );
        assert!(selector.matches(json!({"app": "web", "tier": "front"}).as_object()));
        assert!(!selector.matches(json!({"app": "web", "tier": "front", "old": ""}).as_object()));
    }

    #[test]
    fn field_selectors_compare_paths() {
        let pod =
            json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        for (selector, expected) in [
            ("metadata.name=a", true),
            ("spec.nodeName=n1,status.phase!=Failed", true),
            ("spec.nodeName!=n1", false),
            ("spec.unschedulable=false", true),
        ] {
            assert_eq!(Fields::parse(selector).expect(selector).matches(&pod), expected, "{selector}");
        }
        assert!(Fields::parse("spec.unknown=1").is_err());
    }
}
