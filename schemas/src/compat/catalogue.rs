//! Subjects, streams and buckets, as `asyncapi.yaml` lists them. They may come, and none may go.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::FieldError;

/// Names of the types of commands: what we receive.
pub(super) fn commands(document: &Value) -> BTreeSet<String> {
    let received = members(document, "operations").filter(|(_, operation)| operation["action"] == "receive");
    received.flat_map(|(id, _)| messages(&document["channels"][id.as_str()])).collect()
}

/// What is missing in `new`.
pub(super) fn compare(old: &Value, new: &Value) -> Vec<FieldError> {
    let mut problems = Vec::new();
    let mut gone = |field: String, problem: &str| problems.push(FieldError::new(field, problem));
    for (id, channel) in members(old, "channels") {
        let now = &new["channels"][id.as_str()];
        let field = format!("channels.{id}");
        if now.is_null() {
            gone(field, "is gone, and programs of before use the subject: keep it");
            continue;
        }
        if now["address"] != channel["address"] {
            let words = format!(
                "has another subject, {} in place of {}: keep it, and add another",
                now["address"], channel["address"]
            );
            gone(field.clone(), &words);
        }
        for message in messages(channel).difference(&messages(now)) {
            gone(
                field.clone(),
                &format!("takes no {message} any more: keep it as a former version of what is newer"),
            );
        }
    }
    for (what, plural) in [("stream", "streams"), ("bucket", "buckets")] {
        let now = named(new, plural);
        for (name, place) in named(old, plural) {
            let field = format!("x-jetstream.{plural}.{name}");
            let Some(now) = now.get(name) else {
                gone(field, &format!("is gone, and a {what} that exists is never deleted: keep it"));
                continue;
            };
            for subject in subjects(place).difference(&subjects(now)) {
                gone(field.clone(), &format!("holds no {subject} any more: keep the subject"));
            }
        }
    }
    problems
}

fn members<'a>(document: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    document[key].as_object().into_iter().flat_map(Map::iter)
}

/// Types of the messages of a channel.
fn messages(channel: &Value) -> BTreeSet<String> {
    let references = members(channel, "messages").filter_map(|(_, message)| message["$ref"].as_str());
    references.filter_map(|reference| reference.rsplit('/').next()).map(str::to_owned).collect()
}

fn named<'a>(document: &'a Value, plural: &str) -> BTreeMap<&'a str, &'a Value> {
    let all = document["x-jetstream"][plural].as_array().into_iter().flatten();
    all.filter_map(|place| Some((place["name"].as_str()?, place))).collect()
}

fn subjects(stream: &Value) -> BTreeSet<&str> {
    stream["subjects"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
