//! Rows of instances and what is known of them: endpoints, workloads, registrations, addresses. Each shows how old the
//! news is.

use bcs_schemas::{
    Name,
    observation::{Endpoint, Registration, Workload},
    query::AddressView,
};
use jiff::Timestamp;

use super::{Listed, age, age::until, or_dash, word};
use crate::color;

/// Whether a name means this instance: by its own name or by that of its application.
fn means(name: &str, instance: &str, app: &Name) -> bool {
    instance == name || app.as_str() == name
}

/// Where an instance answers: `127.1.2.3:8080`.
pub(crate) fn place(endpoint: &Endpoint) -> String {
    match (endpoint.addresses.first(), endpoint.ports.first()) {
        (Some(address), Some(port)) => std::net::SocketAddr::new(*address, port.port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, _) => "-".to_owned(),
    }
}

impl Listed for Endpoint {
    const KIND: &'static str = "endpoint";
    const COLUMNS: (&'static [&'static str], &'static [&'static str]) = (
        &["APP", "INSTANCE", "CLUSTER", "ADDRESS", "PHASE", "REVISION", "SINCE", "SEEN"],
        &["NODE", "ZONE", "WEIGHT", "GENERATION", "UID", "WHY"],
    );

    fn cells(&self, as_of: Timestamp) -> Vec<String> {
        vec![
            self.app.to_string(),
            self.instance.clone(),
            self.cluster.to_string(),
            place(self),
            color::state(&word(&self.phase)),
            self.revision.to_string(),
            age(self.since, as_of),
            age(self.observed_at, as_of),
        ]
    }

    fn more(&self, _: Timestamp) -> Vec<String> {
        vec![
            or_dash(self.node.as_ref()),
            or_dash(self.zone.as_ref()),
            self.weight.to_string(),
            self.generation.to_string(),
            self.uid.clone(),
            or_dash(self.reason.as_ref()),
        ]
    }

    fn name(&self) -> String {
        self.instance.clone()
    }

    fn answers_to(&self, name: &str) -> bool {
        means(name, &self.instance, &self.app)
    }

    fn project(&self) -> Option<&Name> {
        Some(&self.project)
    }
}

impl Listed for Workload {
    const KIND: &'static str = "workload";
    const COLUMNS: (&'static [&'static str], &'static [&'static str]) =
        (&["APP", "CLUSTER", "REVISION", "READY", "SEEN", "WHY"], &["GENERATION"]);

    fn cells(&self, as_of: Timestamp) -> Vec<String> {
        vec![
            self.app.to_string(),
            self.cluster.to_string(),
            self.revision.to_string(),
            format!("{}/{}", self.ready, self.replicas),
            age(self.observed_at, as_of),
            or_dash(self.reason.as_ref()),
        ]
    }

    fn more(&self, _: Timestamp) -> Vec<String> {
        vec![self.generation.to_string()]
    }

    fn name(&self) -> String {
        format!("{}-{}", self.app, self.revision)
    }

    fn answers_to(&self, name: &str) -> bool {
        means(name, &self.name(), &self.app)
    }

    fn project(&self) -> Option<&Name> {
        Some(&self.project)
    }
}

impl Listed for Registration {
    const KIND: &'static str = "registration";
    const COLUMNS: (&'static [&'static str], &'static [&'static str]) = (
        &["APP", "INSTANCE", "CLUSTER", "REGISTRY", "ADDRESS", "STATE", "SINCE", "SEEN", "WHY"],
        &["UID", "RETRY"],
    );

    fn cells(&self, as_of: Timestamp) -> Vec<String> {
        vec![
            self.app.to_string(),
            self.instance.clone(),
            self.cluster.to_string(),
            self.registry.to_string(),
            self.address.clone(),
            color::state(&word(&self.state)),
            age(self.since, as_of),
            age(self.observed_at, as_of),
            or_dash(self.reason.as_ref()),
        ]
    }

    fn more(&self, as_of: Timestamp) -> Vec<String> {
        vec![self.uid.clone(), or_dash(self.retry_at.map(|at| until(at, as_of)))]
    }

    fn name(&self) -> String {
        self.instance.clone()
    }

    fn answers_to(&self, name: &str) -> bool {
        means(name, &self.instance, &self.app) || self.registry.as_str() == name
    }

    fn project(&self) -> Option<&Name> {
        Some(&self.project)
    }
}

impl Listed for AddressView {
    const KIND: &'static str = "address";
    const COLUMNS: (&'static [&'static str], &'static [&'static str]) =
        (&["ADDRESS", "APP", "INSTANCE", "CLUSTER", "SINCE", "SEEN"], &["UID"]);

    fn cells(&self, as_of: Timestamp) -> Vec<String> {
        vec![
            self.address.to_string(),
            self.app.to_string(),
            self.instance.clone(),
            self.cluster.to_string(),
            age(self.since, as_of),
            age(self.observed_at, as_of),
        ]
    }

    fn more(&self, _: Timestamp) -> Vec<String> {
        vec![self.uid.clone()]
    }

    fn name(&self) -> String {
        self.address.to_string()
    }

    fn answers_to(&self, name: &str) -> bool {
        self.name() == name || means(name, &self.instance, &self.app)
    }

    fn project(&self) -> Option<&Name> {
        Some(&self.project)
    }
}
