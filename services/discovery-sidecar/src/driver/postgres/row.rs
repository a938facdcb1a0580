//! How an entry lies in the table. Pure.

use std::sync::Arc;

use sqlx::{FromRow, Row as _, postgres::PgRow};

use crate::domain::{Entry, Item, Layout, Place, entry::fingerprint};

/// Everything that the table holds of an entry beside its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) name: String,
    /// Without the length of its network.
    pub(super) address: String,
    pub(super) port: i32,
    pub(super) weight: i32,
    pub(super) ttl: i32,
    pub(super) node: String,
    /// Key of the endpoint.
    pub(super) endpoint: String,
    pub(super) uid: String,
}

/// A row of ours as it was read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) row: Row,
    pub(super) version: i64,
}

impl Row {
    pub(super) fn of(entry: &Entry) -> Self {
        let endpoint = &entry.endpoint;
        let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        Self {
            name: entry.name.clone(),
            address: entry.address.to_string(),
            port: entry.port.into(),
            weight: number(endpoint.weight),
            ttl: number(entry.ttl),
            node: endpoint.node.clone().unwrap_or_default(),
            endpoint: entry.key(),
            uid: endpoint.uid.clone(),
        }
    }
}

impl FromRow<'_, PgRow> for Found {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            version: row.try_get("version")?,
            row: Row {
                name: row.try_get("name")?,
                address: row.try_get("address")?,
                port: row.try_get("port")?,
                weight: row.try_get("weight")?,
                ttl: row.try_get("ttl")?,
                node: row.try_get("node")?,
                endpoint: row.try_get("endpoint")?,
                uid: row.try_get("uid")?,
            },
        })
    }
}

impl Found {
    pub(super) fn item(&self) -> Item {
        Item {
            place: Place::from(self.id.as_str()),
            key: Arc::from(self.row.endpoint.as_str()),
            uid: Arc::from(self.row.uid.as_str()),
            digest: fingerprint(&(self.id.as_str(), &self.row)),
            version: u64::try_from(self.version).unwrap_or_default(),
        }
    }
}

/// A row per instance, found by its id.
pub(super) struct Rows;

impl Layout for Rows {
    fn place(&self, entry: &Entry) -> Place {
        Place::from(entry.id.as_str())
    }

    fn digest(&self, entry: &Entry) -> u64 {
        fingerprint(&(entry.id.as_str(), &Row::of(entry)))
    }
}
