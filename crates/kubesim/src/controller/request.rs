//! What a pod asks for, as the scheduler and the quotas count it. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    object::{items, text},
    quantity,
};

/// Amounts by the names of resources, in thousandths.
pub(crate) type Amounts = BTreeMap<String, i128>;

pub(crate) fn read(amounts: &Value) -> Amounts {
    let all = amounts.as_object().into_iter().flatten();
    all.filter_map(|(name, amount)| Some((name.clone(), quantity::milli(amount.as_str()?)?))).collect()
}

/// The `requests` or the `limits` of a whole pod: the sum over its containers and sidecars, or what one of its init containers takes
/// beside the sidecars that run by then, whichever is more; or what the pod says for itself; and its overhead.
pub(crate) fn of_pod(pod: &Value, of: &str) -> Amounts {
    let own = |container: &Value| read(&container["resources"][of]);
    let (mut running, mut peak) = (Amounts::new(), Amounts::new());
    for container in items(pod, "/spec/initContainers") {
        let mut step = own(container);
        if text(container, "/restartPolicy") == "Always" {
            add(&mut running, &step);
        } else {
            add(&mut step, &running);
            raise(&mut peak, step);
        }
    }
    for container in items(pod, "/spec/containers") {
        add(&mut running, &own(container));
    }
    raise(&mut running, peak);
    let mut sum = running;
    sum.extend(read(&pod["spec"]["resources"][of]));
    for (name, amount) in read(&pod["spec"]["overhead"]) {
        // A resource without a limit stays without one.
        if of == "requests" || sum.contains_key(&name) {
            *sum.entry(name).or_default() += amount;
        }
    }
    sum
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *sum.entry(name.clone()).or_default() += amount;
    }
}

fn raise(sum: &mut Amounts, to: Amounts) {
    for (name, amount) in to {
        let known = sum.entry(name).or_default();
        *known = amount.max(*known);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}})
    }

    fn sidecar(cpu: &str) -> Value {
        json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn init_containers_and_sidecars_count_when_they_run() {
        for (what, init, apps, expected) in [
            ("apps are added", vec![], vec![container("1"), container("500m")], 1500),
            ("a small start changes nothing", vec![container("1")], vec![container("2")], 2000),
            ("a large one does", vec![container("3"), container("2")], vec![container("2")], 3000),
            ("sidecars stay", vec![sidecar("1")], vec![container("2")], 3000),
            ("a start after a sidecar", vec![sidecar("1"), container("3")], vec![container("2")], 4000),
            ("a start before it", vec![container("3"), sidecar("1")], vec![container("1")], 3000),
        ] {
            let pod = json!({"spec": {"initContainers": init, "containers": apps}});
            assert_eq!(of_pod(&pod, "requests").get("cpu"), Some(&expected), "{what}");
        }
    }

    #[test]
    fn a_pod_may_ask_for_itself_and_has_overhead() {
        let mut pod = json!({"spec": {
            "containers": [container("1")], "overhead": {"cpu": "100m", "memory": "1Ki"},
        }});
        let found = of_pod(&pod, "requests");
        assert_eq!((found["cpu"], found["memory"]), (1100, 1_024_000));
        assert!(of_pod(&pod, "limits").is_empty());
        pod["spec"]["resources"] = json!({"requests": {"cpu": "4"}});
        assert_eq!(of_pod(&pod, "requests")["cpu"], 4100);
    }
}
