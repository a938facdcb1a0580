//! Decisions, for people: who decided what, and when.

use std::fmt::Write;

use bcs_schemas::query::EventView;
use jiff::Timestamp;
use serde_json::Value;

use super::{Listed, ago, detail::short};

impl Listed for EventView {
    const KIND: &'static str = "event";
    const COLUMNS: (&'static [&'static str], &'static [&'static str]) =
        (&["WHEN", "REVISION", "WHO", "WHAT", "COMMAND"], &["TIME", "EVENT", "TYPE", "PAYLOAD"]);

    fn cells(&self, as_of: Timestamp) -> Vec<String> {
        let command = self.command_id.to_string();
        vec![ago(self.time, as_of), self.seq.to_string(), self.actor.clone(), words(self), command]
    }

    fn more(&self, _: Timestamp) -> Vec<String> {
        let time = self.time.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string();
        vec![time, self.id.to_string(), self.type_name.clone(), self.payload.to_string()]
    }

    fn name(&self) -> String {
        self.id.to_string()
    }
}

/// The fact: the word before the version.
pub(crate) fn fact(event: &EventView) -> &str {
    event.type_name.rsplit('.').nth(1).unwrap_or_default()
}

/// What was decided, in words. A fact that this program does not know is shown as it is.
pub(crate) fn words(event: &EventView) -> String {
    let payload = &event.payload;
    let text = |path: &str| payload.pointer(path).map(plain).unwrap_or_default();
    match fact(event) {
        "applied" => {
            let image = (text("/spec/image/repository"), text("/spec/image/tag"));
            format!("applied: {}:{}, {} instances", image.0, image.1, text("/spec/replicas"))
        }
        "scaled" => format!("scaled to {} instances", text("/replicas")),
        "placed" => format!("placed: {}", pairs(&payload["shares"], " ")),
        "rollout-started" => format!("rollout of {} began", text("/revision")),
        "rollout-completed" => format!("rollout of {} completed", text("/revision")),
        "rollout-stalled" => format!("rollout of {} stalls: {}", text("/revision"), text("/reason")),
        "deletion-requested" if payload["force"] == true => "deletion asked for, with force".to_owned(),
        "deletion-requested" => "deletion asked for".to_owned(),
        "health-changed" => {
            format!("health from {} to {}: {}", text("/from"), text("/to"), text("/reason"))
        }
        "imported" | "joined" | "labelled" => {
            format!("{}, labels {}", fact(event), pairs(&payload["labels"], "="))
        }
        "node-cordoned" => format!("node {} cordoned", text("/node")),
        "node-uncordoned" => format!("node {} uncordoned", text("/node")),
        "node-gone" => format!("node {} is gone", text("/node")),
        "restarted" | "deleted" | "removed" | "left" | "leftovers-stopped" => fact(event).replace('-', " "),
        other => format!("{other} {}", short(&payload.to_string())),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn pairs(map: &Value, between: &str) -> String {
    let mut text = String::new();
    for (key, value) in map.as_object().into_iter().flatten() {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{key}{between}{}", plain(value));
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use bcs_schemas::{CommandId, EventId, codec, codec::ContentType, golden};

    use super::*;

    #[test]
    fn every_decision_has_words_of_its_own() {
        let command = CommandId::derived("test", "command");
        for (type_name, payload) in golden::examples() {
            let event = EventView {
                seq: 1,
                id: EventId::derived("test", &type_name),
                object: "demo/app/shop".to_owned(),
                time: Timestamp::UNIX_EPOCH,
                actor: "ada".to_owned(),
                command_id: command,
                correlation_id: command,
                traceparent: None,
                payload: codec::to_json(ContentType::MessagePack, &payload).expect("reads"),
                type_name,
            };
            let said = words(&event);
            let command =
                ["apply", "scale", "restart", "delete", "import", "label", "remove", "cordon", "uncordon"];
            assert!(
                command.contains(&fact(&event)) || !said.contains(['{', '"']),
                "{}: {said}",
                event.type_name
            );
            assert!(!said.ends_with([' ', ':']), "{}: {said:?}", event.type_name);
        }
    }
}
