//! Which pods crash.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::Error;
use crate::{
    kind,
    object::{self, Key, items, text},
    selector::Labels,
    store::Store,
};

/// Which pods crash: those for which everything holds that is said here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Crash {
    pub namespace: Option<String>,
    /// The name of the pod or of what owns it, or the value of a label `app` (with any prefix) or `app.kubernetes.io/name`.
    pub app: Option<String>,
    /// A label selector such as `app=web,tier!=test`.
    pub selector: Option<String>,
    /// With what the containers exit; real processes are killed instead, and exit with 137.
    pub exit_code: u8,
}

impl Default for Crash {
    fn default() -> Self {
        Self { namespace: None, app: None, selector: None, exit_code: 1 }
    }
}

/// One pod whose app containers end.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub key: Key,
    pub uid: String,
    pub code: i32,
}

impl Crash {
    pub(super) fn choose(&self, store: &Store, pods: &[Arc<Value>]) -> Result<Vec<Order>, Error> {
        let selector = self.selector.as_deref().unwrap_or("");
        let labels = Labels::parse(selector).map_err(|e| Error::Selector(e.to_string()))?;
        let wanted = |pod: &Value| {
            self.namespace.as_deref().is_none_or(|namespace| object::namespace(pod) == namespace)
                && labels.matches(object::labels(pod))
                && self.app.as_deref().is_none_or(|app| belongs(store, pod, app))
                && runs(pod)
        };
        let order = |pod: &Arc<Value>| {
            let uid = object::uid(pod).to_owned();
            Order { key: Key::of(pod), uid, code: self.exit_code.into() }
        };
        let hit: Vec<Order> = pods.iter().filter(|pod| wanted(pod)).map(order).collect();
        if hit.is_empty() { Err(Error::NoPod(self.words())) } else { Ok(hit) }
    }

    fn words(&self) -> String {
        let part =
            |what: &str, value: &Option<String>| value.as_ref().map(|value| format!("{what} {value:?}"));
        let parts = [
            part("of the app", &self.app),
            part("selected by", &self.selector),
            part("in the namespace", &self.namespace),
        ];
        let said: Vec<String> = parts.into_iter().flatten().collect();
        if said.is_empty() { "there".to_owned() } else { said.join(" and ") }
    }
}

fn runs(pod: &Value) -> bool {
    let containers = items(pod, "/status/containerStatuses");
    containers.iter().any(|status| status["state"]["running"].is_object())
}

fn belongs(store: &Store, pod: &Value, app: &str) -> bool {
    let labelled = object::labels(pod).into_iter().flatten().any(|(key, value)| {
        let names_app = key.rsplit('/').next() == Some("app") || key == "app.kubernetes.io/name";
        names_app && value == app
    });
    labelled || object::name(pod) == app || owned(store, pod, app)
}

/// Whether somebody of this name owns it, or owns its owner, as a Deployment does.
fn owned(store: &Store, object: &Value, name: &str) -> bool {
    let namespace = object::namespace(object);
    object::owners(object).iter().any(|owner| {
        let between = match text(owner, "/kind") {
            "ReplicaSet" => Some(&kind::REPLICA_SETS),
            "Job" => Some(&kind::JOBS),
            _ => None,
        };
        let above = between.and_then(|kind| store.get(kind, &Key::new(namespace, text(owner, "/name"))));
        text(owner, "/name") == name || above.is_some_and(|above| owned(store, &above, name))
    })
}
