//! States that events fold to, and whether a state of today is one that was recorded.

use anyhow::{Result, bail, ensure};
use bcs_kit::machine::{Live, StateMachine};
use bcs_schemas::query::EventView;
use serde_json::Value;

/// The state before the first event and after each.
pub(super) fn after_each<S: StateMachine>(events: &[EventView]) -> Result<Vec<Value>> {
    let mut live = Live::<S>::default();
    let mut states = vec![serde_json::to_value(&live)?];
    for event in events {
        live.follow(event)?;
        states.push(serde_json::to_value(&live)?);
    }
    Ok(states)
}

/// Demands that `now` is `recorded`. A state of another shape may have more fields, as long as they say nothing: whatever was
/// recorded is there, and nothing else came out of the same events.
pub fn same(recorded: &Value, now: &Value, same_shape: bool) -> Result<()> {
    if same_shape {
        ensure!(recorded == now, "{}", json_patch::diff(recorded, now));
        return Ok(());
    }
    compare("", recorded, now)
}

fn compare(path: &str, recorded: &Value, now: &Value) -> Result<()> {
    let (Value::Object(before), Value::Object(after)) = (recorded, now) else {
        ensure!(recorded == now, "{path} is {now} and was {recorded}");
        return Ok(());
    };
    for (key, value) in before {
        let path = format!("{path}/{key}");
        match after.get(key) {
            Some(now) => compare(&path, value, now)?,
            None => bail!("{path} is gone and was {value}"),
        }
    }
    for (key, value) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        ensure!(says_nothing(value), "{path}/{key} is new and says {value}");
    }
    Ok(())
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(says_nothing),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_may_have_grown_by_what_says_nothing() {
        let recorded = json!({ "apps": { "shop": { "replicas": 3, "labels": { "a": "b" } } } });
        let with = |path: &str, value: Value| {
            let mut state = recorded.clone();
            let patch = json!([{ "op": "add", "path": path, "value": value }]);
            json_patch::patch(
                &mut state,
                &serde_json::from_value::<json_patch::Patch>(patch).expect("a patch"),
            )
            .expect("fits");
            state
        };
        for (name, now, other_shape) in [
            ("the same", recorded.clone(), true),
            ("an empty list", with("/apps/shop/since", json!([])), true),
            ("no value", with("/pools", json!(null)), true),
            ("a flag that is set", with("/apps/shop/paused", json!(true)), false),
            ("another application", with("/apps/web", json!({ "replicas": 1 })), false),
            ("another value", with("/apps/shop/replicas", json!(4)), false),
            ("a value that is gone", json!({ "apps": { "shop": { "replicas": 3 } } }), false),
        ] {
            assert_eq!(same(&recorded, &now, false).is_ok(), other_shape, "{name}");
            assert_eq!(same(&recorded, &now, true).is_ok(), now == recorded, "{name}, of the same shape");
        }
    }
}
