//! What has to hold for every manifest, whoever applies it. Pure: it looks at documents and says what is wrong with them.

mod network;
mod pod;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Secrets by their names, with their keys: those that manifests may mount.
pub(crate) type Secrets = BTreeMap<String, BTreeSet<String>>;

/// What runs: the template of a pod, and what makes pods of it.
pub(super) struct Workload<'a> {
    pub kind: &'a str,
    pub name: &'a str,
    /// Labels of its pods.
    pub labels: &'a Value,
    pub spec: &'a Value,
    /// Claims that each pod gets for itself.
    claims: Vec<&'a str>,
}

/// Everything that is wrong, each as a sentence that names the object.
pub(crate) fn problems(documents: &[Value], secrets: &Secrets) -> Vec<String> {
    let all = Everything { documents, secrets };
    let mut found = Vec::new();
    for workload in all.workloads() {
        let told = |problem| format!("{} {}: {problem}", workload.kind, workload.name);
        let unseen = network::unseen(&all, &workload);
        found.extend(pod::problems(&all, &workload).into_iter().chain(unseen).map(told));
    }
    for document in documents {
        let (kind, name) = (text(document, "/kind"), text(document, "/metadata/name"));
        let told = |problem| format!("{kind} {name}: {problem}");
        found.extend(network::problems(&all, document).into_iter().map(told));
    }
    found
}

/// What is looked at.
pub(super) struct Everything<'a> {
    documents: &'a [Value],
    pub secrets: &'a Secrets,
}

impl<'a> Everything<'a> {
    pub(super) fn of_kind(&self, kind: &str) -> impl Iterator<Item = &'a Value> {
        self.documents.iter().filter(move |document| text(document, "/kind") == kind)
    }

    pub(super) fn find(&self, kind: &str, name: &str) -> Option<&'a Value> {
        self.of_kind(kind).find(|document| text(document, "/metadata/name") == name)
    }

    pub(super) fn workloads(&self) -> Vec<Workload<'a>> {
        let of = |document: &'a Value| {
            let template =
                document.pointer("/spec/template").filter(|t| t["spec"]["containers"].is_array())?;
            Some(Workload {
                kind: text(document, "/kind"),
                name: text(document, "/metadata/name"),
                labels: &template["metadata"]["labels"],
                spec: &template["spec"],
                claims: items(document, "/spec/volumeClaimTemplates")
                    .iter()
                    .map(|claim| text(claim, "/metadata/name"))
                    .collect(),
            })
        };
        self.documents.iter().filter_map(of).collect()
    }
}

impl<'a> Workload<'a> {
    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> {
        items(self.spec, "/initContainers").iter().chain(items(self.spec, "/containers"))
    }

    /// Ports that its containers name, by name and number.
    pub(super) fn ports(&self) -> Vec<(&'a str, u64)> {
        let ports = self.containers().flat_map(|container| items(container, "/ports"));
        ports.filter_map(|port| Some((text(port, "/name"), port["containerPort"].as_u64()?))).collect()
    }

    /// Whether somebody listens there: at a port with this name, or of this number.
    pub(super) fn listens(&self, port: &Value) -> bool {
        self.ports().iter().any(|(name, number)| port == name || port.as_u64() == Some(*number))
    }

    /// Whether a selector means its pods.
    pub(super) fn selected(&self, labels: &Value) -> bool {
        labels.as_object().into_iter().flatten().all(|(key, value)| self.labels.get(key) == Some(value))
    }
}

pub(super) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn items<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
