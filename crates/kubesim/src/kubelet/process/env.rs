//! The environment and the command line of a container that is a real process. Pure, but for finding objects.

use std::{collections::HashMap, net::Ipv4Addr, sync::Arc};

use serde_json::Value;

use crate::{
    kind::{self, Kind},
    object::{self, items, text},
    quantity,
};

/// Finds an object of the pod's namespace by kind and name.
pub(crate) type Find<'a> = &'a dyn Fn(&'static Kind, &str) -> Option<Arc<Value>>;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables in the order in which they were set first; a later value takes the place of an earlier one.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub variables: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Environment {
    pub(crate) fn set(&mut self, name: &str, value: String) {
        match self.places.get(name) {
            Some(place) => self.variables[*place].1 = value,
            None => {
                self.places.insert(name.to_owned(), self.variables.len());
                self.variables.push((name.to_owned(), value));
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.variables[*place].1.as_str())
    }

    /// Replaces `$(NAME)`; what is not known stays as it is, and `$$` is a plain dollar.
    pub(crate) fn expand(&self, text: &str) -> String {
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            result.push_str(before);
            let reference = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
            rest = match (reference, after.strip_prefix('$')) {
                (_, Some(escaped)) => {
                    result.push('$');
                    escaped
                }
                (Some((name, tail)), None) => {
                    match self.get(name) {
                        Some(value) => result.push_str(value),
                        None => result.push_str(&format!("$({name})")),
                    }
                    tail
                }
                (None, None) => {
                    result.push('$');
                    after
                }
            };
        }
        result + rest
    }
}

/// The environment, or the sentence that says what it needs and does not have.
pub(crate) fn environment(
    pod: &Value,
    container: &Value,
    address: Ipv4Addr,
    find: Find<'_>,
) -> Result<Environment, String> {
    let mut environment = Environment::default();
    let given = [("PATH", PATH), ("HOME", "/"), ("HOSTNAME", object::name(pod))];
    for (name, value) in given {
        environment.set(name, value.to_owned());
    }
    environment.set("POD_IP", address.to_string());
    for source in items(container, "/envFrom") {
        let prefix = text(source, "/prefix");
        for (field, kind) in [("configMapRef", &kind::CONFIG_MAPS), ("secretRef", &kind::SECRETS)] {
            if let Some(object) = source.get(field).map(|r| needed(r, kind, find)).transpose()?.flatten() {
                for (key, _) in object["data"].as_object().into_iter().flatten() {
                    let value = entry(kind, &object, key).unwrap_or_default();
                    environment.set(&format!("{prefix}{key}"), value);
                }
            }
        }
    }
    for variable in items(container, "/env") {
        let value = match variable.get("valueFrom").filter(|v| v.is_object()) {
            None => Some(environment.expand(text(variable, "/value"))),
            Some(source) => referred(pod, container, address, source, find)?,
        };
        if let Some(value) = value {
            environment.set(text(variable, "/name"), value);
        }
    }
    Ok(environment)
}

/// An object that is referred to; nothing when it may be missing and is.
fn needed(reference: &Value, kind: &'static Kind, find: Find<'_>) -> Result<Option<Arc<Value>>, String> {
    let name = text(reference, "/name");
    let found = find(kind, name);
    if found.is_none() && reference["optional"] != true {
        return Err(format!("{} {name:?} not found", kind.singular));
    }
    Ok(found)
}

fn entry(kind: &Kind, object: &Value, key: &str) -> Option<String> {
    let value = object["data"].get(key)?.as_str()?;
    if *kind != kind::SECRETS {
        return Some(value.to_owned());
    }
    Some(String::from_utf8_lossy(&unbase64(value)).into_owned())
}

fn referred(
    pod: &Value,
    container: &Value,
    address: Ipv4Addr,
    source: &Value,
    find: Find<'_>,
) -> Result<Option<String>, String> {
    for (field, kind) in [("configMapKeyRef", &kind::CONFIG_MAPS), ("secretKeyRef", &kind::SECRETS)] {
        let Some(reference) = source.get(field) else { continue };
        let Some(object) = needed(reference, kind, find)? else { return Ok(None) };
        let key = text(reference, "/key");
        let value = entry(kind, &object, key);
        if value.is_none() && reference["optional"] != true {
            let place = format!("{}/{}", object::namespace(pod), text(reference, "/name"));
            return Err(format!("couldn't find key {key} in {} {place}", kind.kind));
        }
        return Ok(value);
    }
    if let Some(reference) = source.get("fieldRef") {
        return Ok(Some(field(pod, address, text(reference, "/fieldPath"))));
    }
    Ok(source.get("resourceFieldRef").map(|reference| resource(container, reference)))
}

