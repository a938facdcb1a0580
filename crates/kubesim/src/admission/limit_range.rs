//! LimitRanges: what containers get that ask for nothing, and how little or much they and claims may ask for. Pure.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    kind::Kind,
    object::{self, items, text},
    quantity,
    status::Status,
};

/// Gives containers the requests and limits that they leave out.
pub(super) fn fill(ranges: &[Arc<Value>], pod: &mut Value) {
    for limit in of_type(ranges, "Container") {
        for list in ["initContainers", "containers"] {
            for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                for (from, to) in [("defaultRequest", "requests"), ("default", "limits")] {
                    for (name, value) in limit[from].as_object().into_iter().flatten() {
                        object::default(container, &["resources", to, name], value.clone());
                    }
                }
            }
        }
    }
}

fn of_type<'a>(ranges: &'a [Arc<Value>], wanted: &'a str) -> impl Iterator<Item = &'a Value> {
    ranges.iter().flat_map(|range| items(range, "/spec/limits")).filter(move |limit| limit["type"] == wanted)
}

/// Everything that the ranges have against an object, in one refusal.
pub(super) fn check(ranges: &[Arc<Value>], kind: &Kind, value: &Value) -> Result<(), Status> {
    let mut reasons = Vec::new();
    if kind.id == "pods" {
        let containers = items(value, "/spec/initContainers").iter().chain(items(value, "/spec/containers"));
        for limit in of_type(ranges, "Container") {
            for container in containers.clone() {
                bounds(limit, &container["resources"], &mut reasons);
            }
        }
        for limit in of_type(ranges, "Pod") {
            bounds(limit, &sum(value), &mut reasons);
        }
    } else {
        for limit in of_type(ranges, "PersistentVolumeClaim") {
            bounds(limit, &value["spec"]["resources"], &mut reasons);
        }
    }
    let words = match reasons.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    Err(Status::forbidden(kind, object::name(value), &words))
}

fn bounds(limit: &Value, resources: &Value, reasons: &mut Vec<String>) {
    let of = text(limit, "/type");
    let milli = |value: &Value| value.as_str().and_then(quantity::milli);
    for (name, bound) in limit["min"].as_object().into_iter().flatten() {
        let (request, most) = (&resources["requests"][name], &resources["limits"][name]);
        let floor = format!("minimum {name} usage per {of} is {}", bound.as_str().unwrap_or(""));
        match (milli(request), milli(most)) {
            (None, _) => reasons.push(format!("{floor}.  No request is specified")),
            (found, _) if found < milli(bound) => {
                reasons.push(format!("{floor}, but request is {}", request.as_str().unwrap_or("")));
            }
            (_, Some(_)) if milli(most) < milli(bound) => {
                reasons.push(format!("{floor}, but limit is {}", most.as_str().unwrap_or("")));
            }
            _ => {}
        }
    }
    for (name, bound) in limit["max"].as_object().into_iter().flatten() {
        let (request, most) = (&resources["requests"][name], &resources["limits"][name]);
        let ceiling = format!("maximum {name} usage per {of} is {}", bound.as_str().unwrap_or(""));
        // Claims have no limits, only what they ask for.
        let claim = of == "PersistentVolumeClaim";
        match (milli(most), milli(request)) {
            (None, _) if !claim => reasons.push(format!("{ceiling}.  No limit is specified")),
            (Some(_), _) if milli(most) > milli(bound) => {
                reasons.push(format!("{ceiling}, but limit is {}", most.as_str().unwrap_or("")));
            }
            (_, Some(_)) if milli(request) > milli(bound) => {
                reasons.push(format!("{ceiling}, but request is {}", request.as_str().unwrap_or("")));
            }
            _ => {}
        }
    }
    for (name, ratio) in limit["maxLimitRequestRatio"].as_object().into_iter().flatten() {
        let pair = milli(&resources["limits"][name]).zip(milli(&resources["requests"][name]));
        let Some((most, request)) = pair.filter(|(_, request)| *request > 0) else { continue };
        if milli(ratio).is_some_and(|ratio| most * 1000 > ratio * request) {
            let hundredths = most * 100 / request;
            reasons.push(format!(
                "{name} max limit to request ratio per {of} is {}, but provided ratio is {}.{:02}0000",
                ratio.as_str().unwrap_or(""),
                hundredths / 100,
                hundredths % 100
            ));
        }
    }
}

/// What all containers of a pod have together; a part that one of them leaves out does not count.
fn sum(pod: &Value) -> Value {
    let mut all = json!({});
    for of in ["requests", "limits"] {
        let mut names: Vec<&String> = Vec::new();
        for container in items(pod, "/spec/containers") {
            names.extend(container["resources"][of].as_object().into_iter().flatten().map(|(name, _)| name));
        }
        for name in names {
            let total: i128 = items(pod, "/spec/containers")
                .iter()
                .filter_map(|c| quantity::milli(c["resources"][of][name].as_str()?))
                .sum();
            object::set(&mut all, &[of, name], json!(quantity::text(name, total)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind;

    fn range(limit: Value) -> Vec<Arc<Value>> {
        vec![Arc::new(json!({"spec": {"limits": [limit]}}))]
    }

    fn pod(resources: &Value) -> Value {
        json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a", "resources": resources}]}})
    }

    #[test]
    fn containers_that_ask_for_nothing_get_what_the_range_says() {
        let ranges = range(
            json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m", "memory": "1Gi"}}),
        );
        let mut it = pod(&json!({"requests": {"memory": "2Gi"}}));
        fill(&ranges, &mut it);
        assert_eq!(
            it["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "100m", "memory": "2Gi"}, "limits": {"cpu": "1"}})
        );
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_every_reason() {
        let bounds = |limit: Value, resources: Value| {
            check(&range(limit), &kind::PODS, &pod(&resources)).err().map(|status| status.message)
        };
        let said = |why: &str| Some(format!("pods \"web\" is forbidden: {why}"));
        let container = |field: &str, value: Value| json!({"type": "Container", field: value});
        for (limit, resources, expected) in [
            (container("max", json!({"cpu": "1"})), json!({"limits": {"cpu": "1"}}), None),
            (
                container("max", json!({"cpu": "1"})),
                json!({"limits": {"cpu": "1500m"}}),
                said("maximum cpu usage per Container is 1, but limit is 1500m"),
            ),
            (
                container("max", json!({"cpu": "1"})),
                json!({}),
                said("maximum cpu usage per Container is 1.  No limit is specified"),
            ),
            (
                container("min", json!({"memory": "1Gi", "cpu": "1"})),
                json!({"requests": {"memory": "1Mi"}}),
                said(
                    "[minimum cpu usage per Container is 1.  No request is specified, minimum memory usage per Container \
                     is 1Gi, but request is 1Mi]",
                ),
            ),
            (
                json!({"type": "Pod", "max": {"memory": "1Gi"}}),
                json!({"limits": {"memory": "2Gi"}}),
                said("maximum memory usage per Pod is 1Gi, but limit is 2Gi"),
            ),
            (
                container("maxLimitRequestRatio", json!({"cpu": "2"})),
                json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "250m"}}),
                said("cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000"),
            ),
        ] {
            assert_eq!(bounds(limit.clone(), resources.clone()), expected, "{limit} {resources}");
        }
    }
}
