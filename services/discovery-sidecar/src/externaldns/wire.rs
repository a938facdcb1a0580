//! The records of the webhook protocol. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Of every request and every answer, and compared as it stands here.
pub(crate) const MEDIA: &str = "application/external.dns.webhook+json;version=1";

/// A record set. What is not ours to know is kept as it was told, so that what is deleted or replaced is named exactly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Endpoint {
    #[serde(default)]
    pub(crate) dns_name: String,
    #[serde(default, deserialize_with = "list")]
    pub(crate) targets: Vec<String>,
    #[serde(default)]
    pub(crate) record_type: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) set_identifier: String,
    #[serde(default, rename = "recordTTL", skip_serializing_if = "is_zero")]
    pub(crate) record_ttl: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) labels: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provider_specific: Option<serde_json::Value>,
}

/// Go says null for a list of nothing.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(ttl: &i64) -> bool {
    *ttl == 0
}

impl Endpoint {
    pub(crate) fn is(&self, name: &str, kind: &str) -> bool {
        // A set of several that share a name and are chosen among by the provider is nobody's whole name.
        self.record_type == kind && self.dns_name.trim_end_matches('.').eq_ignore_ascii_case(name)
    }
}

/// What is asked for at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Changes {
    #[serde(default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub(crate) create: Vec<Endpoint>,
    #[serde(default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub(crate) update_old: Vec<Endpoint>,
    #[serde(default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub(crate) update_new: Vec<Endpoint>,
    #[serde(default, deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub(crate) delete: Vec<Endpoint>,
}

impl Changes {
    pub(crate) const fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update_new.is_empty() && self.delete.is_empty()
    }

    /// From what is there to what should be; nothing when the targets and, if both tell one, the time to live agree.
    pub(crate) fn add(&mut self, found: Option<&Endpoint>, wanted: Option<Endpoint>) {
        match (found, wanted) {
            (None, Some(wanted)) => self.create.push(wanted),
            (Some(found), None) => self.delete.push(found.clone()),
            (Some(found), Some(wanted)) if !alike(found, &wanted) => {
                self.update_old.push(found.clone());
                self.update_new.push(Endpoint {
                    targets: wanted.targets,
                    record_ttl: wanted.record_ttl,
                    ..found.clone()
                });
            }
            _ => (),
        }
    }
}

/// Providers give records in any order, and quote texts or not.
fn alike(found: &Endpoint, wanted: &Endpoint) -> bool {
    let sorted = |endpoint: &Endpoint| {
        let mut targets: Vec<String> =
            endpoint.targets.iter().map(|t| t.trim_matches('"').to_owned()).collect();
        targets.sort_unstable();
        targets
    };
    sorted(found) == sorted(wanted)
}

/// Which names a provider takes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DomainFilter {
    #[serde(default)]
    pub(crate) include: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) exclude: Option<Vec<String>>,
    /// Patterns, which we neither have nor look at.
    #[serde(default)]
    regex_include: String,
    #[serde(default)]
    regex_exclude: String,
}

impl DomainFilter {
    /// One without patterns.
    pub(crate) fn of(include: &[String], exclude: &[String]) -> Self {
        Self { include: Some(include.to_vec()), exclude: Some(exclude.to_vec()), ..Self::default() }
    }
}

impl DomainFilter {
    /// Why names below the zone are not taken; none if they are, or if only a pattern could tell.
    pub(crate) fn refuses(&self, zone: &str) -> Option<String> {
        let below = |domain: &String| {
            let domain = domain.trim_matches('.');
            domain.is_empty() || zone == domain || zone.ends_with(&format!(".{domain}"))
        };
        let include = self.include.as_deref().unwrap_or_default();
        if !include.is_empty() && !include.iter().any(below) {
            return Some(format!("serves {} and not {zone}", include.join(", ")));
        }
        let excluded = self.exclude.iter().flatten().find(|domain| !domain.is_empty() && below(domain))?;
        Some(format!("excludes {excluded} and with it {zone}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_spelled_as_the_protocol_has_it() {
        let text = r#"{"dnsName":"a.x","targets":["10.0.0.1"],"recordType":"A","setIdentifier":"s","recordTTL":60,"labels":{"owner":"o"},"providerSpecific":[{"name":"n","value":"v"}]}"#;
        let endpoint: Endpoint = serde_json::from_str(text).expect("reads");
        assert_eq!((endpoint.record_ttl, &*endpoint.set_identifier), (60, "s"));
        assert_eq!(serde_json::to_string(&endpoint).expect("writes"), text);
    }

    #[test]
    fn changes_name_what_was_there_exactly_and_nothing_that_is_right() {
        let set = |targets: &[&str]| Endpoint {
            dns_name: "a.x".into(),
            record_type: "TXT".into(),
            targets: targets.iter().map(ToString::to_string).collect(),
            ..Endpoint::default()
        };
        let found =
            Endpoint { labels: Some(BTreeMap::from([("k".into(), "v".into())])), ..set(&["\"b\"", "a"]) };
        let mut changes = Changes::default();
        changes.add(Some(&found), Some(set(&["\"a\"", "\"b\""])));
        changes.add(None, None);
        assert!(changes.is_empty());
        changes.add(Some(&found), Some(set(&["a"])));
        changes.add(Some(&found), None);
        changes.add(None, Some(set(&["c"])));
        assert_eq!((&changes.update_old, &changes.delete), (&vec![found.clone()], &vec![found.clone()]));
        assert_eq!(changes.update_new, [Endpoint { targets: vec!["a".into()], ..found }]);
        assert_eq!(changes.create, [set(&["c"])]);
    }

    #[test]
    fn a_provider_that_does_not_serve_the_zone_says_so() {
        for (filter, words) in [
            (r#"{}"#, None),
            (r#"{"include":null,"exclude":[""]}"#, None),
            (r#"{"include":["bcs.local"]}"#, None),
            (r#"{"include":["local","example.org"]}"#, None),
            (r#"{"include":["example.org"]}"#, Some("serves example.org and not bcs.local")),
            (r#"{"exclude":["bcs.local"]}"#, Some("excludes bcs.local")),
        ] {
            let filter: DomainFilter = serde_json::from_str(filter).expect("reads");
            let refused = filter.refuses("bcs.local");
            assert_eq!(refused.is_some(), words.is_some(), "{filter:?}");
            assert!(refused.unwrap_or_default().contains(words.unwrap_or_default()));
        }
    }
}
