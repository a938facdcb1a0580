//! The text of the files. Pure: rows in, text out, and back.

use std::{collections::BTreeMap, sync::Arc};

use bcs_schemas::observation::EndpointPort;
use serde::{Deserialize, Serialize};

use crate::domain::{Entry, Item, Place, entry::fingerprint};

/// One instance in the JSON file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) ports: Vec<EndpointPort>,
    pub(super) project: String,
    pub(super) app: String,
    pub(super) revision: String,
    pub(super) cluster: String,
    pub(super) instance: String,
    pub(super) uid: String,
    pub(super) weight: u32,
    pub(super) ttl: u32,
    /// Stable id of the incarnation.
    pub(super) id: String,
    /// Generation of the application's intent.
    pub(super) generation: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
}

impl Row {
    pub(super) fn of(entry: &Entry) -> Self {
        let endpoint = &entry.endpoint;
        Self {
            name: entry.name.clone(),
            address: entry.address.to_string(),
            port: entry.port,
            ports: endpoint.ports.clone(),
            project: endpoint.project.to_string(),
            app: endpoint.app.to_string(),
            revision: endpoint.revision.to_string(),
            cluster: endpoint.cluster.to_string(),
            instance: endpoint.instance.clone(),
            uid: endpoint.uid.clone(),
            weight: endpoint.weight,
            ttl: entry.ttl,
            id: entry.id.clone(),
            generation: endpoint.generation,
            metadata: entry.metadata.clone(),
        }
    }

    /// The generation is left out: see [`crate::domain::Layout::digest`].
    pub(super) fn digest(&self) -> u64 {
        let rest = Self { generation: 0, ..self.clone() };
        fingerprint(&serde_json::to_string(&rest).unwrap_or_default())
    }

    pub(super) fn item(&self) -> Item {
        Item {
            place: Place::from(self.id.as_str()),
            key: Arc::from(format!("{}.{}.{}.{}", self.cluster, self.project, self.app, self.instance)),
            uid: Arc::from(self.uid.as_str()),
            digest: self.digest(),
            version: 0,
        }
    }

    fn rank(&self) -> (&str, &str, u16, &str) {
        (&self.name, &self.address, self.port, &self.uid)
    }
}

/// What stands above the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) owner: String,
    /// Epoch of the sidecar that wrote it.
    pub(super) epoch: u64,
    /// Counts the writes.
    pub(super) generation: u64,
}

/// The JSON file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    #[serde(flatten)]
    pub(super) header: Header,
    pub(super) entries: Vec<Row>,
}

impl Document {
    /// In the order in which people compare two of them.
    pub(super) fn of(header: Header, mut entries: Vec<Row>) -> Self {
        entries.sort_by(|a, b| a.rank().cmp(&b.rank()));
        Self { header, entries }
    }

    /// JSON with a row a line.
    pub(super) fn json(&self) -> Result<String, serde_json::Error> {
        let head = serde_json::to_string(&self.header)?;
        let mut json = format!("{},\"entries\":[", head.trim_end_matches('}'));
        for (i, row) in self.entries.iter().enumerate() {
            json.push_str(if i == 0 { "\n" } else { ",\n" });
            json.push_str(&serde_json::to_string(row)?);
        }
        json.push_str("\n]}\n");
        Ok(json)
    }
}

/// Instance `number` of an application.
#[cfg(test)]
pub(super) fn row(app: &str, number: u32) -> Row {
    let endpoint = Arc::new(crate::testing::endpoint(app, number));
    Row::of(&Entry {
        name: format!("{app}.shop.bcs.local"),
        id: format!("i{number}"),
        address: endpoint.addresses[0],
        port: 8080,
        ttl: 30,
        metadata: BTreeMap::from([("team".into(), "red".into())]),
        endpoint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(entries: Vec<Row>) -> Document {
        Document::of(Header { owner: "o".into(), epoch: 3, generation: 7 }, entries)
    }

    #[test]
    fn what_is_written_is_read_back_in_order() {
        let json = document(vec![row("web", 2), row("api", 9), row("web", 1)]).json().expect("is written");
        let read: Document = serde_json::from_str(&json).expect("is JSON");
        assert_eq!(read.entries, [row("api", 9), row("web", 1), row("web", 2)]);
        assert_eq!(read.header, document(vec![]).header);
    }

    #[test]
    fn no_entries_are_a_valid_file_too() {
        let json = document(vec![]).json().expect("is written");
        assert_eq!(serde_json::from_str::<Document>(&json).expect("is JSON").entries, []);
    }
}
