//! Terms of affinity: which pods are meant, and how near is near. Pure.

use std::collections::HashMap;

use serde_json::Value;

use super::wish::Wish;
use crate::{
    object::{self, int, items, text},
    selector::{self, Labels},
};

/// The labels of the namespaces, by their names.
pub(super) type Namespaces = HashMap<String, selector::Map>;

/// Pods that are meant, and the label of nodes whose value says which nodes are together.
#[derive(Debug)]
pub(super) struct Term {
    namespaces: Vec<String>,
    in_namespaces: Option<Labels>,
    /// None means no pod at all.
    pods: Option<Labels>,
    pub topology: String,
}

impl Term {
    fn of(pod: &Value, term: &Value) -> Self {
        let named = items(term, "/namespaces").iter().filter_map(Value::as_str);
        let mut namespaces: Vec<String> = named.map(str::to_owned).collect();
        let selector = &term["namespaceSelector"];
        if namespaces.is_empty() && selector.is_null() {
            namespaces.push(object::namespace(pod).to_owned());
        }
        Self {
            namespaces,
            in_namespaces: (!selector.is_null()).then(|| Labels::from_object(selector)),
            pods: pods(pod, term),
            topology: text(term, "/topologyKey").to_owned(),
        }
    }

    /// Whether a pod that wants this is meant.
    pub(super) fn means(&self, other: &Wish, namespaces: &Namespaces) -> bool {
        self.pods.as_ref().is_some_and(|pods| pods.matches(Some(&other.labels)))
            && (self.namespaces.contains(&other.namespace)
                || self
                    .in_namespaces
                    .as_ref()
                    .is_some_and(|labels| labels.matches(namespaces.get(&other.namespace))))
    }
}

/// The pods that a selector means, narrowed down by what the own pod has for some keys.
pub(super) fn pods(pod: &Value, from: &Value) -> Option<Labels> {
    let selector = from.get("labelSelector").filter(|selector| !selector.is_null())?;
    let mut labels = Labels::from_object(selector);
    for (list, same) in [("/matchLabelKeys", true), ("/mismatchLabelKeys", false)] {
        for key in items(from, list).iter().filter_map(Value::as_str) {
            if let Some(value) = object::label(pod, key) {
                labels.add(key, value, same);
            }
        }
    }
    Some(labels)
}

/// What a pod asks of its neighbourhood.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// Pods that must be near, and pods that must not.
    pub near: Vec<Term>,
    pub far: Vec<Term>,
    /// Pods that had better be near, or far when the weight is negative.
    pub liked: Vec<(i64, Term)>,
}

impl Terms {
    pub(super) fn of(pod: &Value) -> Self {
        let affinity = &pod["spec"]["affinity"];
        let all = |kind: &str| {
            let terms = items(&affinity[kind], "/requiredDuringSchedulingIgnoredDuringExecution");
            terms.iter().map(|term| Term::of(pod, term)).collect()
        };
        let weighed = |kind: &str, sign: i64| -> Vec<(i64, Term)> {
            let terms = items(&affinity[kind], "/preferredDuringSchedulingIgnoredDuringExecution").iter();
            terms
                .map(|t| (sign * int(t, "/weight").unwrap_or(0), Term::of(pod, &t["podAffinityTerm"])))
                .collect()
        };
        let mut liked = weighed("podAffinity", 1);
        liked.extend(weighed("podAntiAffinity", -1));
        Self { near: all("podAffinity"), far: all("podAntiAffinity"), liked }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.near.is_empty() && self.far.is_empty() && self.liked.is_empty()
    }
}