/// A field of the pod, by the paths that the downward API knows.
fn field(pod: &Value, address: Ipv4Addr, path: &str) -> String {
    if let Some((map, rest)) = path.split_once("['") {
        let values = pod.pointer(&format!("/{}", map.replace('.', "/")));
        let found = values.and_then(|v| v.get(rest.strip_suffix("']")?)?.as_str());
        return found.unwrap_or("").to_owned();
    }
    match path {
        "status.podIP" | "status.podIPs" => address.to_string(),
        "status.hostIP" | "status.hostIPs" => "127.0.0.1".to_owned(),
        _ => text(pod, &format!("/{}", path.replace('.', "/"))).to_owned(),
    }
}

fn resource(container: &Value, reference: &Value) -> String {
    let path = format!("/resources/{}", text(reference, "/resource").replace('.', "/"));
    let amount = quantity::milli(text(container, &path)).unwrap_or(0);
    let divisor = quantity::milli(text(reference, "/divisor")).filter(|d| *d > 0).unwrap_or(1000);
    (amount.div_euclid(divisor) + i128::from(amount.rem_euclid(divisor) != 0)).to_string()
}

fn unbase64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u32> = text.bytes().filter_map(digit).map(u32::from).collect();
    let bytes = digits.chunks(4).flat_map(|chunk| {
        let bits = chunk.iter().enumerate().fold(0, |sum, (i, d)| sum | d << (18 - 6 * i));
        bits.to_be_bytes().into_iter().skip(1).take(chunk.len() - 1)
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn find(kind: &'static Kind, name: &str) -> Option<Arc<Value>> {
        let value = match (kind.id, name) {
            ("configmaps", "c") => json!({"data": {"colour": "blue", "PORT": "1"}}),
            ("secrets", "s") => json!({"data": {"key": "c2VjcmV0IQ=="}}),
            _ => return None,
        };
        Some(Arc::new(value))
    }

    fn of(container: &Value) -> Result<Environment, String> {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"app/x": "web"}}, "spec": {"nodeName": "node-1"},
        });
        environment(&pod, container, Ipv4Addr::new(127, 9, 0, 1), &find)
    }

    #[test]
    fn variables_come_from_everywhere_and_refer_to_earlier_ones() {
        let container = json!({
            "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
            "envFrom": [{"prefix": "C_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "no", "optional": true}}],
            "env": [
                {"name": "PORT", "value": "8080"},
                {"name": "URL", "value": "http://$(POD_IP):$(PORT)/$(LATER)/$$(PORT)$"},
                {"name": "LATER", "value": "x"},
                {"name": "PORT", "value": "9090"},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
                {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "colour"}}},
                {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "no", "optional": true}}},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app/x']"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            ],
        });
        let found = of(&container).expect("an environment");
        for (name, expected) in [
            ("C_colour", Some("blue")),
            ("C_PORT", Some("1")),
            ("URL", Some("http://127.9.0.1:8080/$(LATER)/$(PORT)$")),
            ("PORT", Some("9090")),
            ("KEY", Some("secret!")),
            ("COLOUR", Some("blue")),
            ("NONE", None),
            ("NODE", Some("node-1")),
            ("APP", Some("web")),
            ("IP", Some("127.9.0.1")),
            ("CPU", Some("2")),
            ("MEMORY", Some("64")),
            ("HOSTNAME", Some("p")),
        ] {
            assert_eq!(found.get(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let key = |field: &str, name: &str| json!({"env": [{"name": "A", "valueFrom": {field: {"name": name, "key": "no"}}}]});
        for (container, expected) in [
            (key("configMapKeyRef", "no"), "configmap \"no\" not found"),
            (key("secretKeyRef", "no"), "secret \"no\" not found"),
            (key("configMapKeyRef", "c"), "couldn't find key no in ConfigMap n/c"),
            (json!({"envFrom": [{"secretRef": {"name": "no"}}]}), "secret \"no\" not found"),
        ] {
            assert_eq!(of(&container).map(|_| ()), Err(expected.to_owned()));
        }
    }
}
