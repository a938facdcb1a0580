//! A recording as text: one JSON object a line, so that a change shows in a diff.

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use bcs_schemas::{
    codec::{self, ContentType},
    query::EventView,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::table;

/// What these files are.
const FORMAT: &str = "bcs-journal/1";

/// A line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// What this is; the first line.
    Journal(Head),
    /// Makes a table or an index, as the version had it on SQLite.
    Sql(String),
    /// Lies in a table.
    Row(Row),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    format: String,
    version: String,
    service: String,
    /// `SNAPSHOT_VERSION` of the state: with the same, the state has the same shape.
    state_version: u32,
    /// The state before the first event.
    empty: Value,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) table: String,
    /// Values by column; bytes as `{"base64": …}`.
    pub(super) columns: Map<String, Value>,
    /// What the payload says, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reads: Option<Value>,
    /// An event: what it changed in the state, as a JSON Patch (RFC 6902).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changes: Option<json_patch::Patch>,
}

/// The database of a service, and what its events did.
#[derive(Clone, Debug)]
pub struct Recording {
    head: Head,
    pub(super) tables: Vec<String>,
    pub(super) rows: Vec<Row>,
}

impl Recording {
    /// Takes the database of `service` at `url`; `states` follows its events: the state before the first, and after each.
    pub(super) async fn take(
        url: &str,
        service: &str,
        state_version: u32,
        states: impl FnOnce(&[EventView]) -> Result<Vec<Value>>,
    ) -> Result<Self> {
        let (tables, rows) = table::dump(url).await?;
        let head = Head {
            format: FORMAT.to_owned(),
            version: super::VERSION.to_owned(),
            service: service.to_owned(),
            state_version,
            empty: Value::Null,
        };
        let mut recording = Self { head, tables, rows };
        for row in &mut recording.rows {
            row.reads = row.payload()?.map(|payload| as_json(&payload)).transpose()?;
        }
        let states = states(&recording.events()?)?;
        let events = recording.rows.iter_mut().filter(|row| row.table == "events");
        for (row, around) in events.zip(states.windows(2)) {
            row.changes = Some(json_patch::diff(&around[0], &around[1]));
        }
        recording.head.empty =
            states.into_iter().next().context("there is no state before the first event")?;
        Ok(recording)
    }

    /// Reads a file.
    pub fn read(text: &str) -> Result<Self> {
        let mut lines = text.lines().map(serde_json::from_str::<Line>);
        let Some(Line::Journal(head)) = lines.next().transpose()? else { bail!("does not say what it is") };
        ensure!(head.format == FORMAT, "is {}, expected {FORMAT}", head.format);
        let mut recording = Self { head, tables: Vec::new(), rows: Vec::new() };
        for line in lines {
            match line? {
                Line::Journal(_) => bail!("says twice what it is"),
                Line::Sql(sql) => recording.tables.push(sql),
                Line::Row(row) => recording.rows.push(row),
            }
        }
        for row in &recording.rows {
            let payload = row.payload()?.map(|payload| as_json(&payload)).transpose()?;
            ensure!(payload == row.reads, "{:?} says something else than what it reads as", row.columns);
        }
        Ok(recording)
    }

    /// The file.
    pub(super) fn text(&self) -> Result<String> {
        let tables = self.tables.iter().cloned().map(Line::Sql);
        let rows = self.rows.iter().cloned().map(Line::Row);
        let mut text = String::new();
        for line in std::iter::once(Line::Journal(self.head.clone())).chain(tables).chain(rows) {
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
        }
        Ok(text)
    }

    /// `SNAPSHOT_VERSION` of the state that it holds.
    pub fn state_version(&self) -> u32 {
        self.head.state_version
    }

    /// The events, in order.
    pub fn events(&self) -> Result<Vec<EventView>> {
        self.of("events").map(Row::event).collect()
    }

    /// The outcome of each command.
    pub fn outcomes(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.of("outcomes").filter_map(|row| Some((row.columns["command_id"].as_str()?, row.reads.as_ref()?)))
    }

    /// Position of the snapshot.
    pub fn snapshot(&self) -> Option<u64> {
        self.of("snapshots").find_map(|row| row.columns["seq"].as_u64())
    }

    /// The state before the first event and after each.
    pub fn states(&self) -> Result<Vec<Value>> {
        let mut states = vec![self.head.empty.clone()];
        for row in self.of("events") {
            let mut state = states.last().cloned().unwrap_or_default();
            let changes = row.changes.as_ref().context("an event does not say what it changed")?;
            json_patch::patch(&mut state, changes)?;
            states.push(state);
        }
        Ok(states)
    }

    fn of(&self, table: &'static str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.table == table)
    }
}

impl Row {
    pub(super) fn new(table: &str, columns: Map<String, Value>) -> Self {
        Self { table: table.to_owned(), columns, reads: None, changes: None }
    }

    fn payload(&self) -> Result<Option<Vec<u8>>> {
        self.columns.get("payload").map(|value| bytes(value).context("a payload is no bytes")?).transpose()
    }

    fn event(&self) -> Result<EventView> {
        let column = |name: &str| self.columns.get(name).cloned().unwrap_or_default();
        let view = json!({
            "seq": column("seq"), "id": column("id"), "object": column("target"), "type": column("kind"),
            "time": column("decided_at"), "actor": column("actor"), "command_id": column("command_id"),
            "correlation_id": column("correlation_id"), "payload": self.reads,
        });
        Ok(serde_json::from_value(view)?)
    }
}

fn as_json(payload: &[u8]) -> Result<Value> {
    Ok(codec::to_json(ContentType::MessagePack, payload)?)
}

/// Bytes as they stand in a file.
pub(super) fn from_bytes(bytes: &[u8]) -> Value {
    json!({ "base64": BASE64_STANDARD.encode(bytes) })
}

/// None for a value that is no bytes.
pub(super) fn bytes(value: &Value) -> Option<Result<Vec<u8>>> {
    let text = value.as_object()?.get("base64")?.as_str()?;
    Some(BASE64_STANDARD.decode(text).context("is no base64"))
}
