//! What `nft -j list table` shows: the sets and their elements. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;
use serde_json::Value;

/// The sets of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) sets: BTreeMap<String, Set>,
}

/// A set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    /// `ipv4_addr . inet_service`; none where it is not said in such words.
    pub(super) kind: Option<String>,
    /// What keeps it from holding addresses that stay as they were written.
    pub(super) odd: Option<&'static str>,
    /// Element (`10.0.0.1 . 8080`) and its comment.
    pub(super) elements: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
struct Document {
    nftables: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    set: Option<RawSet>,
}

#[derive(Deserialize)]
struct RawSet {
    name: String,
    #[serde(rename = "type", default)]
    kind: Value,
    #[serde(default)]
    flags: Value,
    timeout: Option<Value>,
    #[serde(default)]
    elem: Vec<Value>,
}

impl Reading {
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let document: Document = serde_json::from_str(text)?;
        let sets = document.nftables.into_iter().filter_map(|object| object.set);
        Ok(Self { sets: sets.map(|raw| (raw.name.clone(), Set::of(raw))).collect() })
    }

    /// The comment of an element that is there.
    pub(super) fn comment(&self, set: &str, element: &str) -> Option<Option<&str>> {
        self.sets.get(set)?.elements.get(element).map(Option::as_deref)
    }
}

impl Set {
    fn of(raw: RawSet) -> Self {
        let flagged = |flag: &str| match &raw.flags {
            Value::String(one) => one == flag,
            Value::Array(all) => all.iter().any(|one| one == flag),
            _ => false,
        };
        let odd = match () {
            () if flagged("interval") => Some("intervals"),
            () if raw.timeout.is_some() => Some("elements that expire"),
            () if flagged("constant") => Some("elements that cannot change"),
            () => None,
        };
        let elements = raw.elem.iter().map(|elem| match elem.get("elem") {
            Some(elem) => {
                let comment = elem.get("comment").and_then(Value::as_str).map(ToOwned::to_owned);
                (shown(elem.get("val").unwrap_or(&Value::Null)), comment)
            }
            None => (shown(elem), None),
        });
        Self { kind: kind(&raw.kind), odd, elements: elements.collect() }
    }
}

fn kind(raw: &Value) -> Option<String> {
    match raw {
        Value::String(one) => Some(one.clone()),
        Value::Array(all) => {
            let all: Option<Vec<&str>> = all.iter().map(Value::as_str).collect();
            Some(all?.join(" . "))
        }
        _ => None,
    }
}

/// As `nft` itself shows it, with addresses as we spell them; ranges stay as they come.
fn shown(value: &Value) -> String {
    let part = |value: &Value| match value.as_str() {
        Some(text) => text.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |address| address.to_string()),
        None => value.to_string(),
    };
    match value.get("concat").and_then(Value::as_array) {
        Some(parts) => parts.iter().map(part).collect::<Vec<_>>().join(" . "),
        None => part(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_as_nft_shows_them() {
        let text = serde_json::json!({ "nftables": [
            { "metainfo": { "version": "1.0.6", "json_schema_version": 1 } },
            { "table": { "family": "inet", "name": "bcs", "handle": 1 } },
            { "set": { "family": "inet", "name": "empty", "table": "bcs", "type": "mark", "handle": 1 } },
            { "set": { "name": "shop_web_v4", "type": "ipv4_addr", "elem":
                ["10.0.0.1", { "elem": { "val": "10.0.0.2", "comment": "ours" } }, { "prefix": { "addr": "10.1.0.0", "len": 16 } }] } },
            { "set": { "name": "ports", "type": ["ipv6_addr", "inet_service"], "flags": ["interval"], "elem":
                [{ "elem": { "val": { "concat": ["FD00:0::1", 8080] }, "comment": "c" } }] } },
            { "set": { "name": "short", "type": "ipv4_addr", "flags": ["timeout"], "timeout": 60 } },
            { "set": { "name": "odd", "type": { "typeof": { "payload": {} } } } },
            { "chain": { "family": "inet", "table": "bcs", "name": "input" } },
        ] });
        let reading = Reading::parse(&text.to_string()).expect("is read");
        assert_eq!(reading.sets.len(), 5);
        assert_eq!(reading.comment("shop_web_v4", "10.0.0.1"), Some(None));
        assert_eq!(reading.comment("shop_web_v4", "10.0.0.2"), Some(Some("ours")));
        assert_eq!(reading.comment("shop_web_v4", "10.0.0.3"), None);
        assert_eq!(reading.comment("ports", "fd00::1 . 8080"), Some(Some("c")));
        let about = |name: &str| (reading.sets[name].kind.as_deref(), reading.sets[name].odd);
        assert_eq!(about("shop_web_v4"), (Some("ipv4_addr"), None));
        assert_eq!(about("ports"), (Some("ipv6_addr . inet_service"), Some("intervals")));
        assert_eq!(about("short"), (Some("ipv4_addr"), Some("elements that expire")));
        assert_eq!(about("odd"), (None, None));
        assert!(Reading::parse("table inet bcs {}").is_err());
    }
}
