//! What is entered with instances beside their addresses: labels of applications, and what is known of the instance itself.

use super::Driver;
use crate::{FieldError, observation::Endpoint};

/// The most that one registry may take: Consul keeps 64 of everything that is said of a service, ours included.
const MOST: usize = 32;

/// What of an instance can be entered, in braces as in the template of a name.
const FIELDS: [&str; 4] = ["{zone}", "{node}", "{revision}", "{instance}"];

/// What an instance says of an item of `metadata`: a field of its own in braces, or a label of its application.
pub fn value_of<'a>(item: &str, endpoint: &'a Endpoint) -> Option<&'a str> {
    match item {
        "{zone}" => endpoint.zone.as_deref(),
        "{node}" => endpoint.node.as_deref(),
        "{revision}" => Some(endpoint.revision.as_str()),
        "{instance}" => Some(&endpoint.instance),
        label => endpoint.labels.get(label).map(String::as_str),
    }
}

/// What registries call an item of `metadata`: Consul, and whoever reads metadata as names of variables, know no others.
pub fn key_of(label: &str) -> String {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let label = label.trim_start_matches('{').trim_end_matches('}');
    label.chars().map(|c| if known(c) { c } else { '_' }).collect()
}

impl Driver {
    /// Whether an entry there can carry metadata.
    pub const fn carries_metadata(&self) -> bool {
        matches!(
            self,
            Self::File(_)
                | Self::Etcd(_)
                | Self::Nacos(_)
                | Self::Consul(_)
                | Self::Envoy(_)
                | Self::Zookeeper(_)
        )
    }
}

pub(super) fn validate(wanted: &[String], driver: &Driver) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !wanted.is_empty() && !driver.carries_metadata() {
        let can = "file, etcd, nacos, consul, envoy or zookeeper";
        let problem = format!("has no place in this registry: expected none, or a driver of {can}");
        errors.push(FieldError::new("metadata", problem));
    }
    if wanted.len() > MOST {
        let problem = format!("names {} labels: expected {MOST} at most", wanted.len());
        errors.push(FieldError::new("metadata", problem));
    }
    for (i, label) in wanted.iter().enumerate() {
        let at = format!("metadata[{i}]");
        let key = key_of(label);
        let refused = if label.is_empty() {
            "is empty: expected the key of a label".to_owned()
        } else if label.contains(['{', '}']) && !FIELDS.contains(&label.as_str()) {
            format!("{label:?} is no field of an instance: expected one of {}", FIELDS.join(", "))
        } else if key == "weight" || key.starts_with("bcs-") || key.starts_with("bcs.") {
            format!("{label:?} is what BCS itself writes there: expected another label")
        } else if let Some(other) = wanted[..i].iter().find(|other| key_of(other) == key) {
            format!("{label:?} is entered under the same name as {other:?}: expected one of the two")
        } else {
            continue;
        };
        errors.push(FieldError::new(at, refused));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::RegistrySpec;

    fn said(driver: serde_json::Value, metadata: &[&str]) -> String {
        let spec: RegistrySpec =
            serde_json::from_value(serde_json::json!({ "driver": driver, "metadata": metadata }))
                .expect("a registry");
        spec.validate().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn labels_are_named_once_and_where_there_is_a_place_for_them() {
        let (file, redis) = (
            serde_json::json!({ "file": { "directory": "/x" } }),
            serde_json::json!({ "redis": { "url": "redis://r:6379/0" } }),
        );
        let many: Vec<String> = (0..33).map(|n| format!("l{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (driver, labels, words) in [
            (&file, &["team", "corp.example/tier", "{zone}", "{node}", "{revision}", "{instance}"][..], ""),
            (
                &file,
                &["{Zone}"],
                "metadata[0]: \"{Zone}\" is no field of an instance: expected one of {zone}",
            ),
            (
                &file,
                &["zone", "{zone}"],
                "metadata[1]: \"{zone}\" is entered under the same name as \"zone\"",
            ),
            (&redis, &[], ""),
            (
                &redis,
                &["team"],
                "metadata: has no place in this registry: expected none, or a driver of file",
            ),
            (&file, &["team", ""], "metadata[1]: is empty"),
            (&file, &["bcs.io/app"], "metadata[0]: \"bcs.io/app\" is what BCS itself writes"),
            (&file, &["a/b", "a_b"], "metadata[1]: \"a_b\" is entered under the same name as \"a/b\""),
            (&file, &many, "names 33 labels: expected 32"),
        ] {
            let told = said(driver.clone(), labels);
            assert!(
                if words.is_empty() { told.is_empty() } else { told.contains(words) },
                "{labels:?}: {told}"
            );
        }
    }

    #[test]
    fn a_label_is_called_what_every_registry_can_spell() {
        assert_eq!((&*key_of("team"), &*key_of("{zone}")), ("team", "zone"));
        assert_eq!(key_of("corp.example/tier"), "corp.example_tier");
    }
}
