//! A stand-in for ExternalDNS that was WRITTEN FOR THESE TESTS after its published loop, since it cannot be had where this is
//! tested: negotiate; then in each loop read all records, find by the texts of the TXT registry which of them are its own,
//! let the provider adjust what is wanted, plan, and ask for all changes at once with the texts beside them.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::ask;

pub(crate) struct ExternalDns {
    url: String,
    owner: &'static str,
    include: Vec<String>,
}

/// Why a loop came to nothing.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) status: u16,
    pub(crate) words: String,
}

type Key = (String, String);

fn key(endpoint: &Value) -> Key {
    let text = |field: &str| endpoint[field].as_str().unwrap_or_default().to_ascii_lowercase();
    (text("dnsName"), text("recordType"))
}

fn targets(endpoint: &Value) -> Vec<String> {
    let targets = endpoint["targets"].as_array().cloned().unwrap_or_default();
    let mut targets: Vec<String> =
        targets.iter().filter_map(|target| target.as_str().map(str::to_ascii_lowercase)).collect();
    targets.sort();
    targets
}

/// With `--txt-wildcard-replacement=any`, since not every server takes a label such as `a-*`.
fn text_name(endpoint: &Value) -> String {
    let (name, kind) = key(endpoint);
    match name.strip_prefix("*.") {
        Some(rest) => format!("{kind}-any.{rest}"),
        None => format!("{kind}-{name}"),
    }
}

fn is_of_the_registry(endpoint: &Value) -> bool {
    endpoint["recordType"] == "TXT" && endpoint["targets"][0].as_str().and_then(owner_of).is_some()
}

/// As its library for labels writes them: sorted, in quotes.
pub(super) fn text(endpoint: &Value, owner: &str) -> Value {
    let text = format!(
        "\"heritage=external-dns,external-dns/owner={owner},external-dns/resource=service/shop/{}\"",
        key(endpoint).1
    );
    json!({ "dnsName": text_name(endpoint), "recordType": "TXT", "targets": [text], "labels": { "ownedRecord": endpoint["dnsName"] } })
}

fn owner_of(text: &str) -> Option<&str> {
    let mut words = text.trim_matches('"').split(',').filter_map(|word| word.split_once('='));
    (words.next()? == ("heritage", "external-dns")).then_some(())?;
    words.find(|(key, _)| *key == "external-dns/owner").map(|(_, owner)| owner)
}

impl ExternalDns {
    pub(crate) async fn negotiate(url: &str, owner: &'static str) -> Self {
        let (status, body) = ask(url, "GET", "/", &Value::Null).await;
        assert_eq!(status, 200, "{body}");
        let filter: Value = serde_json::from_str(&body).expect("a filter");
        let include = filter["include"].as_array().expect("a list").iter();
        let include = include.filter_map(|domain| domain.as_str().map(ToOwned::to_owned)).collect();
        Self { url: url.to_owned(), owner, include }
    }

    async fn asked(&self, method: &str, path: &str, body: &Value, good: u16) -> Result<Value, Failed> {
        match ask(&self.url, method, path, body).await {
            (status, body) if status == good => Ok(serde_json::from_str(&body).unwrap_or_default()),
            (status, words) => Err(Failed { status, words }),
        }
    }

    /// One loop; how many records it wanted changed.
    pub(crate) async fn run_once(&self, desired: &[Value]) -> Result<usize, Failed> {
        let records = self.asked("GET", "/records", &Value::Null, 200).await?;
        let records = records.as_array().cloned().unwrap_or_default();
        let texts: HashMap<String, &Value> =
            records.iter().filter(|r| r["recordType"] == "TXT").map(|r| (key(r).0, r)).collect();
        let mine = |endpoint: &Value| {
            let text = texts.get(&text_name(endpoint)).and_then(|text| text["targets"][0].as_str());
            text.and_then(owner_of) == Some(self.owner)
        };
        let desired = self.asked("POST", "/adjustendpoints", &json!(desired), 200).await?;
        let in_filter = |endpoint: &&Value| {
            let (name, _) = key(endpoint);
            self.include.iter().any(|domain| name == *domain || name.ends_with(&format!(".{domain}")))
        };
        let desired: HashMap<Key, Value> = desired
            .as_array()
            .into_iter()
            .flatten()
            .filter(in_filter)
            .map(|endpoint| (key(endpoint), endpoint.clone()))
            .collect();
        let current: HashMap<Key, &Value> = records.iter().map(|r| (key(r), r)).collect();
        let [mut create, mut old, mut new, mut delete] = [(); 4].map(|()| Vec::<Value>::new());
        for (key, wanted) in &desired {
            match current.get(key) {
                None => create.push(wanted.clone()),
                Some(there) if mine(there) => {
                    let ttl = wanted["recordTTL"].as_i64().filter(|ttl| *ttl > 0);
                    if targets(there) != targets(wanted) || ttl.is_some_and(|ttl| there["recordTTL"] != ttl) {
                        old.push((*there).clone());
                        new.push(wanted.clone());
                    }
                }
                Some(_) => (),
            }
        }
        for (key, there) in current {
            if !is_of_the_registry(there) && mine(there) && !desired.contains_key(&key) {
                delete.push(there.clone());
            }
        }
        let count = create.len() + new.len() + delete.len();
        if count == 0 {
            return Ok(0);
        }
        // Texts come behind all records, and not again where one is.
        let fresh: Vec<Value> = create.iter().map(|e| text(e, self.owner)).collect();
        create.extend(fresh.into_iter().filter(|text| !texts.contains_key(&key(text).0)));
        for list in [&mut old, &mut new, &mut delete] {
            let more: Vec<Value> = list.iter().map(|e| text(e, self.owner)).collect();
            list.extend(more);
        }
        let changes = json!({ "create": create, "updateOld": old, "updateNew": new, "delete": delete });
        self.asked("POST", "/records", &changes, 204).await?;
        Ok(count)
    }
}
