//! Evicts pods from nodes with `NoExecute` taints, at once or after the time that they tolerate them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use super::super::{
    Controller, Outcome,
    fit::tolerates,
    recorder::{Note, Recorder},
};
use crate::{
    kind::{self, Kind},
    object::{self, Key, int, items, text},
    store::{Change, DeleteOptions, Event, Store},
};

pub(crate) struct Evictions {
    pub store: Arc<Store>,
    pub recorder: Arc<Recorder>,
    /// The nodes that drive pods out, and since when they have their taints.
    pub tainted: HashMap<String, (Vec<Value>, Instant)>,
}

impl Controller for Evictions {
    fn kinds(&self) -> Vec<&'static Kind> {
        vec![&kind::NODES, &kind::PODS]
    }

    fn observe(&mut self, event: &Event, queue: &mut BTreeSet<Key>) {
        let object = &event.object;
        if *event.kind == kind::PODS {
            if event.change != Change::Deleted && self.tainted.contains_key(text(object, "/spec/nodeName")) {
                queue.insert(Key::of(object));
            }
            return;
        }
        let name = object::name(object);
        let gone = event.change == Change::Deleted;
        let taints = if gone { Vec::new() } else { driving(object) };
        if self.tainted.get(name).map_or(&[][..], |(known, _)| known) == taints {
            return;
        }
        if taints.is_empty() {
            self.tainted.remove(name);
            return;
        }
        let now = Instant::now();
        self.tainted.entry(name.to_owned()).or_insert((Vec::new(), now)).0 = taints;
        let pods = self.store.list(&kind::PODS, "").objects;
        queue.extend(pods.iter().filter(|p| text(p, "/spec/nodeName") == name).map(|p| Key::of(p)));
    }

    async fn reconcile(&mut self, key: &Key) -> Outcome {
        let Some(pod) = self.store.get(&kind::PODS, key) else { return Ok(None) };
        let Some((taints, since)) = self.tainted.get(text(&pod, "/spec/nodeName")) else { return Ok(None) };
        let Some(patience) = patience(taints, items(&pod, "/spec/tolerations")) else { return Ok(None) };
        if object::deleting(&pod) {
            return Ok(None);
        }
        let left = patience.saturating_sub(since.elapsed());
        if !left.is_zero() {
            return Ok(Some(left));
        }
        let message = format!("Marking for deletion Pod {}/{}", key.namespace, key.name);
        let component = "taint-eviction-controller";
        let note = Note { warning: false, reason: "TaintManagerEviction", message, component };
        self.recorder.record(&kind::PODS, &pod, &note);
        let why = "Taint manager: deleting due to NoExecute taint";
        super::disrupt(&self.store, key, "DeletionByTaintManager", why, false)?;
        let options = DeleteOptions { uid: Some(object::uid(&pod).to_owned()), ..DeleteOptions::default() };
        self.store.delete(&kind::PODS, key, &options).map(|_| None)
    }
}

fn driving(node: &Value) -> Vec<Value> {
    items(node, "/spec/taints").iter().filter(|t| t["effect"] == "NoExecute").cloned().collect()
}

/// How long a pod stays beside these taints; `None` is for ever.
fn patience(taints: &[Value], tolerations: &[Value]) -> Option<Duration> {
    let mut shortest: Option<Duration> = None;
    for taint in taints {
        let mut tolerating = tolerations.iter().filter(|t| tolerates(t, taint)).peekable();
        if tolerating.peek().is_none() {
            return Some(Duration::ZERO);
        }
        let limits = tolerating.filter_map(|t| int(t, "/tolerationSeconds"));
        let limits = limits.map(|n| Duration::from_secs(u64::try_from(n).unwrap_or(0)));
        shortest = limits.chain(shortest).min();
    }
    shortest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        let taint = |key: &str| json!({"key": key, "effect": "NoExecute"});
        let bears = |key: &str, seconds: Option<i64>| {
            let mut toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute"});
            if let Some(seconds) = seconds {
                toleration["tolerationSeconds"] = json!(seconds);
            }
            toleration
        };
        let seconds = |n| Some(Duration::from_secs(n));
        for (taints, tolerations, expected) in [
            (vec![taint("a")], vec![], seconds(0)),
            (vec![taint("a")], vec![bears("a", None)], None),
            (vec![taint("a")], vec![bears("a", Some(300))], seconds(300)),
            (vec![taint("a"), taint("b")], vec![bears("a", Some(300))], seconds(0)),
            (vec![taint("a"), taint("b")], vec![bears("a", Some(300)), bears("b", Some(5))], seconds(5)),
            (vec![taint("a")], vec![bears("a", Some(-1))], seconds(0)),
        ] {
            assert_eq!(patience(&taints, &tolerations), expected, "{taints:?} {tolerations:?}");
        }
    }
}
