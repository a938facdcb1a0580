//! The failure policy of a job: what the end of a pod means beyond the mere count. Pure.

use jiff::Timestamp;
use serde_json::Value;

use super::{tally::Over, verdict};
use crate::object::{self, int, items, text};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Count,
    Ignore,
    FailIndex,
    FailJob,
}

/// The first rule that matches a failed pod, with the reason in the words of the real controller.
pub(super) fn matched(job: &Value, pod: &Value) -> Option<(Action, String)> {
    let rules = items(job, "/spec/podFailurePolicy/rules");
    rules.iter().enumerate().find_map(|(at, rule)| {
        let what = exit_code(rule, pod).or_else(|| condition(rule, pod))?;
        let word = text(rule, "/action");
        let action = match word {
            "FailJob" => Action::FailJob,
            "FailIndex" => Action::FailIndex,
            "Ignore" => Action::Ignore,
            _ => Action::Count,
        };
        Some((action, format!("{what} matching {word} rule at index {at}")))
    })
}

fn exit_code(rule: &Value, pod: &Value) -> Option<String> {
    let wanted = rule.get("onExitCodes").filter(|w| w.is_object())?;
    let container = text(wanted, "/containerName");
    for status in
        [items(pod, "/status/initContainerStatuses"), items(pod, "/status/containerStatuses")].concat()
    {
        let name = text(&status, "/name");
        let Some(code) = int(&status, "/state/terminated/exitCode").filter(|code| *code != 0) else {
            continue;
        };
        let listed = items(wanted, "/values").iter().any(|v| v.as_i64() == Some(code));
        let hit = if wanted["operator"] == "NotIn" { !listed } else { listed };
        if hit && (container.is_empty() || container == name) {
            let (namespace, pod) = (object::namespace(pod), object::name(pod));
            return Some(format!("Container {name} for pod {namespace}/{pod} failed with exit code {code}"));
        }
    }
    None
}

fn condition(rule: &Value, pod: &Value) -> Option<String> {
    let found = items(rule, "/onPodConditions").iter().find(|wanted| {
        let status = object::condition(pod, text(wanted, "/type")).map(|c| text(c, "/status"));
        let wanted = text(wanted, "/status");
        status == Some(if wanted.is_empty() { "True" } else { wanted })
    })?;
    let (namespace, name) = (object::namespace(pod), object::name(pod));
    Some(format!("Pod {namespace}/{name} has condition {}", text(found, "/type")))
}

/// One pod may end the whole job.
pub(super) fn apply(job: &mut Value, over: &[Over], now: Timestamp) {
    if let Some(over) = over.iter().find(|o| o.action == Action::FailJob)
        && !verdict::decided(job)
    {
        verdict::set(job, "FailureTarget", "PodFailurePolicy", &over.why, now);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_matching_rule_decides() {
        let codes = |operator: &str, values: &[i64], action: &str| json!({"action": action, "onExitCodes": {"operator": operator, "values": values}});
        let disrupted = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]});
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n"},
            "status": {
                "conditions": [{"type": "DisruptionTarget", "status": "True"}],
                "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 42}}}],
            },
        });
        for (rules, expected) in [
            (json!([codes("In", &[42], "FailJob"), disrupted]), Some(Action::FailJob)),
            (json!([codes("In", &[1], "FailJob"), disrupted]), Some(Action::Ignore)),
            (json!([codes("NotIn", &[1], "FailIndex")]), Some(Action::FailIndex)),
            (json!([codes("NotIn", &[42], "Count")]), None),
        ] {
            let job = json!({"spec": {"podFailurePolicy": {"rules": rules}}});
            assert_eq!(matched(&job, &pod).map(|(action, _)| action), expected, "{rules}");
        }
        let job = json!({"spec": {"podFailurePolicy": {"rules": [codes("In", &[42], "FailJob")]}}});
        let why = "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 0";
        assert_eq!(matched(&job, &pod), Some((Action::FailJob, why.to_owned())));
    }
}
