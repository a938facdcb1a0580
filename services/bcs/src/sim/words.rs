//! Faults as people write them, such as `api-errors=5% node-down sim-a-node-1 drop-watches`. Pure.
//!
//! A fault is a word, or a word and a value: after `=`, or as the next word where it cannot do without one.

use bcs_kubesim::CurrentFaults;
use bcs_schemas::Millis;
use serde_json::{Map, Value, json};

/// What the simulator is asked for.
pub(crate) type Asked = Map<String, Value>;

struct Fault {
    name: &'static str,
    value: Wanted,
    put: fn(&str, &mut Asked) -> Result<(), String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    /// With an example.
    Always(&'static str),
    /// With what is meant when nothing is said.
    Perhaps(&'static str),
    Never,
}

const FAULTS: [Fault; 13] = [
    Fault { name: "api-errors", value: Wanted::Always("5%"), put: |v, to| put(to, "api_errors", share(v)) },
    Fault { name: "conflicts", value: Wanted::Always("10%"), put: |v, to| put(to, "conflicts", share(v)) },
    Fault { name: "latency", value: Wanted::Always("200ms"), put: |v, to| put(to, "latency_ms", time(v)) },
    Fault { name: "partition", value: Wanted::Always("60s"), put: |v, to| put(to, "partition_ms", time(v)) },
    Fault {
        name: "slow-start",
        value: Wanted::Perhaps("5s"),
        put: |v, to| put(to, "slow_start_ms", time(v)),
    },
    Fault { name: "image-pull-error", value: Wanted::Perhaps("100%"), put: image },
    Fault { name: "node-down", value: Wanted::Always("NODE"), put: |v, to| add(to, "node_down", v) },
    Fault { name: "node-up", value: Wanted::Always("NODE"), put: |v, to| add(to, "node_up", v) },
    Fault { name: "crash", value: Wanted::Always("APP"), put: crash },
    Fault {
        name: "drop-watches",
        value: Wanted::Never,
        put: |_, to| put(to, "drop_watches", Ok(json!(true))),
    },
    Fault { name: "compact", value: Wanted::Never, put: |_, to| put(to, "compact", Ok(json!(true))) },
    Fault { name: "seed", value: Wanted::Always("7"), put: |v, to| put(to, "seed", seed(v)) },
    Fault { name: "reset", value: Wanted::Never, put: |_, to| put(to, "reset", Ok(json!(true))) },
];

/// What these words ask for.
pub(crate) fn asked(words: &[String]) -> Result<Asked, String> {
    let mut asked = Asked::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        let fault = FAULTS.iter().find(|fault| fault.name == name).ok_or_else(|| {
            let known = FAULTS.map(|fault| fault.name).join(", ");
            format!("there is no fault {name:?}: there are {known}")
        })?;
        let value = match (fault.value, value) {
            (Wanted::Never, None) => "",
            (Wanted::Never, Some(_)) => return Err(format!("{name} takes no value")),
            (_, Some(value)) => value,
            (Wanted::Perhaps(meant), None) => meant,
            (Wanted::Always(example), None) => {
                words.next().ok_or_else(|| format!("{name} needs a value, such as {name}={example}"))?
            }
        };
        (fault.put)(value, &mut asked).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(asked)
}

fn put(to: &mut Asked, field: &str, value: Result<Value, String>) -> Result<(), String> {
    match to.insert(field.to_owned(), value?) {
        None => Ok(()),
        Some(_) => Err("is said twice".to_owned()),
    }
}

fn add(to: &mut Asked, field: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("expected a name".to_owned());
    }
    if let Value::Array(list) = to.entry(field).or_insert_with(|| json!([])) {
        list.push(json!(value));
    }
    Ok(())
}

fn share(text: &str) -> Result<Value, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| percent / 100.0),
        None if text == "off" => Some(0.0),
        None => number(text),
    };
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.map(|share| json!(share)).ok_or_else(|| {
        format!("{text:?} is no share: expected such as 5% or 0.05, at most 100% or 1, or off")
    })
}

fn time(text: &str) -> Result<Value, String> {
    if matches!(text, "off" | "0") {
        return Ok(json!(0));
    }
    text.parse::<Millis>().map(|time| json!(time.0))
}

fn seed(text: &str) -> Result<Value, String> {
    let seed = text.parse::<u64>().map(|seed| json!(seed));
    seed.map_err(|_| format!("{text:?} is no seed: expected a whole number from 0"))
}

/// A share of all pulls, or images that cannot be pulled.
fn image(text: &str, to: &mut Asked) -> Result<(), String> {
    let number = text.ends_with('%') || text.parse::<f64>().is_ok() || text == "off";
    if !number {
        return text.split(',').try_for_each(|image| add(to, "broken_images", image));
    }
    let share = share(text)?;
    if share == json!(0.0) {
        to.entry("broken_images").or_insert_with(|| json!([]));
    }
    put(to, "image_pull_errors", Ok(share))
}

/// `shop-web`, `demo/shop-web`, or labels such as `tier=front`.
fn crash(text: &str, to: &mut Asked) -> Result<(), String> {
    let which = if text.contains('=') {
        json!({ "selector": text })
    } else {
        match text.split_once('/') {
            Some((namespace, app)) => json!({ "namespace": namespace, "app": app }),
            None => json!({ "app": text }),
        }
    };
    put(to, "crash", Ok(which))
}

/// The same, the other way round: what is set, as it is written.
pub(crate) fn of(set: &CurrentFaults) -> Vec<String> {
    let mut words = Vec::new();
    let shares = [
        ("api-errors", set.api_errors),
        ("conflicts", set.conflicts),
        ("image-pull-error", set.image_pull_errors),
    ];
    // Rounded, since 0.07 times 100 is not 7.
    let percent = |share: f64| (share * 1e8).round() / 1e6;
    words.extend(
        shares
            .iter()
            .filter(|(_, share)| *share > 0.0)
            .map(|(name, share)| format!("{name}={}%", percent(*share))),
    );
    let times =
        [("latency", set.latency_ms), ("partition", set.partition_ms), ("slow-start", set.slow_start_ms)];
    words.extend(times.iter().filter(|(_, ms)| *ms > 0).map(|(name, ms)| {
        let time = Millis(*ms).to_string();
        format!("{name}={}", time.replace(' ', ""))
    }));
    if !set.broken_images.is_empty() {
        words.push(format!("image-pull-error={}", set.broken_images.join(",")));
    }
    words.extend(set.nodes_down.iter().map(|node| format!("node-down={node}")));
    words
}

#[cfg(test)]
mod tests;
