//! What `POST /sim/faults` takes; fields that are left out stay as they are.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::{Crash, Faults};
use crate::status::Status;

/// What is asked for. `reset` comes first, and what happens only once comes last.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Request {
    reset: bool,
    seed: Option<u64>,
    api_errors: Option<Share>,
    conflicts: Option<Share>,
    latency_ms: Option<Millis>,
    slow_start_ms: Option<Millis>,
    image_pull_errors: Option<Share>,
    broken_images: Option<Vec<String>>,
    /// All that are lost.
    nodes_down: Option<BTreeSet<String>>,
    /// Those that are lost as well.
    node_down: BTreeSet<String>,
    /// Those that are back.
    node_up: BTreeSet<String>,
    pub(super) crash: Option<Crash>,
    compact: bool,
    drop_watches: bool,
    partition_ms: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
struct Share(f64);

impl TryFrom<Value> for Share {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let share = value.as_f64().filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or_else(|| format!("expected a share from 0 to 1, not {value}"))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
struct Millis(Duration);

/// Nothing here is meant to last longer, and clocks would overflow at some time.
const LONGEST: u64 = 24 * 60 * 60 * 1000;

impl TryFrom<Value> for Millis {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let millis = value.as_u64().filter(|millis| *millis <= LONGEST).map(Duration::from_millis);
        millis
            .map(Self)
            .ok_or_else(|| format!("expected whole milliseconds, at most {LONGEST} (a day), not {value}"))
    }
}

impl Request {
    /// With the name of the field that is wrong, and what belongs there.
    pub(crate) fn read(value: Value) -> Result<Self, Status> {
        if !value.is_object() {
            return Err(Status::bad_request("faults: expected an object such as {\"api_errors\": 0.05}"));
        }
        serde_path_to_error::deserialize(value)
            .map_err(|error| Status::bad_request(format!("faults: {}: {}", error.path(), error.inner())))
    }

    /// The nodes that are named, and where.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&'static str, &BTreeSet<String>)> {
        let all = self.nodes_down.as_ref().map(|names| ("nodes_down", names));
        all.into_iter().chain([("node_down", &self.node_down), ("node_up", &self.node_up)])
    }

    pub(super) fn apply(&self, faults: &Faults) {
        if self.reset {
            faults.reset();
        }
        if let Some(seed) = self.seed {
            faults.set_seed(seed);
        }
        if let Some(Share(rate)) = self.api_errors {
            faults.set_api_errors(rate);
        }
        if let Some(Share(rate)) = self.conflicts {
            faults.set_conflicts(rate);
        }
        if let Some(Millis(latency)) = self.latency_ms {
            faults.set_latency(latency);
        }
        if let Some(Millis(longer)) = self.slow_start_ms {
            faults.set_slow_start(longer);
        }
        if let Some(Share(rate)) = self.image_pull_errors {
            faults.set_image_pull_errors(rate);
        }
        if let Some(images) = &self.broken_images {
            faults.set_broken_images(images);
        }
        faults.set_nodes_down(|down| {
            if let Some(names) = &self.nodes_down {
                down.clone_from(names);
            }
            down.extend(self.node_down.iter().cloned());
            down.retain(|name| !self.node_up.contains(name));
        });
        if self.compact {
            faults.compact();
        }
        if self.drop_watches {
            faults.drop_watches();
        }
        if let Some(Millis(length)) = self.partition_ms {
            faults.partition(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_what_belongs_there() {
        for (wrong, words) in [
            (json!({"api_errors": 5}), "faults: api_errors: expected a share from 0 to 1, not 5"),
            (json!({"conflicts": "10%"}), "faults: conflicts: expected a share from 0 to 1, not \"10%\""),
            (json!({"latency_ms": -1}), "faults: latency_ms: expected whole milliseconds"),
            (json!({"partition_ms": 1e12}), "at most 86400000 (a day)"),
            (
                json!({"broken_images": "web"}),
                "faults: broken_images: invalid type: string \"web\", expected a sequence",
            ),
            (
                json!({"crash": {"exit_code": 300}}),
                "faults: crash.exit_code: invalid value: integer `300`, expected u8",
            ),
            (json!({"latency": 3}), "faults: latency: unknown field `latency`, expected one of `reset`"),
            (json!([]), "faults: expected an object"),
        ] {
            let error = Request::read(wrong.clone()).expect_err("is wrong");
            assert_eq!(error.code, 400);
            assert!(error.message.contains(words), "{wrong}: {}", error.message);
        }
        assert!(Request::read(json!({"api_errors": 1, "crash": {"app": "web"}, "node_up": ["a"]})).is_ok());
    }
}
