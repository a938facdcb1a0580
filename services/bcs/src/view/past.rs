//! Rows of objects as they were.

use bcs_schemas::{
    Name,
    query::{AppPast, ClusterPast},
    resource::Labels,
};
use jiff::Timestamp;

use super::{Listed, age, fleet::labels};

impl Listed for AppPast {
    const KIND: &'static str = "app";
    const COLUMNS: (&'static [&'static str], &'static [&'static str]) =
        (&["NAME", "REVISION", "GENERATION", "INSTANCES", "IMAGE", "AGE"], &["LABELS"]);

    fn cells(&self, as_of: Timestamp) -> Vec<String> {
        vec![
            self.name.to_string(),
            self.revision.to_string(),
            self.generation.to_string(),
            self.spec.replicas.to_string(),
            self.spec.image.to_string(),
            age(self.created_at, as_of),
        ]
    }

    fn more(&self, _: Timestamp) -> Vec<String> {
        vec![labels(&self.labels)]
    }

    fn name(&self) -> String {
        self.name.to_string()
    }

    fn project(&self) -> Option<&Name> {
        Some(&self.project)
    }

    fn labels(&self) -> Option<&Labels> {
        Some(&self.labels)
    }
}

impl Listed for ClusterPast {
    const KIND: &'static str = "cluster";
    const COLUMNS: (&'static [&'static str], &'static [&'static str]) =
        (&["NAME", "REVISION", "GENERATION", "HEALTH", "LABELS"], &[]);

    fn cells(&self, _: Timestamp) -> Vec<String> {
        let numbers = (self.revision.to_string(), self.generation.to_string());
        vec![self.name.to_string(), numbers.0, numbers.1, self.health.to_string(), labels(&self.labels)]
    }

    fn more(&self, _: Timestamp) -> Vec<String> {
        Vec::new()
    }

    fn name(&self) -> String {
        self.name.to_string()
    }

    fn labels(&self) -> Option<&Labels> {
        Some(&self.labels)
    }
}
